use corten_store::{DatabaseError, ImageError, IntakeError, SnapshotError};
use corten_types::{ErrorKind, Kind};

use super::mounts::MountError;
use super::name::NameError;
use super::oci_spec::SecurityError;
use super::signal::SignalError;
use super::state::Refusal;
use super::user::UserError;
use super::validate::Invalid;
use crate::network::NetworkError;
use crate::runtimes::RuntimeError;
use crate::shim::ShimError;

/// Why something with a container did not work. Texts are Docker's where Docker has one.
#[derive(Debug, thiserror::Error)]
pub enum ContainerError {
    /// Nothing of that name or id.
    #[error("No such container: {0}")]
    NotFound(String),
    /// Several ids begin so.
    #[error("multiple IDs found with provided prefix: {0}")]
    Ambiguous(String),
    /// Neither a name nor an id.
    #[error("invalid name or ID supplied: {0:?}")]
    Identifier(String),
    /// The name belongs to somebody.
    #[error(
        "Conflict. The container name \"/{name}\" is already in use by container \"{id}\". You have to remove (or rename) that container to be able to reuse that name."
    )]
    NameInUse {
        /// Name without a slash.
        name: String,
        /// Whose it is.
        id: String,
    },
    /// Not a name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The state forbids it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The state forbids a removal.
    #[error("cannot remove container {name:?}: {reason}")]
    Remove {
        /// Name as the user gave it.
        name: String,
        /// Why.
        reason: Refusal,
    },
    /// The request cannot be meant.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// A mount cannot be meant.
    #[error(transparent)]
    Mount(#[from] MountError),
    /// Two mounts at one path.
    #[error("Duplicate mount point: {0}")]
    DuplicateMount(String),
    /// A bind's source that is not there.
    #[error("invalid mount config for type \"bind\": bind source path does not exist: {0}")]
    BindSource(String),
    /// A subpath of a volume or an image that is not there.
    #[error("cannot access path {path}: {source}")]
    Subpath {
        /// The whole path.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A subpath that leads out of its volume or image.
    #[error("path concatenation escapes the base directory, base: {base}, subpath: {subpath}")]
    SubpathEscapes {
        /// What it leads out of.
        base: std::path::PathBuf,
        /// The subpath.
        subpath: String,
    },
    /// Devices that cannot be given.
    #[error(transparent)]
    Devices(#[from] super::cdi::CdiError),
    /// Not a signal.
    #[error(transparent)]
    Signal(#[from] SignalError),
    /// The user is not in the image.
    #[error(transparent)]
    User(#[from] UserError),
    /// Security options.
    #[error(transparent)]
    Security(#[from] SecurityError),
    /// The user namespace it asks for.
    #[error(transparent)]
    Userns(#[from] crate::userns::UsernsError),
    /// The runtime it asks for.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// Another container's namespace is to be joined, but that container does not run.
    #[error("{0}")]
    Join(String),
    /// A path in the container that is not there.
    #[error("Could not find the file {path} in container {container}")]
    FileNotFound {
        /// The path.
        path: String,
        /// Name as the user gave it.
        container: String,
    },
    /// A path in the container that is of the wrong kind, or read-only.
    #[error("{0}")]
    Path(String),
    /// Of an image.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// Of a network.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// Of a volume.
    #[error(transparent)]
    Volume(#[from] crate::volume::VolumeError),
    /// The program could not be started.
    #[error("{message}")]
    Start {
        /// What the runtime says.
        message: String,
        /// Recorded as the container's exit code.
        exit_code: i64,
        /// What it means to the caller.
        kind: ErrorKind,
    },
    /// Of the monitor.
    #[error(transparent)]
    Shim(#[from] ShimError),
    /// An image's layers could not be unpacked.
    #[error(transparent)]
    Unpack(#[from] IntakeError),
    /// Of the root file system.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// Of a cgroup.
    #[error(transparent)]
    Cgroup(#[from] corten_runtime::cgroup::CgroupError),
    /// Of a database.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// Of the machine.
    #[error("cannot {operation}: {source}")]
    Io {
        /// What was tried.
        operation: String,
        /// Why.
        source: std::io::Error,
    },
    /// Of an operation that Docker names before the reason.
    #[error("{operation}: {source}")]
    Within {
        /// The operation and what it was done to.
        operation: String,
        /// The reason.
        source: Box<ContainerError>,
    },
    /// Does not exist yet.
    #[error("{0} is not implemented")]
    NotImplemented(String),
    /// The container went away while the request waited.
    #[error("No such container: {0}")]
    Gone(String),
}

impl ContainerError {
    /// This error, with the operation before it.
    pub fn within(self, operation: impl Into<String>) -> Self {
        Self::Within { operation: operation.into(), source: Box::new(self) }
    }

    /// An error of the machine.
    pub fn io(operation: impl Into<String>, source: impl Into<std::io::Error>) -> Self {
        Self::Io { operation: operation.into(), source: source.into() }
    }
}

impl Kind for ContainerError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound(_) | Self::Gone(_) | Self::FileNotFound { .. } | Self::Subpath { .. } => {
                ErrorKind::NotFound
            }
            Self::Ambiguous(_)
            | Self::Identifier(_)
            | Self::Name(_)
            | Self::Invalid(_)
            | Self::Mount(_)
            | Self::DuplicateMount(_)
            | Self::BindSource(_)
            | Self::Devices(_)
            | Self::SubpathEscapes { .. }
            | Self::Signal(_)
            | Self::User(_)
            | Self::Security(_)
            | Self::Path(_) => ErrorKind::InvalidArgument,
            Self::NameInUse { .. } | Self::Remove { .. } | Self::Join(_) => ErrorKind::Conflict,
            Self::Refused(error) => error.kind(),
            Self::Runtime(error) => error.kind(),
            Self::Userns(error) => error.kind(),
            Self::Within { source, .. } => source.kind(),
            Self::Image(error) => error.kind(),
            Self::Network(error) => error.kind(),
            Self::Volume(error) => error.kind(),
            Self::Start { kind, .. } => *kind,
            Self::Shim(error) => error.kind(),
            Self::Unpack(error) => error.kind(),
            Self::Snapshot(error) => error.kind(),
            Self::Cgroup(error) => error.kind(),
            Self::Database(error) => error.kind(),
            Self::NotImplemented(_) => ErrorKind::NotImplemented,
            Self::Io { .. } => ErrorKind::Internal,
        }
    }
}
