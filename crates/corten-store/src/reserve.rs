//! Disk space that is there only to be given up: a removal on a full disk needs room for its own record, and so does a
//! start after one.
//!
//! ```text
//!   reserve/0 … reserve/31    512 KiB each; one is given up at a time, since whatever fills the disk takes that too
//! ```

use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, Mode, OFlags};

/// Name of the directory, beside the database.
pub(crate) const RESERVE: &str = "reserve";
/// How many pieces there are.
const PIECES: u32 = 32;
/// Size of a piece in bytes.
const SIZE: u64 = 512 << 10;
/// A piece is given up when less than this is free, in bytes.
const LOW: u64 = 256 << 10;
/// Or fewer inodes than this.
const LOW_INODES: u64 = 8;
/// A piece is taken again when more than this stays free, in bytes.
const HIGH: u64 = 4 << 20;
/// And more inodes than this.
const HIGH_INODES: u64 = 256;

/// Bytes and inodes that are free.
struct Free {
    bytes: u64,
    inodes: u64,
}

pub(crate) struct Reserve {
    directory: PathBuf,
}

impl Reserve {
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    fn pieces(&self) -> impl Iterator<Item = PathBuf> {
        (0..PIECES).map(|number| self.directory.join(number.to_string()))
    }

    /// Gives a piece up if the disk is full. To be called before something is removed.
    pub(crate) fn release_if_low(&self) {
        let low = self.free().is_some_and(|free| free.bytes < LOW || free.inodes < LOW_INODES);
        if low && self.pieces().any(|piece| std::fs::remove_file(piece).is_ok()) {
            tracing::warn!("the disk is full: gave up a piece of the reserve to make a removal possible");
        }
    }

    /// Takes pieces again as long as there is room.
    pub(crate) fn refill(&self) {
        // An older store kept one file here.
        if self.directory.is_file() {
            let _ = std::fs::remove_file(&self.directory);
        }
        for piece in self.pieces().filter(|piece| !piece.exists()) {
            if self.free().is_none_or(|free| free.bytes < HIGH + SIZE || free.inodes < HIGH_INODES) {
                return;
            }
            if let Err(error) = take(&self.directory, &piece) {
                tracing::debug!(%error, "could not take a piece of the reserve");
                // An empty file would look like a piece.
                let _ = std::fs::remove_file(&piece);
                return;
            }
        }
    }

    fn free(&self) -> Option<Free> {
        let stat = rustix::fs::statvfs(self.directory.parent()?).ok()?;
        // Some file systems count no inodes.
        let inodes = if stat.f_files == 0 { u64::MAX } else { stat.f_favail };
        Some(Free { bytes: stat.f_bavail * stat.f_frsize, inodes })
    }
}

fn take(directory: &Path, piece: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(directory)?;
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = rustix::fs::open(piece, flags, Mode::from_raw_mode(0o600))?;
    Ok(rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, SIZE)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reserve_is_taken_where_there_is_room_and_kept_where_there_is() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(RESERVE), "of an older store").unwrap();
        let reserve = Reserve::new(dir.path().join(RESERVE));
        reserve.refill();
        let count = || std::fs::read_dir(dir.path().join(RESERVE)).map_or(0, Iterator::count);
        // A machine whose disk is full takes none.
        assert!(count() == PIECES as usize || reserve.free().unwrap().bytes < 64 << 20);
        let before = count();
        reserve.release_if_low();
        assert_eq!(count(), before);
    }
}
