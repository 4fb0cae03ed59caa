//! `rename`

use corten_client::Request;

use crate::command::{Arity, Command};
use crate::each::container;
use crate::error::{Failure, Outcome};
use crate::parse::{Matches, Order};
use crate::session::Session;

/// The command.
pub static RENAME: Command = Command {
    usage: "CONTAINER NEW_NAME",
    usage_also: None,
    about: "Rename a container",
    spellings: &["container rename", "rename"],
    flags: &[],
    arity: Arity::Exactly(2),
    order: Order::Anywhere,
    run: |session, m| Box::pin(run(session, m)),
};

async fn run(session: &Session, m: &Matches) -> Outcome {
    let (old, new) = (m.args[0].trim(), m.args[1].trim());
    if old.is_empty() || new.is_empty() {
        return Err(Failure::new("Error: Neither old nor new names may be empty"));
    }
    let request = Request::post(container(old, "/rename")).query("name", new);
    session
        .client()?
        .done(request)
        .await
        .map_err(|error| Failure::new(format!("{error}\nError: failed to rename container named {old}")))
}
