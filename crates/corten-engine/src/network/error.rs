use corten_types::{ErrorKind, Kind};

/// Why something about networks did not happen. Texts are Docker's where its clients match on them.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The request is refused or failed, with the text for the client.
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
}

impl NetworkError {
    pub(super) fn refused(kind: ErrorKind, text: impl Into<String>) -> Self {
        Self::Refused { kind, text: text.into() }
    }
}

impl Kind for NetworkError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Refused { kind, .. } => *kind,
            Self::NotFound { .. } => ErrorKind::NotFound,
            Self::NotImplemented { .. } => ErrorKind::NotImplemented,
        }
    }
}
