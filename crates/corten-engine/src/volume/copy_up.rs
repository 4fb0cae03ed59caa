//! Filling an empty new volume with what the image has at its destination.
//!
//! Everything goes through descriptors: no name is resolved from above, no link is followed, on either side. Owners, modes, times,
//! extended attributes, hard links, devices and holes are kept. The volume's root takes the owner and mode of the folder it covers.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

/// Whether anything was copied: not when the volume has content already.
///
/// `from` is the folder in the container's root file system, `to` the volume's root. Blocking.
pub(super) fn copy_up(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<bool> {
    if !is_empty(to)? {
        return Ok(false);
    }
    let mut links = HashMap::new();
    copy_folder(from, to, &mut links)?;
    Ok(true)
}

/// First copies of files with several names: source inode to a descriptor of the copy.
type Links = HashMap<(u64, u64), OwnedFd>;

fn is_empty(folder: BorrowedFd<'_>) -> io::Result<bool> {
    for entry in Dir::read_from(folder)? {
        if !matches!(entry?.file_name().to_bytes(), b"." | b"..") {
            return Ok(false);
        }
    }
    Ok(true)
}

fn copy_folder(from: BorrowedFd<'_>, to: BorrowedFd<'_>, links: &mut Links) -> io::Result<()> {
    for entry in Dir::read_from(from)? {
        let entry = entry?;
        let name = entry.file_name();
        if !matches!(name.to_bytes(), b"." | b"..") {
            copy_entry(from, to, name, links)?;
        }
    }
    copy_attributes(from, to)?;
    let stat = rustix::fs::fstat(from)?;
    take_identity(to, &stat)
}

fn copy_entry(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr, links: &mut Links) -> io::Result<()> {
    let stat = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    let private = Mode::RUSR | Mode::WUSR | Mode::XUSR;
    match kind {
        FileType::Directory => {
            rustix::fs::mkdirat(to, name, private)?;
            let inner = open_folder(from, name)?;
            let copy = open_folder(to, name)?;
            copy_folder(inner.as_fd(), copy.as_fd(), links)
        }
        FileType::RegularFile => {
            let inode = (stat.st_dev, stat.st_ino);
            if stat.st_nlink > 1
                && let Some(first) = links.get(&inode)
            {
                return Ok(rustix::fs::linkat(first, c"", to, name, AtFlags::EMPTY_PATH)?);
            }
            let source = rustix::fs::openat(
                from,
                name,
                OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                Mode::empty(),
            )?;
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let copy = rustix::fs::openat(to, name, flags, Mode::RUSR | Mode::WUSR)?;
            copy_content(&source, &copy, u64::try_from(stat.st_size).unwrap_or(0))?;
            // Owners first: changing them clears set-id bits and file capabilities.
            rustix::fs::fchown(&copy, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
            copy_attributes(source.as_fd(), copy.as_fd())?;
            take_identity(copy.as_fd(), &stat)?;
            if stat.st_nlink > 1 {
                links.insert(inode, copy);
            }
            Ok(())
        }
        FileType::Symlink => {
            let target: CString = rustix::fs::readlinkat(from, name, Vec::new())?;
            rustix::fs::symlinkat(&target, to, name)?;
            own_by_name(to, name, &stat)?;
            times_by_name(to, name, &stat)
        }
        FileType::Fifo | FileType::Socket | FileType::CharacterDevice | FileType::BlockDevice => {
            rustix::fs::mknodat(to, name, kind, private, stat.st_rdev)?;
            own_by_name(to, name, &stat)?;
            rustix::fs::chmodat(to, name, Mode::from_raw_mode(stat.st_mode), AtFlags::empty())?;
            times_by_name(to, name, &stat)
        }
        _ => Ok(()),
    }
}

fn open_folder(parent: BorrowedFd<'_>, name: &CStr) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(parent, name, flags, Mode::empty())?)
}

fn copy_content(from: &OwnedFd, to: &OwnedFd, length: u64) -> io::Result<()> {
    const BLOCK: usize = 1 << 20;
    let mut done = 0;
    while done < length {
        let wanted = usize::try_from(length - done).unwrap_or(BLOCK).min(64 * BLOCK);
        match rustix::fs::copy_file_range(from, None, to, None, wanted) {
            Ok(0) => return Ok(()),
            Ok(n) => done += n as u64,
            Err(Errno::INTR) => {}
            Err(Errno::XDEV | Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) => {
                let mut source = std::fs::File::from(from.try_clone()?);
                let mut copy = std::fs::File::from(to.try_clone()?);
                io::copy(&mut source, &mut copy)?;
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Copies the extended attributes that the file system of the volume takes.
fn copy_attributes(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<()> {
    let mut names = vec![0_u8; 64 << 10];
    let length = match rustix::fs::flistxattr(from, &mut names) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let mut value = vec![0_u8; 64 << 10];
    for name in names[..length].split_inclusive(|b| *b == 0) {
        let Ok(name) = CStr::from_bytes_with_nul(name) else { continue };
        let Ok(size) = rustix::fs::fgetxattr(from, name, &mut value) else { continue };
        match rustix::fs::fsetxattr(to, name, &value[..size], XattrFlags::empty()) {
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::PERM) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Owner, mode and times, in the order in which one does not undo the other.
fn take_identity(copy: BorrowedFd<'_>, stat: &Stat) -> io::Result<()> {
    let now = rustix::fs::fstat(copy)?;
    if (now.st_uid, now.st_gid) != (stat.st_uid, stat.st_gid) {
        rustix::fs::fchown(copy, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
    }
    rustix::fs::fchmod(copy, Mode::from_raw_mode(stat.st_mode))?;
    Ok(rustix::fs::futimens(copy, &times(stat))?)
}

fn own_by_name(folder: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    Ok(rustix::fs::chownat(folder, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?)
}

fn times_by_name(folder: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> io::Result<()> {
    Ok(rustix::fs::utimensat(folder, name, &times(stat), AtFlags::SYMLINK_NOFOLLOW)?)
}

fn times(stat: &Stat) -> Timestamps {
    let time = |seconds, nanoseconds| Timespec { tv_sec: seconds, tv_nsec: nanoseconds as _ };
    Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};

    fn open(path: &std::path::Path) -> OwnedFd {
        rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap()
    }

    #[test]
    fn a_tree_is_copied_with_everything_and_only_into_an_empty_volume() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        std::fs::create_dir_all(from.join("sub")).unwrap();
        std::fs::create_dir(&to).unwrap();
        std::fs::write(from.join("sub/file"), "content").unwrap();
        std::fs::hard_link(from.join("sub/file"), from.join("again")).unwrap();
        symlink("/etc/passwd", from.join("link")).unwrap();
        std::fs::set_permissions(from.join("sub/file"), PermissionsExt::from_mode(0o4751)).unwrap();
        std::fs::set_permissions(&from, PermissionsExt::from_mode(0o710)).unwrap();
        let big = std::fs::File::create(from.join("big")).unwrap();
        big.write_all_at(b"x", 3 << 20).unwrap();

        assert!(copy_up(open(&from).as_fd(), open(&to).as_fd()).unwrap());
        assert_eq!(std::fs::read(to.join("sub/file")).unwrap(), b"content");
        assert_eq!(std::fs::metadata(to.join("sub/file")).unwrap().mode() & 0o7777, 0o4751);
        assert_eq!(std::fs::metadata(&to).unwrap().mode() & 0o7777, 0o710);
        assert_eq!(
            std::fs::metadata(to.join("again")).unwrap().ino(),
            std::fs::metadata(to.join("sub/file")).unwrap().ino()
        );
        assert_eq!(std::fs::read_link(to.join("link")).unwrap().to_str(), Some("/etc/passwd"));
        assert_eq!(std::fs::metadata(to.join("big")).unwrap().len(), (3 << 20) + 1);
        let (a, b) =
            (std::fs::metadata(from.join("big")).unwrap(), std::fs::metadata(to.join("big")).unwrap());
        assert_eq!((a.mtime(), a.mtime_nsec()), (b.mtime(), b.mtime_nsec()));

        assert!(!copy_up(open(&from).as_fd(), open(&to).as_fd()).unwrap(), "the volume has content now");
    }
}
