//! Mounts of snapshots: made detached, so that they appear in nobody's mount table until somebody attaches them.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_fd, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen,
};

/// Whether the file system of a writable mount promises anything after a power cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sync {
    /// As the file system beneath does. For containers that are kept.
    Normal,
    /// Syncs are no-ops, also those the programs inside ask for. After an unclean end the upper directory must be
    /// thrown away. For containers that are removed when they end, and for build steps.
    Volatile,
}

/// The writable side of an overlay.
pub(crate) struct Writable<'a> {
    pub upper: &'a Path,
    pub work: &'a Path,
    pub sync: Sync,
}

/// Longest value `fsconfig(2)` takes as a string, without its end.
const VALUE_MAX: usize = 255;

/// An overlay of the trees `lower` (top first), writable where there is an upper directory. At least one tree, and at
/// least two where there is none.
pub(crate) fn mount(lower: &[impl AsRef<Path>], writable: Option<Writable<'_>>) -> Result<OwnedFd, Errno> {
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&context, "source", "overlay")?;
    for tree in lower {
        set_directory(&context, "lowerdir+", tree.as_ref())?;
    }
    if let Some(writable) = &writable {
        set_directory(&context, "upperdir", writable.upper)?;
        set_directory(&context, "workdir", writable.work)?;
        if writable.sync == Sync::Volatile {
            fsconfig_set_flag(&context, "volatile")?;
        }
    }
    // An upper directory must hold whole files and directories: layers are made from it.
    fsconfig_set_string(&context, "redirect_dir", "nofollow")?;
    fsconfig_set_string(&context, "metacopy", "off")?;
    fsconfig_set_string(&context, "index", "off")?;
    fsconfig_create(&context)?;
    let attributes =
        if writable.is_some() { MountAttrFlags::empty() } else { MountAttrFlags::MOUNT_ATTR_RDONLY };
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

fn set_directory(context: impl AsFd, key: &str, path: &Path) -> Result<(), Errno> {
    let fits = path.as_os_str().len() <= VALUE_MAX;
    if fits {
        return fsconfig_set_string(context, key, path);
    }
    let directory =
        rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    fsconfig_set_fd(context, key, &directory)
}
