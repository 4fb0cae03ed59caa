//! Trees as a whole: how much they take, and how they are removed.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

pub(crate) const READ_DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// The names in a directory, ordered by their bytes.
pub(crate) fn names(directory: impl AsFd) -> Result<Vec<Vec<u8>>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.to_vec());
        }
    }
    names.sort_unstable();
    Ok(names)
}

pub(crate) fn stat(directory: impl AsFd, name: &[u8]) -> Result<Stat, Errno> {
    rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)
}

/// Changes the mode of what `fd` is open on, also where it was opened with `O_PATH`.
pub(crate) fn change_mode(fd: impl AsFd, mode: Mode) -> Result<(), Errno> {
    match rustix::fs::fchmod(&fd, mode) {
        Err(Errno::BADF) => corten_sys::path::change_mode(fd, mode.as_raw_mode()),
        changed => changed,
    }
}

pub(crate) fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

/// Disk space in bytes and inodes of a tree, its root included: blocks of 512 bytes, each inode once.
pub fn usage(root: impl AsFd) -> Result<(u64, u64), Errno> {
    let stat = rustix::fs::fstat(&root)?;
    let (mut size, mut inodes) = (stat.st_blocks as u64 * 512, 1);
    let mut seen = HashSet::new();
    let mut pending: Vec<OwnedFd> = vec![rustix::fs::openat(&root, ".", READ_DIRECTORY, Mode::empty())?];
    while let Some(directory) = pending.pop() {
        for name in names(&directory)? {
            let stat = match self::stat(&directory, &name) {
                // Somebody writes in the tree while it is measured.
                Err(Errno::NOENT) => continue,
                stat => stat?,
            };
            let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
            if stat.st_nlink > 1 && !is_directory && !seen.insert((stat.st_dev, stat.st_ino)) {
                continue;
            }
            size += stat.st_blocks as u64 * 512;
            inodes += 1;
            if is_directory {
                match rustix::fs::openat(&directory, name.as_slice(), READ_DIRECTORY, Mode::empty()) {
                    Ok(child) => pending.push(child),
                    Err(Errno::NOENT) => {}
                    Err(errno) => return Err(errno),
                }
            }
        }
    }
    Ok((size, inodes))
}

/// Removes what has this name in a directory, with all beneath it. What is not there is fine.
pub fn remove_all(directory: impl AsFd, name: &OsStr) -> Result<(), Errno> {
    remove(directory, name.as_encoded_bytes())
}

pub(crate) fn remove(directory: impl AsFd, name: &[u8]) -> Result<(), Errno> {
    match rustix::fs::unlinkat(&directory, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(errno) => return Err(errno),
    }
    let child = match rustix::fs::openat(&directory, name, READ_DIRECTORY, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(()),
        // An immutable file, not a directory.
        Err(Errno::NOTDIR) => return Err(Errno::PERM),
        child => child?,
    };
    // The path from the top to where we are; depth costs memory, not stack.
    let mut stack = vec![(child, name.to_vec())];
    while let Some((current, _)) = stack.last() {
        let mut below = None;
        for name in names(current)? {
            match rustix::fs::unlinkat(current, name.as_slice(), AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(Errno::ISDIR | Errno::PERM) => {
                    match rustix::fs::unlinkat(current, name.as_slice(), AtFlags::REMOVEDIR) {
                        Ok(()) | Err(Errno::NOENT) => {}
                        Err(Errno::NOTEMPTY | Errno::EXIST) => {
                            let child =
                                rustix::fs::openat(current, name.as_slice(), READ_DIRECTORY, Mode::empty())?;
                            below = Some((child, name));
                            break;
                        }
                        Err(errno) => return Err(errno),
                    }
                }
                Err(errno) => return Err(errno),
            }
        }
        if let Some(below) = below {
            stack.push(below);
            continue;
        }
        let Some((_, name)) = stack.pop() else { break };
        let gone = match stack.last() {
            Some((parent, _)) => rustix::fs::unlinkat(parent, name.as_slice(), AtFlags::REMOVEDIR),
            None => rustix::fs::unlinkat(&directory, name.as_slice(), AtFlags::REMOVEDIR),
        };
        match gone {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
