//! `manifest create`

use super::reference;
use super::remote::Remote;
use super::shelf::Shelf;
use crate::command::{Arity, Command};
use crate::error::{Failure, Outcome};
use crate::flag::{Flag, switch};
use crate::output;
use crate::parse::{Matches, Order};
use crate::session::Session;

static FLAGS: &[Flag] = &[
    switch("amend", "Add to a list that is being made already").short('a'),
    switch("insecure", "Let the registry do without TLS"),
];

/// The command.
pub static CREATE: Command = Command {
    usage: "MANIFEST_LIST MANIFEST [MANIFEST...]",
    usage_also: None,
    about: "Create a local manifest list for annotating and pushing to a registry",
    spellings: &[],
    flags: &[FLAGS],
    arity: Arity::AtLeast(2),
    order: Order::Anywhere,
    run: |session, m| Box::pin(run(session, m)),
};

async fn run(session: &Session, m: &Matches) -> Outcome {
    let name = &m.args[0];
    let list = reference(name)
        .map_err(|error| Failure::new(format!("error parsing name for manifest list {name}: {error}")))?;
    let shelf = Shelf::of(session);
    if shelf.list(&list)?.is_some() && !m.on("amend") {
        return Err(Failure::new("refusing to amend an existing manifest list with no --amend flag"));
    }
    for name in &m.args[1..] {
        let member = reference(name)?;
        let entry = match shelf.get(&list, &member)? {
            Some(entry) => entry,
            None => Remote::new(session, &[&member], m.on("insecure")).manifest(&member).await?,
        };
        shelf.put(&list, &member, &entry)?;
    }
    output::line(&format!("Created manifest list {list}"));
    Ok(())
}
