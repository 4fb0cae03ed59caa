//! Packs trees: a file or directory for a copy out of a container, or a whole tree for an export.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt as _;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, SeekFrom, Stat, StatxFlags};
use rustix::io::Errno;

use crate::beneath::split;
use crate::entry::{Entry, EntryKind, Time};
use crate::error::DiffError;
use crate::ids::IdMap;
use crate::limits::SPARSE_PIECES_MAX;
use crate::tree::{self, READ_DIRECTORY};
use crate::writer::Writer;
use crate::xattr;

/// How something is packed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PackOptions {
    /// The name it gets in the archive. Without one it is a tree: `./`, and what is in it by its own names.
    pub name: Option<Vec<u8>>,
    /// Only what is in a directory, not the directory itself.
    pub contents_only: bool,
    /// How ids of the tree become those of the archive; `None` leaves them.
    pub ids: Option<IdMap>,
    /// Leave out what is mounted in the tree: a place of a mount is an empty directory or file.
    pub without_mounts: bool,
}

/// Packs what `object` is open on; `O_PATH` is enough, and a link is packed as a link. Whatever becomes of its name
/// meanwhile does not count.
pub fn pack(object: impl AsFd, options: &PackOptions, out: &mut dyn Write) -> Result<(), DiffError> {
    let name = options.name.as_deref().unwrap_or_default();
    let mut packer = Packer::new(out, Form::Plain);
    packer.ids = options.ids;
    let source = Source::Itself(object.as_fd());
    if options.without_mounts {
        packer.mount = Some(source.mount().map_err(DiffError::io(name, "look at"))?);
    }
    if !name.is_empty() && !options.contents_only {
        let stat = source.stat().map_err(DiffError::io(name, "look at"))?;
        packer.object(source, stat, name, 0)?;
        return packer.finish();
    }
    let directory = source.open(READ_DIRECTORY).map_err(DiffError::io(name, "open"))?;
    if !options.contents_only {
        let stat = rustix::fs::fstat(&directory).map_err(DiffError::io(name, "look at"))?;
        let mut entry = describe(b"./".to_vec(), EntryKind::Directory, &stat, options.ids);
        entry.xattrs = xattr::get(&directory).map_err(DiffError::io(name, "read the attributes of"))?;
        packer.append(&entry, &mut std::io::empty())?;
    }
    packer.contents(&directory, name, 0)?;
    packer.finish()
}

/// Packs a whole tree.
pub fn pack_tree(root: impl AsFd, out: &mut dyn Write) -> Result<(), DiffError> {
    pack(root, &PackOptions { contents_only: true, ..PackOptions::default() }, out)
}

/// What is packed.
#[derive(Clone, Copy)]
enum Source<'a> {
    /// What has this name in a directory.
    In(&'a OwnedFd, &'a [u8]),
    /// What this is open on.
    Itself(BorrowedFd<'a>),
}

impl Source<'_> {
    fn stat(self) -> Result<Stat, Errno> {
        match self {
            Self::In(directory, name) => tree::stat(directory, name),
            Self::Itself(fd) => rustix::fs::statat(fd, "", AtFlags::EMPTY_PATH),
        }
    }

    /// The number of the mount that it is on.
    fn mount(self) -> Result<u64, Errno> {
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH;
        let found = match self {
            Self::In(directory, name) => rustix::fs::statx(directory, name, flags, StatxFlags::MNT_ID),
            Self::Itself(fd) => rustix::fs::statx(fd, "", flags, StatxFlags::MNT_ID),
        };
        Ok(found?.stx_mnt_id)
    }

    fn open(self, flags: OFlags) -> Result<OwnedFd, Errno> {
        match self {
            Self::In(directory, name) => rustix::fs::openat(directory, name, flags, Mode::empty()),
            Self::Itself(fd) if flags.contains(OFlags::DIRECTORY) => {
                rustix::fs::openat(fd, ".", flags, Mode::empty())
            }
            Self::Itself(fd) => {
                // Only the descriptor's magic link leads to it again.
                let link = format!("/proc/self/fd/{}", fd.as_raw_fd());
                rustix::fs::open(link, flags - OFlags::NOFOLLOW, Mode::empty())
            }
        }
    }

    fn link(self) -> Result<Vec<u8>, Errno> {
        let link = match self {
            Self::In(directory, name) => rustix::fs::readlinkat(directory, name, Vec::new()),
            Self::Itself(fd) => rustix::fs::readlinkat(fd, "", Vec::new()),
        };
        link.map(std::ffi::CString::into_bytes)
    }
}

/// What the tree is to the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Files.
    Plain,
    /// An overlay's upper directory: what hides becomes a whiteout.
    Layer,
}

