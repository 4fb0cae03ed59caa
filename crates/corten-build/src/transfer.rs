//! Copying files from one tree into another, both strangers': every name is resolved beneath its root's descriptor.
//!
//! The rules are those of Docker's builder: a directory's content is merged into the destination; a file replaces
//! what has its name, whatever that is; modes, times, links, hard links and file capabilities are kept; sockets are
//! left out.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use corten_dockerfile::ignore::Patterns;
use corten_sys::path::Root;
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use crate::fingerprint::{DEPTH_LIMIT, open_file};
use crate::owner::{Chmod, Owner};
use crate::select::{Selected, list};

/// The attribute that holds a file's capabilities; the only one that is copied.
const CAPABILITY: &str = "security.capability";

/// How many links at the end of a destination are followed.
const LINKS_LIMIT: usize = 40;

/// What becomes of copied files.
pub struct Options<'a> {
    /// Their owner; `None` keeps the source's.
    pub owner: Option<Owner>,
    /// Changes to their mode.
    pub chmod: Option<&'a Chmod>,
    /// What is left out below a directory.
    pub exclude: &'a Patterns,
}

/// A copy that failed, and where.
#[derive(Debug, thiserror::Error)]
#[error("failed to copy files: {operation} {path}: {source}")]
pub struct TransferError {
    operation: &'static str,
    path: String,
    source: io::Error,
}

impl TransferError {
    /// Whether something that is no directory stands where one has to be.
    pub fn is_in_the_way(&self) -> bool {
        matches!(Errno::from_io_error(&self.source), Some(Errno::NOTDIR | Errno::EXIST | Errno::LOOP))
    }

    fn at(operation: &'static str, path: &str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self { operation, path: path.into(), source }
    }
}

/// The tree that files are copied into.
pub struct Target<'fd> {
    root: BorrowedFd<'fd>,
}

/// A directory of the target and the paths by which people know it.
struct Level<'a> {
    directory: BorrowedFd<'a>,
    /// In the target, from its root.
    target: String,
    /// In the source, from the copied directory.
    source: String,
    depth: usize,
}

impl<'fd> Target<'fd> {
    /// The tree beneath `root`.
    pub fn new(root: BorrowedFd<'fd>) -> Self {
        Self { root }
    }

    /// Whether `path` is a directory, links followed inside the tree.
    pub fn is_directory(&self, path: &str) -> bool {
        Root::new(self.root).open(path, OFlags::PATH | OFlags::DIRECTORY).is_ok()
    }

    /// Opens the directory `path`; what is missing of it is made with mode 0755 and `owner`.
    pub fn make_directories(&self, path: &str, owner: Owner) -> Result<OwnedFd, TransferError> {
        let root = Root::new(self.root);
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        if let Ok(found) = root.open(path, flags) {
            return Ok(found);
        }
        let clean = corten_dockerfile::path_match::clean(&format!("/{path}"));
        let mut current = root.open("/", flags).map_err(TransferError::at("open", "/"))?;
        let mut prefix = String::new();
        for name in clean.split('/').filter(|name| !name.is_empty()) {
            prefix.push('/');
            prefix.push_str(name);
            current = match root.open(&prefix, flags) {
                Ok(found) => found,
                Err(error) if Errno::from_io_error(&error) == Some(Errno::NOENT) => {
                    make_directory(current.as_fd(), OsStr::new(name), 0o755, owner)
                        .map_err(TransferError::at("create", &prefix))?
                }
                Err(error) => return Err(TransferError::at("open", &prefix)(error)),
            };
        }
        Ok(current)
    }

    /// Copies what was selected to `destination`: the content of a directory into it, a file beneath it or to it.
    pub fn copy(
        &self,
        selected: &Selected,
        destination: &str,
        options: &Options<'_>,
    ) -> Result<(), TransferError> {
        let made_by = options.owner.unwrap_or(Owner::ROOT);
        if selected.is_directory() {
            let directory = self.make_directories(destination, made_by)?;
            let mut copier = Copier { root: self.root, options, links: HashMap::new() };
            let level = Level {
                directory: directory.as_fd(),
                target: destination.trim_end_matches('/').to_owned(),
                source: String::new(),
                depth: 0,
            };
            return copier.content(selected.location.as_fd(), &level);
        }
        let path = if destination.ends_with('/') || self.is_directory(destination) {
            format!("{}/{}", destination.trim_end_matches('/'), selected.name())
        } else {
            destination.to_owned()
        };
        let (parent, name) = self.parent_of(&path, made_by)?;
        let mut copier = Copier { root: self.root, options, links: HashMap::new() };
        copier
            .file(
                Entry { directory: selected.location.as_fd(), name: None, stat: &selected.stat },
                parent.as_fd(),
                &name,
                &path,
            )
            .map_err(TransferError::at("create", &path))
    }

