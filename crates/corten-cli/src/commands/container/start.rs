//! `start`

use corten_client::Request;
use serde::Deserialize;

use super::run::{exit_of, exit_status};
use super::wait::Exit;
use crate::command::{Arity, Command};
use crate::each::container;
use crate::error::{Failure, Outcome};
use crate::flag::{Flag, Kind, flag, switch};
use crate::output;
use crate::parse::{Matches, Order};
use crate::session::Session;
use crate::streams::{self, Carried, Ended, Signals};

static FLAGS: &[Flag] = &[
    switch("attach", "Attach STDOUT and STDERR and pass signals on").short('a'),
    flag("checkpoint", Kind::Text, "Restore from this checkpoint"),
    flag("checkpoint-dir", Kind::Text, "Folder of the checkpoint"),
    flag("detach-keys", Kind::Text, "Keys that leave the container without stopping it"),
    switch("interactive", "Attach STDIN").short('i'),
];

/// The command.
pub static START: Command = Command {
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    usage_also: None,
    about: "Start one or more stopped containers",
    spellings: &["container start", "start"],
    flags: &[FLAGS],
    arity: Arity::AtLeast(1),
    order: Order::Anywhere,
    run: |session, m| Box::pin(run(session, m)),
};

/// What attaching needs to know of a container.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Attachable {
    /// The full id.
    pub id: String,
    /// How its process is set up.
    pub config: AttachableConfig,
    /// How the host treats it.
    pub host_config: AttachableHost,
    /// What it does.
    pub state: AttachableState,
}

/// How its process is set up.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AttachableConfig {
    /// Whether it has a terminal.
    pub tty: bool,
    /// Whether it reads an input.
    pub open_stdin: bool,
}

/// How the host treats it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AttachableHost {
    /// Whether it is removed at its exit.
    pub auto_remove: bool,
}

/// What it does.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AttachableState {
    /// It runs.
    pub running: bool,
    /// It is paused.
    pub paused: bool,
    /// It is being restarted.
    pub restarting: bool,
}

/// The start, from a checkpoint where one is named: whether there are any is the daemon's to say.
fn request(m: &Matches, name: &str) -> Request {
    let given = |flag: &str| Some(m.text(flag)).filter(|text| !text.is_empty());
    Request::post(container(name, "/start"))
        .query_some("checkpoint", given("checkpoint"))
        .query_some("checkpoint-dir", given("checkpoint-dir"))
}

async fn run(session: &Session, m: &Matches) -> Outcome {
    if !m.text("checkpoint").is_empty() && m.args.len() > 1 {
        return Err(Failure::new("you cannot restore multiple containers at once"));
    }
    if m.on("attach") || m.on("interactive") {
        return attached(session, m).await;
    }
    let client = session.client()?;
    let mut failed = Vec::new();
    for name in &m.args {
        match client.done(request(m, name)).await {
            Ok(()) => output::line(name),
            Err(error) => {
                output::error_line(&error.to_string());
                failed.push(name.as_str());
            }
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    Err(Failure::new(format!("Error: failed to start containers: {}", failed.join(", "))))
}

async fn attached(session: &Session, m: &Matches) -> Outcome {
    let [name] = m.args.as_slice() else {
        return Err(Failure::new("you cannot start and attach multiple containers at once"));
    };
    let client = session.client()?;
    let found: Attachable = client.get(container(name, "/json")).await?;
    let id = found.id.as_str();
    let keys = match m.text("detach-keys") {
        "" => session.config.text("detachKeys"),
        keys => keys,
    };
    let carried = Carried {
        stdin: m.on("interactive") && found.config.open_stdin,
        tty: found.config.tty,
        detach_keys: keys.to_owned(),
    };
    let attach = Request::post(container(id, "/attach"))
        .query("stream", "1")
        .query_if("stdin", carried.stdin)
        .query("stdout", "1")
        .query("stderr", "1")
        .query_some("detachKeys", Some(keys).filter(|keys| !keys.is_empty()));
    let signals = (!carried.tty).then(Signals::catch);
    let hijacked = client.hijack(attach).await?;
    let exit = exit_of(session, id, found.host_config.auto_remove).await?;
    if let Err(error) = client.done(request(m, id)).await {
        if found.host_config.auto_remove {
            let _ = exit.json::<Exit>().await;
        }
        return Err(error.into());
    }
    let ended = carried_with_signals(session, id, hijacked, &carried, signals).await?;
    if ended == Ended::Detached {
        return Ok(());
    }
    exit_status(exit.json().await?)
}

/// Carries a container's streams while signals and sizes follow.
pub async fn carried_with_signals(
    session: &Session,
    id: &str,
    hijacked: corten_client::Hijacked,
    carried: &Carried,
    signals: Option<Signals>,
) -> Outcome<Ended> {
    let resize = container(id, "/resize");
    tokio::select! {
        ended = streams::carry(hijacked, carried) => ended,
        () = async {
            if carried.tty && crate::terminal::stdout_is_terminal() {
                streams::follow_size(session, &resize).await;
            }
            std::future::pending::<()>().await;
        } => Ok(Ended::Output),
        () = async {
            if let Some(signals) = signals {
                signals.pass_on(session, id).await;
            }
            std::future::pending::<()>().await;
        } => Ok(Ended::Output),
    }
}