pub(crate) struct Packer<'a> {
    writer: Writer<&'a mut dyn Write>,
    form: Form,
    /// The first path of each file that has several.
    linked: HashMap<(u64, u64), Vec<u8>>,
    ids: Option<IdMap>,
    /// The mount beyond which nothing is packed.
    mount: Option<u64>,
}

const DEPTH_MAX: usize = 1024;

impl<'a> Packer<'a> {
    pub(crate) fn new(out: &'a mut dyn Write, form: Form) -> Self {
        Self { writer: Writer::new(out), form, linked: HashMap::new(), ids: None, mount: None }
    }

    fn append(&mut self, entry: &Entry, content: &mut dyn std::io::Read) -> Result<(), DiffError> {
        self.writer.append(entry, content).map_err(|source| DiffError::Write { source })
    }

    /// One that has several names is written under the first, and as a link to it under the others.
    fn append_once(
        &mut self,
        mut entry: Entry,
        stat: &Stat,
        content: &mut dyn std::io::Read,
    ) -> Result<(), DiffError> {
        if stat.st_nlink > 1 {
            if let Some(first) = self.linked.get(&(stat.st_dev, stat.st_ino)) {
                entry.kind = EntryKind::HardLink;
                entry.link = first.clone();
                (entry.size, entry.pieces) = (0, None);
                return self.append(&entry, &mut std::io::empty());
            }
            self.linked.insert((stat.st_dev, stat.st_ino), entry.path.clone());
        }
        self.append(&entry, content)
    }

    pub(crate) fn finish(self) -> Result<(), DiffError> {
        let out = self.writer.finish().map_err(|source| DiffError::Write { source })?;
        out.flush().map_err(|source| DiffError::Write { source })
    }

    /// Everything in a directory, ordered by name.
    pub(crate) fn contents(
        &mut self,
        directory: &OwnedFd,
        path: &[u8],
        depth: usize,
    ) -> Result<(), DiffError> {
        if depth > DEPTH_MAX {
            return Err(DiffError::io(path, "pack")(Errno::NAMETOOLONG));
        }
        for name in tree::names(directory).map_err(DiffError::io(path, "list"))? {
            let path = if path.is_empty() { name.clone() } else { [path, b"/", &name].concat() };
            let source = Source::In(directory, &name);
            match source.stat() {
                // Somebody removed it meanwhile.
                Err(Errno::NOENT) => {}
                stat => {
                    let stat = stat.map_err(DiffError::io(&path, "look at"))?;
                    self.object(source, stat, &path, depth)?;
                }
            }
        }
        Ok(())
    }

    /// One file, or a directory with all in it. What was removed, or replaced by something of another kind, since it was
    /// looked at is left out.
    fn object(&mut self, source: Source<'_>, stat: Stat, path: &[u8], depth: usize) -> Result<(), DiffError> {
        if self.form == Form::Layer && tree::is_whiteout(&stat) {
            let (parent, name) = split(path);
            let hidden = [b".wh.", name].concat();
            let path = if parent.is_empty() { hidden } else { [parent, b"/", &hidden].concat() };
            // When it was hidden is nobody's business: the same changes give the same bytes.
            return self.append(&Entry::new(path, EntryKind::File, 0), &mut std::io::empty());
        }
        if let Some(mount) = self.mount {
            match still(source.mount()).map_err(DiffError::io(path, "look at"))? {
                None => return Ok(()),
                Some(own) if own == mount => {}
                Some(_) => return self.append(&place_of_mount(path, &stat), &mut std::io::empty()),
            }
        }
        let device = |stat: &Stat| (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => EntryKind::File,
            FileType::Directory => EntryKind::Directory,
            FileType::Symlink => EntryKind::Symlink,
            FileType::Fifo => EntryKind::Fifo,
            FileType::CharacterDevice => {
                let (major, minor) = device(&stat);
                EntryKind::CharDevice { major, minor }
            }
            FileType::BlockDevice => {
                let (major, minor) = device(&stat);
                EntryKind::BlockDevice { major, minor }
            }
            // A socket means nothing without its program.
            _ => return Ok(()),
        };
        let mut entry = describe(path.to_vec(), kind, &stat, self.ids);
        let failed = |operation| DiffError::io(path, operation);
        match kind {
            EntryKind::File => {
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
                let Some(file) = still(source.open(flags)).map_err(failed("open"))? else { return Ok(()) };
                // The size that counts is that of the file that was opened.
                let stat = rustix::fs::fstat(&file).map_err(failed("look at"))?;
                if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
                    return Ok(());
                }
                entry.size = stat.st_size as u64;
                entry.xattrs = xattr::get(&file).map_err(failed("read the attributes of"))?;
                if self.form == Form::Layer && holes(&stat) >= HOLES_MIN {
                    let pieces = pieces(&file, entry.size).map_err(failed("read the map of"))?;
                    let content = Sparse { file: File::from(file), pieces: pieces.clone(), next: 0, at: 0 };
                    entry.pieces = Some(pieces);
                    return self.append_once(entry, &stat, &mut Padded { file: content, ended: false });
                }
                self.append_once(entry, &stat, &mut Padded { file: File::from(file), ended: false })
            }
            EntryKind::Directory => {
                let child = still(source.open(READ_DIRECTORY)).map_err(failed("open"))?;
                let Some(child) = child else { return Ok(()) };
                entry.xattrs = xattr::get(&child).map_err(failed("read the attributes of"))?;
                entry.path.push(b'/');
                self.append(&entry, &mut std::io::empty())?;
                if self.form == Form::Layer && xattr::is_opaque(&child) {
                    let opaque = Entry::new([path, b"/.wh..wh..opq"].concat(), EntryKind::File, 0);
                    self.append(&opaque, &mut std::io::empty())?;
                }
                self.contents(&child, path, depth + 1)
            }
            EntryKind::Symlink => {
                let Some(link) = still(source.link()).map_err(failed("read"))? else { return Ok(()) };
                entry.link = link;
                self.append_once(entry, &stat, &mut std::io::empty())
            }
            _ => self.append_once(entry, &stat, &mut std::io::empty()),
        }
    }
}

