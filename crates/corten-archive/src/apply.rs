//! Unpacks an archive into a tree: a layer into its own lower directory, or plain files into a container.
//!
//! ```text
//!   .wh.name        → character device 0:0 (hides name below)
//!   .wh..wh..opq    → remembered: settle() marks the directory, which takes a privilege that this does not want
//!   a/b/c, no a/b   → a and b are made and remembered: settle() gives them the looks they have below
//!   link to nothing → remembered: settle() looks for its target below
//! ```
//!
//! A later entry replaces an earlier one of the same path, but a directory stays a directory.

use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, makedev};
use rustix::io::Errno;

use crate::beneath::{Beneath, Missing, clean, join, split};
use crate::entry::{Entry, EntryKind, Time};
use crate::error::ApplyError;
use crate::limits::{Limits, NAME_MAX, PATH_MAX};
use crate::reader::Reader;
use crate::tree::{self, READ_DIRECTORY};
use crate::xattr;

/// What names that begin with `.wh.` mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whiteouts {
    /// What is not in this layer, in overlay's form.
    Overlay,
    /// Nothing; they are files.
    Plain,
}

/// Whom the unpacked files belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ownership {
    /// Whom the archive says.
    Archive,
    /// One owner for all.
    All {
        /// User.
        uid: u32,
        /// Group.
        gid: u32,
    },
    /// Whom the archive says, by ids of the inside of this mapping.
    Inside(crate::IdMap),
}

/// How an archive is unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApplyOptions {
    /// What names that begin with `.wh.` mean.
    pub whiteouts: Whiteouts,
    /// Whom the files belong to.
    pub ownership: Ownership,
    /// Whether a directory may be replaced by something else, and the other way round.
    pub replace_directories: bool,
    /// How much it may unpack to.
    pub limits: Limits,
    /// The process's umask, where the caller knows it; otherwise it is read from `/proc`.
    pub umask: Option<u32>,
}

impl ApplyOptions {
    /// For the layer of an image.
    pub const fn layer(limits: Limits) -> Self {
        Self {
            whiteouts: Whiteouts::Overlay,
            ownership: Ownership::Archive,
            replace_directories: true,
            limits,
            umask: None,
        }
    }

    /// For files that are copied into a tree.
    pub const fn copy(limits: Limits) -> Self {
        Self {
            whiteouts: Whiteouts::Plain,
            ownership: Ownership::Archive,
            replace_directories: true,
            limits,
            umask: None,
        }
    }
}

/// What was unpacked, and what is still to be done once the trees beneath are there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// Directories the archive did not name.
    pub implied: Vec<Vec<u8>>,
    /// Directories that hide what lies beneath them.
    pub opaque: Vec<Vec<u8>>,
    /// Hard links to files the archive did not hold.
    pub links: Vec<DeferredLink>,
    /// Whether the archive named the root itself.
    pub root_named: bool,
}

/// A hard link to a file of a layer beneath.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeferredLink {
    /// The link.
    pub path: Vec<u8>,
    /// What it is another name of.
    pub target: Vec<u8>,
}

/// Unpacks a layer's plain tar into the tree at `root`, which nobody else uses yet.
pub fn apply(root: impl AsFd, reader: &mut dyn Read, options: &ApplyOptions) -> Result<Applied, ApplyError> {
    let mut applier = Applier::new(root.as_fd(), &[], options);
    applier.run(reader)?;
    applier.finish()
}

/// Unpacks a plain tar into the directory `path` of the tree at `root`. Links on the way are followed inside the tree.
pub fn unpack(
    root: impl AsFd,
    path: &[u8],
    reader: &mut dyn Read,
    options: &ApplyOptions,
) -> Result<(), ApplyError> {
    let base = clean(path).ok_or_else(|| ApplyError::entry(path, "it leads out of the tree"))?;
    let mut applier = Applier::new(root.as_fd(), &base, options);
    applier.run(reader)?;
    let applied = applier.finish()?;
    match applied.links.first() {
        None => Ok(()),
        Some(link) => Err(ApplyError::io(&link.path, "link")(Errno::NOENT)),
    }
}

struct Applier<'a> {
    beneath: Beneath<'a>,
    base: &'a [u8],
    options: &'a ApplyOptions,
    applied: Applied,
    /// Directories get their times when nothing is put into them any more.
    directories: Vec<(Vec<u8>, Time)>,
    bytes: u64,
    inodes: u64,
    buffer: Vec<u8>,
    /// What the kernel takes from the mode of everything that is made.
    umask: u32,
    /// Whom everything that is made belongs to.
    maker: (u32, u32),
}

