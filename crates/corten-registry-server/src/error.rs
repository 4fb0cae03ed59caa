use corten_store::{DatabaseError, IntakeError};
use http::StatusCode;

use crate::digest::{ContentDigest, DigestInvalid};
use crate::document::DocumentError;
use crate::name::NameInvalid;

/// Why a request is refused. Each has its code of the specification (distribution-spec, "Error Codes") and a status.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// There is nothing at this path.
    #[error("there is nothing at this path")]
    NoSuchPath,
    /// What stands at the path does not know the method.
    #[error("{method} is not possible here")]
    Method {
        /// The method.
        method: String,
    },
    /// A name or tag is out of grammar.
    #[error(transparent)]
    Name(#[from] NameInvalid),
    /// A digest is out of grammar.
    #[error(transparent)]
    Digest(#[from] DigestInvalid),
    /// Content has another digest than was said.
    #[error("the content has the digest {found}, not {expected}")]
    DigestDiffers {
        /// As said.
        expected: ContentDigest,
        /// As computed.
        found: ContentDigest,
    },
    /// There is no such repository.
    #[error("there is no repository {0}")]
    NoSuchRepository(String),
    /// The repository has no such blob.
    #[error("the repository has no blob {0}")]
    NoSuchBlob(ContentDigest),
    /// The repository has no such manifest or tag.
    #[error("the repository has no manifest {0}")]
    NoSuchManifest(String),
    /// There is no such upload, or it has expired.
    #[error("there is no such upload; it may have ended or expired: begin a new one")]
    NoSuchUpload,
    /// Another request writes to the upload.
    #[error("another request is writing to this upload")]
    UploadBusy,
    /// The client went away, or sent something else than it announced.
    #[error("the upload broke off after {received} bytes: {reason}")]
    UploadBroken {
        /// How many bytes of it are here.
        received: u64,
        /// Why.
        reason: String,
    },
    /// A piece does not follow on what is there.
    #[error("this piece does not begin where the upload stands: {offset} bytes are here")]
    UploadRange {
        /// How many bytes of it are here.
        offset: u64,
        /// Where the upload is, for the answer.
        location: String,
    },
    /// A header makes no sense.
    #[error("the header {name} cannot be read")]
    Header {
        /// Which.
        name: &'static str,
    },
    /// A parameter makes no sense.
    #[error("the parameter {name} {reason}")]
    Parameter {
        /// Which.
        name: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A range has nothing of the blob in it.
    #[error("the blob has {size} bytes; nothing of it lies in the range")]
    Range {
        /// The blob's size.
        size: u64,
    },
    /// Something is larger than allowed.
    #[error("{what} is larger than {limit} bytes")]
    TooLarge {
        /// What.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// A manifest is refused.
    #[error(transparent)]
    Manifest(#[from] DocumentError),
    /// A manifest needs what the repository does not have.
    #[error("the manifest needs {0}, which the repository does not have")]
    Incomplete(ContentDigest),
    /// Nobody was named, or not the right way.
    #[error("{reason}")]
    Unauthorized {
        /// Why.
        reason: &'static str,
        /// The value of `WWW-Authenticate`.
        challenge: String,
    },
    /// Whoever asks may not do this.
    #[error("{0}")]
    Denied(String),
    /// Nothing may be changed here.
    #[error("{0}")]
    ReadOnly(&'static str),
    /// Too much at once.
    #[error("{0}")]
    TooMany(&'static str),
    /// The upstream of a cache does not answer as it should.
    #[error("the upstream registry cannot be asked: {0}")]
    Upstream(String),
    /// The disk is full.
    #[error("the disk of the registry is full")]
    DiskFull,
    /// The machine failed. The text is for the log; the client is told nothing of it.
    #[error("{0}")]
    Failed(String),
}

impl Refusal {
    /// The code of the specification, and the status.
    pub fn code(&self) -> (&'static str, StatusCode) {
        match self {
            Self::NoSuchPath => ("UNSUPPORTED", StatusCode::NOT_FOUND),
            Self::Method { .. } => ("UNSUPPORTED", StatusCode::METHOD_NOT_ALLOWED),
            Self::Name(NameInvalid::Repository) => ("NAME_INVALID", StatusCode::BAD_REQUEST),
            Self::Name(NameInvalid::Tag) => ("TAG_INVALID", StatusCode::BAD_REQUEST),
            Self::Digest(_) | Self::DigestDiffers { .. } => ("DIGEST_INVALID", StatusCode::BAD_REQUEST),
            Self::NoSuchRepository(_) => ("NAME_UNKNOWN", StatusCode::NOT_FOUND),
            Self::NoSuchBlob(_) => ("BLOB_UNKNOWN", StatusCode::NOT_FOUND),
            Self::NoSuchManifest(_) => ("MANIFEST_UNKNOWN", StatusCode::NOT_FOUND),
            Self::NoSuchUpload => ("BLOB_UPLOAD_UNKNOWN", StatusCode::NOT_FOUND),
            Self::UploadBusy => ("BLOB_UPLOAD_INVALID", StatusCode::CONFLICT),
            Self::UploadBroken { .. } => ("BLOB_UPLOAD_INVALID", StatusCode::BAD_REQUEST),
            Self::UploadRange { .. } => ("RANGE_INVALID", StatusCode::RANGE_NOT_SATISFIABLE),
            Self::Header { .. } => ("UNSUPPORTED", StatusCode::BAD_REQUEST),
            Self::Parameter { name: "n" | "last", .. } => {
                ("PAGINATION_NUMBER_INVALID", StatusCode::BAD_REQUEST)
            }
            Self::Parameter { .. } => ("UNSUPPORTED", StatusCode::BAD_REQUEST),
            Self::Range { .. } => ("RANGE_INVALID", StatusCode::RANGE_NOT_SATISFIABLE),
            Self::TooLarge { .. } => ("SIZE_INVALID", StatusCode::PAYLOAD_TOO_LARGE),
            Self::Manifest(DocumentError::Type(_)) => {
                ("MANIFEST_INVALID", StatusCode::UNSUPPORTED_MEDIA_TYPE)
            }
            Self::Manifest(_) => ("MANIFEST_INVALID", StatusCode::BAD_REQUEST),
            Self::Incomplete(_) => ("MANIFEST_BLOB_UNKNOWN", StatusCode::NOT_FOUND),
            Self::Unauthorized { .. } => ("UNAUTHORIZED", StatusCode::UNAUTHORIZED),
            Self::Denied(_) => ("DENIED", StatusCode::FORBIDDEN),
            Self::ReadOnly(_) => ("UNSUPPORTED", StatusCode::METHOD_NOT_ALLOWED),
            Self::TooMany(_) => ("TOOMANYREQUESTS", StatusCode::TOO_MANY_REQUESTS),
            Self::Upstream(_) => ("UNAVAILABLE", StatusCode::BAD_GATEWAY),
            Self::DiskFull => ("UNAVAILABLE", StatusCode::INSUFFICIENT_STORAGE),
            Self::Failed(_) => ("UNKNOWN", StatusCode::INTERNAL_SERVER_ERROR),
        }
    }

    /// What the client is told in words.
    pub fn message(&self) -> String {
        match self {
            Self::Failed(_) => "the registry could not do this; its log says why".into(),
            other => other.to_string(),
        }
    }

    /// A file could not be written or read.
    pub fn io(what: &str, error: &std::io::Error) -> Self {
        if is_full(error) { Self::DiskFull } else { Self::Failed(format!("{what}: {error}")) }
    }
}

fn is_full(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded)
}

impl From<IntakeError> for Refusal {
    fn from(error: IntakeError) -> Self {
        match error {
            IntakeError::Digest { expected, found } => {
                Self::DigestDiffers { expected: expected.into(), found: found.into() }
            }
            IntakeError::Io { ref source, .. } if is_full(source) => Self::DiskFull,
            IntakeError::Database(error) => error.into(),
            error => Self::Failed(error.to_string()),
        }
    }
}

impl From<DatabaseError> for Refusal {
    fn from(error: DatabaseError) -> Self {
        // SQLite has a message for this and the store no variant.
        if error.to_string().contains("disk is full") {
            Self::DiskFull
        } else {
            Self::Failed(error.to_string())
        }
    }
}

impl From<corten_store::ContentError> for Refusal {
    fn from(error: corten_store::ContentError) -> Self {
        Self::Failed(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_never_told_what_failed_inside() {
        let failed = Refusal::Failed("could not open /var/lib/x".into());
        assert_eq!(failed.code().1, StatusCode::INTERNAL_SERVER_ERROR);
        assert!(!failed.message().contains("/var"));
    }

    #[test]
    fn a_full_disk_is_told_apart() {
        let full = std::io::Error::from_raw_os_error(28);
        assert!(matches!(Refusal::io("write", &full), Refusal::DiskFull));
    }
}
