//! The daemon's side of a container's monitor (`corten-shim <id>`): start one, find it again, talk to it, notice its death.
//!
//! ```text
//!  Shim::spawn ──▶ create ──▶ start ──▶ events: Exited
//!                    │ attach, exec, resize, signal… at any time between
//!  Shim::adopt (after a restart of the daemon) ──▶ Living(shim) | Ended(record) | Gone
//! ```
//!
//! Invariants:
//! * exactly one [`ShimEvent::Exited`] is delivered after a successful [`Shim::create`] (none after a failed one),
//!   whatever happens to the monitor: told by it, read from its record, asked of the kernel, or 137;
//! * nothing here decides what an exit means; the container's owner does.
//!
//! A monitor is executed from a sealed memfd ([`ShimBinary`]), so that no container can reach the file it runs from and
//! an upgrade on disk does not touch it.

mod binary;
mod client;
mod lost;

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use corten_types::{ErrorKind, Kind};
use tokio::sync::mpsc;

pub use binary::ShimBinary;
pub use client::{Shim, exit_record};
pub use corten_shim::protocol::{
    Attach, Create, Event as ShimEvent, Exec, ExecState, Exit, ExitRecord, Failure, FailureClass, LogConfig,
    Numbering, Runtime, ShimState, Size, Status, Streams, Target,
};

/// The news of one monitor, in order; ends when the monitor has ended.
pub type ShimEvents = mpsc::UnboundedReceiver<ShimEvent>;

/// Which container a monitor is for, and where its files are.
#[derive(Debug, Clone)]
pub struct ShimSpec {
    /// The container's id; the monitor's argument.
    pub id: String,
    /// The container's directory in the exec root (`<exec root>/containers/<id>`), which exists.
    pub exec_dir: PathBuf,
    /// The container's cgroup as the OCI spec's `linux.cgroupsPath` names it; it is killed if the monitor dies.
    pub cgroup: Option<String>,
}

/// A process that was made, behind its start gate or running.
#[derive(Debug)]
pub struct Process {
    /// Its pid on the host.
    pub pid: i32,
    /// Its pidfd.
    pub pidfd: OwnedFd,
}

/// What a restarted daemon finds of a container.
#[derive(Debug)]
pub enum Adopted {
    /// The monitor lives.
    Living {
        /// The connection.
        shim: Shim,
        /// News from now on.
        events: ShimEvents,
        /// Everything up to now.
        status: Box<Status>,
    },
    /// The monitor recorded the end and left.
    Ended(Box<ExitRecord>),
    /// There is neither a monitor nor a record: the machine was restarted, or the monitor was killed.
    Gone,
}

/// Why something could not be had from a monitor.
#[derive(Debug, thiserror::Error)]
pub enum ShimError {
    /// The monitor's binary is not where it is installed.
    #[error("corten-shim was not found beside {beside} nor in {libexec}")]
    NoBinary {
        /// The daemon's own directory.
        beside: PathBuf,
        /// The other place that was looked at.
        libexec: PathBuf,
    },
    /// A system call failed on the way.
    #[error("monitor of container {id}: {operation}")]
    Io {
        /// The container.
        id: String,
        /// What was tried.
        operation: &'static str,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// The monitor speaks another version of the protocol.
    #[error("monitor of container {id} speaks protocol version {found}")]
    Version {
        /// The container.
        id: String,
        /// The monitor's version.
        found: u32,
    },
    /// The monitor ended before it answered.
    #[error("the monitor of container {id} is gone")]
    Gone {
        /// The container.
        id: String,
    },
    /// A monitor holds the container and does not answer.
    #[error("the monitor of container {id} does not answer")]
    Silent {
        /// The container.
        id: String,
    },
    /// The monitor refused.
    #[error("{0}")]
    Refused(Failure),
}

impl Kind for ShimError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Refused(failure) => failure.kind(),
            Self::Gone { .. } => ErrorKind::Conflict,
            _ => ErrorKind::Internal,
        }
    }
}

/// Why a process could not be made, as Docker tells and records it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartFailure {
    /// The text.
    pub message: String,
    /// The exit code that is recorded.
    pub exit_code: i32,
    /// What it means to the caller.
    pub kind: ErrorKind,
}

impl StartFailure {
    /// Reads the runtime's text as Docker does, which takes its exit codes from it: clients look for these words.
    pub fn of(failure: &Failure) -> Self {
        let (says, mut message) = (failure.message.to_lowercase(), failure.message.clone());
        let code = if says.contains("permission denied") {
            Some(126)
        } else if says.contains("is a directory") {
            message.push_str(": permission denied");
            Some(126)
        } else if says.contains("not a directory") {
            message.push_str(
                ": Are you trying to mount a directory onto a file (or vice-versa)? \
                 Check if the specified host path exists and is the expected type",
            );
            Some(127)
        } else if says.contains("executable file not found") || says.contains("no such file or directory") {
            Some(127)
        } else {
            None
        };
        // What the request names and the kernel refuses is the request's fault, never the daemon's.
        let of_runtime = failure.message.starts_with("OCI runtime");
        let kind = match failure.kind() {
            ErrorKind::Internal if of_runtime => ErrorKind::InvalidArgument,
            kind => kind,
        };
        match code {
            Some(exit_code) if of_runtime => Self { message, exit_code, kind },
            _ => Self { message: failure.message.clone(), exit_code: failure.class.exit_code(), kind },
        }
    }
}

impl ShimError {
    /// The exit code Docker records for a container or exec whose start failed like this.
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::Refused(failure) => failure.class.exit_code(),
            _ => 128,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_read_from_the_text_as_docker_does() {
        for (text, tail, code) in [
            (r#"exec: "x": executable file not found in $PATH"#, "", 127),
            (r#"exec: "/x": stat /x: no such file or directory"#, "", 127),
            (r#"exec: "/x": permission denied"#, "", 126),
            (r#"exec: "/tmp": is a directory"#, ": permission denied", 126),
            ("chdir to cwd (\"/n\") set in config.json failed: no such file or directory", "", 127),
            ("mount: invalid argument", "", 128),
        ] {
            let message = format!("OCI runtime exec failed: exec failed: {text}");
            let failure = Failure { class: FailureClass::Runtime, message: message.clone() };
            let expected =
                StartFailure { message: message + tail, exit_code: code, kind: ErrorKind::InvalidArgument };
            assert_eq!(StartFailure::of(&failure), expected);
        }
        let own = Failure { class: FailureClass::Internal, message: "no such file or directory".into() };
        assert_eq!(StartFailure::of(&own).kind, ErrorKind::Internal);
    }
}