    /// Writes a file of `content` to `destination`, named `name` where that is a directory.
    pub fn write(
        &self,
        content: &[u8],
        name: &str,
        destination: &str,
        mode: u32,
        owner: Owner,
    ) -> Result<(), TransferError> {
        let path = if destination.ends_with('/') || self.is_directory(destination) {
            format!("{}/{name}", destination.trim_end_matches('/'))
        } else {
            destination.to_owned()
        };
        let (parent, name) = self.parent_of(&path, owner)?;
        let write = || -> io::Result<()> {
            remove_all(parent.as_fd(), &name, 0)?;
            let file = create(parent.as_fd(), &name)?;
            io::Write::write_all(&mut &file, content)?;
            set_owner(file.as_fd(), owner)?;
            Ok(rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?)
        };
        write().map_err(TransferError::at("create", &path))
    }

    /// The directory and name that `path` means. Links at its end are followed, as far as they lead to something.
    fn parent_of(&self, path: &str, owner: Owner) -> Result<(OwnedFd, OsString), TransferError> {
        let mut clean = corten_dockerfile::path_match::clean(&format!("/{path}"));
        for _ in 0..LINKS_LIMIT {
            let Ok(place) = Root::new(self.root).place(&clean) else { break };
            let Ok(link) = rustix::fs::readlinkat(&place.parent, &place.name, Vec::new()) else { break };
            let Ok(link) = link.into_string() else { break };
            let next = match clean.rsplit_once('/') {
                Some((parent, _)) if !link.starts_with('/') => format!("{parent}/{link}"),
                _ => link,
            };
            clean = corten_dockerfile::path_match::clean(&format!("/{next}"));
        }
        let (parent, name) = clean.rsplit_once('/').unwrap_or(("", &clean));
        if name.is_empty() {
            return Err(TransferError::at("replace", path)(Errno::ISDIR.into()));
        }
        let parent = self.make_directories(if parent.is_empty() { "/" } else { parent }, owner)?;
        Ok((parent, name.into()))
    }
}

struct Entry<'a> {
    directory: BorrowedFd<'a>,
    /// Absent where `directory` is the file itself, as a location.
    name: Option<&'a OsString>,
    stat: &'a Stat,
}

struct Copier<'a> {
    root: BorrowedFd<'a>,
    options: &'a Options<'a>,
    /// Files with several names: device and inode in the source, path in the target.
    links: HashMap<(u64, u64), String>,
}

