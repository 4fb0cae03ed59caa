//! What a directory holds, copied into the filesystem that will cover it (`tmpcopyup`): by descriptors only, following no
//! link, with owners and modes kept.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, RawMode, Stat, Uid, chownat, fchmod, fchown, mkdirat, mknodat,
    openat, readlinkat, statat, symlinkat,
};

/// Deeper than this nobody's directories are.
const DEPTH: usize = 256;

/// Copies everything in the directory `from` into the directory `to`, and the owner and mode of `from` itself.
pub(super) fn copy_directory(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<()> {
    let from = openat(from, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    copy_into(&from, to, DEPTH)
}

fn copy_into(from: &OwnedFd, to: BorrowedFd<'_>, depth: usize) -> io::Result<()> {
    if depth == 0 {
        return Err(io::Error::from_raw_os_error(libc::ELOOP));
    }
    for entry in Dir::read_from(from)? {
        let entry = entry?;
        let name = entry.file_name();
        if !matches!(name.to_bytes(), b"." | b"..") {
            copy_entry(from, to, name, depth)?;
        }
    }
    let stat = rustix::fs::fstat(from)?;
    fchown(to, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
    Ok(fchmod(to, mode(&stat))?)
}

fn mode(stat: &Stat) -> Mode {
    Mode::from_raw_mode(stat.st_mode as RawMode & 0o7777)
}

fn copy_entry(from: &OwnedFd, to: BorrowedFd<'_>, name: &CStr, depth: usize) -> io::Result<()> {
    let stat = statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {
            mkdirat(to, name, Mode::RWXU)?;
            let source = openat(from, name, OFlags::RDONLY | OFlags::DIRECTORY | flags, Mode::empty())?;
            let target = openat(to, name, OFlags::RDONLY | OFlags::DIRECTORY | flags, Mode::empty())?;
            return copy_into(&source, target.as_fd(), depth - 1);
        }
        FileType::RegularFile => {
            let source = openat(from, name, OFlags::RDONLY | OFlags::NONBLOCK | flags, Mode::empty())?;
            let target =
                openat(to, name, OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | flags, Mode::RUSR)?;
            let mut target = std::fs::File::from(target);
            io::copy(&mut std::fs::File::from(source), &mut target)?;
            fchown(&target, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
            return Ok(fchmod(&target, mode(&stat))?);
        }
        FileType::Symlink => symlinkat(readlinkat(from, name, Vec::new())?, to, name)?,
        kind => mknodat(to, name, kind, mode(&stat), stat.st_rdev)?,
    }
    let (uid, gid) = (Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)));
    Ok(chownat(to, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

    #[test]
    fn files_directories_and_links_arrive_as_they_were() {
        let base = std::env::temp_dir().join(format!("corten-copy-up-{}", std::process::id()));
        let (from, to) = (base.join("from"), base.join("to"));
        std::fs::create_dir_all(from.join("sub")).unwrap();
        std::fs::create_dir_all(&to).unwrap();
        std::fs::write(from.join("sub/file"), "content").unwrap();
        std::fs::set_permissions(from.join("sub/file"), std::fs::Permissions::from_mode(0o640)).unwrap();
        std::fs::set_permissions(&from, std::fs::Permissions::from_mode(0o711)).unwrap();
        symlink("/nowhere", from.join("link")).unwrap();
        let open = |path: &std::path::Path| {
            rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap()
        };
        let target = rustix::fs::open(&to, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
        copy_directory(open(&from).as_fd(), target.as_fd()).unwrap();
        assert_eq!(std::fs::read(to.join("sub/file")).unwrap(), b"content");
        assert_eq!(std::fs::metadata(to.join("sub/file")).unwrap().mode() & 0o7777, 0o640);
        assert_eq!(std::fs::metadata(&to).unwrap().mode() & 0o7777, 0o711);
        assert_eq!(std::fs::read_link(to.join("link")).unwrap(), std::path::Path::new("/nowhere"));
        std::fs::remove_dir_all(&base).unwrap();
    }
}