/// `None` where it is not there any more, or not as what it was.
fn still<T>(result: Result<T, Errno>) -> Result<Option<T>, Errno> {
    match result {
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::INVAL | Errno::NXIO | Errno::STALE) => {
            Ok(None)
        }
        result => result.map(Some),
    }
}

/// What stands in an archive for something that is covered by a mount.
fn place_of_mount(path: &[u8], covered: &Stat) -> Entry {
    let directory = FileType::from_raw_mode(covered.st_mode) == FileType::Directory;
    let (path, kind) = match directory {
        true => ([path, b"/"].concat(), EntryKind::Directory),
        false => (path.to_vec(), EntryKind::File),
    };
    let mut entry = Entry::new(path, kind, 0o755);
    entry.mtime = describe(Vec::new(), kind, covered, None).mtime;
    entry
}

fn describe(path: Vec<u8>, kind: EntryKind, stat: &Stat, ids: Option<IdMap>) -> Entry {
    let mut entry = Entry::new(path, kind, stat.st_mode & 0o7777);
    entry.uid = ids.map_or(stat.st_uid, |ids| ids.users.inside(stat.st_uid));
    entry.gid = ids.map_or(stat.st_gid, |ids| ids.groups.inside(stat.st_gid));
    entry.mtime =
        Time { seconds: stat.st_mtime, nanoseconds: u32::try_from(stat.st_mtime_nsec).unwrap_or(0) };
    entry
}

/// Only a file with so many bytes of holes is written as a sparse one, which not every tar can read.
const HOLES_MIN: u64 = 1 << 20;

/// Bytes of a file that take no place on the disk.
fn holes(stat: &Stat) -> u64 {
    (stat.st_size as u64).saturating_sub(stat.st_blocks as u64 * 512)
}

/// Offset and length of what lies between the holes of a file. A file that has too many pieces to tell is one.
fn pieces(file: &OwnedFd, size: u64) -> Result<Vec<(u64, u64)>, Errno> {
    let mut pieces = Vec::new();
    let mut at = 0;
    while at < size {
        let start = match rustix::fs::seek(file, SeekFrom::Data(at)) {
            Err(Errno::NXIO) => break,
            start => start?,
        };
        let end = rustix::fs::seek(file, SeekFrom::Hole(start))?.min(size);
        if start >= end {
            break;
        }
        pieces.push((start, end - start));
        if pieces.len() > SPARSE_PIECES_MAX {
            return Ok(vec![(0, size)]);
        }
        at = end;
    }
    Ok(pieces)
}

/// The pieces of a sparse file, one after another.
struct Sparse {
    file: File,
    pieces: Vec<(u64, u64)>,
    /// The piece that is read.
    next: usize,
    /// Bytes read of it.
    at: u64,
}

impl std::io::Read for Sparse {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let Some(&(offset, length)) = self.pieces.get(self.next) else { return Ok(0) };
        let most = usize::try_from(length - self.at).unwrap_or(usize::MAX).min(buffer.len());
        let n = self.file.read_at(&mut buffer[..most], offset + self.at)?;
        self.at += n as u64;
        if self.at == length {
            (self.next, self.at) = (self.next + 1, 0);
        }
        Ok(n)
    }
}

/// A file that somebody may be cutting while it is read: the header has said its size, so zeros make up for the rest.
struct Padded<R> {
    file: R,
    ended: bool,
}

impl<R: std::io::Read> std::io::Read for Padded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if !self.ended {
            let n = self.file.read(buffer)?;
            if n > 0 || buffer.is_empty() {
                return Ok(n);
            }
            self.ended = true;
        }
        buffer.fill(0);
        Ok(buffer.len())
    }
}
