//! `export`

use corten_client::Request;

use crate::command::{Arity, Command};
use crate::download::to_file_or_pipe;
use crate::each::container;
use crate::error::Outcome;
use crate::flag::{Flag, Kind, flag};
use crate::parse::{Matches, Order};
use crate::session::Session;

static FLAGS: &[Flag] = &[flag("output", Kind::Text, "Write to a file, instead of STDOUT").short('o')];

/// The command.
pub static EXPORT: Command = Command {
    usage: "[OPTIONS] CONTAINER",
    usage_also: None,
    about: "Export a container's filesystem as a tar archive",
    spellings: &["container export", "export"],
    flags: &[FLAGS],
    arity: Arity::Exactly(1),
    order: Order::Anywhere,
    run: |session, m| Box::pin(run(session, m)),
};

async fn run(session: &Session, m: &Matches) -> Outcome {
    let request = Request::get(container(&m.args[0], "/export"));
    to_file_or_pipe(session, request, m.text("output"), "failed to export container").await
}
