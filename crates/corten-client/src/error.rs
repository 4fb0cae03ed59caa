use corten_types::{ErrorKind, Kind};

/// What can go wrong between a request and its answer. The texts are those that Docker's users know.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody listens there.
    #[error("Cannot connect to the {product} daemon at {host}. {cure}")]
    Unreachable {
        /// Whose daemon is looked for.
        product: &'static str,
        /// The address as it was given.
        host: String,
        /// What to do about it.
        cure: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// The socket is there, and the user may not open it.
    #[error(
        "permission denied while trying to connect to the daemon socket at {host}: add yourself to the group that \
         owns it (sudo usermod -aG {group} $USER) and log in again, or use sudo"
    )]
    Permission {
        /// The address as it was given.
        host: String,
        /// The group that owns the socket, or the usual one where it has none.
        group: String,
    },
    /// The daemon refused: its message, with the HTTP status.
    #[error("Error response from daemon: {message}")]
    Response {
        /// The HTTP status.
        status: u16,
        /// The daemon's message.
        message: String,
    },
    /// The connection broke, or what came is not HTTP.
    #[error("error during connect: {operation}: {source}")]
    Transport {
        /// Method and address of the request.
        operation: String,
        /// What hyper said.
        source: hyper::Error,
    },
    /// Reading or writing the connection failed.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// The answer is not the JSON that was expected.
    #[error("cannot read the daemon's answer to {operation}: {source}")]
    Decode {
        /// Method and address of the request.
        operation: String,
        /// What serde said.
        source: serde_json::Error,
    },
    /// A stream of JSON messages carried an error.
    #[error("{0}")]
    Stream(String),
    /// The daemon did not upgrade the connection.
    #[error("unable to upgrade to tcp, received {0}")]
    NotUpgraded(u16),
    /// The TLS files cannot be used.
    #[error("{0}")]
    Tls(String),
    /// The request itself cannot be sent.
    #[error("{0}")]
    Request(#[from] http::Error),
}

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// The HTTP status, where the daemon answered.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Response { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Whether the daemon answered that the thing does not exist.
    pub fn is_not_found(&self) -> bool {
        self.status() == Some(404)
    }
}

impl Kind for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Unreachable { .. } => ErrorKind::Unavailable,
            Self::Permission { .. } => ErrorKind::Forbidden,
            Self::Response { status, .. } => match status {
                400 => ErrorKind::InvalidArgument,
                401 => ErrorKind::Unauthorized,
                403 => ErrorKind::Forbidden,
                404 => ErrorKind::NotFound,
                409 => ErrorKind::Conflict,
                501 => ErrorKind::NotImplemented,
                503 => ErrorKind::Unavailable,
                _ => ErrorKind::Internal,
            },
            Self::Tls(_) | Self::Request(_) => ErrorKind::InvalidArgument,
            Self::Transport { .. }
            | Self::Io(_)
            | Self::Decode { .. }
            | Self::Stream(_)
            | Self::NotUpgraded(_) => ErrorKind::Internal,
        }
    }
}