const WHITEOUT: &[u8] = b".wh.";
const WHITEOUT_META: &[u8] = b".wh..wh.";
const WHITEOUT_OPAQUE: &[u8] = b".wh..wh..opq";
const BUFFER: usize = 128 << 10;
/// A run of zeros as long as this is left out.
const HOLE_MIN: usize = 64 << 10;
static ZEROS: [u8; BUFFER] = [0; BUFFER];

/// Whether a file was left with holes, of which the last may lie at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holes {
    None,
    Some,
}

impl<'a> Applier<'a> {
    fn new(root: rustix::fd::BorrowedFd<'a>, base: &'a [u8], options: &'a ApplyOptions) -> Self {
        Self {
            beneath: Beneath::new(root),
            base,
            options,
            applied: Applied::default(),
            directories: Vec::new(),
            bytes: 0,
            inodes: 0,
            buffer: vec![0; BUFFER],
            umask: options.umask.unwrap_or_else(umask),
            maker: (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw()),
        }
    }

    fn run(&mut self, reader: &mut dyn Read) -> Result<(), ApplyError> {
        let mut reader = Reader::new(reader);
        while let Some(entry) = reader.next_entry()? {
            self.entry(&entry, &mut reader)?;
        }
        Ok(())
    }

    /// A path of the archive, checked, as a path of the tree.
    fn place(&self, path: &[u8]) -> Result<Vec<u8>, ApplyError> {
        if path.len() > PATH_MAX {
            return Err(ApplyError::entry(path, "its path is too long"));
        }
        let path_in_archive =
            clean(path).ok_or_else(|| ApplyError::entry(path, "it leads out of the archive"))?;
        if path_in_archive.contains(&0) {
            return Err(ApplyError::entry(path, "its path has a NUL"));
        }
        if path_in_archive.split(|&b| b == b'/').any(|name| name.len() > NAME_MAX) {
            return Err(ApplyError::entry(path, "a name in its path is too long"));
        }
        Ok(match (self.base, path_in_archive.as_slice()) {
            ([], _) => path_in_archive,
            (base, []) => base.to_vec(),
            (base, path) => [base, b"/", path].concat(),
        })
    }

    fn entry(&mut self, entry: &Entry, reader: &mut Reader<&mut dyn Read>) -> Result<(), ApplyError> {
        let path = self.place(&entry.path)?;
        self.inodes += 1;
        if self.inodes > self.options.limits.inodes {
            return Err(ApplyError::Limit { what: "files".into(), limit: self.options.limits.inodes });
        }
        if path == self.base {
            return self.root(entry, &path);
        }
        let (parent, name) = split(&path);
        if self.options.whiteouts == Whiteouts::Overlay {
            // Old aufs layers carry its own files; nobody wants them.
            if path
                .split(|&b| b == b'/')
                .any(|name| name.starts_with(WHITEOUT_META) && name != WHITEOUT_OPAQUE)
            {
                return Ok(());
            }
            if parent.split(|&b| b == b'/').any(|name| name.starts_with(WHITEOUT)) {
                return Err(ApplyError::entry(&entry.path, "it lies beneath a whiteout"));
            }
            if let Some(hidden) = name.strip_prefix(WHITEOUT) {
                return self.whiteout(entry, parent, name, hidden);
            }
        }
        if matches!(entry.kind, EntryKind::CharDevice { major: 0, minor: 0 }) {
            return Err(ApplyError::entry(&entry.path, "a character device 0:0 is a whiteout of overlay"));
        }
        let directory = self.parent(entry, parent)?;
        match entry.kind {
            EntryKind::File => self.file(entry, &directory, name, reader),
            EntryKind::Directory => self.directory(entry, &directory, name, &path),
            EntryKind::HardLink => self.hard_link(entry, &directory, name, &path),
            EntryKind::Symlink => self.symlink(entry, &directory, name),
            EntryKind::Fifo => self.node(entry, &directory, name, FileType::Fifo, 0),
            EntryKind::CharDevice { major, minor } => {
                self.node(entry, &directory, name, FileType::CharacterDevice, makedev(major, minor))
            }
            EntryKind::BlockDevice { major, minor } => {
                self.node(entry, &directory, name, FileType::BlockDevice, makedev(major, minor))
            }
        }
    }

