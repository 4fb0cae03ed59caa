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
//! **Refuses** the systemd cgroup driver, checkpoints, and rootless operation without a user namespace made by the
//! caller.

mod args;
mod create;
mod exec;
mod features;
mod foreground;
mod limits;
mod report;
mod signal;
mod state;
mod template;
mod time;

use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use args::Args;

/// Where containers are recorded unless `--root` says otherwise.
const DEFAULT_ROOT: &str = "/run/corten/runtime";

const USAGE: &str = "\
corten runtime: an OCI runtime

Usage: corten runtime [--root DIR] [--log FILE] [--log-format text|json] COMMAND [FLAGS] [ARGS]

Commands:
  create    make a container from a bundle
  start     run the program of a created container
  run       create, start and wait for a container
  state     print a container's state
  kill      send a signal to a container
  delete    remove a stopped container
  exec      run a further program in a running container
  list      list the containers
  ps        list the processes of a container
  pause     stop a container's processes
  resume    let them go on
  update    change a container's limits
  spec      write a specification to start from
  features  print what this runtime can do
";

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
enum CliError {
    /// The command line cannot be meant as it stands.
    #[error("{0}")]
    Usage(String),
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
    log: Option<PathBuf>,
    json_log: bool,
}

/// Runs the command line `args` (without the program's name and the word `runtime`).
pub fn main(args: Vec<OsString>) -> ExitCode {
    let words = args.into_iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let mut args = Args::new(words);
    let mut globals = Globals { root: DEFAULT_ROOT.into(), log: None, json_log: false };
    let command = match parse_globals(&mut args, &mut globals) {
        Ok(Some(command)) => command,
        Ok(None) => return ExitCode::SUCCESS,
        Err(e) => return fail(&globals, &e),
    };
    let result = match command.as_str() {
        "create" => create::create(&globals, args),
        "start" => create::start(&globals, args),
        "run" => foreground::run(&globals, args),
        "state" => report::state(&globals, args),
        "kill" => signal::kill(&globals, args),
        "delete" => signal::delete(&globals, args),
        "exec" => exec::exec(&globals, args),
        "list" => report::list(&globals, args),
        "ps" => report::ps(&globals, args),
        "pause" => signal::pause(&globals, args),
        "resume" => signal::resume(&globals, args),
        "update" => limits::update(&globals, args),
        "spec" => template::spec(args),
        "features" => features::features(args),
        other => Err(CliError::Usage(format!("{other:?} is not a command of this runtime"))),
    };
    match result {
        Ok(code) => code,
        Err(e) => fail(&globals, &e),
    }
}

/// Reads the flags in front of the command; `None` when there is nothing more to do.
fn parse_globals(args: &mut Args, globals: &mut Globals) -> Result<Option<String>, CliError> {
    while let Some(flag) = args.flag()? {
        match flag.as_str() {
            "--root" => globals.root = args.value(&flag)?.into(),
            "--log" => globals.log = Some(args.value(&flag)?.into()),
            "--log-format" => match args.value(&flag)?.as_str() {
                "text" => globals.json_log = false,
                "json" => globals.json_log = true,
                other => return Err(CliError::Usage(format!("invalid log-format: {other:?}"))),
            },
            "--debug" => {}
            "--rootless" => drop(args.value(&flag)?),
            "--systemd-cgroup" => {
                return Err(CliError::Usage(
                    "--systemd-cgroup: the systemd cgroup driver is not supported".into(),
                ));
            }
            "-v" | "--version" => {
                println!("corten runtime version {}", env!("CARGO_PKG_VERSION"));
                println!("spec: {}", crate::spec::VERSION);
                return Ok(None);
            }
            "-h" | "--help" => {
                print!("{USAGE}");
                return Ok(None);
            }
            other => return Err(args.unknown(other)),
        }
    }
    match args.word() {
        Some(command) if command != "help" => Ok(Some(command)),
        _ => {
            print!("{USAGE}");
            Ok(None)
        }
    }
}

/// Reports an error where the caller looks for it: on standard error, and in the log.
fn fail(globals: &Globals, error: &CliError) -> ExitCode {
    let text = error.text();
    eprintln!("{text}");
    if let Some(path) = &globals.log
        && let Ok(mut file) = std::fs::OpenOptions::new().create(true).append(true).open(path)
    {
        let now = time::now();
        let line = if globals.json_log {
            serde_json::json!({ "level": "error", "msg": text, "time": now }).to_string()
        } else {
            format!("time={now:?} level=error msg={text:?}")
        };
        let _ = writeln!(file, "{line}");
    }
    match error {
        CliError::Exec(_) => ExitCode::from(255),
        _ => ExitCode::FAILURE,
    }
}
