//! What identifies the content of copied files for the cache: names, kinds, modes, link targets and bytes.
//!
//! Times never count, so that a fresh checkout of the same files finds the cache. Owners count only where they are
//! copied (`COPY --from` without `--chown`).

use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;

use corten_dockerfile::ignore::Patterns;
use corten_types::{Digest, Digester};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::select::{Selected, list};

/// How deep directories may nest.
pub(crate) const DEPTH_LIMIT: usize = 512;

/// Whether the owner of a file is part of its identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owners {
    /// It will be replaced.
    Ignored,
    /// It is copied.
    Counted,
}

/// The identity of a selection, with everything below it that `exclude` leaves.
pub fn fingerprint(selected: &Selected, owners: Owners, exclude: &Patterns) -> std::io::Result<Digest> {
    let mut print = Fingerprint { digester: Digester::new(), owners, exclude };
    if selected.is_directory() {
        // The directory's own mode is not copied, only what is in it.
        print.directory(selected.location.as_fd(), "", 0)?;
    } else {
        print.header(selected.name(), &selected.stat);
        print.body(selected.location.as_fd(), None, &selected.stat)?;
    }
    Ok(print.digester.finish())
}

struct Fingerprint<'a> {
    digester: Digester,
    owners: Owners,
    exclude: &'a Patterns,
}

impl Fingerprint<'_> {
    fn directory(&mut self, directory: BorrowedFd<'_>, path: &str, depth: usize) -> std::io::Result<()> {
        if depth > DEPTH_LIMIT {
            return Err(Errno::NAMETOOLONG.into());
        }
        for name in list(directory)? {
            let shown = name.to_string_lossy();
            let path = if path.is_empty() { shown.into_owned() } else { format!("{path}/{shown}") };
            let stat = rustix::fs::statat(directory, &name, AtFlags::SYMLINK_NOFOLLOW)?;
            let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
            let passes_over = !is_directory || self.exclude.prunes(&path);
            if passes_over && self.exclude.excludes(&path) {
                continue;
            }
            // The bytes of the name count, not what is shown of it.
            self.field(name.as_bytes());
            self.header(&path, &stat);
            if is_directory {
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let below = rustix::fs::openat(directory, &name, flags, Mode::empty())?;
                self.directory(below.as_fd(), &path, depth + 1)?;
            } else {
                self.body(directory, Some(&name), &stat)?;
            }
        }
        Ok(())
    }

    fn header(&mut self, path: &str, stat: &Stat) {
        self.field(path.as_bytes());
        self.number(u64::from(stat.st_mode));
        if FileType::from_raw_mode(stat.st_mode).is_char_device()
            || FileType::from_raw_mode(stat.st_mode).is_block_device()
        {
            self.number(stat.st_rdev);
        }
        if self.owners == Owners::Counted {
            self.number(u64::from(stat.st_uid));
            self.number(u64::from(stat.st_gid));
        }
    }

    /// What a file holds: `name` in `directory`, or `directory` itself as a location.
    fn body(
        &mut self,
        directory: BorrowedFd<'_>,
        name: Option<&std::ffi::OsString>,
        stat: &Stat,
    ) -> std::io::Result<()> {
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {
                let mut file = std::fs::File::from(open_file(directory, name)?);
                let mut buffer = vec![0; 128 << 10];
                let mut content = Digester::new();
                loop {
                    match file.read(&mut buffer)? {
                        0 => break,
                        n => content.update(&buffer[..n]),
                    }
                }
                self.digester.update(content.finish().as_bytes());
            }
            FileType::Symlink => {
                let empty = std::ffi::OsString::new();
                let target = rustix::fs::readlinkat(directory, name.unwrap_or(&empty), Vec::new())?;
                self.field(target.as_bytes());
            }
            _ => {}
        }
        Ok(())
    }

    fn field(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.digester.update(bytes);
    }

    fn number(&mut self, number: u64) {
        self.digester.update(&number.to_le_bytes());
    }
}

/// Opens a regular file for reading: `name` in `directory`, or what the location `directory` is.
pub(crate) fn open_file(
    directory: BorrowedFd<'_>,
    name: Option<&std::ffi::OsString>,
) -> std::io::Result<std::os::fd::OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    match name {
        Some(name) => Ok(rustix::fs::openat(directory, name, flags, Mode::empty())?),
        None => {
            // The only way to read what an O_PATH descriptor stands for.
            use std::os::fd::AsRawFd;
            let link = format!("/proc/self/fd/{}", directory.as_raw_fd());
            let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
            Ok(rustix::fs::open(link, flags, Mode::empty())?)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::select::select;

    fn print(root: &std::path::Path, source: &str, exclude: &[&str]) -> Digest {
        let root = std::fs::File::open(root).unwrap();
        let selected = select(root.as_fd(), source).unwrap().remove(0);
        fingerprint(&selected, Owners::Ignored, &Patterns::new(exclude.iter().copied()).unwrap()).unwrap()
    }

    #[test]
    fn times_do_not_count_and_everything_else_does() {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for dir in [a.path(), b.path()] {
            std::fs::create_dir(dir.join("d")).unwrap();
            std::fs::write(dir.join("d/file"), "same").unwrap();
            std::os::unix::fs::symlink("file", dir.join("d/link")).unwrap();
        }
        let old = std::fs::FileTimes::new().set_modified(std::time::SystemTime::UNIX_EPOCH);
        std::fs::File::options().write(true).open(b.path().join("d/file")).unwrap().set_times(old).unwrap();
        let first = print(a.path(), ".", &[]);
        assert_eq!(first, print(b.path(), ".", &[]));
        assert_eq!(print(a.path(), "d/file", &[]), print(b.path(), "d/file", &[]));

        let file = b.path().join("d/file");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert_ne!(first, print(b.path(), ".", &[]));
        std::fs::set_permissions(&file, std::fs::metadata(a.path().join("d/file")).unwrap().permissions())
            .unwrap();
        assert_eq!(first, print(b.path(), ".", &[]));
        std::fs::write(&file, "others").unwrap();
        assert_ne!(first, print(b.path(), ".", &[]));
        assert_eq!(print(a.path(), ".", &["d/file"]), print(b.path(), ".", &["d/file"]));
        std::fs::rename(&file, b.path().join("d/renamed")).unwrap();
        assert_ne!(print(a.path(), ".", &["d/link"]), print(b.path(), ".", &["d/link"]));
    }
}
