//! `corten runtime`: the command line of an OCI runtime, as containerd, podman and the conformance suites call runc.
//!
//! **Owns** the words and flags, and one directory per container below `--root`:
//!
//! ```text
//!   <root>/<id>/state.json    what was created: pid, its start time, bundle, cgroup
//!              /config.json   the specification as it was then
//!              /start.sock    the first process listens here until it is started
//! ```
//!
//! **Invariants.** The status is never stored: it follows from the process, the socket and the cgroup. A process is
//! known by its number and its start time together.
//!
//! **Refuses** checkpoints, and rootless operation without a user namespace made by the caller.

mod args;
mod create;
mod events;
mod exec;
mod features;
mod foreground;
mod help;
mod limits;
mod log;
mod ps;
mod report;
mod signal;
mod state;
mod template;
mod time;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use args::{Args, Order};
use log::Log;

/// Where containers are recorded unless `--root` says otherwise.
const DEFAULT_ROOT: &str = "/run/corten/runtime";

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
enum CliError {
    /// The command line cannot be meant as it stands.
    #[error("{0}")]
    Usage(String),
    /// The page about the command is asked for.
    #[error("help")]
    Help,
    /// A command that runc has and this runtime does not.
    #[error("{0} is not supported")]
    NotSupported(&'static str),
    /// No such command.
    #[error("No help topic for '{0}'")]
    Command(String),
    /// The container is not known.
    #[error("container does not exist")]
    NotFound,
    /// The container's state forbids it.
    #[error("{0}")]
    State(String),
    /// A file of ours or of the caller.
    #[error("{what}: {source}")]
    File {
        /// What was done with which file.
        what: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A document that cannot be read.
    #[error("{what}: {source}")]
    Document {
        /// Which.
        what: String,
        /// Where it is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// The container could not be made.
    #[error(transparent)]
    Create(#[from] crate::CreateError),
    /// The program could not be run.
    #[error(transparent)]
    Exec(#[from] crate::ExecError),
    /// What `exec` was asked could not be done.
    #[error("exec failed")]
    ExecFailed(#[source] Box<CliError>),
    /// The program does not run.
    #[error(transparent)]
    Start(#[from] crate::StartError),
    /// The cgroup refused.
    #[error(transparent)]
    Cgroup(#[from] crate::cgroup::CgroupError),
}

impl CliError {
    fn file(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::File { what, source }
    }

    /// The whole chain of causes in one line, without Docker's wrapping.
    fn text(&self) -> String {
        let mut text = self.to_string();
        for prefix in ["OCI runtime create failed: runc create failed: ", "OCI runtime exec failed: "] {
            if let Some(rest) = text.strip_prefix(prefix) {
                text = rest.to_owned();
            }
        }
        let mut source = std::error::Error::source(self);
        while let Some(cause) = source {
            let words = cause.to_string();
            if !text.ends_with(&words) {
                text.push_str(": ");
                text.push_str(&words);
            }
            source = cause.source();
        }
        text
    }
}

/// Flags in front of the command.
#[derive(Debug)]
struct Globals {
    root: PathBuf,
    log: Log,
    /// Whether systemd makes the cgroups.
    systemd: bool,
}

/// Runs the command line `args`, whose program was called as `program` (`runc`, `corten runtime`).
pub fn main(program: &str, args: Vec<OsString>) -> ExitCode {
    let words = args.into_iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let mut args = Args::new(words);
    let mut globals = Globals { root: DEFAULT_ROOT.into(), log: Log::default(), systemd: false };
    let command = match parse_globals(program, &mut args, &mut globals) {
        Ok(Some(command)) => command,
        Ok(None) => return ExitCode::SUCCESS,
        Err(e) => return fail(&globals, &e),
    };
    // Everywhere but where another program's words follow, flags may stand behind the id.
    let args = args.in_order(Order::Mixed);
    let result = match command.as_str() {
        "checkpoint" => only_help(args, "checkpoint"),
        "create" => create::create(&globals, args),
        "start" => create::start(&globals, args),
        "run" => foreground::run(&globals, args),
        "state" => report::state(&globals, args),
        "kill" => signal::kill(&globals, args),
        "delete" => signal::delete(&globals, args),
        "events" => events::events(&globals, args),
        "exec" => exec::exec(&globals, args),
        "list" => report::list(&globals, args),
        "ps" => ps::ps(&globals, args),
        "pause" => signal::pause(&globals, args),
        "restore" => only_help(args, "restore"),
        "resume" => signal::resume(&globals, args),
        "update" => limits::update(&globals, args),
        "spec" => template::spec(args),
        "features" => features::features(args),
        other => Err(CliError::Command(other.into())),
    };
    match result {
        Ok(code) => code,
        Err(CliError::Help) => {
            print!("{}", help::about(program, &command).unwrap_or_default());
            ExitCode::SUCCESS
        }
        Err(e) => fail(&globals, &e),
    }
}

/// A command that exists in name only.
fn only_help(mut args: Args, name: &'static str) -> Result<ExitCode, CliError> {
    match args.flag()?.as_deref() {
        Some("-h" | "--help") => Err(CliError::Help),
        _ => Err(CliError::NotSupported(name)),
    }
}

/// Reads the flags in front of the command; `None` when there is nothing more to do.
fn parse_globals(program: &str, args: &mut Args, globals: &mut Globals) -> Result<Option<String>, CliError> {
    while let Some(flag) = args.flag()? {
        match flag.as_str() {
            "--root" => globals.root = args.value(&flag)?.into(),
            "--log" => globals.log.file = Some(args.value(&flag)?.into()),
            "--log-format" => match args.value(&flag)?.as_str() {
                "text" => globals.log.json = false,
                "json" => globals.log.json = true,
                other => return Err(CliError::Usage(format!("invalid log-format: {other:?}"))),
            },
            "--debug" => globals.log.debug = args.switch(),
            "--rootless" | "--criu" => drop(args.value(&flag)?),
            "--systemd-cgroup" => globals.systemd = args.switch(),
            "-v" | "--version" => {
                println!("{program} version {}", env!("CARGO_PKG_VERSION"));
                println!("commit: {}", option_env!("CORTEN_COMMIT").unwrap_or("unknown"));
                println!("spec: {}", crate::spec::VERSION);
                return Ok(None);
            }
            "-h" | "--help" => {
                print!("{}", help::overview(program));
                return Ok(None);
            }
            _ => return Err(args.unknown(&flag)),
        }
    }
    match args.word() {
        Some(command) if command != "help" => Ok(Some(command)),
        Some(_) => match args.word() {
            Some(topic) => match help::about(program, &topic) {
                Some(page) => {
                    print!("{page}");
                    Ok(None)
                }
                None => Err(CliError::Command(topic)),
            },
            None => {
                print!("{}", help::overview(program));
                Ok(None)
            }
        },
        None => {
            print!("{}", help::overview(program));
            Ok(None)
        }
    }
}

/// Reports an error where the caller looks for it: on standard error, and in the log.
fn fail(globals: &Globals, error: &CliError) -> ExitCode {
    globals.log.error(&error.text());
    match error {
        CliError::ExecFailed(_) => ExitCode::from(255),
        _ => ExitCode::FAILURE,
    }
}
