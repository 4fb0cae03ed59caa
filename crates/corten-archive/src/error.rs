use std::borrow::Cow;

use corten_types::{ErrorKind, Kind};

/// Paths are bytes; this is how they are shown.
pub(crate) fn shown(path: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(path).chars().take(256).collect();
    text.escape_debug().collect()
}

/// Why an archive could not be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The stream ended or failed.
    #[error("could not read the archive: {source}")]
    Read {
        /// What the stream said.
        source: std::io::Error,
    },
    /// The bytes are not a tar archive, or one that contradicts itself.
    #[error("archive/tar: invalid tar header")]
    Header {
        /// What is wrong; not shown, since clients know Go's text.
        reason: Cow<'static, str>,
    },
    /// An entry is of a kind that nobody unpacks, or has a name that leads nowhere good.
    #[error("archive entry {path:?}: {reason}")]
    Entry {
        /// The entry.
        path: String,
        /// What is wrong with it.
        reason: Cow<'static, str>,
    },
    /// The archive is larger than what may be unpacked: the room of the disk, less a reserve.
    #[error("no space left on device: the archive needs more than the {limit} {what} that are free")]
    Limit {
        /// Of what.
        what: Cow<'static, str>,
        /// How much is allowed.
        limit: u64,
    },
    /// The disk or the tree refused.
    #[error("archive entry {path:?}: could not {operation}: {source}")]
    Io {
        /// The entry.
        path: String,
        /// What was tried.
        operation: Cow<'static, str>,
        /// What the system said.
        source: std::io::Error,
    },
}

impl ApplyError {
    pub(crate) const fn header(reason: &'static str) -> Self {
        Self::Header { reason: Cow::Borrowed(reason) }
    }

    pub(crate) fn entry(path: &[u8], reason: &'static str) -> Self {
        Self::Entry { path: shown(path), reason: reason.into() }
    }

    pub(crate) fn io(path: &[u8], operation: &'static str) -> impl FnOnce(rustix::io::Errno) -> Self {
        move |errno| Self::Io { path: shown(path), operation: operation.into(), source: errno.into() }
    }
}

impl Kind for ApplyError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Read { .. } | Self::Header { .. } | Self::Entry { .. } => ErrorKind::InvalidArgument,
            Self::Limit { .. } => ErrorKind::Full,
            // An archive that puts a file beneath a file is wrong; a full disk is not the archive's fault.
            Self::Io { source, .. } => {
                match source.raw_os_error().map(rustix::io::Errno::from_raw_os_error) {
                    Some(
                        rustix::io::Errno::NOTDIR
                        | rustix::io::Errno::ISDIR
                        | rustix::io::Errno::LOOP
                        | rustix::io::Errno::NAMETOOLONG
                        | rustix::io::Errno::EXIST
                        | rustix::io::Errno::NOTEMPTY
                        | rustix::io::Errno::NOENT
                        | rustix::io::Errno::PERM
                        | rustix::io::Errno::INVAL,
                    ) => ErrorKind::InvalidArgument,
                    _ => ErrorKind::Internal,
                }
            }
        }
    }
}

/// Why a tree could not be read or packed.
#[derive(Debug, thiserror::Error)]
pub enum DiffError {
    /// The tree could not be read.
    #[error("could not {operation} {path:?}: {source}")]
    Io {
        /// The path in the tree.
        path: String,
        /// What was tried.
        operation: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// The receiver failed.
    #[error("could not write the archive: {source}")]
    Write {
        /// What it said.
        source: std::io::Error,
    },
}

impl DiffError {
    pub(crate) fn io(path: &[u8], operation: &'static str) -> impl FnOnce(rustix::io::Errno) -> Self {
        move |errno| Self::Io { path: shown(path), operation, source: errno.into() }
    }
}

impl Kind for DiffError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => ErrorKind::NotFound,
            Self::Io { .. } => ErrorKind::Internal,
            Self::Write { .. } => ErrorKind::Cancelled,
        }
    }
}
