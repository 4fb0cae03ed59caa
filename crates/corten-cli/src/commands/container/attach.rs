//! `attach`

use corten_client::Request;

use super::run::exit_status;
use super::start::{Attachable, carried_with_signals};
use super::wait::Exit;
use crate::command::{Arity, Command};
use crate::each::container;
use crate::error::{Failure, Outcome};
use crate::flag::{Flag, Kind, flag, switch};
use crate::parse::{Matches, Order};
use crate::session::Session;
use crate::streams::{self, Carried, Ended, Signals};

static FLAGS: &[Flag] = &[
    flag("detach-keys", Kind::Text, "Keys that leave the container without stopping it"),
    switch("no-stdin", "Do not attach STDIN"),
    switch("sig-proxy", "Pass received signals on to the process").default("true"),
];

/// The command.
pub static ATTACH: Command = Command {
    usage: "[OPTIONS] CONTAINER",
    usage_also: None,
    about: "Attach local standard input, output, and error streams to a running container",
    spellings: &["container attach", "attach"],
    flags: &[FLAGS],
    arity: Arity::Exactly(1),
    order: Order::Anywhere,
    run: |session, m| Box::pin(run(session, m)),
};

async fn run(session: &Session, m: &Matches) -> Outcome {
    let client = session.client()?;
    let name = &m.args[0];
    let found: Attachable = client.get(container(name, "/json")).await?;
    if !found.state.running {
        return Err(Failure::new("You cannot attach to a stopped container, start it first"));
    }
    if found.state.paused {
        return Err(Failure::new("cannot attach to a paused container, unpause it first"));
    }
    if found.state.restarting {
        return Err(Failure::new("cannot attach to a restarting container, wait until it is running"));
    }
    let stdin = !m.on("no-stdin") && found.config.open_stdin;
    streams::check_terminal(stdin, found.config.tty)?;
    let keys = match m.text("detach-keys") {
        "" => session.config.text("detachKeys"),
        keys => keys,
    };
    let carried = Carried { stdin, tty: found.config.tty, detach_keys: keys.to_owned() };
    let id = found.id.as_str();
    let exit = client.send(Request::post(container(id, "/wait"))).await?;
    let attach = Request::post(container(id, "/attach"))
        .query("stream", "1")
        .query_if("stdin", stdin)
        .query("stdout", "1")
        .query("stderr", "1")
        .query_some("detachKeys", Some(keys).filter(|keys| !keys.is_empty()));
    let signals = (m.on("sig-proxy") && !carried.tty).then(Signals::catch);
    let hijacked = client.hijack(attach).await?;
    match carried_with_signals(session, id, hijacked, &carried, signals).await? {
        Ended::Detached => Err(Failure::new("read escape sequence")),
        Ended::Output => exit_status(exit.json::<Exit>().await?),
    }
}
