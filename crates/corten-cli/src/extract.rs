//! A container's tar stream unpacked here, and nowhere else.
//!
//! The container may be hostile: no entry may leave the folder it is unpacked in, neither by `..` nor through a link that
//! an entry before it made. Owners and set-id bits are not taken over.

use std::fs;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};
use std::sync::mpsc::Receiver;

use bytes::{Buf, Bytes};
use tar::{Archive, EntryType};

use crate::error::{Failure, Outcome};

/// Where a stream is unpacked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Landing {
    /// The folder; it exists.
    pub root: PathBuf,
    /// Under which names.
    pub names: Names,
}

/// Under which names the entries of a stream are unpacked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Names {
    /// Their own.
    Own,
    /// This in place of each entry's first part.
    First(PathBuf),
    /// Their own, below this.
    Below(PathBuf),
}

/// Bytes from a channel as a reader.
pub struct Chunks {
    receiver: Receiver<Bytes>,
    current: Bytes,
}

impl Chunks {
    /// A reader of what the channel gives.
    pub fn new(receiver: Receiver<Bytes>) -> Self {
        Self { receiver, current: Bytes::new() }
    }
}

impl Read for Chunks {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.current.is_empty() {
            match self.receiver.recv() {
                Ok(chunk) => self.current = chunk,
                Err(_) => return Ok(0),
            }
        }
        let read = out.len().min(self.current.len());
        self.current.copy_to_slice(&mut out[..read]);
        Ok(read)
    }
}

/// Unpacks a stream.
pub fn extract(stream: impl Read, landing: &Landing) -> Outcome {
    let root = landing.root.canonicalize()?;
    let mut archive = Archive::new(stream);
    // A folder's mode and time are set last: neither may hinder what goes into it.
    let mut folders = Vec::new();
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        let Some(relative) = renamed(&path, &landing.names)? else { continue };
        let target = root.join(&relative);
        contained(&root, &target)?;
        let header = entry.header();
        let kind = header.entry_type();
        let mode = header.mode().unwrap_or(0o644) & 0o777;
        match kind {
            EntryType::Directory => {
                if !fs::symlink_metadata(&target).is_ok_and(|meta| meta.is_dir()) {
                    fs::create_dir(&target)?;
                }
                folders.push((target, mode));
            }
            EntryType::Link | EntryType::Symlink => {
                let link =
                    entry.link_name()?.ok_or_else(|| Failure::new("a link without a target"))?.into_owned();
                clear(&target)?;
                if kind == EntryType::Symlink {
                    std::os::unix::fs::symlink(link, &target)?;
                } else {
                    let Some(source) = renamed(&link, &landing.names)? else { continue };
                    let source = root.join(source);
                    contained(&root, &source)?;
                    fs::hard_link(source, &target)?;
                }
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                use std::os::unix::fs::PermissionsExt;
                clear(&target)?;
                let mut file = fs::OpenOptions::new().write(true).create_new(true).open(&target)?;
                io::copy(&mut entry, &mut file)?;
                file.set_permissions(fs::Permissions::from_mode(mode))?;
                let seconds = entry.header().mtime().unwrap_or(0);
                let _ = file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds));
            }
            // Devices and pipes of a container are nothing to make on the host.
            _ => {}
        }
    }
    for (folder, mode) in folders.into_iter().rev() {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(folder, fs::Permissions::from_mode(mode))?;
    }
    Ok(())
}

/// An entry's path below the root; nothing where it is the root itself.
fn renamed(path: &Path, names: &Names) -> Outcome<Option<PathBuf>> {
    let mut parts = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(part) => parts.push(part),
            Component::CurDir | Component::RootDir => {}
            _ => {
                return Err(Failure::new(format!(
                    "the archive holds a path that leaves it: {}",
                    path.display()
                )));
            }
        }
    }
    let mut out = PathBuf::new();
    match names {
        Names::First(name) if !parts.is_empty() => {
            out.push(name);
            out.extend(&parts[1..]);
        }
        Names::Below(name) => {
            out.push(name);
            out.extend(&parts);
        }
        Names::First(_) | Names::Own => out.extend(&parts),
    }
    Ok((!out.as_os_str().is_empty()).then_some(out))
}

/// Refuses a target whose folder, links followed, is not below the root.
fn contained(root: &Path, target: &Path) -> Outcome {
    let parent = target.parent().unwrap_or(root);
    match parent.canonicalize() {
        Ok(real) if real.starts_with(root) => Ok(()),
        Ok(_) => Err(Failure::new(format!(
            "the archive writes through a link that leads out: {}",
            target.display()
        ))),
        Err(error) => Err(Failure::new(format!("{}: {error}", parent.display()))),
    }
}

/// Makes room for something that is no folder.
fn clear(target: &Path) -> Outcome {
    match fs::symlink_metadata(target) {
        Ok(meta) if meta.is_dir() => Err(Failure::new(format!(
            "cannot overwrite directory {:?} with non-directory",
            target.display().to_string()
        ))),
        Ok(_) => Ok(fs::remove_file(target)?),
        Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(entries: &[(&str, EntryType, &str)]) -> Vec<u8> {
        let mut out = tar::Builder::new(Vec::new());
        for (path, kind, text) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_mode(0o755);
            header.set_mtime(1);
            let bytes = if *kind == EntryType::Regular { text.as_bytes() } else { &[] };
            header.set_size(bytes.len() as u64);
            if matches!(kind, EntryType::Symlink | EntryType::Link) {
                header.set_link_name(text).unwrap();
            }
            // Bad paths cannot be set by the writer's own checks.
            let name = path.as_bytes();
            header.as_mut_bytes()[..name.len()].copy_from_slice(name);
            header.set_cksum();
            out.append(&header, bytes).unwrap();
        }
        out.into_inner().unwrap()
    }

    #[test]
    fn trees_are_unpacked_under_another_name() {
        let here = tempfile::tempdir().unwrap();
        let bytes = stream(&[
            ("etc/", EntryType::Directory, ""),
            ("etc/a", EntryType::Regular, "A"),
            ("etc/l", EntryType::Symlink, "a"),
            ("etc/h", EntryType::Link, "etc/a"),
        ]);
        let landing = Landing { root: here.path().into(), names: Names::First("new".into()) };
        extract(&bytes[..], &landing).unwrap();
        extract(&bytes[..], &landing).unwrap();
        assert_eq!(fs::read_to_string(here.path().join("new/h")).unwrap(), "A");
        assert_eq!(fs::read_link(here.path().join("new/l")).unwrap(), Path::new("a"));
    }

    #[test]
    fn nothing_leaves_the_folder() {
        let here = tempfile::tempdir().unwrap();
        let root = here.path().join("root");
        fs::create_dir(&root).unwrap();
        let landing = Landing { root: root.clone(), names: Names::Own };
        for entries in [
            &[("../evil", EntryType::Regular, "x")][..],
            &[("a/../../evil", EntryType::Regular, "x")],
            &[("l", EntryType::Symlink, ".."), ("l/evil", EntryType::Regular, "x")],
            &[("h", EntryType::Link, "../secret")],
        ] {
            assert!(extract(&stream(entries)[..], &landing).is_err());
            assert!(!here.path().join("evil").exists());
        }
        // A link in the place of a file is replaced, not written through.
        fs::write(here.path().join("victim"), "safe").unwrap();
        let bytes = stream(&[("f", EntryType::Symlink, "../victim"), ("f", EntryType::Regular, "x")]);
        extract(&bytes[..], &landing).unwrap();
        assert_eq!(fs::read_to_string(here.path().join("victim")).unwrap(), "safe");
    }
}