    fn parent(&mut self, entry: &Entry, parent: &[u8]) -> Result<Rc<OwnedFd>, ApplyError> {
        self.beneath
            .directory(parent, Missing::Create)
            .map_err(ApplyError::io(&entry.path, "open the parent of"))
    }

    fn root(&mut self, entry: &Entry, path: &[u8]) -> Result<(), ApplyError> {
        if entry.kind != EntryKind::Directory {
            return Err(ApplyError::entry(&entry.path, "the root can only be a directory"));
        }
        if !self.base.is_empty() {
            // A copy into a directory leaves that directory as it is.
            return Ok(());
        }
        let directory =
            self.beneath.directory(path, Missing::Fail).map_err(ApplyError::io(&entry.path, "open"))?;
        let directory = rustix::fs::openat(&directory, ".", READ_DIRECTORY, Mode::empty())
            .map_err(ApplyError::io(&entry.path, "open"))?;
        self.looks(entry, &directory)?;
        self.applied.root_named = true;
        self.directories.push((path.to_vec(), entry.mtime));
        Ok(())
    }

    fn whiteout(
        &mut self,
        entry: &Entry,
        parent: &[u8],
        name: &[u8],
        hidden: &[u8],
    ) -> Result<(), ApplyError> {
        let directory = self.parent(entry, parent)?;
        if name == WHITEOUT_OPAQUE {
            self.applied.opaque.push(parent.to_vec());
            return Ok(());
        }
        if hidden.is_empty() || hidden == b"." || hidden == b".." {
            return Err(ApplyError::entry(&entry.path, "a whiteout of nothing"));
        }
        match rustix::fs::mknodat(&directory, hidden, FileType::CharacterDevice, Mode::empty(), 0) {
            Ok(()) => Ok(()),
            // A whiteout is about the layers below; what this layer holds itself stays, and hides what is below.
            Err(Errno::EXIST) => {
                let child = tree::stat(&directory, hidden).map_err(ApplyError::io(&entry.path, "look at"))?;
                if FileType::from_raw_mode(child.st_mode) == FileType::Directory {
                    self.applied.opaque.push(join(parent, hidden));
                }
                Ok(())
            }
            Err(errno) => Err(ApplyError::io(&entry.path, "hide")(errno)),
        }
    }

    /// Runs `make`; if something is in the way, removes it and runs it again.
    fn replace<T>(
        &mut self,
        entry: &Entry,
        directory: &OwnedFd,
        name: &[u8],
        make: impl Fn() -> Result<T, Errno>,
    ) -> Result<T, ApplyError> {
        match make() {
            Err(Errno::EXIST) => {}
            made => return made.map_err(ApplyError::io(&entry.path, "create")),
        }
        let old = tree::stat(directory, name).map_err(ApplyError::io(&entry.path, "look at"))?;
        let is_directory = FileType::from_raw_mode(old.st_mode) == FileType::Directory;
        if is_directory && !self.options.replace_directories {
            return Err(ApplyError::entry(&entry.path, "cannot overwrite directory with non-directory"));
        }
        tree::remove(directory, name).map_err(ApplyError::io(&entry.path, "replace"))?;
        self.beneath.forget();
        make().map_err(ApplyError::io(&entry.path, "create"))
    }

