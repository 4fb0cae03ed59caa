//! `context`: the daemons the user knows by name.

use std::path::PathBuf;

use serde_json::{Map, Value as Json, json};

use crate::command::{Arity, Command};
use crate::commands::container::ls::FORMAT_HELP;
use crate::commands::inspect::pretty;
use crate::context::{DEFAULT, check_name};
use crate::each::together;
use crate::error::{Failure, Outcome};
use crate::flag::{Flag, Kind, flag, switch};
use crate::format::{Record, Titles, render};
use crate::output;
use crate::parse::{Matches, Order};
use crate::session::Session;
use crate::template::{self, Mode, Value};

static CREATE_FLAGS: &[Flag] = &[
    flag("description", Kind::Text, "What the context is for"),
    flag("docker", Kind::StringMap, "The daemon (\"host=…,ca=…,cert=…,key=…,skip-tls-verify=…\")")
        .default("[]"),
    flag("from", Kind::Text, "Copy the context of this name"),
];
static UPDATE_FLAGS: &[Flag] = &[
    flag("description", Kind::Text, "What the context is for"),
    flag("docker", Kind::StringMap, "The daemon (\"host=…,ca=…,cert=…,key=…,skip-tls-verify=…\")")
        .default("[]"),
];
static LS_FLAGS: &[Flag] =
    &[flag("format", Kind::Text, FORMAT_HELP), switch("quiet", "Show only names").short('q')];
static INSPECT_FLAGS: &[Flag] =
    &[flag("format", Kind::Text, "How to print: 'json' or a Go TEMPLATE").short('f')];
static RM_FLAGS: &[Flag] = &[switch("force", "Remove the one in use too").short('f')];

/// What `--docker` takes, for both helps.
macro_rules! about {
    ($what:literal) => {
        concat!(
            $what,
            "\n\nWhat --docker takes, as key=value separated by commas:\n\n",
            "  host              the daemon's address (unix://, tcp://, ssh://)\n",
            "  ca                trust only certificates of this authority\n",
            "  cert              certificate of this client\n",
            "  key               key of this client\n",
            "  skip-tls-verify   do not check who answers"
        )
    };
}
const CREATE_ABOUT: &str = about!("Create a context");
const UPDATE_ABOUT: &str = about!("Update a context");

/// `context create`
pub static CREATE: Command = Command {
    usage: "[OPTIONS] CONTEXT",
    usage_also: None,
    about: CREATE_ABOUT,
    spellings: &[],
    flags: &[CREATE_FLAGS],
    arity: Arity::Exactly(1),
    order: Order::Anywhere,
    run: |session, m| Box::pin(async move { create(session, m) }),
};

/// `context update`
pub static UPDATE: Command = Command {
    about: UPDATE_ABOUT,
    flags: &[UPDATE_FLAGS],
    run: |session, m| Box::pin(async move { update(session, m) }),
    ..CREATE
};

/// `context ls`
pub static LS: Command = Command {
    usage: "[OPTIONS]",
    about: "List contexts",
    spellings: &["context ls", "context list"],
    flags: &[LS_FLAGS],
    arity: Arity::None,
    run: |session, m| Box::pin(async move { list(session, m) }),
    ..CREATE
};

/// `context use`
pub static USE: Command = Command {
    usage: "CONTEXT",
    about: "Set the current docker context",
    flags: &[],
    run: |session, m| Box::pin(async move { take(session, m) }),
    ..CREATE
};

/// `context show`
pub static SHOW: Command = Command {
    usage: "",
    about: "Print the name of the current context",
    flags: &[],
    arity: Arity::None,
    run: |session, _| {
        Box::pin(async move {
            output::line(&session.current_context());
            Ok(())
        })
    },
    ..CREATE
};

/// `context rm`
pub static RM: Command = Command {
    usage: "CONTEXT [CONTEXT...]",
    about: "Remove one or more contexts",
    spellings: &["context rm", "context remove"],
    flags: &[RM_FLAGS],
    arity: Arity::AtLeast(1),
    run: |session, m| Box::pin(async move { remove(session, m) }),
    ..CREATE
};

/// `context inspect`
pub static INSPECT: Command = Command {
    usage: "[OPTIONS] [CONTEXT] [CONTEXT...]",
    about: "Display detailed information on one or more contexts",
    flags: &[INSPECT_FLAGS],
    arity: Arity::Any,
    run: |session, m| Box::pin(async move { inspect(session, m) }),
    ..CREATE
};

