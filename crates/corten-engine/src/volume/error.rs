use corten_store::DatabaseError;
use corten_types::{ErrorKind, Kind};

/// Why something about a volume failed; the texts clients match on are Docker's.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// No such volume.
    #[error("get {name}: no such volume")]
    NotFound {
        /// Its name.
        name: String,
    },
    /// A name that no volume can have.
    #[error("create {name}: {reason}")]
    BadName {
        /// As given.
        name: String,
        /// Docker's words.
        reason: String,
    },
    /// Options that the driver refuses.
    #[error("create {name}: {reason}")]
    BadOption {
        /// The volume.
        name: String,
        /// What is wrong, Docker's words.
        reason: String,
    },
    /// A driver that does not exist.
    #[error("create {name}: error looking up volume plugin {driver}: plugin \"{driver}\" not found")]
    UnknownDriver {
        /// The volume.
        name: String,
        /// The driver.
        driver: String,
    },
    /// Containers have it.
    #[error("remove {name}: volume is in use - [{}]", users.join(", "))]
    InUse {
        /// The volume.
        name: String,
        /// Their ids.
        users: Vec<String>,
    },
    /// What its options say cannot be mounted.
    #[error("failed to mount local volume: mount {device}:{target}{}: {source}", if data.is_empty() { String::new() } else { format!(", data: {data}") })]
    Mount {
        /// The volume.
        name: String,
        /// What.
        device: String,
        /// Where.
        target: String,
        /// With which options, secrets masked.
        data: String,
        /// Why not.
        source: std::io::Error,
    },
    /// A prune is running already.
    #[error("a prune operation is already running")]
    PruneRunning,
    /// Filters that cannot be read.
    #[error(transparent)]
    Filter(#[from] corten_api::filters::FilterError),
    /// The file system refused.
    #[error("cannot {operation} volume {name}: {source}")]
    Storage {
        /// The volume.
        name: String,
        /// What was tried.
        operation: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// The database refused.
    #[error("cannot record volume {name}: {source}")]
    Database {
        /// The volume.
        name: String,
        /// Why.
        source: DatabaseError,
    },
}

impl Kind for VolumeError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound { .. } | Self::UnknownDriver { .. } => ErrorKind::NotFound,
            Self::BadName { .. } | Self::BadOption { .. } | Self::Filter(_) => ErrorKind::InvalidArgument,
            Self::InUse { .. } | Self::PruneRunning => ErrorKind::Conflict,
            // What the user wrote in the options does not work on this machine.
            Self::Mount { .. } => ErrorKind::InvalidArgument,
            Self::Storage { .. } | Self::Database { .. } => ErrorKind::Internal,
        }
    }
}
