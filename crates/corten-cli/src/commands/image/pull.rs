//! `pull`

use corten_client::Request;
use corten_types::Reference;

use crate::command::{Arity, Command};
use crate::commands::login;
use crate::error::{Failure, Outcome};
use crate::flag::{Flag, Kind, flag, switch};
use crate::options::refuse_content_trust;
use crate::output;
use crate::parse::{Matches, Order};
use crate::progress::{self, Sink};
use crate::session::Session;

static FLAGS: &[Flag] = &[
    switch("all-tags", "Pull every tag of the repository").short('a'),
    switch("disable-content-trust", "Do not verify the image").default("true"),
    flag("platform", Kind::Text, "Platform the image must be for"),
    switch("quiet", "Show only the image's name").short('q'),
];

/// The command.
pub static PULL: Command = Command {
    usage: "[OPTIONS] NAME[:TAG|@DIGEST]",
    usage_also: None,
    about: "Download an image from a registry",
    spellings: &["image pull", "pull"],
    flags: &[FLAGS],
    arity: Arity::Exactly(1),
    order: Order::Anywhere,
    run: |session, m| Box::pin(run(session, m)),
};

/// The request that pulls; a reference without tag and digest asks for every tag.
pub fn request(session: &Session, reference: &Reference, platform: &str) -> Request {
    let tag = match (reference.digest(), reference.tag()) {
        (Some(digest), _) => Some(digest.to_string()),
        (None, tag) => tag.map(str::to_owned),
    };
    let request = Request::post("/images/create")
        .query("fromImage", reference.familiar_name())
        .query_some("tag", tag)
        .query_some("platform", Some(platform).filter(|platform| !platform.is_empty()));
    login::authorized(session, request, reference)
}

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
    let sink = if m.on("quiet") { Sink::Quiet } else { Sink::Out };
    progress::show(session, request(session, &reference, m.text("platform")), sink).await?;
    output::line(&reference.to_string());
    Ok(())
}
