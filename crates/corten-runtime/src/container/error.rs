//! Why a container's process could not be made, in the words that Docker's users know from runc.

use std::fmt;
use std::io;

use corten_types::{ErrorKind, Kind};
use serde::{Deserialize, Serialize};

/// What kept the user's program from being executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExecFailure {
    /// There is no such program: Docker's exit code 127.
    NotFound,
    /// It may not be executed: 126.
    NotPermitted,
    /// The kernel refused it for another reason.
    Other,
}

impl ExecFailure {
    /// The exit code that shells and Docker give it.
    pub const fn exit_code(self) -> i32 {
        match self {
            Self::NotFound => 127,
            Self::NotPermitted | Self::Other => 126,
        }
    }
}

/// A failure that the process reported from inside while it was being set up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InitFailure {
    /// What was done and what the kernel said.
    pub message: String,
    /// The kernel's error number, 0 when there is none.
    pub errno: i32,
    /// Set when the user's program is what is wrong.
    pub program: Option<ExecFailure>,
}

impl InitFailure {
    /// An operation that the kernel refused.
    pub(crate) fn system(operation: impl fmt::Display, source: &io::Error) -> Self {
        let errno = source.raw_os_error().unwrap_or(0);
        Self { message: format!("{operation}: {}", go_text(source)), errno, program: None }
    }

    /// A request that cannot be met.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self { message: message.into(), errno: 0, program: None }
    }
}

impl fmt::Display for InitFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// The kernel's message in Go's spelling: lower case, without the number.
pub(crate) fn go_text(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::ENOENT) => "no such file or directory".into(),
        Some(libc::EACCES) => "permission denied".into(),
        Some(libc::EPERM) => "operation not permitted".into(),
        Some(libc::ENOTDIR) => "not a directory".into(),
        Some(libc::EISDIR) => "is a directory".into(),
        Some(libc::ENOEXEC) => "exec format error".into(),
        Some(libc::EINVAL) => "invalid argument".into(),
        Some(libc::ELOOP) => "too many levels of symbolic links".into(),
        Some(_) => {
            let text = error.to_string();
            let text = text.split(" (os error").next().unwrap_or_default();
            let mut letters = text.chars();
            letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
        }
        None => error.to_string(),
    }
}

/// Why [`super::create`] made no container.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// The specification cannot be meant as it stands.
    #[error("OCI runtime create failed: runc create failed: invalid configuration: {0}")]
    Spec(String),
    /// The runtime's own side failed.
    #[error("OCI runtime create failed: runc create failed: unable to start container process: {operation}")]
    System {
        /// What was done.
        operation: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The process reported what went wrong.
    #[error(
        "OCI runtime create failed: runc create failed: unable to start container process: error during container init: {0}"
    )]
    Init(InitFailure),
    /// The process ended without a report.
    #[error(
        "OCI runtime create failed: runc create failed: unable to start container process: container init ended early (exit code {0})"
    )]
    Died(i32),
}

impl CreateError {
    /// The exit code that Docker records for a container that could not be created.
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::Init(InitFailure { program: Some(failure), .. }) => failure.exit_code(),
            _ => 128,
        }
    }
}

impl Kind for CreateError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Spec(_) | Self::Init(InitFailure { program: Some(_), .. }) => ErrorKind::InvalidArgument,
            _ => ErrorKind::Internal,
        }
    }
}

/// Why a created container's program does not run.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The kernel refused to execute it. The process has written this text to its standard error and ends with
    /// exit code 255, as Docker's users know it: Docker counts the container as started.
    #[error("{0}")]
    Exec(InitFailure),
    /// The process had ended before.
    #[error("cannot start a container that has stopped")]
    Gone,
}

impl Kind for StartError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Exec(_) => ErrorKind::InvalidArgument,
            Self::Gone => ErrorKind::Conflict,
        }
    }
}

/// Why [`super::exec`] ran no program.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// The process description cannot be meant as it stands.
    #[error("OCI runtime exec failed: exec failed: invalid configuration: {0}")]
    Spec(String),
    /// The runtime's own side failed.
    #[error("OCI runtime exec failed: exec failed: unable to start container process: {operation}")]
    System {
        /// What was done.
        operation: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The process reported what went wrong.
    #[error("OCI runtime exec failed: exec failed: unable to start container process: {0}")]
    Init(InitFailure),
    /// The process ended without a report.
    #[error(
        "OCI runtime exec failed: exec failed: unable to start container process: process ended early (exit code {0})"
    )]
    Died(i32),
    /// The container has no process to join.
    #[error("OCI runtime exec failed: exec failed: cannot exec in a stopped container")]
    Stopped,
}

impl ExecError {
    /// The exit code that Docker records for an exec that could not be started.
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::Init(InitFailure { program: Some(failure), .. }) => failure.exit_code(),
            _ => 128,
        }
    }
}

impl Kind for ExecError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Spec(_) | Self::Init(InitFailure { program: Some(_), .. }) => ErrorKind::InvalidArgument,
            Self::Stopped => ErrorKind::Conflict,
            _ => ErrorKind::Internal,
        }
    }
}