/// What `--docker` says.
#[derive(Default)]
struct Endpoint {
    host: String,
    skip_verify: bool,
    files: Vec<(&'static str, PathBuf)>,
}

fn endpoint(m: &Matches) -> Outcome<Endpoint> {
    let mut out = Endpoint::default();
    for pair in m.list("docker").flat_map(|text| text.split(',')) {
        let Some((key, value)) = pair.split_once('=') else {
            return Err(Failure::new(format!("{pair} must be formatted as key=value")));
        };
        match key {
            "host" => value.clone_into(&mut out.host),
            "ca" => out.files.push(("ca.pem", value.into())),
            "cert" => out.files.push(("cert.pem", value.into())),
            "key" => out.files.push(("key.pem", value.into())),
            "skip-tls-verify" => out.skip_verify = value == "true",
            _ => return Err(Failure::new(format!("unrecognized config key: {key}"))),
        }
    }
    Ok(out)
}

fn create(session: &Session, m: &Matches) -> Outcome {
    let name = &m.args[0];
    check_name(name)?;
    let contexts = session.contexts();
    if contexts.get(name).is_ok() {
        return Err(Failure::new(format!("context \"{name}\" already exists")));
    }
    let mut given = endpoint(m)?;
    let mut description = m.text("description").to_owned();
    if given.host.is_empty() {
        match m.given("from") {
            Some(DEFAULT) => given.host = session.default_host(),
            Some(from) => {
                let from = contexts.get(from)?;
                from.host().clone_into(&mut given.host);
                given.skip_verify = from.skip_verify();
                if description.is_empty() {
                    from.description().clone_into(&mut description);
                }
            }
            None if m.changed("docker") => given.host = session.default_host(),
            None => return Err(Failure::new("docker endpoint configuration is required")),
        }
    }
    write(session, name, &description, &given)?;
    output::line(name);
    output::error_line(&format!("Successfully created context \"{name}\""));
    Ok(())
}

fn write(session: &Session, name: &str, description: &str, endpoint: &Endpoint) -> Outcome {
    let _: corten_client::Endpoint =
        endpoint.host.parse().map_err(|error: corten_client::EndpointError| {
            Failure::new(format!("unable to create docker endpoint config: {error}"))
        })?;
    let contexts = session.contexts();
    for (file, path) in &endpoint.files {
        contexts.put_tls(name, file, path)?;
    }
    contexts.put(name, description, &endpoint.host, endpoint.skip_verify)
}

fn update(session: &Session, m: &Matches) -> Outcome {
    let name = &m.args[0];
    check_name(name)?;
    let known = session.contexts().get(name)?;
    let mut given = endpoint(m)?;
    if given.host.is_empty() {
        known.host().clone_into(&mut given.host);
        given.skip_verify = known.skip_verify();
    }
    let description = m.given("description").unwrap_or_else(|| known.description());
    write(session, name, description, &given)?;
    output::line(name);
    output::error_line(&format!("Successfully updated context \"{name}\""));
    Ok(())
}

const TITLES: Titles = &[
    ("Name", "NAME"),
    ("Description", "DESCRIPTION"),
    ("DockerEndpoint", "DOCKER ENDPOINT"),
    ("Error", "ERROR"),
];

fn list(session: &Session, m: &Matches) -> Outcome {
    let current = session.current_context();
    let row = |name: &str, description: &str, host: &str, error: &str| {
        Record::new("formatter.clientContextContext")
            .with("Current", name == current)
            .with("Description", description)
            .with("DockerEndpoint", host)
            .with("Error", error)
            .with("Name", name)
    };
    let all = session.contexts().list()?;
    let default =
        (DEFAULT.to_owned(), "Current DOCKER_HOST based configuration".to_owned(), session.default_host());
    let mut found: Vec<(String, String, String)> = vec![default];
    found.extend(all.iter().map(|c| (c.name.clone(), c.description().to_owned(), c.host().to_owned())));
    found.sort();
    let mut rows: Vec<Record> =
        found.iter().map(|(name, description, host)| row(name, description, host, "")).collect();
    if !found.iter().any(|(name, ..)| *name == current) {
        let error = format!(
            "context not found: open {}: no such file or directory",
            session.contexts().meta(&current).join("meta.json").display()
        );
        rows.push(row(&current, "", "", &error));
    }
    let format = match m.text("format") {
        _ if m.on("quiet") => "{{.Name}}",
        "" | "table" => {
            "table {{.Name}}{{if .Current}} *{{end}}\t{{.Description}}\t{{.DockerEndpoint}}\t{{.Error}}"
        }
        other => other,
    };
    output::put(&render(format, TITLES, rows)?);
    if std::env::var("DOCKER_HOST").is_ok_and(|host| !host.is_empty()) {
        output::error_line(
            "Warning: DOCKER_HOST environment variable overrides the active context. To use a context, either set the \
             global --context flag, or unset DOCKER_HOST environment variable.",
        );
    }
    Ok(())
}

fn take(session: &Session, m: &Matches) -> Outcome {
    let name = m.args[0].as_str();
    let mut config = session.config.clone();
    if name == DEFAULT {
        config.set_text("currentContext", None)?;
    } else {
        session.contexts().get(name)?;
        config.set_text("currentContext", Some(name))?;
    }
    output::line(name);
    output::error_line(&format!("Current context is now \"{name}\""));
    if let Some(host) = std::env::var("DOCKER_HOST").ok().filter(|host| !host.is_empty() && name != DEFAULT) {
        output::error_line(&format!(
            "Warning: DOCKER_HOST environment variable overrides the active context. To use \"{name}\", either set \
             the global --context flag, or unset DOCKER_HOST (it is {host}) in the environment."
        ));
    }
    Ok(())
}

fn remove(session: &Session, m: &Matches) -> Outcome {
    let current = session.current_context();
    let mut mistakes = Vec::new();
    for name in &m.args {
        let result = if name == DEFAULT {
            Err(Failure::new("context \"default\" cannot be removed"))
        } else if *name == current && !m.on("force") {
            Err(Failure::new(format!("context \"{name}\" is in use, set -f flag to force remove")))
        } else {
            session.contexts().remove(name)
        };
        match result {
            Ok(()) => {
                if *name == session.config.text("currentContext") {
                    session.config.clone().set_text("currentContext", None)?;
                }
                output::line(name);
            }
            Err(_) if m.on("force") && session.contexts().get(name).is_err() && name != DEFAULT => {}
            Err(failure) => mistakes.push(failure.text),
        }
    }
    together(mistakes)
}

fn inspect(session: &Session, m: &Matches) -> Outcome {
    let names = if m.args.is_empty() { vec![session.current_context()] } else { m.args.clone() };
    let (mut found, mut mistakes) = (Vec::new(), Vec::new());
    for name in &names {
        match described(session, name) {
            Ok(json) => found.push(json),
            Err(failure) => mistakes.push(failure.text),
        }
    }
    match m.text("format") {
        // Docker writes this JSON with the signs of HTML escaped.
        "" => output::line(&pretty(&Json::from(found)).replace('<', "\\u003c").replace('>', "\\u003e")),
        "json" => output::line(&Json::from(found).to_string()),
        text => {
            let wrong =
                |error: template::TemplateError| Failure::new(format!("template parsing error: {error}"));
            let template = template::parse(text).map_err(|error| wrong(error).with_code(64))?;
            let mut out = String::new();
            for json in &found {
                out.push_str(
                    &template::execute(&template, &Value::from_json(json), Mode::Row).map_err(wrong)?,
                );
                out.push('\n');
            }
            output::put(if out.is_empty() { "\n" } else { &out });
        }
    }
    together(mistakes)
}

fn described(session: &Session, name: &str) -> Outcome<Json> {
    if name == DEFAULT {
        return Ok(json!({
            "Name": DEFAULT,
            "Metadata": {},
            "Endpoints": { "docker": { "Host": session.default_host(), "SkipTLSVerify": false } },
            "TLSMaterial": {},
            "Storage": { "MetadataPath": "<IN MEMORY>", "TLSPath": "<IN MEMORY>" },
        }));
    }
    let contexts = session.contexts();
    let context = contexts.get(name)?;
    let files: Vec<String> = std::fs::read_dir(contexts.tls(name))
        .map(|entries| {
            entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
        })
        .unwrap_or_default();
    let material =
        if files.is_empty() { Map::new() } else { Map::from_iter([("docker".to_owned(), json!(files))]) };
    Ok(json!({
        "Name": name,
        "Metadata": context.meta.get("Metadata").cloned().unwrap_or_else(|| json!({})),
        "Endpoints": context.meta.get("Endpoints").cloned().unwrap_or_else(|| json!({})),
        "TLSMaterial": material,
        "Storage": { "MetadataPath": contexts.meta(name), "TLSPath": contexts.tls_root(name) },
    }))
}