impl Copier<'_> {
    /// Copies everything in `source` into the level's directory.
    fn content(&mut self, source: BorrowedFd<'_>, level: &Level<'_>) -> Result<(), TransferError> {
        if level.depth > DEPTH_LIMIT {
            return Err(TransferError::at("enter", &level.target)(Errno::NAMETOOLONG.into()));
        }
        for name in list(source).map_err(|errno| TransferError::at("list", &level.target)(errno.into()))? {
            let shown = name.to_string_lossy();
            let path = format!("{}/{shown}", level.target);
            let below =
                if level.source.is_empty() { shown.to_string() } else { format!("{}/{shown}", level.source) };
            let stat = rustix::fs::statat(source, &name, AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|errno| TransferError::at("stat", &path)(errno.into()))?;
            let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
            let excluded = self.options.exclude.excludes(&below);
            // A directory that is left out may still hold something that is not.
            if excluded && (!is_directory || self.options.exclude.prunes(&below)) {
                continue;
            }
            if !is_directory {
                let entry = Entry { directory: source, name: Some(&name), stat: &stat };
                self.file(entry, level.directory, &name, &path)
                    .map_err(TransferError::at("create", &path))?;
                continue;
            }
            let (from, to) =
                self.enter(source, level.directory, &name).map_err(TransferError::at("create", &path))?;
            let next = Level { directory: to.as_fd(), target: path, source: below, depth: level.depth + 1 };
            self.content(from.as_fd(), &next)?;
            self.attributes(to.as_fd(), &stat).map_err(TransferError::at("finish", &next.target))?;
        }
        Ok(())
    }

    /// Opens the directory `name` on both sides, making it in the target; something else of that name goes.
    fn enter(
        &self,
        source: BorrowedFd<'_>,
        target: BorrowedFd<'_>,
        name: &OsStr,
    ) -> io::Result<(OwnedFd, OwnedFd)> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let from = rustix::fs::openat(source, name, flags, Mode::empty())?;
        let to = match rustix::fs::openat(target, name, flags, Mode::empty()) {
            Ok(found) => found,
            Err(Errno::NOENT) => make_directory(target, name, 0o700, Owner::ROOT)?,
            Err(Errno::NOTDIR | Errno::LOOP) => {
                remove_all(target, name, 0)?;
                make_directory(target, name, 0o700, Owner::ROOT)?
            }
            Err(errno) => return Err(errno.into()),
        };
        Ok((from, to))
    }

    /// Copies one file that is no directory to `name` in `target`.
    fn file(&mut self, entry: Entry<'_>, target: BorrowedFd<'_>, name: &OsStr, path: &str) -> io::Result<()> {
        let Entry { directory, name: source_name, stat } = entry;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::Socket {
            return Ok(());
        }
        remove_all(target, name, 0)?;
        let identity = (stat.st_dev, stat.st_ino);
        if stat.st_nlink > 1 {
            if let Some(first) = self.links.get(&identity) {
                let first = Root::new(self.root).place(first)?;
                return Ok(rustix::fs::linkat(&first.parent, &first.name, target, name, AtFlags::empty())?);
            }
            self.links.insert(identity, path.into());
        }
        match kind {
            FileType::RegularFile => {
                let from = std::fs::File::from(open_file(directory, source_name)?);
                let to = create(target, name)?;
                // Between two files the kernel shares blocks or copies by itself.
                io::copy(&mut &from, &mut &to)?;
                self.attributes(to.as_fd(), stat)?;
                copy_capability(from.as_fd(), to.as_fd())
            }
            FileType::Symlink => {
                let empty = OsString::new();
                let link = rustix::fs::readlinkat(directory, source_name.unwrap_or(&empty), Vec::new())?;
                rustix::fs::symlinkat(&link, target, name)?;
                self.link_attributes(target, name, stat)
            }
            _ => {
                let mode = Mode::from_raw_mode(self.mode(stat));
                rustix::fs::mknodat(target, name, kind, mode, stat.st_rdev)?;
                self.link_attributes(target, name, stat)?;
                Ok(rustix::fs::chmodat(target, name, mode, AtFlags::empty())?)
            }
        }
    }

    fn mode(&self, stat: &Stat) -> u32 {
        let directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        match self.options.chmod {
            Some(chmod) => chmod.apply(stat.st_mode, directory),
            None => stat.st_mode & 0o7777,
        }
    }

    fn owner(&self, stat: &Stat) -> Owner {
        self.options.owner.unwrap_or(Owner { uid: stat.st_uid, gid: stat.st_gid })
    }

    /// Owner first: changing it takes set-id bits away.
    fn attributes(&self, file: BorrowedFd<'_>, stat: &Stat) -> io::Result<()> {
        set_owner(file, self.owner(stat))?;
        rustix::fs::fchmod(file, Mode::from_raw_mode(self.mode(stat)))?;
        Ok(rustix::fs::futimens(file, &times(stat))?)
    }

    fn link_attributes(&self, directory: BorrowedFd<'_>, name: &OsStr, stat: &Stat) -> io::Result<()> {
        let owner = self.owner(stat);
        let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
        rustix::fs::chownat(directory, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(rustix::fs::utimensat(directory, name, &times(stat), AtFlags::SYMLINK_NOFOLLOW)?)
    }
}

fn times(stat: &Stat) -> Timestamps {
    #[expect(clippy::cast_possible_wrap, reason = "nanoseconds of a second")]
    let modified = Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec as i64 };
    Timestamps { last_access: modified, last_modification: modified }
}

fn set_owner(file: BorrowedFd<'_>, owner: Owner) -> io::Result<()> {
    Ok(rustix::fs::fchown(file, Some(Uid::from_raw(owner.uid)), Some(Gid::from_raw(owner.gid)))?)
}

fn create(directory: BorrowedFd<'_>, name: &OsStr) -> io::Result<std::fs::File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(std::fs::File::from(rustix::fs::openat(directory, name, flags, Mode::from_raw_mode(0o600))?))
}

fn make_directory(parent: BorrowedFd<'_>, name: &OsStr, mode: u32, owner: Owner) -> io::Result<OwnedFd> {
    rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o700))?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let made = rustix::fs::openat(parent, name, flags, Mode::empty())?;
    set_owner(made.as_fd(), owner)?;
    rustix::fs::fchmod(&made, Mode::from_raw_mode(mode))?;
    Ok(made)
}

