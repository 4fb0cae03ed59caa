//! What the daemon and a container's monitor say to each other.
//!
//! ```text
//!  daemon ── {"v":1,"id":7,"request":{"exec":{…}}} + descriptors ─────────▶ monitor
//!         ◀── {"v":1,"body":{"reply":{"id":7,"result":{…}}}} + descriptors ──
//!         ◀── {"v":1,"body":{"event":{"exited":{…}}}} ───────────────────────
//! ```
//!
//! One JSON object is one packet of a `SOCK_SEQPACKET` socket; descriptors travel beside it (`SCM_RIGHTS`). A body
//! that is longer than a packet may be travels in a sealed memfd instead ([`wire`]). Invariants:
//! * a request gets exactly one reply with its number;
//! * an event is sent after what it tells is on disk ([`ExitRecord`]), so a lost event is never a lost fact;
//! * [`Status`] is the whole truth: whoever connects anew needs nothing of what was said before.
//!
//! The wire knows no policy: restart, health and removal are the daemon's decisions.

use std::collections::BTreeMap;
use std::path::PathBuf;

use corten_types::ErrorKind;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

pub mod wire;

/// The version of this protocol; a monitor and a daemon of different versions refuse each other by name.
///
/// Monitors live on while the daemon is exchanged for a newer or an older one, so the version stays as long as both
/// sides can go on: fields are only added, the reader takes their absence for what was the case before there were any,
/// and descriptors are only added behind the ones that are there. A reader passes over what it does not know.
pub const VERSION: u32 = 1;

/// File names below a container's directory in the exec root (`containers/<id>/`).
pub mod files {
    /// The OCI runtime spec of the container, written by the daemon before [`super::Request::Create`].
    pub const CONFIG: &str = "config.json";
    /// The socket on which the monitor takes the next daemon.
    pub const SOCKET: &str = "shim.sock";
    /// The record of how the container ended ([`super::ExitRecord`]).
    pub const EXIT: &str = "exit.json";
    /// The pids of the monitor and of the container's init ([`super::PidRecord`]).
    pub const PID: &str = "shim.pid";
}

/// Daemon → monitor.
#[derive(Debug, Serialize, Deserialize)]
pub struct ToShim {
    /// [`VERSION`].
    pub v: u32,
    /// The number the reply will carry.
    pub id: u64,
    /// What is asked.
    pub request: Request,
}

/// Monitor → daemon.
#[derive(Debug, Serialize, Deserialize)]
pub struct FromShim {
    /// [`VERSION`].
    pub v: u32,
    /// The answer or the news.
    pub body: Body,
}

/// The two things a monitor says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Body {
    /// The answer to request `id`.
    Reply {
        /// [`ToShim::id`] of the request.
        id: u64,
        /// What came of it.
        result: Result<Reply, Failure>,
    },
    /// Something happened in the container.
    Event(Event),
}

/// What the daemon may ask. Descriptors that go with a request are named in its documentation, in their order.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Makes the container up to its start gate. Descriptors: the root file system's detached mount, if
    /// [`Create::rootfs_fd`]; the system call filter, if [`Create::filter_fd`]. Reply: [`Reply::Created`] with init's
    /// pidfd.
    Create(Create),
    /// Opens the gate: init executes the user's program. Reply: [`Reply::Done`], also when the kernel refuses the
    /// program (it then ends at once, with the reason as its output).
    Start,
    /// Runs one more process in the container. Descriptors: the client's socket, if [`Exec::attach`] is set.
    /// Reply: [`Reply::Created`] with the process's pidfd.
    Exec(Exec),
    /// Connects a client's socket (the one descriptor) to the container's stdio. Reply: [`Reply::Done`] as soon as
    /// it is registered: nothing the container writes afterwards is missed.
    Attach(Attach),
    /// Sets the size of a terminal. Reply: [`Reply::Done`].
    Resize {
        /// Whose terminal.
        target: Target,
        /// Its new size.
        size: Size,
    },
    /// Ends the standard input of a process. Reply: [`Reply::Done`].
    CloseStdin {
        /// Whose standard input.
        target: Target,
    },
    /// Sends a signal to a process (by pidfd, so never to a stranger). Reply: [`Reply::Done`].
    Signal {
        /// The process.
        target: Target,
        /// The signal's number.
        signal: i32,
    },
    /// Asks for the whole state. Reply: [`Reply::Status`], with init's pidfd while it lives.
    Status,
    /// Closes and opens the log file again (somebody outside moved it away). Reply: [`Reply::Done`].
    ReopenLog,
    /// The daemon has recorded how this exec ended: the monitor forgets it and closes its client, who may now ask
    /// the daemon how it ended. Reply: [`Reply::Done`].
    Ack {
        /// The exec's id.
        exec_id: String,
    },
    /// Kills init, if it lives (the usual [`Event::Exited`] follows), and ends the monitor. Reply: [`Reply::Done`].
    Shutdown,
}

