//! `rm`

use corten_client::Request;

use crate::command::{Arity, Command};
use crate::each::{container, together};
use crate::error::Outcome;
use crate::flag::{Flag, switch};
use crate::output;
use crate::parse::{Matches, Order};
use crate::session::Session;

static FLAGS: &[Flag] = &[
    switch("force", "Kill the container first where it runs (SIGKILL)").short('f'),
    switch("link", "Remove the link of that name").short('l'),
    switch("volumes", "Remove the container's anonymous volumes too").short('v'),
];

/// The command.
pub static RM: Command = Command {
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    usage_also: None,
    about: "Remove one or more containers",
    spellings: &["container rm", "container remove", "rm"],
    flags: &[FLAGS],
    arity: Arity::AtLeast(1),
    order: Order::Anywhere,
    run: |session, m| Box::pin(run(session, m)),
};

async fn run(session: &Session, m: &Matches) -> Outcome {
    let client = session.client()?;
    let mut mistakes = Vec::new();
    for name in &m.args {
        let name = name.trim_matches('/');
        if name.is_empty() {
            mistakes.push("container name cannot be empty".to_owned());
            continue;
        }
        let request = Request::delete(container(name, ""))
            .query_if("v", m.on("volumes"))
            .query_if("link", m.on("link"))
            .query_if("force", m.on("force"));
        match client.done(request).await {
            Ok(()) => output::line(name),
            // What is wanted gone, and is, is no mistake.
            Err(error) if m.on("force") && error.is_not_found() => output::error_line(&error.to_string()),
            Err(error) => mistakes.push(error.to_string()),
        }
    }
    together(mistakes)
}
