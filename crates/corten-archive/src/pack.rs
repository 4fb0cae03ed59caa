//! Packs trees: a file or directory for a copy out of a container, or a whole tree for an export.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt as _;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, SeekFrom, Stat, StatxFlags};
use rustix::io::Errno;

use crate::beneath::{Beneath, Missing, clean, split};
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
    /// The name it gets in the archive; its own where there is none.
    pub name: Option<Vec<u8>>,
    /// Only what is in a directory, not the directory itself.
    pub contents_only: bool,
    /// How ids of the tree become those of the archive; `None` leaves them.
    pub ids: Option<IdMap>,
    /// Leave out what is mounted in the tree: a place of a mount is an empty directory or file.
    pub without_mounts: bool,
}

/// Packs what lies at `path` in the tree at `root`. Links on the way are followed inside the tree; a link at the end is
/// packed as a link.
pub fn pack(
    root: impl AsFd,
    path: &[u8],
    options: &PackOptions,
    out: &mut dyn Write,
) -> Result<(), DiffError> {
    let place = clean(path).ok_or_else(|| DiffError::io(path, "find")(Errno::NOENT))?;
    let (parent, name) = split(&place);
    let mut beneath = Beneath::new(root.as_fd());
    let directory = beneath.directory(parent, Missing::Fail).map_err(DiffError::io(path, "find"))?;
    let mut packer = Packer::new(out, Form::Plain);
    packer.ids = options.ids;
    if options.without_mounts {
        packer.mount = Some(mount_of(&*directory, b"").map_err(DiffError::io(path, "look at"))?);
    }
    if name.is_empty() || options.contents_only {
        let directory = if name.is_empty() {
            rustix::fs::openat(&*directory, ".", READ_DIRECTORY, Mode::empty())
        } else {
            rustix::fs::openat(&*directory, name, READ_DIRECTORY, Mode::empty())
        };
        let directory = directory.map_err(DiffError::io(path, "open"))?;
        let prefix = options.name.clone().unwrap_or_default();
        if !options.contents_only {
            let stat = rustix::fs::fstat(&directory).map_err(DiffError::io(path, "look at"))?;
            let shown = if prefix.is_empty() { b"./".to_vec() } else { [&prefix[..], b"/"].concat() };
            let mut entry = describe(shown, EntryKind::Directory, &stat, options.ids);
            entry.xattrs = xattr::get(&directory).map_err(DiffError::io(path, "read the attributes of"))?;
            packer.append(&entry, &mut std::io::empty())?;
        }
        packer.contents(&directory, &prefix, 0)?;
    } else {
        let shown = options.name.clone().unwrap_or_else(|| name.to_vec());
        packer.object(&directory, name, &shown, 0)?;
    }
    packer.finish()
}

/// Packs a whole tree.
pub fn pack_tree(root: impl AsFd, out: &mut dyn Write) -> Result<(), DiffError> {
    pack(root, b"/", &PackOptions { name: None, contents_only: true, ..PackOptions::default() }, out)
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
            self.object(directory, &name, &path, depth)?;
        }
        Ok(())
    }

    /// One file, or a directory with all in it.
    fn object(
        &mut self,
        directory: &OwnedFd,
        name: &[u8],
        path: &[u8],
        depth: usize,
    ) -> Result<(), DiffError> {
        let stat = match tree::stat(directory, name) {
            // Somebody removed it meanwhile. What was asked for by name is missed, though.
            Err(Errno::NOENT) if depth > 0 => return Ok(()),
            stat => stat.map_err(DiffError::io(path, "look at"))?,
        };
        if self.form == Form::Layer && tree::is_whiteout(&stat) {
            let (parent, name) = split(path);
            let hidden = [b".wh.", name].concat();
            let path = if parent.is_empty() { hidden } else { [parent, b"/", &hidden].concat() };
            // When it was hidden is nobody's business: the same changes give the same bytes.
            return self.append(&Entry::new(path, EntryKind::File, 0), &mut std::io::empty());
        }
        if let Some(mount) = self.mount
            && mount_of(directory, name).map_err(DiffError::io(path, "look at"))? != mount
        {
            return self.append(&place_of_mount(path, &stat), &mut std::io::empty());
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
        if kind != EntryKind::Directory && stat.st_nlink > 1 {
            if let Some(first) = self.linked.get(&(stat.st_dev, stat.st_ino)) {
                entry.kind = EntryKind::HardLink;
                entry.link = first.clone();
                entry.size = 0;
                return self.append(&entry, &mut std::io::empty());
            }
            self.linked.insert((stat.st_dev, stat.st_ino), path.to_vec());
        }
        let failed = |operation| DiffError::io(path, operation);
        match kind {
            EntryKind::File => {
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
                let file =
                    rustix::fs::openat(directory, name, flags, Mode::empty()).map_err(failed("open"))?;
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
                    return self.append(&entry, &mut Padded { file: content, ended: false });
                }
                self.append(&entry, &mut Padded { file: File::from(file), ended: false })
            }
            EntryKind::Directory => {
                let child = rustix::fs::openat(directory, name, READ_DIRECTORY, Mode::empty());
                let child = child.map_err(failed("open"))?;
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
                let link = rustix::fs::readlinkat(directory, name, Vec::new()).map_err(failed("read"))?;
                entry.link = link.into_bytes();
                self.append(&entry, &mut std::io::empty())
            }
            _ => self.append(&entry, &mut std::io::empty()),
        }
    }
}

/// The number of the mount that something is on; of the directory itself without a name.
fn mount_of(directory: impl AsFd, name: &[u8]) -> Result<u64, Errno> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH;
    Ok(rustix::fs::statx(directory, name, flags, StatxFlags::MNT_ID)?.stx_mnt_id)
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
