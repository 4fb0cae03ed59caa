//! Errors as the Engine API shows them: a status and `{"message": "…"}`.

use corten_types::{ErrorKind, Kind};
use http::StatusCode;

/// A refusal or a failure on its way to the client.
///
/// Any error with a [`Kind`] becomes one through `?`; its `Display` text is the message, its kind the status.
#[derive(Debug, Clone)]
pub struct ApiError {
    status: StatusCode,
    message: String,
    plain: bool,
}

impl ApiError {
    /// An error of a kind with a message of its own.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { status: status_of(kind), message: message.into(), plain: false }
    }

    /// 400: the request cannot be meant as it stands.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidArgument, message)
    }

    /// 404: what was named does not exist.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, message)
    }

    /// 409: the state forbids it.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Conflict, message)
    }

    /// 501, naming what is not there: the message is "`what` is not implemented".
    pub fn not_implemented(what: impl std::fmt::Display) -> Self {
        Self::new(ErrorKind::NotImplemented, format!("{what} is not implemented"))
    }

    /// Any other status, for the few answers that have no [`ErrorKind`] (413, 415, …).
    pub fn with_status(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), plain: false }
    }

    /// Answers in plain text rather than JSON, as Docker does to clients older than the oldest it speaks to.
    #[must_use]
    pub fn in_plain_text(self) -> Self {
        Self { plain: true, ..self }
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The text.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Whether the body is plain text.
    pub fn is_plain(&self) -> bool {
        self.plain
    }
}

impl std::fmt::Display for ApiError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl<E: Kind + 'static> From<E> for ApiError {
    fn from(error: E) -> Self {
        let kind = match error.kind() {
            ErrorKind::Internal if is_full(&error) => ErrorKind::Full,
            kind => kind,
        };
        Self::new(kind, error.to_string())
    }
}

/// Whether a failure comes from a disk, or a quota on it, that is full.
fn is_full(error: &(dyn std::error::Error + 'static)) -> bool {
    use std::io::ErrorKind::{QuotaExceeded, StorageFull};
    std::iter::successors(Some(error), |error| error.source()).any(|error| {
        let io = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        let errno = error.downcast_ref::<rustix::io::Errno>().map(|errno| errno.kind());
        matches!(io.or(errno), Some(StorageFull | QuotaExceeded))
    })
}

/// The one table from kinds to statuses.
pub fn status_of(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::InvalidArgument => StatusCode::BAD_REQUEST,
        ErrorKind::Conflict => StatusCode::CONFLICT,
        ErrorKind::NotModified => StatusCode::NOT_MODIFIED,
        ErrorKind::Unauthorized => StatusCode::UNAUTHORIZED,
        ErrorKind::Forbidden => StatusCode::FORBIDDEN,
        ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::NotImplemented => StatusCode::NOT_IMPLEMENTED,
        ErrorKind::Full => StatusCode::INSUFFICIENT_STORAGE,
        ErrorKind::Cancelled | ErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
