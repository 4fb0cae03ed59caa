//! `diff`

use serde::Deserialize;

use crate::command::{Arity, Command};
use crate::each::container;
use crate::error::{Failure, Outcome};
use crate::output;
use crate::parse::{Matches, Order};
use crate::session::Session;

/// The command.
pub static DIFF: Command = Command {
    usage: "CONTAINER",
    usage_also: None,
    about: "Inspect changes to files or directories on a container's filesystem",
    spellings: &["container diff", "diff"],
    flags: &[],
    arity: Arity::Exactly(1),
    order: Order::Anywhere,
    run: |session, m| Box::pin(run(session, m)),
};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Change {
    path: String,
    kind: u8,
}

async fn run(session: &Session, m: &Matches) -> Outcome {
    if m.args[0].is_empty() {
        return Err(Failure::new("Container name cannot be empty"));
    }
    let changes: Option<Vec<Change>> = session.client()?.get(container(&m.args[0], "/changes")).await?;
    for change in changes.iter().flatten() {
        let letter = match change.kind {
            0 => 'C',
            1 => 'A',
            _ => 'D',
        };
        output::line(&format!("{letter} {}", change.path));
    }
    Ok(())
}
