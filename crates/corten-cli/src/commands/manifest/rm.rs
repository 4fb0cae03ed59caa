//! `manifest rm`

use super::reference;
use super::shelf::{Shelf, missing};
use crate::command::{Arity, Command};
use crate::each::together;
use crate::error::Outcome;
use crate::parse::{Matches, Order};
use crate::session::Session;

/// The command.
pub static RM: Command = Command {
    usage: "MANIFEST_LIST [MANIFEST_LIST...]",
    usage_also: None,
    about: "Delete one or more manifest lists from local storage",
    spellings: &[],
    flags: &[],
    arity: Arity::AtLeast(1),
    order: Order::Anywhere,
    run: |session, m| Box::pin(run(session, m)),
};

async fn run(session: &Session, m: &Matches) -> Outcome {
    let shelf = Shelf::of(session);
    let remove = |name: &str| -> Outcome {
        let list = reference(name)?;
        shelf.list(&list)?.ok_or_else(|| missing(&list))?;
        shelf.remove(&list)
    };
    together(m.args.iter().filter_map(|name| remove(name).err()).map(|error| error.to_string()).collect())
}
