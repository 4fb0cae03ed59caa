use corten_net::bridge::DeviceError;
use corten_net::firewall::FirewallError;
use corten_net::ipam::PoolError;
use corten_store::DatabaseError;
use corten_types::{ErrorKind, Kind};

/// Why something about networks did not happen. Texts are Docker's where its clients match on them.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The request is refused, with the text for the client.
    #[error("{text}")]
    Refused {
        /// What it means.
        kind: ErrorKind,
        /// Docker's text.
        text: String,
    },
    /// No network has this name or id.
    #[error("network {name} not found")]
    NotFound {
        /// What was asked for.
        name: String,
    },
    /// Not in this version.
    #[error("{what} is not implemented")]
    NotImplemented {
        /// The capability.
        what: String,
    },
    /// There is no subnet for it.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// The kernel does not give a device or an address.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The kernel does not take a rule.
    #[error(transparent)]
    Firewall(#[from] FirewallError),
    /// The records cannot be read or written.
    #[error("records of networks: {0}")]
    Records(#[from] DatabaseError),
    /// A record is damaged.
    #[error("the record of {kind} {id} is damaged: {source}")]
    Damaged {
        /// What it is of.
        kind: &'static str,
        /// Of which.
        id: String,
        /// The cause.
        source: serde_json::Error,
    },
    /// A file of the container's could not be written.
    #[error("cannot write {path}: {source}")]
    File {
        /// The file.
        path: std::path::PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The work ended without a result: the daemon is going down, or it has a defect.
    #[error("the work on networks was broken off")]
    BrokenOff,
}

impl NetworkError {
    pub(super) fn refused(kind: ErrorKind, text: impl Into<String>) -> Self {
        Self::Refused { kind, text: text.into() }
    }

    /// The same with more words in front.
    pub(super) fn context(self, words: &str) -> Self {
        let kind = self.kind();
        match self {
            Self::NotImplemented { .. } => self,
            other => Self::refused(kind, format!("{words}{other}")),
        }
    }
}

impl Kind for NetworkError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Refused { kind, .. } => *kind,
            Self::NotFound { .. } => ErrorKind::NotFound,
            Self::NotImplemented { .. } => ErrorKind::NotImplemented,
            Self::Pool(error) => error.kind(),
            Self::Device(DeviceError::NotABridge(_)) => ErrorKind::Conflict,
            Self::BrokenOff => ErrorKind::Cancelled,
            Self::Device(_)
            | Self::Firewall(_)
            | Self::Records(_)
            | Self::Damaged { .. }
            | Self::File { .. } => ErrorKind::Internal,
        }
    }
}
