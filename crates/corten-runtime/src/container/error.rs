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

    /// The exit code that Docker records when this kept a container's process from running: what was missing, on the
    /// way to the program or the program itself, is 127; what was forbidden 126; anything else 128.
    pub fn exit_code(&self) -> i32 {
        match (self.program, self.errno) {
            (Some(failure), _) => failure.exit_code(),
            (None, libc::ENOENT | libc::ENOTDIR) => 127,
            (None, libc::EACCES | libc::EISDIR) => 126,
            (None, _) => 128,
        }
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
            Self::Init(failure) => failure.exit_code(),
            _ => 128,
        }
    }
}

impl Kind for CreateError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Spec(_) => ErrorKind::InvalidArgument,
            // What lies in the way is of the caller's making; everything else is ours.
            Self::Init(failure) if failure.exit_code() != 128 => ErrorKind::InvalidArgument,
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
    /// Something on the way to the program failed: a hook, a capability, the filter.
    #[error("unable to start container process: {0}")]
    Init(InitFailure),
    /// The process had ended before.
    #[error("cannot start a container that has stopped")]
    Gone,
}

impl Kind for StartError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Exec(_) => ErrorKind::InvalidArgument,
            Self::Init(_) => ErrorKind::Internal,
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
            Self::Init(failure) => failure.exit_code(),
            _ => 128,
        }
    }
}

impl Kind for ExecError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Spec(_) => ErrorKind::InvalidArgument,
            // What lies in the way is of the caller's making; everything else is ours.
            Self::Init(failure) if failure.exit_code() != 128 => ErrorKind::InvalidArgument,
            Self::Stopped => ErrorKind::Conflict,
            _ => ErrorKind::Internal,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_have_docker_s_exit_codes() {
        let code = |errno| InitFailure::system("chdir", &io::Error::from_raw_os_error(errno)).exit_code();
        assert_eq!(code(libc::ENOENT), 127);
        assert_eq!(code(libc::ENOTDIR), 127);
        assert_eq!(code(libc::EACCES), 126);
        assert_eq!(code(libc::EINVAL), 128);
    }

    #[test]
    fn the_kernel_s_words_are_spelled_as_go_does() {
        let text = |errno| go_text(&io::Error::from_raw_os_error(errno));
        assert_eq!(text(libc::ENOENT), "no such file or directory");
        assert_eq!(text(libc::EROFS), "read-only file system");
    }
}
