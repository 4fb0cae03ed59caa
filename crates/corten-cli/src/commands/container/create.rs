//! `create`, and the creation that `run` begins with: pull where the image is missing, then create.

use std::path::Path;

use corten_client::Request;
use corten_types::{Reference, ReferenceError};
use serde::Deserialize;

use crate::command::{Arity, Command};
use crate::error::{Failure, Outcome};
use crate::options::{CREATE, CreateRequest, create_request, refuse_content_trust};
use crate::output;
use crate::parse::{Matches, Order};
use crate::progress::{self, Sink};
use crate::session::Session;

/// The command.
pub static CREATE_COMMAND: Command = Command {
    usage: "[OPTIONS] IMAGE [COMMAND] [ARG...]",
    usage_also: None,
    about: "Create a new container",
    spellings: &["container create", "create"],
    flags: &[CREATE],
    arity: Arity::AtLeast(1),
    order: Order::BeforeArguments,
    run: |session, m| Box::pin(run(session, m)),
};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Created {
    id: String,
    #[serde(default)]
    warnings: Option<Vec<String>>,
}

async fn run(session: &Session, m: &Matches) -> Outcome {
    let request = plan(session, m).map_err(|failure| with_help(session, failure, 125))?;
    let id = create(session, m, &request).await?;
    output::line(&id);
    Ok(())
}

/// Reads the flags; what this client adds of its own (proxies) is added here.
pub fn plan(session: &Session, m: &Matches) -> Outcome<CreateRequest> {
    refuse_content_trust(m)?;
    if m.on("use-api-socket") {
        return Err(Failure::new("--use-api-socket is not part of this version of Corten"));
    }
    let pull = m.text("pull");
    if !matches!(pull, "always" | "missing" | "never") {
        return Err(Failure::new(format!(
            "invalid pull option: '{pull}': must be one of \"always\", \"missing\" or \"never\""
        )));
    }
    let here = std::env::current_dir().unwrap_or_default();
    let mut request = create_request(m, &here)?;
    match request.image.parse::<Reference>() {
        Ok(_) | Err(ReferenceError::LooksLikeId(_)) => {}
        Err(error) => return Err(Failure::new(error.to_string())),
    }
    let proxies = session.config.proxies(&session.host()?);
    if !proxies.is_empty() {
        let mut environment = match request.body["Env"].take() {
            serde_json::Value::Array(entries) => entries,
            _ => Vec::new(),
        };
        for (name, value) in proxies {
            let prefix = format!("{name}=");
            if !environment.iter().any(|entry| entry.as_str().is_some_and(|text| text.starts_with(&prefix))) {
                environment.push(format!("{prefix}{value}").into());
            }
        }
        request.body["Env"] = environment.into();
    }
    Ok(request)
}

/// Creates the container, pulling its image as `--pull` says; gives its id.
pub async fn create(session: &Session, m: &Matches, request: &CreateRequest) -> Outcome<String> {
    let cidfile = m.text("cidfile");
    if !cidfile.is_empty() && Path::new(cidfile).exists() {
        return Err(Failure::new(format!(
            "container ID file found, make sure the other container isn't running or delete {cidfile}"
        )));
    }
    if m.text("pull") == "always" {
        pull(session, m, request).await?;
    }
    let client = session.client()?;
    let ask = || {
        Request::post("/containers/create")
            .query_some("name", Some(&request.name).filter(|name| !name.is_empty()))
            .query_some("platform", Some(&request.platform).filter(|platform| !platform.is_empty()))
            .json(&request.body)
    };
    let created: Created = match client.json(ask()).await {
        Err(error)
            if error.is_not_found() && m.text("pull") == "missing" && about_image(&error, &request.image) =>
        {
            if !m.on("quiet") {
                let name = request
                    .image
                    .parse::<Reference>()
                    .map_or_else(|_| request.image.clone(), |reference| reference.or_latest().familiar());
                output::error_line(&format!("Unable to find image '{name}' locally"));
            }
            pull(session, m, request).await?;
            client.json(ask()).await?
        }
        other => other?,
    };
    for warning in created.warnings.iter().flatten() {
        output::error_line(&format!("WARNING: {warning}"));
    }
    if !cidfile.is_empty() {
        std::fs::write(cidfile, &created.id).map_err(|error| {
            Failure::new(format!("failed to write the container ID to the file: {error}"))
        })?;
    }
    Ok(created.id)
}

/// Whether an error says that the image is what is missing, and not a network or a volume.
fn about_image(error: &corten_client::Error, image: &str) -> bool {
    let text = error.to_string();
    text.contains("No such image") || (text.contains(image) && text.contains("image"))
}

async fn pull(session: &Session, m: &Matches, request: &CreateRequest) -> Outcome {
    let reference: Reference = request.image.parse().map_err(|error| Failure::new(format!("{error}")))?;
    let ask = crate::commands::image::pull::request(session, &reference.or_latest(), &request.platform);
    let sink = if m.on("quiet") { Sink::Quiet } else { Sink::Err };
    progress::show(session, ask, sink).await.map(drop)
}

/// A failure of `run` or `create`: the program's name before it, the hint behind it.
pub fn with_help(session: &Session, failure: Failure, code: u8) -> Failure {
    if failure.text.is_empty() {
        return failure;
    }
    Failure {
        text: format!(
            "{}: {}\n\nRun '{} --help' for more information",
            session.persona.name(),
            failure.text,
            session.path
        ),
        code,
    }
}
