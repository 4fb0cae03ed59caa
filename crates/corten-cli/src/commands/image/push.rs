//! `push`

use corten_client::Request;
use corten_types::Reference;

use crate::command::{Arity, Command};
use crate::commands::login;
use crate::each::image;
use crate::error::{Failure, Outcome};
use crate::flag::{Flag, Kind, flag, switch};
use crate::options::refuse_content_trust;
use crate::output;
use crate::parse::{Matches, Order};
use crate::progress::{self, Sink};
use crate::session::Session;

static FLAGS: &[Flag] = &[
    switch("all-tags", "Push every tag of the repository").short('a'),
    switch("disable-content-trust", "Do not sign the image").default("true"),
    flag("platform", Kind::Text, "Push only this platform's image (os[/arch[/variant]])"),
    switch("quiet", "Show only the image's name").short('q'),
];

/// The command.
pub static PUSH: Command = Command {
    usage: "[OPTIONS] NAME[:TAG]",
    usage_also: None,
    about: "Upload an image to a registry",
    spellings: &["image push", "push"],
    flags: &[FLAGS],
    arity: Arity::Exactly(1),
    order: Order::Anywhere,
    run: |session, m| Box::pin(run(session, m)),
};

async fn run(session: &Session, m: &Matches) -> Outcome {
    refuse_content_trust(m)?;
    let reference: Reference = m.args[0].parse().map_err(|error| Failure::new(format!("{error}")))?;
    let bare = reference.tag().is_none() && reference.digest().is_none();
    let reference = if m.on("all-tags") {
        if !bare {
            return Err(Failure::new("tag can't be used with --all-tags/-a"));
        }
        reference
    } else {
        if bare && !m.on("quiet") {
            output::line("Using default tag: latest");
        }
        reference.or_latest()
    };
    let platform = match m.text("platform") {
        "" => None,
        text => Some(platform_json(text)),
    };
    let ask = Request::post(image(&reference.familiar_name(), "/push"))
        .query_some("tag", reference.tag())
        .query_some("platform", platform);
    let ask = login::authorized(session, ask, &reference);
    let sink = if m.on("quiet") { Sink::Quiet } else { Sink::Out };
    progress::show(session, ask, sink).await?;
    if m.on("quiet") {
        output::line(&reference.to_string());
    }
    Ok(())
}

/// `os[/arch[/variant]]` as the daemon takes platforms in queries.
pub fn platform_json(text: &str) -> String {
    let mut parts = text.split('/');
    let mut platform = serde_json::Map::new();
    for key in ["os", "architecture", "variant"] {
        if let Some(part) = parts.next().filter(|part| !part.is_empty()) {
            platform.insert(key.to_owned(), part.into());
        }
    }
    serde_json::Value::from(platform).to_string()
}
