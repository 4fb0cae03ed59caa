//! Downloads that broke off, kept in `content/ingest/<hex>.part` so that the next one goes on behind them, in this run
//! of the daemon or a later one.
//!
//! A part is worth nothing in itself: whoever resumes it hashes it first, and what does not come out at its digest is
//! thrown away. One writer at a time has the claim on a part. Parts that nobody resumes within a day go, and all do when
//! the disk is full.

use std::collections::HashSet;
use std::fs::{File, Metadata};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use corten_types::Digest;
use parking_lot::Mutex;

use super::{BlobWriter, Intake, IntakeError};
use crate::{Shared, trash};

/// A part smaller than this is not worth its file, in bytes.
const SIZE_MIN: u64 = 1 << 20;
/// How long a part may wait to be resumed.
const AGE_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// No part is kept when less than this is free, in bytes.
const FREE_MIN: u64 = 64 << 20;

/// The parts of a store, and which are being written.
#[derive(Debug)]
pub(crate) struct Partials {
    directory: PathBuf,
    claimed: Arc<Mutex<HashSet<Digest>>>,
}

/// The right to write one part.
#[derive(Debug)]
pub(crate) struct Claim {
    digest: Digest,
    claimed: Arc<Mutex<HashSet<Digest>>>,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.claimed.lock().remove(&self.digest);
    }
}

impl Partials {
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self { directory, claimed: Arc::default() }
    }

    fn claim(&self, digest: &Digest) -> Option<Claim> {
        let free = self.claimed.lock().insert(*digest);
        free.then(|| Claim { digest: *digest, claimed: self.claimed.clone() })
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.directory.join(format!("{}.part", digest.hex()))
    }

    /// Whether a part of so many bytes is to be kept.
    pub(super) fn is_worth(&self, length: u64) -> bool {
        length >= SIZE_MIN && self.has_room()
    }

    fn has_room(&self) -> bool {
        rustix::fs::statvfs(&self.directory).is_ok_and(|stat| stat.f_bavail * stat.f_frsize >= FREE_MIN)
    }

    fn is_stale(&self, path: &Path) -> bool {
        let digest = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".part"));
        let digest = digest.and_then(|hex| format!("sha256:{hex}").parse::<Digest>().ok());
        let Some(digest) = digest else { return true };
        let old = |metadata: Metadata| {
            let age = metadata.modified().ok().and_then(|modified| modified.elapsed().ok());
            age.is_some_and(|age| age > AGE_MAX) || metadata.len() < SIZE_MIN
        };
        !self.claimed.lock().contains(&digest)
            && (std::fs::symlink_metadata(path).is_ok_and(old) || !self.has_room())
    }
}

/// Throws away what nobody will resume.
pub(crate) fn discard_stale(shared: &Shared) {
    let Ok(entries) = std::fs::read_dir(&shared.partials.directory) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.extension().is_some_and(|extension| extension == "part") && shared.partials.is_stale(&path) {
            trash::discard(shared, &path);
        }
    }
}

/// At the start: throws away everything that is no part worth being resumed.
pub(crate) fn discard_unusable(shared: &Shared, path: &Path) {
    if shared.partials.is_stale(path) {
        trash::discard(shared, path);
    }
}

impl Intake {
    /// Begins, or resumes, the download of a blob. [`BlobWriter::len`] says where to go on.
    pub fn download(&self, digest: &Digest, size: u64) -> Result<BlobWriter<&Self>, IntakeError> {
        let partials = &self.shared.partials;
        // Somebody else downloads the same; both do, as both did where nothing can be resumed.
        let Some(claim) = partials.claim(digest) else { return self.writer() };
        let path = partials.path(digest);
        let failed = |source| IntakeError::Io { operation: "open", path: path.clone(), source };
        let open = || File::options().read(true).write(true).create(true).truncate(false).open(&path);
        let file = open().map_err(failed)?;
        if file.metadata().map_err(failed)?.len() > size {
            file.set_len(0).map_err(failed)?;
        }
        BlobWriter::resume(self, claim, path.clone(), file).map_err(failed)
    }
}
