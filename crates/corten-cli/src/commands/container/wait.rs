//! `wait`

use corten_client::Request;
use serde::Deserialize;

use crate::command::{Arity, Command};
use crate::each::{container, together};
use crate::error::Outcome;
use crate::output;
use crate::parse::{Matches, Order};
use crate::session::Session;

/// What the daemon tells of an exit.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Exit {
    /// The exit status.
    pub status_code: i64,
    /// Why the wait itself failed.
    pub error: Option<ExitError>,
}

/// Why a wait failed.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ExitError {
    /// The words.
    pub message: String,
}

/// The command.
pub static WAIT: Command = Command {
    usage: "CONTAINER [CONTAINER...]",
    usage_also: None,
    about: "Block until one or more containers stop, then print their exit codes",
    spellings: &["container wait", "wait"],
    flags: &[],
    arity: Arity::AtLeast(1),
    order: Order::Anywhere,
    run: |session, m| Box::pin(run(session, m)),
};

async fn run(session: &Session, m: &Matches) -> Outcome {
    let client = session.client()?;
    let mut mistakes = Vec::new();
    for name in &m.args {
        match client.json::<Exit>(Request::post(container(name, "/wait"))).await {
            Ok(exit) => match exit.error {
                Some(error) if !error.message.is_empty() => mistakes.push(error.message),
                _ => output::line(&exit.status_code.to_string()),
            },
            Err(error) => mistakes.push(error.to_string()),
        }
    }
    together(mistakes)
}
