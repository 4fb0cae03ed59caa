use corten_types::{ErrorKind, Kind};

use crate::container::ContainerError;
use crate::container::state::Refusal;
use crate::container::user::UserError;
use crate::shim::{ShimError, StartFailure};

/// Why something with an exec did not work. Texts are Docker's.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// No program was named.
    #[error("No exec command specified")]
    NoCommand,
    /// The keys are none.
    #[error("Invalid escape keys ({0}) provided")]
    Keys(String),
    /// Nothing of that id.
    #[error("No such exec instance: {0}")]
    NotFound(String),
    /// Its container is gone.
    #[error("No such container: {0}")]
    NoContainer(String),
    /// It ran.
    #[error("exec command {0} has already run")]
    HasRun(String),
    /// It runs.
    #[error("exec command {0} is already running")]
    Running(String),
    /// It does not run, so it has no terminal.
    #[error("exec process is not started")]
    NotStarted,
    /// It did not start in time.
    #[error("timeout waiting for exec session ready")]
    NotReady,
    /// There is no such container.
    #[error(transparent)]
    Container(#[from] ContainerError),
    /// The container's state forbids it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The container is frozen.
    #[error("Container {0} is paused, unpause the container before exec")]
    Paused(String),
    /// There is no such user in the container.
    #[error(transparent)]
    User(#[from] UserError),
    /// The container's files could not be read.
    #[error("container {container}: {operation}: {source}")]
    Io {
        /// The container.
        container: String,
        /// What was tried.
        operation: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The process could not be made.
    #[error("{message}")]
    Start {
        /// Docker's text.
        message: String,
        /// The exit code that is recorded.
        exit_code: i32,
        /// What it means to the caller.
        kind: ErrorKind,
    },
}

impl Kind for ExecError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NoCommand | Self::Keys(_) | Self::NotStarted | Self::User(_) => ErrorKind::InvalidArgument,
            Self::NotFound(_) | Self::NoContainer(_) => ErrorKind::NotFound,
            Self::HasRun(_) | Self::Running(_) | Self::Paused(_) => ErrorKind::Conflict,
            Self::Container(error) => error.kind(),
            Self::Refused(error) => error.kind(),
            Self::Start { kind, .. } => *kind,
            Self::NotReady | Self::Io { .. } => ErrorKind::Internal,
        }
    }
}

impl ExecError {
    /// The exit code that is recorded for an exec that could not be started.
    pub(super) fn exit_code(&self) -> i32 {
        match self {
            Self::Start { exit_code, .. } => *exit_code,
            _ => 126,
        }
    }
}

/// A refusal of the monitor in Docker's words.
pub(super) fn start_error(error: ShimError) -> ExecError {
    let ShimError::Refused(failure) = error else {
        let kind = error.kind();
        return ExecError::Start { message: error.to_string(), exit_code: 126, kind };
    };
    let StartFailure { message, exit_code, kind } = StartFailure::of(&failure);
    ExecError::Start { message, exit_code, kind }
}
