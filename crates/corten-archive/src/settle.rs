//! Brings a layer's tree, unpacked on its own, in harmony with the trees beneath it.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps, Uid};
use rustix::io::Errno;

use crate::apply::Applied;
use crate::beneath::{Beneath, Missing, split};
use crate::error::ApplyError;
use crate::tree;
use crate::xattr;

/// Gives the directories the archive did not name the looks they have in the trees `below` (top first), copies up what
/// its hard links point at there, and marks the directories that hide what is there.
pub fn settle(root: impl AsFd, applied: &Applied, below: &[OwnedFd]) -> Result<(), ApplyError> {
    let mut beneath = Beneath::new(root.as_fd());
    if !applied.root_named
        && let Some(top) = below.first()
    {
        copy_looks(top, root.as_fd()).map_err(ApplyError::io(b"/", "set the looks of"))?;
    }
    for path in &applied.opaque {
        match beneath.directory(path, Missing::Fail) {
            // The archive made it, and then something else in its place.
            Err(Errno::NOENT | Errno::NOTDIR) => {}
            directory => {
                directory.and_then(xattr::set_opaque).map_err(ApplyError::io(path, "make opaque"))?
            }
        }
    }
    let mut copied: HashMap<&[u8], &[u8]> = HashMap::new();
    for link in &applied.links {
        let fail = |operation| ApplyError::io(&link.path, operation);
        let (parent, name) = split(&link.path);
        let directory = beneath.directory(parent, Missing::Create).map_err(fail("open the parent of"))?;
        tree::remove(&directory, name).map_err(fail("replace"))?;
        match copied.get(link.target.as_slice()) {
            Some(first) => {
                let (first_parent, first_name) = split(first);
                let first_directory =
                    beneath.directory(first_parent, Missing::Fail).map_err(fail("find the target of"))?;
                rustix::fs::linkat(&first_directory, first_name, &directory, name, AtFlags::empty())
                    .map_err(fail("link"))?;
            }
            None => {
                let (target_directory, target_name) =
                    find_file(below, &link.target).map_err(fail("find the target of"))?;
                copy_up(&target_directory, &target_name, &directory, name)
                    .map_err(fail("copy the target of"))?;
                copied.insert(&link.target, &link.path);
            }
        }
    }
    for path in &applied.implied {
        let Some(model) = find_directory(below, path).map_err(ApplyError::io(path, "find below"))? else {
            continue;
        };
        let directory = match beneath.directory(path, Missing::Fail) {
            // The archive made it, and then something else in its place.
            Err(Errno::NOENT | Errno::NOTDIR) => continue,
            directory => directory.map_err(ApplyError::io(path, "open"))?,
        };
        copy_looks(&model, directory.as_fd()).map_err(ApplyError::io(path, "set the looks of"))?;
    }
    Ok(())
}

const NO_LINKS: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

fn find_directory(below: &[OwnedFd], path: &[u8]) -> Result<Option<OwnedFd>, Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    for layer in below {
        match rustix::fs::openat2(layer, path, flags, Mode::empty(), NO_LINKS) {
            Ok(found) => {
                let kind = FileType::from_raw_mode(rustix::fs::fstat(&found)?.st_mode);
                // A file or a whiteout ends the search: the directory is new.
                return Ok((kind == FileType::Directory).then_some(found));
            }
            Err(Errno::NOENT) => {}
            // Something on the way is no directory: nothing below shows through.
            Err(Errno::NOTDIR | Errno::LOOP) => return Ok(None),
            Err(errno) => return Err(errno),
        }
    }
    Ok(None)
}

fn find_file(below: &[OwnedFd], path: &[u8]) -> Result<(OwnedFd, Vec<u8>), Errno> {
    let (parent, name) = split(path);
    for layer in below {
        let mut beneath = Beneath::new(layer.as_fd());
        let directory = match beneath.directory(parent, Missing::Fail) {
            Err(Errno::NOENT) => continue,
            directory => directory?,
        };
        match tree::stat(&directory, name) {
            Ok(stat) if tree::is_whiteout(&stat) => return Err(Errno::NOENT),
            Ok(_) => return Ok((directory.try_clone().map_err(|_| Errno::MFILE)?, name.to_vec())),
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno),
        }
    }
    Err(Errno::NOENT)
}

fn copy_up(from: &OwnedFd, from_name: &[u8], to: &OwnedFd, to_name: &[u8]) -> Result<(), Errno> {
    let stat = tree::stat(from, from_name)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let source = rustix::fs::openat(from, from_name, flags, Mode::empty())?;
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let target = rustix::fs::openat(to, to_name, flags, Mode::from_raw_mode(0o600))?;
            if rustix::fs::ioctl_ficlone(&target, &source).is_err() {
                while rustix::fs::copy_file_range(&source, None, &target, None, 1 << 30)? != 0 {}
            }
            copy_looks(&source, target.as_fd())
        }
        FileType::Symlink => {
            let link = rustix::fs::readlinkat(from, from_name, Vec::new())?;
            rustix::fs::symlinkat(&link, to, to_name)?;
            let (uid, gid) = owner(&stat);
            rustix::fs::chownat(to, to_name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
            rustix::fs::utimensat(to, to_name, &stat_times(&stat), AtFlags::SYMLINK_NOFOLLOW)
        }
        _ => Err(Errno::PERM),
    }
}

fn owner(stat: &Stat) -> (Uid, Gid) {
    (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid))
}

fn stat_times(stat: &Stat) -> Timestamps {
    let time = Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec as i64 };
    Timestamps { last_access: time, last_modification: time }
}

/// Owner, mode, attributes and time of an open file or directory for another one.
fn copy_looks(from: &OwnedFd, to: rustix::fd::BorrowedFd<'_>) -> Result<(), Errno> {
    use std::os::fd::AsRawFd;
    let stat = rustix::fs::fstat(from)?;
    let (uid, gid) = owner(&stat);
    rustix::fs::chownat(to, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH)?;
    let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
    let path = format!("/proc/self/fd/{}", to.as_raw_fd());
    rustix::fs::chmodat(rustix::fs::CWD, &path, mode, AtFlags::empty())?;
    xattr::set(to, &xattr::get(from)?)?;
    rustix::fs::utimensat(rustix::fs::CWD, &path, &stat_times(&stat), AtFlags::empty())
}
