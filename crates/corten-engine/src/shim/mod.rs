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
pub use client::Shim;
pub use corten_shim::protocol::{
    Attach, Create, Event as ShimEvent, Exec, ExecState, Exit, ExitRecord, Failure, FailureClass, LogConfig,
    ShimState, Size, Status, Streams, Target,
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

impl ShimError {
    /// The exit code Docker records for a container or exec whose start failed like this.
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::Refused(failure) => failure.class.exit_code(),
            _ => 128,
        }
    }
}
