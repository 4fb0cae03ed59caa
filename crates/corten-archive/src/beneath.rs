//! Paths of strangers, walked one component at a time beneath a root.
//!
//! Links are read and followed here, never by the kernel, and `..` goes back on our own stack: whatever somebody changes
//! in the tree meanwhile, no step leaves the root.

use std::collections::HashSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// Most links on one path, as in the kernel.
const LINKS_MAX: usize = 40;
/// The setgid bit.
const SETGID: u32 = 0o2000;
const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
const ANYTHING: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// What to do about a directory that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    Fail,
    Create,
}

/// The directory that was resolved last.
struct Last {
    path: Vec<u8>,
    directory: Rc<OwnedFd>,
    gives_group: bool,
}

/// Resolves paths beneath a root, and remembers the last directory.
pub(crate) struct Beneath<'a> {
    root: BorrowedFd<'a>,
    last: Option<Last>,
    /// Directories that were made because a path went through them, where they really are.
    pub implied: HashSet<Vec<u8>>,
}

impl<'a> Beneath<'a> {
    pub(crate) fn new(root: BorrowedFd<'a>) -> Self {
        Self { root, last: None, implied: HashSet::new() }
    }

    /// Something was removed or replaced: what was resolved before may lead elsewhere now.
    pub(crate) fn forget(&mut self) {
        self.last = None;
    }

    /// Opens the directory at `path` (clean, relative, empty for the root), links followed.
    pub(crate) fn directory(&mut self, path: &[u8], missing: Missing) -> Result<Rc<OwnedFd>, Errno> {
        if let Some(last) = &self.last
            && last.path == path
        {
            return Ok(last.directory.clone());
        }
        let shown: &[u8] = if path.is_empty() { b"." } else { path };
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let directory = match rustix::fs::openat2(self.root, shown, DIRECTORY, Mode::empty(), resolve) {
            Ok(directory) => directory,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::NOSYS | Errno::AGAIN) => self.walk(path, missing)?,
            Err(errno) => return Err(errno),
        };
        let gives_group = rustix::fs::fstat(&directory)?.st_mode & SETGID != 0;
        let directory = Rc::new(directory);
        self.last = Some(Last { path: path.to_vec(), directory: directory.clone(), gives_group });
        Ok(directory)
    }

    /// Whether what is made in the directory that was resolved last gets that directory's group.
    pub(crate) fn gives_group(&self) -> bool {
        self.last.as_ref().is_none_or(|last| last.gives_group)
    }

    fn walk(&mut self, path: &[u8], missing: Missing) -> Result<OwnedFd, Errno> {
        let mut stack: Vec<(Vec<u8>, OwnedFd)> = Vec::new();
        // What is still to be walked, next component last.
        let mut pending: Vec<Vec<u8>> = path.split(|&b| b == b'/').rev().map(<[u8]>::to_vec).collect();
        let mut links = 0;
        while let Some(component) = pending.pop() {
            match component.as_slice() {
                b"" | b"." => continue,
                b".." => {
                    stack.pop();
                    continue;
                }
                _ => {}
            }
            let top = stack.last().map_or(self.root, |(_, directory)| directory.as_fd());
            let name = component.as_slice();
            let found = match rustix::fs::openat(top, name, ANYTHING, Mode::empty()) {
                Err(Errno::NOENT) if missing == Missing::Create => {
                    rustix::fs::mkdirat(top, name, Mode::from_raw_mode(0o755))?;
                    let whole = stack.iter().map(|(name, _)| name.as_slice()).chain([name]);
                    self.implied.insert(whole.collect::<Vec<_>>().join(&b'/'));
                    rustix::fs::openat(top, name, ANYTHING, Mode::empty())?
                }
                found => found?,
            };
            match FileType::from_raw_mode(rustix::fs::fstat(&found)?.st_mode) {
                FileType::Directory => stack.push((component, found)),
                FileType::Symlink => {
                    links += 1;
                    if links > LINKS_MAX {
                        return Err(Errno::LOOP);
                    }
                    let target = rustix::fs::readlinkat(&found, "", Vec::new())?.into_bytes();
                    if target.first() == Some(&b'/') {
                        stack.clear();
                    }
                    pending.extend(target.split(|&b| b == b'/').rev().map(<[u8]>::to_vec));
                }
                _ => return Err(Errno::NOTDIR),
            }
        }
        match stack.pop() {
            Some((_, directory)) => Ok(directory),
            None => rustix::fs::openat(self.root, ".", DIRECTORY, Mode::empty()),
        }
    }
}

/// Brings a path of an archive to its clean relative form: no empty component, no `.`, no `..`. Nothing where it leads
/// above where it starts.
pub(crate) fn clean(path: &[u8]) -> Option<Vec<u8>> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|&b| b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join(&b'/'))
}

/// Splits a clean path into the directory and the name in it.
pub(crate) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&b| b == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&[], path),
    }
}

/// The path of `name` in the directory `parent`, which is empty for the root.
pub(crate) fn join(parent: &[u8], name: &[u8]) -> Vec<u8> {
    if parent.is_empty() { name.to_vec() } else { [parent, b"/", name].concat() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_lead_above_are_none() {
        assert_eq!(clean(b"/a//./b/../c/"), Some(b"a/c".to_vec()));
        assert_eq!(clean(b"./"), Some(Vec::new()));
        assert_eq!(clean(b"../x"), None);
        assert_eq!(clean(b"a/../../x"), None);
    }
}
