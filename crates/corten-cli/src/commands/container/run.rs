//! `run`: create, attach, wait for the exit, start, in this order, so that nothing of the output and no exit is missed.

use corten_client::Request;

use super::create::{create, plan, with_help};
use super::start::carried_with_signals;
use super::wait::Exit;
use crate::command::{Arity, Command};
use crate::each::container;
use crate::error::{Failure, Outcome};
use crate::options::{CREATE, CreateRequest, RUN_ONLY};
use crate::output;
use crate::parse::{Matches, Order};
use crate::session::Session;
use crate::streams::{self, Carried, Ended, Signals};

/// The command.
pub static RUN: Command = Command {
    usage: "[OPTIONS] IMAGE [COMMAND] [ARG...]",
    usage_also: None,
    about: "Create and run a new container from an image",
    spellings: &["container run", "run"],
    flags: &[CREATE, RUN_ONLY],
    arity: Arity::AtLeast(1),
    order: Order::BeforeArguments,
    run: |session, m| Box::pin(run(session, m)),
};

async fn run(session: &Session, m: &Matches) -> Outcome {
    let mut request = plan(session, m).map_err(|failure| with_help(session, failure, 125))?;
    if m.on("detach") {
        if m.changed("attach") {
            return Err(Failure::new("conflicting options: cannot specify both --attach and --detach"));
        }
        for key in ["AttachStdin", "AttachStdout", "AttachStderr", "StdinOnce"] {
            request.body[key] = false.into();
        }
    } else {
        streams::check_terminal(flag(&request, "AttachStdin"), flag(&request, "Tty"))?;
    }
    if flag(&request, "Tty")
        && let Some((columns, rows)) = crate::terminal::size_of_stdout()
    {
        request.body["HostConfig"]["ConsoleSize"] = serde_json::json!([rows, columns]);
    }
    let id = create(session, m, &request).await.map_err(|failure| with_help(session, failure, 125))?;
    started(session, m, &request, &id).await
}

fn flag(request: &CreateRequest, key: &str) -> bool {
    request.body[key].as_bool().unwrap_or(false)
}

async fn started(session: &Session, m: &Matches, request: &CreateRequest, id: &str) -> Outcome {
    let client = session.client()?;
    let start = || client.done(Request::post(container(id, "/start")));
    let (stdin, stdout, stderr) =
        (flag(request, "AttachStdin"), flag(request, "AttachStdout"), flag(request, "AttachStderr"));
    if !stdout && !stderr {
        output::line(id);
    }
    if !stdin && !stdout && !stderr {
        return start().await.map_err(|error| start_failure(session, error.into()));
    }
    let detach_keys = match m.text("detach-keys") {
        "" => session.config.text("detachKeys"),
        keys => keys,
    };
    let carried = Carried { stdin, tty: flag(request, "Tty"), detach_keys: detach_keys.to_owned() };
    let attach = Request::post(container(id, "/attach"))
        .query("stream", "1")
        .query_if("stdin", stdin)
        .query_if("stdout", stdout)
        .query_if("stderr", stderr)
        .query_some("detachKeys", Some(detach_keys).filter(|keys| !keys.is_empty()));
    let removed = m.on("rm");
    let signals = (m.on("sig-proxy") && !carried.tty).then(Signals::catch);
    let hijacked = client.hijack(attach).await?;
    let exit = exit_of(session, id, removed).await?;
    if let Err(error) = start().await {
        if removed {
            // The daemon removes what did not start; its name is free again after that.
            let _ = exit.json::<Exit>().await;
        }
        return Err(start_failure(session, error.into()));
    }
    let ended = carried_with_signals(session, id, hijacked, &carried, signals).await?;
    if ended == Ended::Detached {
        return Ok(());
    }
    exit_status(exit.json().await?)
}

/// Asks for the exit before there is one; the answer's head says that the daemon listens.
pub async fn exit_of(session: &Session, id: &str, removed: bool) -> Outcome<corten_client::Response> {
    let condition = if removed { "removed" } else { "next-exit" };
    Ok(session.client()?.send(Request::post(container(id, "/wait")).query("condition", condition)).await?)
}

/// The exit status as the program's own.
pub fn exit_status(exit: Exit) -> Outcome {
    if let Some(error) = exit.error.filter(|error| !error.message.is_empty()) {
        output::error_line(&format!("Error waiting for container: {}", error.message));
        return Err(Failure::status(125));
    }
    match exit.status_code {
        0 => Ok(()),
        code => Err(Failure::status(u8::try_from(code & 0xff).unwrap_or(125))),
    }
}

/// A start that failed: 127 where the program is not there, 126 where it cannot be executed, else 125.
fn start_failure(session: &Session, failure: Failure) -> Failure {
    let text = &failure.text;
    let code = if text.contains("executable file not found") || text.contains("no such file or directory") {
        127
    } else if text.contains("permission denied") || text.contains("is a directory") {
        126
    } else {
        125
    };
    with_help(session, failure, code)
}
