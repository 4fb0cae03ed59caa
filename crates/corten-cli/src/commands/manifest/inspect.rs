//! `manifest inspect`

use super::entry::{Entry, indented, indented_document, list};
use super::reference;
use super::remote::{Found, Remote};
use super::shelf::{Shelf, missing};
use crate::command::{Arity, Command};
use crate::error::Outcome;
use crate::flag::{Flag, switch};
use crate::output;
use crate::parse::{Matches, Order};
use crate::session::Session;

static FLAGS: &[Flag] = &[
    switch("insecure", "Let the registry do without TLS"),
    switch("verbose", "Show layers and platform as well").short('v'),
];

/// The command.
pub static INSPECT: Command = Command {
    usage: "[OPTIONS] [MANIFEST_LIST] MANIFEST",
    usage_also: None,
    about: "Display an image manifest, or manifest list",
    spellings: &[],
    flags: &[FLAGS],
    arity: Arity::Between(1, 2),
    order: Order::Anywhere,
    run: |session, m| Box::pin(run(session, m)),
};

async fn run(session: &Session, m: &Matches) -> Outcome {
    let (shelf, verbose) = (Shelf::of(session), m.on("verbose"));
    if let [list, member] = m.args.as_slice() {
        let (list, member) = (reference(list)?, reference(member)?);
        let entry = shelf.get(&list, &member)?.ok_or_else(|| missing(&member))?;
        return one(&entry, verbose);
    }
    let name = reference(&m.args[0])?;
    let found = match shelf.list(&name)? {
        Some(entries) => Found::List(entries),
        None => Remote::new(session, &[&name], m.on("insecure")).find(&name).await?,
    };
    match found {
        Found::One(entry) => one(&entry, verbose),
        Found::List(entries) if verbose => show(indented(&entries, b"\t")?),
        Found::List(entries) => show(list(&name, &entries)?.1),
    }
}

fn one(entry: &Entry, verbose: bool) -> Outcome {
    if verbose { show(indented(entry, b"\t")?) } else { show(indented_document(&entry.bytes()?)?) }
}

fn show(mut text: Vec<u8>) -> Outcome {
    text.push(b'\n');
    output::bytes(&text);
    Ok(())
}
