//! A file of some MiB that is there only to be given up: a removal on a full disk needs room for its own record.

use std::path::PathBuf;

use rustix::fs::{FallocateFlags, Mode, OFlags};

/// Name of the file, beside the database.
pub(crate) const RESERVE: &str = "reserve";
/// Size of the reserve in bytes.
const SIZE: u64 = 8 << 20;
/// The reserve is given up when less than this is free, in bytes.
const LOW: u64 = 4 << 20;
/// It is taken again when more than this is free, in bytes.
const HIGH: u64 = 64 << 20;

pub(crate) struct Reserve {
    path: PathBuf,
}

impl Reserve {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Gives the reserve up if the disk is nearly full. To be called before something is removed.
    pub(crate) fn release_if_low(&self) {
        if self.free().is_some_and(|free| free < LOW) && std::fs::remove_file(&self.path).is_ok() {
            tracing::warn!("the disk is full: gave up the reserve to make removals possible");
        }
    }

    /// Takes the reserve again if there is room.
    pub(crate) fn refill(&self) {
        if self.path.exists() || self.free().is_none_or(|free| free < HIGH) {
            return;
        }
        let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let taken = rustix::fs::open(&self.path, flags, Mode::from_raw_mode(0o600))
            .and_then(|file| rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, SIZE));
        if let Err(error) = taken {
            tracing::debug!(%error, "could not take the reserve");
            // An empty file would look like a reserve.
            let _ = std::fs::remove_file(&self.path);
        }
    }

    fn free(&self) -> Option<u64> {
        let stat = rustix::fs::statvfs(self.path.parent()?).ok()?;
        Some(stat.f_bavail * stat.f_frsize)
    }
}
