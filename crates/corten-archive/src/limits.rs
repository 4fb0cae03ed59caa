use std::os::fd::AsFd;

/// Longest path in an archive, in bytes.
pub(crate) const PATH_MAX: usize = 4096;
/// Longest name of one file, in bytes.
pub(crate) const NAME_MAX: usize = 255;
/// Largest extended header, in bytes.
pub(crate) const EXTENDED_MAX: u64 = 1 << 20;
/// Most pieces of a sparse file.
pub(crate) const SPARSE_PIECES_MAX: usize = 1 << 16;

/// How much an archive may unpack to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes in files, holes included.
    pub bytes: u64,
    /// Files, directories and all else.
    pub inodes: u64,
}

/// Bytes of a disk that no archive may fill; of a small disk, [`RESERVE_SHARE`].
const RESERVE: u64 = 64 << 20;
/// Inodes of a disk that no archive may take, likewise.
const RESERVE_INODES: u64 = 4096;
/// This part of a small disk is kept.
const RESERVE_SHARE: u64 = 128;

impl Limits {
    /// No limits but those of the numbers.
    pub const NONE: Self = Self { bytes: u64::MAX, inodes: u64::MAX };

    /// What is free on the file system of `root`, less a reserve.
    pub fn for_disk(root: impl AsFd) -> Self {
        let Ok(stat) = rustix::fs::fstatvfs(root) else { return Self::NONE };
        // Some file systems count no inodes.
        let inodes = match stat.f_files {
            0 => u64::MAX,
            all => stat.f_favail.saturating_sub(RESERVE_INODES.min(all / RESERVE_SHARE)),
        };
        let reserve = RESERVE.min(stat.f_blocks.saturating_mul(stat.f_frsize) / RESERVE_SHARE);
        Self { bytes: stat.f_bavail.saturating_mul(stat.f_frsize).saturating_sub(reserve), inodes }
    }
}
