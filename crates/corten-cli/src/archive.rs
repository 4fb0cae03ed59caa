//! Folders and files into tar streams: for build contexts and `cp`.

use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use tar::{Builder, EntryType, Header};

use crate::dockerignore::Ignored;

/// Whose files an archive says they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// Root's, as in build contexts.
    Root,
    /// As they are.
    Kept,
}

/// Writes what lies below `root`, but for what is ignored, in the order of names.
pub fn folder<W: Write>(
    out: &mut Builder<W>,
    root: &Path,
    ignored: &Ignored,
    owner: Owner,
) -> io::Result<()> {
    below(out, root, "", "", ignored, owner)
}

/// Writes one file or folder under another name.
pub fn tree<W: Write>(out: &mut Builder<W>, path: &Path, name: &str, owner: Owner) -> io::Result<()> {
    let meta = std::fs::symlink_metadata(path)?;
    append(out, path, name, &meta, owner)?;
    if meta.is_dir() {
        below(out, path, "", name, &Ignored::default(), owner)?;
    }
    Ok(())
}

/// Writes a file from memory.
pub fn text<W: Write>(out: &mut Builder<W>, name: &str, bytes: &[u8]) -> io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o600);
    header.set_size(bytes.len() as u64);
    header.set_mtime(0);
    out.append_data(&mut header, name, bytes)
}

fn below<W: Write>(
    out: &mut Builder<W>,
    root: &Path,
    folder: &str,
    prefix: &str,
    ignored: &Ignored,
    owner: Owner,
) -> io::Result<()> {
    let mut names = std::fs::read_dir(root.join(folder))?
        .map(|entry| entry.map(|entry| entry.file_name()))
        .collect::<io::Result<Vec<_>>>()?;
    names.sort();
    for name in names {
        let Some(name) = name.to_str() else {
            let name = name.to_string_lossy();
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("the name {name:?} is not UTF-8"),
            ));
        };
        let path = if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
        let excluded = ignored.excludes(&path);
        if excluded && !ignored.may_take_back_below(&path) {
            continue;
        }
        let full = root.join(&path);
        let meta = std::fs::symlink_metadata(&full)?;
        if !excluded {
            let target = if prefix.is_empty() { path.clone() } else { format!("{prefix}/{path}") };
            append(out, &full, &target, &meta, owner)?;
        }
        if meta.is_dir() {
            below(out, root, &path, prefix, ignored, owner)?;
        }
    }
    Ok(())
}

fn append<W: Write>(
    out: &mut Builder<W>,
    path: &Path,
    name: &str,
    meta: &std::fs::Metadata,
    owner: Owner,
) -> io::Result<()> {
    let kind = meta.file_type();
    if kind.is_socket() {
        return Ok(());
    }
    let mut header = Header::new_gnu();
    header.set_mode(meta.mode() & 0o7777);
    header.set_mtime(u64::try_from(meta.mtime()).unwrap_or(0));
    let (uid, gid) = if owner == Owner::Root { (0, 0) } else { (meta.uid(), meta.gid()) };
    header.set_uid(uid.into());
    header.set_gid(gid.into());
    header.set_size(0);
    if kind.is_dir() {
        header.set_entry_type(EntryType::Directory);
        return out.append_data(&mut header, format!("{name}/"), io::empty());
    }
    if kind.is_symlink() {
        header.set_entry_type(EntryType::Symlink);
        return out.append_link(&mut header, name, std::fs::read_link(path)?);
    }
    if kind.is_fifo() {
        header.set_entry_type(EntryType::Fifo);
        return out.append_data(&mut header, name, io::empty());
    }
    if kind.is_char_device() || kind.is_block_device() {
        let device = meta.rdev();
        header.set_entry_type(if kind.is_block_device() { EntryType::Block } else { EntryType::Char });
        header.set_device_major(rustix::fs::major(device))?;
        header.set_device_minor(rustix::fs::minor(device))?;
        return out.append_data(&mut header, name, io::empty());
    }
    let file = std::fs::File::open(path)?;
    header.set_entry_type(EntryType::Regular);
    header.set_size(meta.len());
    // A file that grows meanwhile must not shift what follows; one that shrinks is filled up with zeros.
    let bytes = io::Read::take(io::Read::chain(file, io::repeat(0)), meta.len());
    out.append_data(&mut header, name, bytes)
}