    fn file(
        &mut self,
        entry: &Entry,
        directory: &OwnedFd,
        name: &[u8],
        reader: &mut Reader<&mut dyn Read>,
    ) -> Result<(), ApplyError> {
        self.bytes = self.bytes.saturating_add(entry.size);
        if self.bytes > self.options.limits.bytes {
            return Err(ApplyError::Limit { what: "bytes".into(), limit: self.options.limits.bytes });
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        // Most files can be born with their looks: layers of many small files are bound by system calls.
        let (uid, gid) = self.owner(entry);
        let born = (uid.as_raw(), gid.as_raw()) == self.maker
            && !self.beneath.gives_group()
            && entry.mode & (0o7000 | self.umask) == 0
            && entry.xattrs.is_empty();
        let mode = Mode::from_raw_mode(if born { entry.mode & 0o777 } else { 0o600 });
        let file =
            self.replace(entry, directory, name, || rustix::fs::openat(directory, name, flags, mode))?;
        match &entry.pieces {
            None if self.copy(entry, &file, 0, entry.size, reader)? == Holes::None => {}
            None => {
                rustix::fs::ftruncate(&file, entry.size).map_err(ApplyError::io(&entry.path, "extend"))?;
            }
            Some(pieces) => {
                for &(offset, length) in pieces {
                    self.copy(entry, &file, offset, length, reader)?;
                }
                rustix::fs::ftruncate(&file, entry.size).map_err(ApplyError::io(&entry.path, "extend"))?;
            }
        }
        if !born {
            self.looks(entry, &file)?;
        }
        rustix::fs::futimens(&file, &times(entry.mtime))
            .map_err(ApplyError::io(&entry.path, "set the time of"))
    }

    fn copy(
        &mut self,
        entry: &Entry,
        file: &OwnedFd,
        mut offset: u64,
        length: u64,
        reader: &mut Reader<&mut dyn Read>,
    ) -> Result<Holes, ApplyError> {
        let end = offset + length;
        let mut holes = Holes::None;
        while offset < end {
            let most = usize::try_from(end - offset).unwrap_or(BUFFER).min(BUFFER);
            let n = match reader.read(&mut self.buffer[..most]) {
                Ok(0) => return Err(ApplyError::Read { source: std::io::ErrorKind::UnexpectedEof.into() }),
                Ok(n) => n,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(ApplyError::Read { source }),
            };
            let mut written = 0;
            // A run of zeros costs no disk.
            if n >= HOLE_MIN && self.buffer[..n] == ZEROS[..n] {
                (written, holes) = (n, Holes::Some);
            }
            while written < n {
                let at = offset + written as u64;
                written +=
                    rustix::io::retry_on_intr(|| rustix::io::pwrite(file, &self.buffer[written..n], at))
                        .map_err(ApplyError::io(&entry.path, "write"))?;
            }
            offset += n as u64;
        }
        Ok(holes)
    }

    fn directory(
        &mut self,
        entry: &Entry,
        parent: &OwnedFd,
        name: &[u8],
        path: &[u8],
    ) -> Result<(), ApplyError> {
        let mut hides = false;
        match rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o700)) {
            Ok(()) => {}
            Err(Errno::EXIST) => {
                let old = tree::stat(parent, name).map_err(ApplyError::io(&entry.path, "look at"))?;
                if FileType::from_raw_mode(old.st_mode) != FileType::Directory {
                    if !self.options.replace_directories {
                        let reason = "cannot overwrite non-directory with directory";
                        return Err(ApplyError::entry(&entry.path, reason));
                    }
                    hides = tree::is_whiteout(&old) && self.options.whiteouts == Whiteouts::Overlay;
                    tree::remove(parent, name).map_err(ApplyError::io(&entry.path, "replace"))?;
                    self.beneath.forget();
                    rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o700))
                        .map_err(ApplyError::io(&entry.path, "create"))?;
                }
            }
            Err(errno) => return Err(ApplyError::io(&entry.path, "create")(errno)),
        }
        let directory = rustix::fs::openat(parent, name, READ_DIRECTORY, Mode::empty())
            .map_err(ApplyError::io(&entry.path, "open"))?;
        if hides {
            self.applied.opaque.push(path.to_vec());
        }
        self.looks(entry, &directory)?;
        self.beneath.implied.remove(path);
        self.directories.push((path.to_vec(), entry.mtime));
        Ok(())
    }

    fn hard_link(
        &mut self,
        entry: &Entry,
        directory: &OwnedFd,
        name: &[u8],
        path: &[u8],
    ) -> Result<(), ApplyError> {
        let target = self.place(&entry.link)?;
        if target == self.base {
            return Err(ApplyError::entry(&entry.path, "a hard link to the root"));
        }
        if target == path {
            return Ok(());
        }
        let (target_parent, target_name) = split(&target);
        let missing = |applied: &mut Applied| {
            applied.links.push(DeferredLink { path: path.to_vec(), target: target.clone() });
        };
        let target_directory = match self.beneath.directory(target_parent, Missing::Fail) {
            Ok(target_directory) => target_directory,
            Err(Errno::NOENT) => {
                missing(&mut self.applied);
                return Ok(());
            }
            Err(errno) => return Err(ApplyError::io(&entry.path, "find the target of")(errno)),
        };
        match tree::stat(&target_directory, target_name) {
            Ok(stat) if tree::is_whiteout(&stat) => {
                return Err(ApplyError::entry(&entry.path, "a hard link to a whiteout"));
            }
            Ok(_) => {}
            Err(Errno::NOENT) => {
                missing(&mut self.applied);
                return Ok(());
            }
            Err(errno) => return Err(ApplyError::io(&entry.path, "find the target of")(errno)),
        }
        self.replace(entry, directory, name, || {
            rustix::fs::linkat(&target_directory, target_name, directory, name, AtFlags::empty())
        })
    }

    fn symlink(&mut self, entry: &Entry, directory: &OwnedFd, name: &[u8]) -> Result<(), ApplyError> {
        if entry.link.len() >= PATH_MAX {
            return Err(ApplyError::entry(&entry.path, "its target is too long"));
        }
        self.replace(entry, directory, name, || {
            rustix::fs::symlinkat(entry.link.as_slice(), directory, name)
        })?;
        let (uid, gid) = self.owner(entry);
        rustix::fs::chownat(directory, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(ApplyError::io(&entry.path, "set the owner of"))?;
        rustix::fs::utimensat(directory, name, &times(entry.mtime), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(ApplyError::io(&entry.path, "set the time of"))
    }

    fn node(
        &mut self,
        entry: &Entry,
        directory: &OwnedFd,
        name: &[u8],
        kind: FileType,
        device: u64,
    ) -> Result<(), ApplyError> {
        self.replace(entry, directory, name, || {
            rustix::fs::mknodat(directory, name, kind, Mode::from_raw_mode(0o600), device)
        })?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let node = rustix::fs::openat(directory, name, flags, Mode::empty())
            .map_err(ApplyError::io(&entry.path, "open"))?;
        let found = rustix::fs::fstat(&node).map_err(ApplyError::io(&entry.path, "look at"))?;
        if FileType::from_raw_mode(found.st_mode) != kind {
            return Err(ApplyError::entry(&entry.path, "it was replaced while it was made"));
        }
        self.looks(entry, &node)?;
        rustix::fs::utimensat(directory, name, &times(entry.mtime), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(ApplyError::io(&entry.path, "set the time of"))
    }

    fn owner(&self, entry: &Entry) -> (Uid, Gid) {
        let (uid, gid) = match self.options.ownership {
            Ownership::Archive => (entry.uid, entry.gid),
            Ownership::All { uid, gid } => (uid, gid),
            Ownership::Inside(ids) => (ids.users.outside(entry.uid), ids.groups.outside(entry.gid)),
        };
        (Uid::from_raw(uid), Gid::from_raw(gid))
    }

    /// Owner, mode and attributes. In this order: a change of owner takes away setuid and capabilities.
    fn looks(&self, entry: &Entry, fd: &OwnedFd) -> Result<(), ApplyError> {
        let (uid, gid) = self.owner(entry);
        let owner = ApplyError::io(&entry.path, "set the owner of");
        rustix::fs::chownat(fd, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH).map_err(owner)?;
        let mode = Mode::from_raw_mode(entry.mode & 0o7777);
        tree::change_mode(fd, mode).map_err(ApplyError::io(&entry.path, "set the mode of"))?;
        xattr::set(fd, &entry.xattrs).map_err(ApplyError::io(&entry.path, "set an attribute of"))
    }

    fn finish(mut self) -> Result<Applied, ApplyError> {
        self.beneath.forget();
        for (path, mtime) in std::mem::take(&mut self.directories).into_iter().rev() {
            let directory = match self.beneath.directory(&path, Missing::Fail) {
                // A later entry took its place.
                Err(Errno::NOENT | Errno::NOTDIR) => continue,
                directory => directory.map_err(ApplyError::io(&path, "open"))?,
            };
            rustix::fs::utimensat(&*directory, ".", &times(mtime), AtFlags::empty())
                .map_err(ApplyError::io(&path, "set the time of"))?;
        }
        self.applied.implied = self.beneath.implied.into_iter().collect();
        self.applied.implied.sort_unstable();
        Ok(self.applied)
    }
}

/// The process's umask, read without changing it; all bits where it cannot be read.
fn umask() -> u32 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let umask = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    umask.and_then(|octal| u32::from_str_radix(octal.trim(), 8).ok()).unwrap_or(0o777)
}

/// Times before 1970, and after what fits, become 1970, as in containerd.
pub(crate) fn times(time: Time) -> Timestamps {
    let in_range = (0..=i64::MAX / 1_000_000_000).contains(&time.seconds);
    let time = if in_range { time } else { Time::default() };
    let time = Timespec { tv_sec: time.seconds, tv_nsec: i64::from(time.nanoseconds) };
    Timestamps { last_access: time, last_modification: time }
}
