//! `load`

use corten_client::Request;

use super::push::platform_json;
use crate::command::{Arity, Command};
use crate::error::{Failure, Outcome};
use crate::flag::{Flag, Kind, flag, switch};
use crate::parse::{Matches, Order};
use crate::progress::{self, Sink};
use crate::session::Session;
use crate::{terminal, upload};

static FLAGS: &[Flag] = &[
    flag("input", Kind::Text, "Read from a tar archive, instead of STDIN").short('i'),
    flag("platform", Kind::Text, "Load only this platform's image (os[/arch[/variant]])"),
    switch("quiet", "Show only what was loaded").short('q'),
];

/// The command.
pub static LOAD: Command = Command {
    usage: "[OPTIONS]",
    usage_also: None,
    about: "Load an image from a tar archive or STDIN",
    spellings: &["image load", "load"],
    flags: &[FLAGS],
    arity: Arity::None,
    order: Order::Anywhere,
    run: |session, m| Box::pin(run(session, m)),
};

async fn run(session: &Session, m: &Matches) -> Outcome {
    let body = match m.text("input") {
        "" if terminal::stdin_is_terminal() => {
            return Err(Failure::new("requested load from stdin, but stdin is empty"));
        }
        "" => upload::reader(std::io::stdin()),
        path => upload::file(path)?,
    };
    let quiet = m.on("quiet") || !terminal::stdout_is_terminal();
    let request = Request::post("/images/load")
        .query("quiet", if quiet { "1" } else { "0" })
        .query_some("platform", m.given("platform").map(platform_json))
        .header("Content-Type", "application/x-tar")
        .body(body);
    progress::show(session, request, Sink::Out).await.map(drop)
}
