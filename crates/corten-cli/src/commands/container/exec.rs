//! `exec`

use corten_client::Request;
use serde::Deserialize;
use serde_json::json;

use crate::command::{Arity, Command};
use crate::each::container;
use crate::error::{Failure, Outcome};
use crate::flag::{Flag, Kind, flag, switch};
use crate::options::environment;
use crate::parse::{Matches, Order};
use crate::session::Session;
use crate::streams::{self, Carried, Ended};
use crate::terminal;

static FLAGS: &[Flag] = &[
    switch("detach", "Run the command in the background").short('d'),
    flag("detach-keys", Kind::Text, "Keys that leave the command without stopping it"),
    flag("env", Kind::List, "Set environment variables").short('e'),
    flag("env-file", Kind::List, "Read environment variables from a file"),
    switch("interactive", "Keep STDIN open even if not attached").short('i'),
    switch("privileged", "Give every privilege to the command"),
    switch("tty", "Allocate a pseudo-TTY").short('t'),
    flag("user", Kind::Text, "User name or UID (\"<name|uid>[:<group|gid>]\")").short('u'),
    flag("workdir", Kind::Text, "Working directory in the container").short('w'),
];

/// The command.
pub static EXEC: Command = Command {
    usage: "[OPTIONS] CONTAINER COMMAND [ARG...]",
    usage_also: None,
    about: "Execute a command in a running container",
    spellings: &["container exec", "exec"],
    flags: &[FLAGS],
    arity: Arity::AtLeast(2),
    order: Order::BeforeArguments,
    run: |session, m| Box::pin(run(session, m)),
};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Created {
    id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Inspected {
    exit_code: Option<i64>,
}

async fn run(session: &Session, m: &Matches) -> Outcome {
    let client = session.client()?;
    let name = &m.args[0];
    let (detach, tty) = (m.on("detach"), m.on("tty"));
    let stdin = m.on("interactive") && !detach;
    if !detach && stdin && tty && !terminal::stdin_is_terminal() {
        // A container that does not exist is the mistake to tell first.
        client.done(Request::get(container(name, "/json"))).await?;
        streams::check_terminal(stdin, tty)?;
    }
    let keys = match m.text("detach-keys") {
        "" => session.config.text("detachKeys"),
        keys => keys,
    };
    let size = terminal::size_of_stdout().filter(|_| tty).map(|(columns, rows)| [rows, columns]);
    let mut body = json!({
        "User": m.text("user"),
        "Privileged": m.on("privileged"),
        "Tty": tty,
        "AttachStdin": stdin,
        "AttachStdout": !detach,
        "AttachStderr": !detach,
        "DetachKeys": keys,
        "Env": environment(m.list("env-file"), m.list("env"))?,
        "WorkingDir": m.text("workdir"),
        "Cmd": m.args[1..],
    });
    if tty {
        body["ConsoleSize"] = json!(size.unwrap_or([0, 0]));
    }
    let created: Created = client.post(container(name, "/exec"), &body).await?;
    let start = format!("/exec/{}/start", created.id);
    let mut ask = json!({ "Detach": detach, "Tty": tty });
    if let Some(size) = size {
        ask["ConsoleSize"] = json!(size);
    }
    if detach {
        return Ok(client.done(Request::post(start).json(&ask)).await?);
    }
    let hijacked = client.hijack(Request::post(start).json(&ask)).await?;
    let carried = Carried { stdin, tty, detach_keys: keys.to_owned() };
    let resize = format!("/exec/{}/resize", created.id);
    let ended = tokio::select! {
        ended = streams::carry(hijacked, &carried) => ended?,
        () = async {
            if tty && terminal::stdin_is_terminal() {
                streams::follow_size(session, &resize).await;
            }
            std::future::pending::<()>().await;
        } => Ended::Output,
    };
    if ended == Ended::Detached {
        return Err(Failure::new("read escape sequence"));
    }
    let inspected: Inspected = client.get(format!("/exec/{}/json", created.id)).await?;
    match inspected.exit_code.unwrap_or(0) {
        0 => Ok(()),
        code => Err(Failure::status(u8::try_from(code & 0xff).unwrap_or(1))),
    }
}
