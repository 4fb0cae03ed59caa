//! What daemon and worker say to each other over their stream socket.
//!
//! ```text
//!   request    limits, whether the blob is whole, its digest if known; with it two descriptors: tree, blob
//!   growth     while it is not: how many bytes are there, until GROWN says that all are
//!   outcome    JSON to the end of the stream
//! ```

use std::io;

use corten_archive::{Applied, ApplyError, DeferredLink, Limits};
use corten_types::Digest;
use serde::{Deserialize, Serialize};

/// Bytes of a request.
pub(crate) const REQUEST: usize = 50;
/// Says that the blob is whole.
pub(crate) const GROWN: u64 = u64::MAX;
/// Longest outcome that is read, in bytes.
pub(crate) const OUTCOME_MAX: u64 = 64 << 20;

/// What a worker is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Request {
    pub limits: Limits,
    pub whole: bool,
    pub blob: Option<Digest>,
}

impl Request {
    pub fn encode(self) -> [u8; REQUEST] {
        let mut bytes = [0; REQUEST];
        bytes[..8].copy_from_slice(&self.limits.bytes.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.limits.inodes.to_le_bytes());
        bytes[16] = u8::from(self.whole);
        if let Some(blob) = &self.blob {
            bytes[17] = 1;
            bytes[18..].copy_from_slice(blob.as_bytes());
        }
        bytes
    }

    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (bytes, rest) = bytes.split_first_chunk::<8>()?;
        let (inodes, rest) = rest.split_first_chunk::<8>()?;
        let ([whole, known], rest) = rest.split_first_chunk::<2>()?;
        let blob: [u8; 32] = rest.try_into().ok()?;
        let limits = Limits { bytes: u64::from_le_bytes(*bytes), inodes: u64::from_le_bytes(*inodes) };
        let blob = (*known == 1).then(|| Digest::from_bytes(blob));
        Some(Self { limits, whole: *whole == 1, blob })
    }
}

/// What came of it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Outcome {
    Applied {
        diff_id: Digest,
        implied: Vec<Vec<u8>>,
        opaque: Vec<Vec<u8>>,
        links: Vec<(Vec<u8>, Vec<u8>)>,
        root_named: bool,
    },
    Read {
        error: Io,
    },
    Header {
        reason: String,
    },
    Entry {
        path: String,
        reason: String,
    },
    Limit {
        what: String,
        limit: u64,
    },
    Io {
        path: String,
        operation: String,
        error: Io,
    },
}

/// An error of the system by its number, or another one by its words.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Io {
    code: Option<i32>,
    text: String,
}

impl From<io::Error> for Io {
    fn from(error: io::Error) -> Self {
        Self { code: error.raw_os_error(), text: error.to_string() }
    }
}

impl From<Io> for io::Error {
    fn from(error: Io) -> Self {
        match error.code {
            Some(code) => io::Error::from_raw_os_error(code),
            None => io::Error::other(error.text),
        }
    }
}

impl From<Result<(Applied, Digest), ApplyError>> for Outcome {
    fn from(result: Result<(Applied, Digest), ApplyError>) -> Self {
        match result {
            Ok((applied, diff_id)) => Self::Applied {
                diff_id,
                implied: applied.implied,
                opaque: applied.opaque,
                links: applied.links.into_iter().map(|link| (link.path, link.target)).collect(),
                root_named: applied.root_named,
            },
            Err(ApplyError::Read { source }) => Self::Read { error: source.into() },
            Err(ApplyError::Header { reason }) => Self::Header { reason: reason.into() },
            Err(ApplyError::Entry { path, reason }) => Self::Entry { path, reason: reason.into() },
            Err(ApplyError::Limit { what, limit }) => Self::Limit { what: what.into(), limit },
            Err(ApplyError::Io { path, operation, source }) => {
                Self::Io { path, operation: operation.into(), error: source.into() }
            }
        }
    }
}

impl From<Outcome> for Result<(Applied, Digest), ApplyError> {
    fn from(outcome: Outcome) -> Self {
        Err(match outcome {
            Outcome::Applied { diff_id, implied, opaque, links, root_named } => {
                let links = links.into_iter().map(|(path, target)| DeferredLink { path, target }).collect();
                return Ok((Applied { implied, opaque, links, root_named }, diff_id));
            }
            Outcome::Read { error } => ApplyError::Read { source: error.into() },
            Outcome::Header { reason } => ApplyError::Header { reason: reason.into() },
            Outcome::Entry { path, reason } => ApplyError::Entry { path, reason: reason.into() },
            Outcome::Limit { what, limit } => ApplyError::Limit { what: what.into(), limit },
            Outcome::Io { path, operation, error } => {
                ApplyError::Io { path, operation: operation.into(), source: error.into() }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_comes_through_and_a_cut_one_does_not() {
        let limits = Limits { bytes: 1 << 40, inodes: 7 };
        for blob in [None, Some(Digest::of(b"x"))] {
            let request = Request { limits, whole: true, blob };
            assert_eq!(Request::decode(&request.encode()), Some(request));
            assert_eq!(Request::decode(&request.encode()[..16]), None);
        }
    }

    #[test]
    fn every_outcome_comes_through() {
        let link = DeferredLink { path: b"a\xff".to_vec(), target: b"b".to_vec() };
        let applied = Applied {
            implied: vec![b"x".to_vec()],
            opaque: vec![b"y".to_vec()],
            links: vec![link],
            root_named: true,
        };
        let errors = [
            ApplyError::Read { source: io::Error::other("cut off") },
            ApplyError::Header { reason: "size".into() },
            ApplyError::Entry { path: "p".into(), reason: "no".into() },
            ApplyError::Limit { what: "bytes".into(), limit: 3 },
            ApplyError::Io {
                path: "p".into(),
                operation: "write".into(),
                source: io::Error::from_raw_os_error(28),
            },
        ];
        let through = |result: Result<(Applied, Digest), ApplyError>| {
            let bytes = serde_json::to_vec(&Outcome::from(result)).unwrap();
            Result::from(serde_json::from_slice::<Outcome>(&bytes).unwrap())
        };
        let whole = (applied, Digest::of(b"x"));
        assert_eq!(through(Ok(whole.clone())).unwrap(), whole);
        for error in errors {
            let text = error.to_string();
            assert_eq!(through(Err(error)).unwrap_err().to_string(), text);
        }
    }
}
