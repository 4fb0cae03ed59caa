//! Whether two trees hold the same.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::beneath::join;
use crate::error::DiffError;
use crate::tree::{self, READ_DIRECTORY};
use crate::xattr;

/// The first path, in no particular order, at which two trees differ in kind, owner, mode, attributes, content or
/// target; `None` where they are the same. Times of directories are not compared: they tell when somebody looked.
pub fn difference(one: impl AsFd, other: impl AsFd) -> Result<Option<Vec<u8>>, DiffError> {
    let open = |root: rustix::fd::BorrowedFd<'_>| {
        rustix::fs::openat(root, ".", READ_DIRECTORY, Mode::empty()).map_err(DiffError::io(b"/", "open"))
    };
    let mut pending = vec![(open(one.as_fd())?, open(other.as_fd())?, Vec::new())];
    while let Some((one, other, path)) = pending.pop() {
        let failed = DiffError::io(&path, "compare");
        match level(&one, &other, &path) {
            Ok(Level::Same(below)) => pending.extend(below),
            Ok(Level::Differs(path)) => return Ok(Some(path)),
            Err(errno) => return Err(failed(errno)),
        }
    }
    Ok(None)
}

/// Two directories of one path.
type Pair = (OwnedFd, OwnedFd, Vec<u8>);

enum Level {
    Same(Vec<Pair>),
    Differs(Vec<u8>),
}

/// Compares two directories and all files in them; gives the directories in them.
fn level(one: &OwnedFd, other: &OwnedFd, path: &[u8]) -> Result<Level, Errno> {
    let mut below = Vec::new();
    let names = tree::names(one)?;
    if names != tree::names(other)?
        || xattr::get(one)? != xattr::get(other)?
        || xattr::is_opaque(one) != xattr::is_opaque(other)
    {
        return Ok(Level::Differs(path.to_vec()));
    }
    for name in names {
        let path = join(path, &name);
        let (a, b) = (tree::stat(one, &name)?, tree::stat(other, &name)?);
        let kind = FileType::from_raw_mode(a.st_mode);
        let is_directory = kind == FileType::Directory;
        let alike = (a.st_mode, a.st_uid, a.st_gid, a.st_rdev) == (b.st_mode, b.st_uid, b.st_gid, b.st_rdev)
            && (is_directory || (a.st_size, a.st_mtime, a.st_nlink) == (b.st_size, b.st_mtime, b.st_nlink));
        let alike = alike
            && match kind {
                FileType::Directory => {
                    let open =
                        |at: &OwnedFd| rustix::fs::openat(at, name.as_slice(), READ_DIRECTORY, Mode::empty());
                    below.push((open(one)?, open(other)?, path.clone()));
                    true
                }
                FileType::RegularFile => same_file(one, other, &name)?,
                FileType::Symlink => {
                    let target = |at: &OwnedFd| rustix::fs::readlinkat(at, name.as_slice(), Vec::new());
                    target(one)? == target(other)?
                }
                _ => true,
            };
        if !alike {
            return Ok(Level::Differs(path));
        }
    }
    Ok(Level::Same(below))
}

fn same_file(one: &OwnedFd, other: &OwnedFd, name: &[u8]) -> Result<bool, Errno> {
    let open = |at: &OwnedFd| {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        rustix::fs::openat(at, name, flags, Mode::empty())
    };
    let (one, other) = (open(one)?, open(other)?);
    if xattr::get(&one)? != xattr::get(&other)? {
        return Ok(false);
    }
    let (mut one, mut other) = (File::from(one), File::from(other));
    let (mut a, mut b) = (vec![0; 128 << 10], vec![0; 128 << 10]);
    loop {
        // An unreadable block is a difference, and the reason why somebody asks.
        let (Ok(n), Ok(m)) = (fill(&mut one, &mut a), fill(&mut other, &mut b)) else { return Ok(false) };
        if a[..n] != b[..m] {
            return Ok(false);
        }
        if n == 0 {
            return Ok(true);
        }
    }
}

fn fill(file: &mut File, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(path: &std::path::Path) -> OwnedFd {
        rustix::fs::open(path, READ_DIRECTORY, Mode::empty()).unwrap()
    }

    #[test]
    fn one_changed_byte_is_found_and_where_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let time = std::fs::FileTimes::new().set_modified(std::time::SystemTime::UNIX_EPOCH);
        for tree in ["a", "b"] {
            let sub = dir.path().join(tree).join("sub");
            std::fs::create_dir_all(&sub).unwrap();
            std::fs::write(sub.join("file"), vec![7; 300_000]).unwrap();
            std::fs::File::options().write(true).open(sub.join("file")).unwrap().set_times(time).unwrap();
            std::os::unix::fs::symlink("file", sub.join("link")).unwrap();
        }
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        let links_have_times = |found: &Option<Vec<u8>>| found.as_deref() == Some(b"sub/link");
        let same = difference(open(&a), open(&b)).unwrap();
        assert!(same.is_none() || links_have_times(&same), "{same:?}");
        let file = std::fs::File::options().write(true).open(b.join("sub/file")).unwrap();
        std::os::unix::fs::FileExt::write_at(&file, b"x", 299_999).unwrap();
        file.set_times(time).unwrap();
        std::fs::remove_file(a.join("sub/link")).unwrap();
        std::fs::remove_file(b.join("sub/link")).unwrap();
        assert_eq!(difference(open(&a), open(&b)).unwrap(), Some(b"sub/file".to_vec()));
        std::fs::remove_file(b.join("sub/file")).unwrap();
        assert_eq!(difference(open(&a), open(&b)).unwrap(), Some(b"sub".to_vec()));
    }
}
