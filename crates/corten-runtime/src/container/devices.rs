//! Device nodes and the fixed links of `/dev`, made in a directory that is a descriptor.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use corten_sys::mount::{Extent, attach, clone_tree};
use corten_sys::path::Root;
use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, Uid, chownat, makedev, mkdirat, mknodat, openat, symlinkat,
};
use rustix::io::Errno;

use super::error::InitFailure;
use crate::spec::Device;

/// Nodes that every container has: name, major, minor.
const DEFAULTS: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

/// Links that every `/dev` has: name, text.
const LINKS: [(&str, &str); 6] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("core", "/proc/kcore"),
    ("ptmx", "pts/ptmx"),
];

/// One node to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Node {
    path: PathBuf,
    kind: FileType,
    mode: u32,
    device: u64,
    owner: Option<(u32, u32)>,
}

/// Checks the specification's devices. The error names the one that cannot be made.
///
/// The multiplexer of terminals is the link to the container's own, whatever is asked for: the host's would open the
/// host's terminals.
pub(super) fn plan_nodes(devices: &[Device]) -> Result<Vec<Node>, String> {
    let mut nodes = devices.iter().map(plan_node).collect::<Result<Vec<_>, _>>()?;
    nodes.retain(|node| node.path != Path::new("/dev/ptmx"));
    Ok(nodes)
}

fn plan_node(device: &Device) -> Result<Node, String> {
    let kind = match device.kind.as_str() {
        "c" | "u" => FileType::CharacterDevice,
        "b" => FileType::BlockDevice,
        "p" => FileType::Fifo,
        other => return Err(format!("device {}: type {other:?} is not known", device.path)),
    };
    if !device.path.starts_with('/') || device.path.contains('\0') {
        return Err(format!("device path {:?} is not absolute", device.path));
    }
    let number = |n: i64| u32::try_from(n).map_err(|_| format!("device {}: bad number {n}", device.path));
    let device_number =
        if kind == FileType::Fifo { 0 } else { makedev(number(device.major)?, number(device.minor)?) };
    Ok(Node {
        path: super::mount_plan::clean(Path::new(&device.path)),
        kind,
        mode: device.file_mode.unwrap_or(0o666) & 0o7777,
        device: device_number,
        owner: (device.uid.is_some() || device.gid.is_some())
            .then(|| (device.uid.unwrap_or(0), device.gid.unwrap_or(0))),
    })
}

/// Fills `dev`, the container's `/dev`, with the default nodes and links. It must be attached. The umask must be 0.
pub(super) fn populate(dev: BorrowedFd<'_>) -> Result<(), InitFailure> {
    for (name, major, minor) in DEFAULTS {
        make_node(dev, Path::new(name), FileType::CharacterDevice, 0o666, makedev(major, minor))
            .map_err(|e| InitFailure::system(format_args!("create device node /dev/{name}"), &e))?;
    }
    for (name, target) in LINKS {
        if name == "core" && rustix::fs::statat(CWD, target, AtFlags::empty()).is_err() {
            continue;
        }
        match symlinkat(target, dev, name) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(e) => {
                return Err(InitFailure::system(format_args!("symlink {target} /dev/{name}"), &e.into()));
            }
        }
    }
    Ok(())
}

/// Makes the further `nodes` beneath `root`.
pub(super) fn make_all(root: Root<'_>, nodes: &[Node]) -> Result<(), InitFailure> {
    for node in nodes {
        let path = node.path.display();
        let fail = |e: io::Error| InitFailure::system(format_args!("create device node {path}"), &e);
        let parent = node.path.parent().unwrap_or(Path::new("/"));
        root.make_directories(parent, 0o755).map_err(fail)?;
        let place = root.place(&node.path).map_err(fail)?;
        make_node(place.parent.as_fd(), &place.name, node.kind, node.mode, node.device).map_err(fail)?;
        if let Some((uid, gid)) = node.owner {
            let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
            chownat(&place.parent, &place.name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|e| fail(e.into()))?;
        }
    }
    Ok(())
}

/// Makes one node; in a user namespace, where that is forbidden, the host's node of the same number is mounted.
fn make_node(dir: BorrowedFd<'_>, name: &Path, kind: FileType, mode: u32, device: u64) -> io::Result<()> {
    match mknodat(dir, name, kind, Mode::from_raw_mode(mode), device) {
        Ok(()) => Ok(()),
        Err(Errno::EXIST) => {
            // Somebody's node of the same number is as good; anything else (a link above all) is not.
            let there = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
            if FileType::from_raw_mode(there.st_mode) == kind && there.st_rdev == device {
                return Ok(());
            }
            Err(Errno::EXIST.into())
        }
        Err(Errno::PERM) => mount_host_node(dir, name, kind, device),
        Err(e) => Err(e.into()),
    }
}

fn mount_host_node(dir: BorrowedFd<'_>, name: &Path, kind: FileType, device: u64) -> io::Result<()> {
    let source = host_node(&Path::new("/dev").join(name), kind, device)?;
    match mknodat(dir, name, FileType::RegularFile, Mode::empty(), 0) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(e) => return Err(e.into()),
    }
    let target = openat(dir, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    attach(clone_tree(&source, Extent::One)?, target)
}

/// Opens a device node of the runtime's own `/dev` and proves by its numbers that it is the one meant.
pub(super) fn host_node(path: &Path, kind: FileType, device: u64) -> io::Result<OwnedFd> {
    let fd = openat(CWD, path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    let stat = rustix::fs::fstat(&fd)?;
    if FileType::from_raw_mode(stat.st_mode) != kind || stat.st_rdev != device {
        return Err(Errno::NXIO.into());
    }
    Ok(fd)
}

/// The runtime's own `/dev/null`, for masking files.
pub(super) fn host_null() -> io::Result<OwnedFd> {
    host_node(Path::new("/dev/null"), FileType::CharacterDevice, makedev(1, 3))
}

/// Makes `/dev/console` show the terminal whose slave is given.
pub(super) fn mount_console(root: Root<'_>, slave: BorrowedFd<'_>) -> Result<(), InitFailure> {
    let mount = || -> io::Result<()> {
        let dev = root.locate_without_links("/dev")?;
        match mknodat(&dev, "console", FileType::RegularFile, Mode::empty(), 0) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(e) => return Err(e.into()),
        }
        let target =
            openat(&dev, "console", OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
        attach(clone_tree(slave, Extent::One)?, target)
    };
    mount().map_err(|e| InitFailure::system("mount /dev/console", &e))
}

/// Makes the directories inside a fresh `/dev` that later mounts use.
pub(super) fn make_directory(dir: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    match mkdirat(dir, name, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_checked_before_anything_is_made() {
        let device = |path: &str, kind: &str, major| Device {
            path: path.into(),
            kind: kind.into(),
            major,
            minor: 1,
            ..Device::default()
        };
        assert!(plan_nodes(&[device("/dev/x", "c", 10)]).is_ok());
        assert!(plan_nodes(&[device("/dev/x", "z", 10)]).is_err());
        assert!(plan_nodes(&[device("dev/x", "c", 10)]).is_err());
        assert!(plan_nodes(&[device("/dev/x", "b", -1)]).is_err());
    }

    #[test]
    fn a_node_with_other_numbers_is_not_taken_for_the_one_meant() {
        assert!(host_null().is_ok());
        assert!(host_node(Path::new("/dev/null"), FileType::CharacterDevice, makedev(1, 5)).is_err());
    }
}