/// How to make the container.
#[derive(Debug, Serialize, Deserialize)]
pub struct Create {
    /// The directory that holds [`files::CONFIG`].
    pub bundle: PathBuf,
    /// Whether the first descriptor is the root file system (else the spec's `root.path` is used).
    pub rootfs_fd: bool,
    /// The specification of [`files::CONFIG`] without the rules of its filter, which is most of it. With it the file is
    /// not read: the filter is the one that comes along, or there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spec: Option<Box<RawValue>>,
    /// Whether the filter comes along, compiled: [`corten_runtime::seccomp::Program::encode`] in a sealed memfd. It holds for
    /// what is executed later too. A monitor that cannot read it takes the rules of [`files::CONFIG`].
    #[serde(default)]
    pub filter_fd: bool,
    /// Where output is recorded.
    pub log: LogConfig,
    /// Whether init has a terminal instead of three pipes.
    pub tty: bool,
    /// The terminal's first size.
    pub size: Option<Size>,
    /// Whether standard input is open (else `/dev/null`).
    pub open_stdin: bool,
    /// Whether standard input ends with the first attached client that ends its own.
    pub stdin_once: bool,
    /// Where output that a slow client has not read yet is spooled: a directory on disk, not in memory.
    pub spool_dir: PathBuf,
    /// Who makes the container and its processes; `None`: our own runtime.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<Runtime>,
}

/// Another OCI runtime, by its command line. The root file system is then a path ([`Create::rootfs_fd`] is not set).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Runtime {
    /// The program, an absolute path.
    pub path: PathBuf,
    /// Arguments before all others.
    pub args: Vec<String>,
    /// Where it keeps its state (`--root`).
    pub root: PathBuf,
    /// Whether systemd is to make the cgroup (`--systemd-cgroup`).
    pub systemd_cgroup: bool,
    /// Further options of `create`.
    pub create_options: Vec<String>,
}

/// How to run one more process in the container.
#[derive(Debug, Serialize, Deserialize)]
pub struct Exec {
    /// The id the daemon gave it.
    pub exec_id: String,
    /// The OCI runtime spec's `process` object.
    pub process: Box<RawValue>,
    /// Whether it has a terminal instead of three pipes.
    pub tty: bool,
    /// The terminal's first size.
    pub size: Option<Size>,
    /// Which streams the client's socket carries; without one they are `/dev/null` (input) and drained (output).
    pub attach: Option<Streams>,
    /// Whether the client's output is without frames; `None`: if it has a terminal.
    #[serde(default)]
    pub raw: Option<bool>,
}

/// Which streams of a process a client's socket carries, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Streams {
    /// What the client writes becomes standard input; its half-close ends it.
    pub stdin: bool,
    /// Standard output is written to the client.
    pub stdout: bool,
    /// Standard error is written to the client.
    pub stderr: bool,
    /// The bytes that detach a client of a terminal ([`Event::Detached`]); empty for none.
    pub detach_keys: Vec<u8>,
}

/// A client of the container's own stdio. Output is raw on a terminal, else framed as `stdcopy` does: one byte
/// stream number (1, 2), three zeros, four bytes length (big endian), data.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Attach {
    /// The streams.
    pub streams: Streams,
}

/// One process of the container.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// The container's first process.
    Init,
    /// A process made by [`Request::Exec`].
    Exec(String),
}

/// A terminal's size in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// Columns.
    pub width: u16,
    /// Rows.
    pub height: u16,
}

/// Where a container's output is recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogConfig {
    /// Nowhere.
    None,
    /// Lines of JSON as Docker's `json-file` driver writes them.
    JsonFile {
        /// The file that is appended to; rotated ones are `<path>.1` (newest) to `<path>.<max_files - 1>`.
        path: PathBuf,
        /// Bytes after which the file is rotated; `None`: never.
        max_size: Option<u64>,
        /// How many files are kept, the current one included; at least 1 (then it is truncated).
        max_files: u32,
        /// Docker's `attrs` object (labels, environment and tag that the log options ask for), if not empty.
        attrs: Option<Box<BTreeMap<String, String>>>,
        /// How rotated files are called.
        #[serde(default)]
        numbering: Numbering,
    },
}

