//! Which extended attributes pass, in and out.

use std::os::fd::{AsFd, AsRawFd};

use rustix::fs::XattrFlags;
use rustix::io::Errno;

use crate::entry::Attributes;

/// The attribute that hides what lies below a directory.
pub(crate) const OPAQUE: &str = "trusted.overlay.opaque";

/// Whether an attribute from an archive is set. Those that mean something to overlay, to access lists of other users or
/// to a security module of this machine are not a stranger's to give.
pub(crate) fn is_welcome(name: &[u8]) -> bool {
    let refused: [&[u8]; 5] = [b"trusted.", b"user.overlay.", b"system.", b"security.", b"user.containers."];
    name == b"security.capability" || !refused.iter().any(|prefix| name.starts_with(prefix))
}

/// Sets attributes on what `fd` is open on. An attribute that the file system does not have is left out.
pub(crate) fn set(fd: impl AsFd, attributes: &[(Vec<u8>, Vec<u8>)]) -> Result<(), Errno> {
    for (name, value) in attributes {
        if !is_welcome(name) {
            continue;
        }
        let set = match rustix::fs::fsetxattr(&fd, name.as_slice(), value, XattrFlags::empty()) {
            // A descriptor opened with O_PATH; its magic link leads to the same inode.
            Err(Errno::BADF) => {
                let path = format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd());
                rustix::fs::setxattr(path, name.as_slice(), value, XattrFlags::empty())
            }
            set => set,
        };
        match set {
            Ok(()) => {}
            // Devices and pipes take no attributes of users; without `/proc` that is not even tried.
            Err(Errno::NOTSUP | Errno::PERM | Errno::NOENT) if !name.starts_with(b"security.") => {}
            Err(Errno::NOTSUP) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// All attributes of what `fd` is open on that go into an archive, ordered by name.
pub(crate) fn get(fd: impl AsFd) -> Result<Attributes, Errno> {
    // Most files have none, which an open one tells without a walk through `/proc`.
    if let Ok(0) | Err(Errno::NOTSUP) = rustix::fs::flistxattr(&fd, &mut [0_u8; 0]) {
        return Ok(Vec::new());
    }
    let path = format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd());
    let mut names = Vec::new();
    loop {
        let size = match rustix::fs::listxattr(&path, &mut [0_u8; 0]) {
            Ok(0) | Err(Errno::NOTSUP | Errno::PERM | Errno::ACCESS) => return Ok(Vec::new()),
            size => size?,
        };
        names.resize(size, 0_u8);
        match rustix::fs::listxattr(&path, names.as_mut_slice()) {
            Ok(size) => {
                names.truncate(size);
                break;
            }
            // It grew between the two calls.
            Err(Errno::RANGE) => {}
            Err(errno) => return Err(errno),
        }
    }
    let mut found = Vec::new();
    for name in names.split(|&b| b == 0).filter(|name| !name.is_empty() && is_welcome(name)) {
        if let Some(value) = value(&path, name)? {
            found.push((name.to_vec(), value));
        }
    }
    found.sort();
    Ok(found)
}

fn value(path: &str, name: &[u8]) -> Result<Option<Vec<u8>>, Errno> {
    loop {
        let size = match rustix::fs::getxattr(path, name, &mut [0_u8; 0]) {
            Err(Errno::NODATA | Errno::NOTSUP) => return Ok(None),
            size => size?,
        };
        let mut value = vec![0_u8; size];
        match rustix::fs::getxattr(path, name, value.as_mut_slice()) {
            Ok(size) => {
                value.truncate(size);
                return Ok(Some(value));
            }
            Err(Errno::RANGE) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// Makes a directory hide what lies below it.
pub(crate) fn set_opaque(directory: impl AsFd) -> Result<(), Errno> {
    let path = format!("/proc/self/fd/{}", directory.as_fd().as_raw_fd());
    rustix::fs::setxattr(path, OPAQUE, b"y", XattrFlags::empty())
}

/// Whether a directory hides what lies below it.
pub(crate) fn is_opaque(fd: impl AsFd) -> bool {
    let path = format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd());
    let mut value = [0_u8; 2];
    let length = rustix::fs::getxattr(path, OPAQUE, value.as_mut_slice());
    length == Ok(1) && value[0] == b'y'
}