fn copy_capability(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<()> {
    let mut value = [0_u8; 64];
    match rustix::fs::fgetxattr(from, CAPABILITY, &mut value[..]) {
        Ok(length) => Ok(rustix::fs::fsetxattr(to, CAPABILITY, &value[..length], XattrFlags::empty())?),
        Err(Errno::NODATA | Errno::NOTSUP) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Removes `name` and all below it; that nothing has the name is fine.
pub(crate) fn remove_all(directory: BorrowedFd<'_>, name: &OsStr, depth: usize) -> io::Result<()> {
    match rustix::fs::unlinkat(directory, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR) if depth <= DEPTH_LIMIT => {}
        Err(errno) => return Err(errno.into()),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let below = rustix::fs::openat(directory, name, flags, Mode::empty())?;
    for name in list(below.as_fd())? {
        remove_all(below.as_fd(), &name, depth + 1)?;
    }
    Ok(rustix::fs::unlinkat(directory, name, AtFlags::REMOVEDIR)?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
    use std::path::Path;

    use super::*;
    use crate::select::select;

    fn copy(
        from: &Path,
        source: &str,
        to: &Path,
        destination: &str,
        options: &Options<'_>,
    ) -> Result<(), String> {
        let (from, to) = (std::fs::File::open(from).unwrap(), std::fs::File::open(to).unwrap());
        for selected in select(from.as_fd(), source).unwrap() {
            Target::new(to.as_fd())
                .copy(&selected, destination, options)
                .map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    fn plain(exclude: &Patterns) -> Options<'_> {
        Options { owner: None, chmod: None, exclude }
    }

    #[test]
    fn directories_merge_and_files_replace() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (from, to) = (from.path(), to.path());
        std::fs::create_dir_all(from.join("d/e")).unwrap();
        std::fs::write(from.join("d/e/f"), "new").unwrap();
        std::fs::hard_link(from.join("d/e/f"), from.join("d/hard")).unwrap();
        symlink("/absolute", from.join("d/link")).unwrap();
        std::fs::set_permissions(from.join("d/e"), std::fs::Permissions::from_mode(0o750)).unwrap();
        std::fs::create_dir_all(to.join("x/e/f")).unwrap();
        std::fs::write(to.join("x/kept"), "old").unwrap();
        let none = Patterns::default();
        copy(from, "d", to, "/x", &plain(&none)).unwrap();
        assert_eq!(std::fs::read(to.join("x/e/f")).unwrap(), b"new");
        assert_eq!(std::fs::read(to.join("x/kept")).unwrap(), b"old");
        assert_eq!(std::fs::read_link(to.join("x/link")).unwrap(), Path::new("/absolute"));
        assert_eq!(std::fs::metadata(to.join("x/e")).unwrap().mode() & 0o7777, 0o750);
        let inode = |path: &str| std::fs::metadata(to.join(path)).unwrap().ino();
        assert_eq!(inode("x/e/f"), inode("x/hard"));

        copy(from, "d/e/f", to, "/y/z/", &plain(&none)).unwrap();
        assert_eq!(std::fs::read(to.join("y/z/f")).unwrap(), b"new");
        copy(from, "d/e/f", to, "/y/z", &plain(&none)).unwrap();
        copy(from, "d/e/f", to, "/y/name", &plain(&none)).unwrap();
        assert_eq!(std::fs::read(to.join("y/name")).unwrap(), b"new");
        copy(from, "d", to, "/w", &plain(&Patterns::new(["e", "link"]).unwrap())).unwrap();
        assert_eq!(std::fs::read_dir(to.join("w")).unwrap().count(), 1);
    }

    #[test]
    fn links_in_the_target_stay_inside_it() {
        let (from, to, outside) =
            (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(from.path().join("f"), "x").unwrap();
        symlink(outside.path(), to.path().join("out")).unwrap();
        symlink("../../../../../..", to.path().join("up")).unwrap();
        let none = Patterns::default();
        assert!(copy(from.path(), "f", to.path(), "/out/f", &plain(&none)).is_err());
        copy(from.path(), "f", to.path(), "/up/f", &plain(&none)).unwrap();
        assert!(to.path().join("f").exists());
        // A link at the end leads to a place in the tree, never to the host's file of that name.
        symlink(outside.path().join("victim"), to.path().join("g")).unwrap();
        copy(from.path(), "f", to.path(), "/g", &plain(&none)).unwrap();
        let inside = outside.path().join("victim");
        assert!(to.path().join(inside.strip_prefix("/").unwrap()).is_file());
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
    }

    #[test]
    fn owners_and_modes_are_set() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: only root can give files away");
            return;
        }
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(from.path().join("f"), "x").unwrap();
        let none = Patterns::default();
        let chmod = Chmod::parse("4711").unwrap();
        let options = Options { owner: Some(Owner { uid: 5, gid: 6 }), chmod: Some(&chmod), exclude: &none };
        copy(from.path(), "f", to.path(), "/new/f", &options).unwrap();
        let (dir, file) = (
            std::fs::metadata(to.path().join("new")).unwrap(),
            std::fs::metadata(to.path().join("new/f")).unwrap(),
        );
        assert_eq!((dir.uid(), dir.gid(), dir.mode() & 0o7777), (5, 6, 0o755));
        assert_eq!((file.uid(), file.gid(), file.mode() & 0o7777), (5, 6, 0o4711));
    }
}
