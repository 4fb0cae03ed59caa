//! What an overlay's upper directory changes about the trees below it, as `docker diff` tells it.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{FileType, Mode, Stat};
use rustix::io::Errno;

use crate::error::DiffError;
use crate::tree::{self, READ_DIRECTORY};
use crate::xattr;

/// How a path changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChangeKind {
    /// It was there and is different, or something in it is.
    Modified,
    /// It was not there.
    Added,
    /// It is no longer there.
    Deleted,
}

/// One path that changed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    /// The path, from a slash on.
    pub path: Vec<u8>,
    /// How it changed.
    pub kind: ChangeKind,
}

/// Deepest tree that is walked.
const DEPTH_MAX: usize = 1024;

/// What `upper` changes about `lower` (top first), ordered by path.
pub fn changes(upper: impl AsFd, lower: &[OwnedFd]) -> Result<Vec<Change>, DiffError> {
    let open = |fd: rustix::fd::BorrowedFd<'_>| {
        rustix::fs::openat(fd, ".", READ_DIRECTORY, Mode::empty()).map_err(DiffError::io(b"/", "open"))
    };
    let upper = open(upper.as_fd())?;
    let lower = lower.iter().map(|layer| open(layer.as_fd())).collect::<Result<Vec<_>, _>>()?;
    let mut changes = Vec::new();
    walk(&upper, &lower, b"", 0, &mut changes)?;
    Ok(changes)
}

/// What a name is in the trees below, merged.
enum Below {
    Nothing,
    Other(Stat),
    Directory(Stat, Vec<OwnedFd>),
}

fn find(lower: &[OwnedFd], name: &[u8]) -> Result<Below, Errno> {
    let mut directories = Vec::new();
    let mut first = None;
    for layer in lower {
        let stat = match tree::stat(layer, name) {
            Err(Errno::NOENT) => continue,
            stat => stat?,
        };
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            if first.is_none() && !tree::is_whiteout(&stat) {
                return Ok(Below::Other(stat));
            }
            break;
        }
        let directory = rustix::fs::openat(layer, name, READ_DIRECTORY, Mode::empty())?;
        let opaque = xattr::is_opaque(&directory);
        directories.push(directory);
        first.get_or_insert(stat);
        if opaque {
            break;
        }
    }
    Ok(match first {
        Some(stat) => Below::Directory(stat, directories),
        None => Below::Nothing,
    })
}

/// All names in merged directories that are not hidden.
fn names(lower: &[OwnedFd]) -> Result<Vec<Vec<u8>>, Errno> {
    let mut all = Vec::new();
    for layer in lower {
        all.extend(tree::names(layer)?);
    }
    all.sort_unstable();
    all.dedup();
    let mut visible = Vec::new();
    for name in all {
        if !matches!(find(lower, &name)?, Below::Nothing) {
            visible.push(name);
        }
    }
    Ok(visible)
}

fn is_different(old: &Stat, new: &Stat) -> bool {
    let is_directory = FileType::from_raw_mode(new.st_mode) == FileType::Directory;
    (old.st_mode, old.st_uid, old.st_gid, old.st_rdev) != (new.st_mode, new.st_uid, new.st_gid, new.st_rdev)
        || (!is_directory
            && (old.st_mtime, old.st_mtime_nsec, old.st_size)
                != (new.st_mtime, new.st_mtime_nsec, new.st_size))
}

fn walk(
    upper: &OwnedFd,
    lower: &[OwnedFd],
    path: &[u8],
    depth: usize,
    changes: &mut Vec<Change>,
) -> Result<(), DiffError> {
    if depth > DEPTH_MAX {
        return Err(DiffError::io(path, "walk")(Errno::NAMETOOLONG));
    }
    let in_upper = tree::names(upper).map_err(DiffError::io(path, "list"))?;
    let mut gone = Vec::new();
    if xattr::is_opaque(upper) {
        gone = names(lower).map_err(DiffError::io(path, "list"))?;
        gone.retain(|name| in_upper.binary_search(name).is_err());
    }
    let mut all: Vec<(&Vec<u8>, bool)> =
        in_upper.iter().map(|name| (name, true)).chain(gone.iter().map(|name| (name, false))).collect();
    all.sort_unstable();
    for (name, in_upper) in all {
        let path = [path, b"/", name].concat();
        if !in_upper {
            changes.push(Change { path, kind: ChangeKind::Deleted });
            continue;
        }
        let stat = match tree::stat(upper, name) {
            Err(Errno::NOENT) => continue,
            stat => stat.map_err(DiffError::io(&path, "look at"))?,
        };
        let below = find(lower, name).map_err(DiffError::io(&path, "look below"))?;
        if tree::is_whiteout(&stat) {
            if !matches!(below, Below::Nothing) {
                changes.push(Change { path, kind: ChangeKind::Deleted });
            }
            continue;
        }
        let at = changes.len();
        let kind = match &below {
            Below::Nothing => Some(ChangeKind::Added),
            Below::Other(old) | Below::Directory(old, _) => {
                is_different(old, &stat).then_some(ChangeKind::Modified)
            }
        };
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            let directory = match rustix::fs::openat(upper, name.as_slice(), READ_DIRECTORY, Mode::empty()) {
                Err(Errno::NOENT) => continue,
                directory => directory.map_err(DiffError::io(&path, "open"))?,
            };
            let lower = match below {
                Below::Directory(_, lower) => lower,
                _ => Vec::new(),
            };
            walk(&directory, &lower, &path, depth + 1, changes)?;
        }
        // A directory counts as changed when something in it is.
        let kind = kind.or((changes.len() > at).then_some(ChangeKind::Modified));
        if let Some(kind) = kind {
            changes.insert(at, Change { path, kind });
        }
    }
    Ok(())
}
