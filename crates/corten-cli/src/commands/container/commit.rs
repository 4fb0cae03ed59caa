//! `commit`

use corten_client::Request;
use corten_types::Reference;
use serde::Deserialize;

use crate::command::{Arity, Command};
use crate::error::{Failure, Outcome};
use crate::flag::{Flag, Kind, flag, switch};
use crate::output;
use crate::parse::{Matches, Order};
use crate::session::Session;

static FLAGS: &[Flag] = &[
    flag("author", Kind::Text, "Author (\"John Hannibal Smith <hannibal@a-team.com>\")").short('a'),
    flag("change", Kind::List, "Apply a Dockerfile instruction to the new image").short('c'),
    flag("message", Kind::Text, "Message of the commit").short('m'),
    switch("pause", "Pause the container meanwhile").short('p').default("true"),
];

/// The command.
pub static COMMIT: Command = Command {
    usage: "[OPTIONS] CONTAINER [REPOSITORY[:TAG]]",
    usage_also: None,
    about: "Create a new image from a container's changes",
    spellings: &["container commit", "commit"],
    flags: &[FLAGS],
    arity: Arity::Between(1, 2),
    order: Order::Anywhere,
    run: |session, m| Box::pin(run(session, m)),
};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Committed {
    id: String,
}

async fn run(session: &Session, m: &Matches) -> Outcome {
    let mut request = Request::post("/commit").query("container", &m.args[0]);
    if let Some(name) = m.args.get(1).filter(|name| !name.is_empty()) {
        let reference: Reference = name.parse().map_err(|error| Failure::new(format!("{error}")))?;
        let reference = reference.or_latest();
        request = request
            .query("repo", reference.familiar_name())
            .query("tag", reference.tag().unwrap_or_default());
    }
    request = request.query_some("comment", m.given("message")).query_some("author", m.given("author"));
    for change in m.list("change") {
        request = request.query("changes", change);
    }
    if !m.on("pause") {
        request = request.query("pause", "0");
    }
    let committed: Committed = session.client()?.json(request.json(&serde_json::json!({}))).await?;
    output::line(&committed.id);
    Ok(())
}
