//! Volumes: named and anonymous, the local driver.

use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;

use corten_types::{ErrorKind, Kind};

/// Why something with a volume did not work. Texts are Docker's.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// Refused, with Docker's text.
    #[error("{message}")]
    Refused {
        /// What it means to the caller.
        kind: ErrorKind,
        /// The text.
        message: String,
    },
}

impl Kind for VolumeError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Refused { kind, .. } => *kind,
        }
    }
}

/// A volume that a container wants.
#[derive(Debug, Clone, Default)]
pub struct VolumeRequest {
    /// Name; empty for a new anonymous one.
    pub name: String,
    /// Driver; empty for `local`.
    pub driver: String,
    /// Options of the driver, for a volume that is made now.
    pub options: BTreeMap<String, String>,
    /// Labels, for a volume that is made now.
    pub labels: BTreeMap<String, String>,
}

/// A volume that a container has.
#[derive(Debug, Clone)]
pub struct Acquired {
    /// Name.
    pub name: String,
    /// Driver.
    pub driver: String,
    /// Its content on the host.
    pub mountpoint: PathBuf,
    /// It was made now.
    pub created: bool,
}

/// The volumes of this engine.
pub struct Volumes {}

impl Volumes {
    /// Takes a volume for a container, making it if there is none of that name. It cannot be removed until
    /// [`Self::release`].
    pub async fn acquire(&self, _request: &VolumeRequest, _container: &str) -> Result<Acquired, VolumeError> {
        let message = "volumes are not implemented".into();
        Err(VolumeError::Refused { kind: ErrorKind::NotImplemented, message })
    }

    /// Copies what lies at `path` beneath `root` into the volume, if that is empty and the path is a folder.
    pub async fn populate(&self, _name: &str, _root: BorrowedFd<'_>, _path: &str) -> Result<(), VolumeError> {
        Ok(())
    }

    /// The container is gone: its volumes are free again, and those in `remove` (its anonymous ones) are removed.
    pub async fn release(&self, _container: &str, _remove: &[String]) {}

    /// After a start of the daemon: this container has these volumes.
    pub fn restore(&self, _container: &str, _names: &[String]) {}
}