/// How rotated files of a log are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Numbering {
    /// `<path>.1` is the newest, and every rotation renames them all, as Docker does.
    #[default]
    Shift,
    /// `<path>.000000001` is the oldest, and a name never changes: somebody compresses files beside the monitor, into the same name
    /// with `.gz` added.
    Sequence,
}

/// What a request brought.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// It is done.
    Done,
    /// A process was made; its pidfd is the reply's descriptor.
    Created {
        /// Its pid in the monitor's (the host's) pid namespace.
        pid: i32,
    },
    /// The whole state.
    Status(Box<Status>),
}

/// What a monitor knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The container's id.
    pub container: String,
    /// The monitor's own pid.
    pub monitor_pid: i32,
    /// Where the container stands.
    pub state: ShimState,
    /// Whether the kernel killed a process of the container for want of memory.
    pub oom: bool,
    /// Every exec that runs, or whose end was not acknowledged ([`Request::Ack`]).
    pub execs: BTreeMap<String, ExecState>,
}

/// Where a container stands, as its monitor sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShimState {
    /// Nothing was made yet.
    Empty,
    /// Init waits at its start gate.
    Created {
        /// Init's pid.
        pid: i32,
    },
    /// The user's program runs.
    Running {
        /// Init's pid.
        pid: i32,
        /// When the gate opened, nanoseconds since the epoch.
        started_at: u64,
    },
    /// Init ended.
    Exited(Exit),
}

/// Where an exec stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExecState {
    /// It runs.
    Running {
        /// Its pid.
        pid: i32,
    },
    /// It ended.
    Exited(Exit),
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// The exit code as a shell gives it: 128 + signal for a killed process.
    pub code: i32,
    /// The signal that killed it.
    pub signal: Option<i32>,
    /// Whether the kernel killed a process of the container for want of memory.
    pub oom: bool,
    /// When, nanoseconds since the epoch.
    pub at: u64,
}

/// [`files::EXIT`]: how the container and its execs ended. Written beside, then renamed, before the event is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitRecord {
    /// [`VERSION`].
    pub v: u32,
    /// How init ended.
    pub exit: Exit,
    /// When the user's program started; `None` if it never did.
    pub started_at: Option<u64>,
    /// The ends of execs that nobody acknowledged.
    pub execs: BTreeMap<String, Exit>,
}

/// [`files::PID`]: whose pids these are, so that a reused pid is never taken for them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PidRecord {
    /// The monitor's pid.
    pub monitor: i32,
    /// Init's pid, once there is one.
    pub init: Option<i32>,
}

/// News. Exactly one [`Event::Exited`] follows a successful [`Request::Create`], none a failed one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// Init ended, all its output is in the log, and [`files::EXIT`] is written.
    Exited(Exit),
    /// An exec ended and all its output was read. Its client is closed by [`Request::Ack`], or when no daemon is left.
    ExecExited {
        /// Its id.
        exec_id: String,
        /// How.
        exit: Exit,
    },
    /// The kernel killed a process of the container for want of memory.
    Oom,
    /// A client typed its detach keys.
    Detached {
        /// Whose client it was.
        target: Target,
    },
}

/// Why a request was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What it means to the caller.
    pub class: FailureClass,
    /// The text; for a runtime failure as runc words it.
    pub message: String,
}

/// The classes of [`Failure`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureClass {
    /// There is no such process or terminal.
    NotFound,
    /// The state forbids it (not created yet, ended, created twice).
    Conflict,
    /// The request itself is wrong.
    Invalid,
    /// The program to run does not exist (exit code 127).
    ProgramNotFound,
    /// The program to run may not be executed (exit code 126).
    ProgramNotExecutable,
    /// The runtime could not make the container or the process (exit code 128 for a container, as Docker says).
    Runtime,
    /// The monitor or the kernel failed.
    Internal,
}

impl FailureClass {
    /// The exit code Docker records for a container or exec that could not be started.
    pub fn exit_code(self) -> i32 {
        match self {
            Self::ProgramNotFound => 127,
            Self::ProgramNotExecutable => 126,
            _ => 128,
        }
    }
}

impl corten_types::Kind for Failure {
    fn kind(&self) -> ErrorKind {
        match self.class {
            FailureClass::NotFound => ErrorKind::NotFound,
            FailureClass::Conflict => ErrorKind::Conflict,
            FailureClass::Invalid | FailureClass::ProgramNotFound | FailureClass::ProgramNotExecutable => {
                ErrorKind::InvalidArgument
            }
            FailureClass::Runtime | FailureClass::Internal => ErrorKind::Internal,
        }
    }
}
