//! Mounts of snapshots: made detached, so that they appear in nobody's mount table until somebody attaches them.

use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use corten_sys::mount::{Attributes, Change, Extent, attach, clone_host_tree, set_attributes};
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
///
/// Kernels before 6.5 take the trees in one text, which holds some sixty of them; more are `E2BIG` there.
pub(crate) fn mount(lower: &[impl AsRef<Path>], writable: Option<Writable<'_>>) -> Result<OwnedFd, Errno> {
    /// Whether this kernel was seen to need the text: what it does not understand it says only at the end.
    static ONE_TEXT: AtomicBool = AtomicBool::new(false);
    if !ONE_TEXT.load(Ordering::Relaxed) {
        match mount_tree_by_tree(lower, writable.as_ref()) {
            Err(Errno::INVAL) => {}
            other => return other,
        }
    }
    let mounted = mount_with_one_text(lower, writable.as_ref())?;
    ONE_TEXT.store(true, Ordering::Relaxed);
    Ok(mounted)
}

/// Whom the files of an overlay belong to where ids are mapped.
#[derive(Debug, Clone, Copy)]
pub struct Mapped<'a> {
    /// The user namespace whose mapping the trees get.
    pub namespace: BorrowedFd<'a>,
    /// What stands for user and group 0 outside.
    pub root: (u32, u32),
}

/// The same over trees whose ids are mapped: what lies on the disk as 0 is the namespace's root, and the other way round.
///
/// In a mount table of its own, each tree is covered by its mapped self. Overlay keeps for its own work the ids that a
/// mounter has, and these must exist in the mapping of the upper tree: the namespace's root mounts it.
///
/// Kernels before 5.19 refuse it.
pub(crate) fn mount_mapped(
    lower: &[impl AsRef<Path> + std::marker::Sync],
    writable: Writable<'_>,
    mapped: Mapped<'_>,
) -> Result<OwnedFd, MappedError> {
    let Some(both) = writable.upper.parent() else { return Err(MappedError::Mount(Errno::INVAL)) };
    let mut unmapped = false;
    let made = corten_sys::mount::within_own_table(|| {
        for tree in lower.iter().map(AsRef::as_ref).chain([both]) {
            let copy = clone_host_tree(tree, Extent::One)?;
            let change = Change {
                set: Attributes::IDMAP,
                user_namespace: Some(mapped.namespace),
                ..Change::default()
            };
            // EINVAL is a file system's word for that, EPERM that of a mount which is mapped already.
            set_attributes(&copy, &change, Extent::One).inspect_err(|error| {
                unmapped = matches!(Errno::from_io_error(error), Some(Errno::INVAL | Errno::PERM));
            })?;
            attach(&copy, rustix::fs::open(tree, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?)?;
        }
        corten_sys::process::act_on_files_as(mapped.root.0, mapped.root.1)?;
        Ok(mount(lower, Some(writable))?)
    });
    made.map_err(|error| match unmapped {
        true => MappedError::FileSystem,
        false => MappedError::Mount(Errno::from_io_error(&error).unwrap_or(Errno::IO)),
    })
}

/// Why there is no overlay over mapped trees.
pub(crate) enum MappedError {
    /// The file system that they lie on cannot map ids.
    FileSystem,
    /// The kernel refuses the overlay.
    Mount(Errno),
}

fn mount_tree_by_tree(lower: &[impl AsRef<Path>], writable: Option<&Writable<'_>>) -> Result<OwnedFd, Errno> {
    let context = begin()?;
    for tree in lower {
        set_directory(&context, "lowerdir+", tree.as_ref())?;
    }
    finish(&context, writable)
}

fn begin() -> Result<OwnedFd, Errno> {
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&context, "source", "overlay")?;
    Ok(context)
}

/// The trees by the numbers of their descriptors, as names in the folder of descriptors: short enough for one text.
fn mount_with_one_text(
    lower: &[impl AsRef<Path>],
    writable: Option<&Writable<'_>>,
) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let open = |path: &Path| rustix::fs::open(path, flags, Mode::empty());
    let trees = lower.iter().map(|tree| open(tree.as_ref())).collect::<Result<Vec<_>, _>>()?;
    let numbers: Vec<_> = trees.iter().map(|tree| tree.as_raw_fd().to_string()).collect();
    let text = numbers.join(":");
    if text.len() > VALUE_MAX {
        return Err(Errno::TOOBIG);
    }
    let descriptors = open(Path::new("/proc/self/fd"))?;
    let mounted = corten_sys::process::within_directory(descriptors.as_fd(), || {
        let context = begin()?;
        fsconfig_set_string(&context, "lowerdir", &text)?;
        Ok(finish(&context, writable)?)
    });
    mounted.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
}

fn finish(context: &OwnedFd, writable: Option<&Writable<'_>>) -> Result<OwnedFd, Errno> {
    if let Some(writable) = writable {
        set_directory(context, "upperdir", writable.upper)?;
        set_directory(context, "workdir", writable.work)?;
        if writable.sync == Sync::Volatile {
            fsconfig_set_flag(context, "volatile")?;
        }
    }
    // An upper directory must hold whole files and directories: layers are made from it.
    fsconfig_set_string(context, "redirect_dir", "nofollow")?;
    fsconfig_set_string(context, "metacopy", "off")?;
    fsconfig_set_string(context, "index", "off")?;
    fsconfig_create(context)?;
    let attributes =
        if writable.is_some() { MountAttrFlags::empty() } else { MountAttrFlags::MOUNT_ATTR_RDONLY };
    fsmount(context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_that_cannot_map_ids_is_told_apart() {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: mounts need root");
            return;
        }
        let made = corten_sys::namespace::make_owned("0 100000 10\n", "0 100000 10\n", false).unwrap();
        let mapped = Mapped { namespace: made.user.as_fd(), root: (100_000, 100_000) };
        let upper = Path::new("/proc/sys");
        let writable = Writable { upper, work: upper, sync: Sync::Normal };
        let refused = mount_mapped(&[Path::new("/proc")], writable, mapped);
        assert!(matches!(refused, Err(MappedError::FileSystem)));
    }

    #[test]
    fn trees_in_one_text_make_the_same_overlay() {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: mounts need root");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let tree = |name: &str| {
            let path = dir.path().join(name);
            std::fs::create_dir(&path).unwrap();
            std::fs::write(path.join("which"), name).unwrap();
            path
        };
        let lower = [tree("top"), tree("bottom")];
        std::fs::write(lower[1].join("below"), "").unwrap();
        for mounted in [mount(&lower, None), mount_with_one_text(&lower, None)] {
            let mounted = match mounted {
                Ok(mounted) => mounted,
                Err(errno) => return println!("skipped: no overlay here: {errno}"),
            };
            let open =
                |name: &str| rustix::fs::openat(&mounted, name, OFlags::RDONLY, Mode::empty()).unwrap();
            let mut text = String::new();
            std::io::Read::read_to_string(&mut std::fs::File::from(open("which")), &mut text).unwrap();
            assert_eq!(text, "top");
            open("below");
        }
    }
}
