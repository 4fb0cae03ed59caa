//! Control groups: made, limited, measured, frozen, killed and removed through the cgroup filesystems.

use std::io;
use std::os::fd::OwnedFd;

use corten_types::{ErrorKind, Kind};

use crate::spec::LinuxResources;

/// What went wrong with a cgroup.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// A file of the cgroup filesystem could not be read or written.
    #[error("cgroup {path}: {operation}")]
    File {
        /// The file or directory.
        path: String,
        /// What was done.
        operation: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A limit cannot be meant as it stands, or needs a controller this machine does not have.
    #[error("{0}")]
    Limit(String),
    /// The machine has no usable cgroup filesystem.
    #[error("no cgroup filesystem is mounted")]
    None,
}

impl Kind for CgroupError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Limit(_) => ErrorKind::InvalidArgument,
            Self::File { .. } | Self::None => ErrorKind::Internal,
        }
    }
}

/// One container's cgroup, in every hierarchy of the machine.
#[derive(Debug)]
pub struct Cgroup {
    _path: String,
}

/// What a container has used.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CgroupStats {}

/// How a process becomes a member of a cgroup.
#[derive(Debug, Default)]
pub struct Membership {
    /// The directory in the unified hierarchy that a process can be born into.
    pub directory: Option<OwnedFd>,
    /// The `tasks` files of the older hierarchies, into which the process writes `0` for itself.
    pub tasks: Vec<OwnedFd>,
}

/// What a container sees of its cgroups.
#[derive(Debug, Clone, Default)]
pub struct View {}

impl View {
    /// Mounts the view on the directory `target`.
    pub fn mount(
        &self,
        target: std::os::fd::BorrowedFd<'_>,
        attributes: corten_sys::mount::Attributes,
    ) -> io::Result<()> {
        let _ = (target, attributes);
        Ok(())
    }
}

impl Cgroup {
    /// How a process becomes a member.
    pub fn membership(&self) -> Result<Membership, CgroupError> {
        Ok(Membership::default())
    }

    /// What the container sees; with `private`, its cgroup is the root of what it sees.
    pub fn view(&self, private: bool) -> View {
        let _ = private;
        View {}
    }

    /// Makes the cgroup `path` (absolute below the hierarchies' roots) with `limits`.
    pub fn create(path: &str, limits: &LinuxResources) -> Result<Self, CgroupError> {
        let _ = limits;
        Ok(Self { _path: path.into() })
    }

    /// Takes the cgroup `path` that exists.
    pub fn open(path: &str) -> Result<Self, CgroupError> {
        Ok(Self { _path: path.into() })
    }

    /// Changes the limits that `limits` names.
    pub fn apply(&self, limits: &LinuxResources) -> Result<(), CgroupError> {
        let _ = limits;
        Err(CgroupError::None)
    }

    /// Stops every process until [`Cgroup::thaw`]. Returns once they are stopped.
    pub fn freeze(&self) -> Result<(), CgroupError> {
        Err(CgroupError::None)
    }

    /// Lets the processes go on.
    pub fn thaw(&self) -> Result<(), CgroupError> {
        Err(CgroupError::None)
    }

    /// Sends every process SIGKILL.
    pub fn kill_all(&self) -> Result<(), CgroupError> {
        Err(CgroupError::None)
    }

    /// Numbers of the processes inside and in child cgroups.
    pub fn pids(&self) -> Result<Vec<i32>, CgroupError> {
        Err(CgroupError::None)
    }

    /// What the container has used so far.
    pub fn stats(&self) -> Result<CgroupStats, CgroupError> {
        Err(CgroupError::None)
    }

    /// How many processes were killed because memory ran out.
    pub fn oom_kills(&self) -> Result<u64, CgroupError> {
        Err(CgroupError::None)
    }

    /// A descriptor that becomes readable (v1: `POLLIN`) or exceptional (v2: `POLLPRI`) when memory ran out.
    pub fn oom_events(&self) -> Result<OwnedFd, CgroupError> {
        Err(CgroupError::None)
    }

    /// Removes the cgroup, which must be empty of processes. That it is gone already is no error.
    pub fn delete(&self) -> Result<(), CgroupError> {
        Err(CgroupError::None)
    }
}
