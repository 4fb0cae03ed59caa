//! The container's view of files: mounts, devices, masks, and the change of the root. Runs in the child, inside its
//! own mount namespace, before anything of the container can run.
//!
//! ```text
//!   "/" made slave ─▶ root attached ─▶ mounts, devices, console ─▶ masks, read-only paths ─▶ pivot
//! ```
//!
//! Every target is found beneath the root's descriptor and mounted on by descriptor; system filesystems refuse a link
//! anywhere in their path.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use corten_sys::mount::{
    Attributes, Change, Extent, Filesystem, Propagation, attach, clone_host_tree, clone_tree, detach_at,
    detach_current_directory, set_attributes,
};
use corten_sys::path::{Root, kind_of, open_root};
use rustix::fs::{FileType, OFlags};

use super::Pivot;
use super::binds::Taken;
use super::copy_up::copy_directory;
use super::devices::{self, Node};
use super::error::InitFailure;
use super::mount_plan::{MountPlan, Source};
use crate::cgroup;

/// What the container's files look like.
#[derive(Debug)]
pub(super) struct RootPlan {
    pub mounts: Vec<MountPlan>,
    pub nodes: Vec<Node>,
    pub masked: Vec<PathBuf>,
    pub readonly: Vec<PathBuf>,
    pub root_readonly: bool,
    pub propagation: (Propagation, Extent),
    /// Whether the root's own mount gets that propagation at the end.
    pub propagation_is_asked: bool,
    pub working_directory: PathBuf,
    pub pivot: Pivot,
    /// The cgroup that is shown inside, and whether it is the root of what is seen.
    pub cgroup_view: cgroup::View,
}

/// A root that is attached but not yet entered.
#[derive(Debug)]
pub(super) struct AttachedRoot {
    root: OwnedFd,
    /// The root before.
    old: OwnedFd,
    /// Whether it is attached there, and not at its own path.
    covers_root: bool,
}

/// Where the root comes from, as the child finds it.
#[derive(Debug)]
pub(super) enum RootSource {
    /// A directory of the host.
    Path(PathBuf),
    /// A detached mount.
    Mount(OwnedFd),
}

impl AttachedRoot {
    /// Cuts the namespace off from its origin and attaches the container's root.
    ///
    /// A directory's mount covers the directory itself, where hooks look for it by its path; what has no path covers
    /// `/`. So does every root whose tree stays shared with the host: there, only the mount at `/` is cut off, so that
    /// the container's root and what is mounted inside does not arrive on the host.
    pub(super) fn attach(source: RootSource, plan: &RootPlan) -> Result<Self, InitFailure> {
        let old = rustix::fs::open("/", OFlags::PATH | OFlags::CLOEXEC, rustix::fs::Mode::empty())
            .map_err(|e| InitFailure::system("open the old root", &e.into()))?;
        let propagate = |mount: &OwnedFd, propagation: Propagation, extent: Extent| {
            let change = Change { propagation: Some(propagation), ..Change::default() };
            set_attributes(mount, &change, extent)
                .map_err(|e| InitFailure::system("set root propagation", &e))
        };
        let shared = plan.propagation.0 == Propagation::Shared;
        match plan.propagation.0 {
            Propagation::Shared => propagate(&old, Propagation::Private, Extent::One)?,
            // What cannot be bound is the container's root, not the tree that it is taken from.
            Propagation::Unbindable => propagate(&old, Propagation::Private, Extent::Tree)?,
            asked => propagate(&old, asked, Extent::Tree)?,
        }
        let (root, place) = match source {
            RootSource::Mount(fd) => (fd, None),
            RootSource::Path(path) => {
                let fail =
                    |e: io::Error| InitFailure::system(format_args!("open rootfs {}", path.display()), &e);
                let root = clone_host_tree(&path, Extent::Tree).map_err(fail)?;
                if shared {
                    propagate(&root, Propagation::Private, Extent::Tree)?;
                }
                let place = if shared { None } else { Some(open_root(&path).map_err(fail)?) };
                (root, place)
            }
        };
        attach(&root, place.as_ref().unwrap_or(&old))
            .map_err(|e| InitFailure::system("attach the root filesystem", &e))?;
        Ok(Self { root, old, covers_root: place.is_none() })
    }

    /// Makes the root the current directory, where the hooks inside the container's namespaces expect it.
    pub(super) fn make_current(&self) -> Result<(), InitFailure> {
        rustix::process::fchdir(&self.root).map_err(|e| InitFailure::system("chdir to rootfs", &e.into()))
    }

    /// The root, for everything that looks beneath it.
    pub(super) fn root(&self) -> Root<'_> {
        Root::new(self.root.as_fd())
    }

    /// Makes mounts, device nodes and the working directory.
    ///
    /// `binds` are the sources that were taken out of the host's tree beforehand, by mount.
    pub(super) fn furnish(&self, plan: &RootPlan, binds: Taken) -> Result<(), InitFailure> {
        let root = self.root();
        let binds = binds.into_iter().chain(std::iter::repeat_with(|| None));
        for (mount, taken) in plan.mounts.iter().zip(binds) {
            make_mount(root, mount, taken, &plan.cgroup_view)?;
        }
        let own_dev = |mount: &&MountPlan| mount.destination == Path::new("/dev");
        match plan.mounts.iter().find(own_dev) {
            // Filled when it was made.
            Some(mount) if mount.is_new("tmpfs") => {}
            // The host's, or a filesystem that brings its own nodes.
            Some(_) => return self.make_working_directory(plan),
            None => {
                let dev = directory_without_links(root, Path::new("/dev"))
                    .map_err(|e| InitFailure::system("open /dev", &e))?;
                devices::populate(dev.as_fd())?;
            }
        }
        devices::make_all(root, &plan.nodes)?;
        self.make_working_directory(plan)
    }

    fn make_working_directory(&self, plan: &RootPlan) -> Result<(), InitFailure> {
        let path = &plan.working_directory;
        match self.root().make_directories(path, 0o755) {
            Ok(_) => Ok(()),
            // Reported where the directory is entered, in the words that users know.
            Err(e)
                if matches!(
                    e.raw_os_error(),
                    Some(libc::ENOTDIR | libc::EROFS | libc::ELOOP | libc::EACCES)
                ) =>
            {
                Ok(())
            }
            Err(e) => Err(InitFailure::system(format_args!("mkdir {}", path.display()), &e)),
        }
    }

    /// Hides and protects paths, and makes the root read-only when asked.
    pub(super) fn protect(&self, plan: &RootPlan) -> Result<(), InitFailure> {
        let root = self.root();
        for path in &plan.readonly {
            make_readonly(root, path)
                .map_err(|e| InitFailure::system(format_args!("can't make {path:?} read-only"), &e))?;
        }
        mask_all(root, &plan.masked)?;
        for mount in plan.mounts.iter().filter(|m| late_readonly(m)) {
            let target = root.locate(&mount.destination);
            let change = Change { set: Attributes::RDONLY, ..Change::default() };
            target.and_then(|target| set_attributes(target, &change, Extent::One)).map_err(|e| {
                InitFailure::system(format_args!("can't make {:?} read-only", mount.destination), &e)
            })?;
        }
        if plan.root_readonly {
            let change = Change { set: Attributes::RDONLY, ..Change::default() };
            set_attributes(&self.root, &change, Extent::One)
                .map_err(|e| InitFailure::system("can't make the root read-only", &e))?;
        }
        Ok(())
    }

    /// Makes the container's root the process's root and lets go of the host's tree.
    pub(super) fn enter(self, plan: &RootPlan) -> Result<(), InitFailure> {
        if plan.pivot == Pivot::Move {
            return self.move_in();
        }
        let pivot = || -> io::Result<()> {
            rustix::process::fchdir(&self.root)?;
            rustix::process::pivot_root(".", ".")?;
            if matches!(plan.propagation.0, Propagation::Shared) {
                // The unmount below must not travel to the host.
                let old = rustix::fs::open("/", OFlags::PATH | OFlags::CLOEXEC, rustix::fs::Mode::empty())?;
                let change = Change { propagation: Some(Propagation::Slave), ..Change::default() };
                set_attributes(old, &change, Extent::Tree)?;
            }
            detach_current_directory()?;
            rustix::process::chdir("/")?;
            if plan.propagation_is_asked {
                let (propagation, extent) = plan.propagation;
                let change = Change { propagation: Some(propagation), ..Change::default() };
                set_attributes(&self.root, &change, extent)?;
            }
            Ok(())
        };
        pivot().map_err(|e| InitFailure::system("pivot_root", &e))
    }

    /// Enters by `chroot`. The old tree stays mounted out of sight; of it, what a new procfs or sysfs of the container
    /// would be judged by is taken away, so that no unmasked one can be mounted.
    fn move_in(self) -> Result<(), InitFailure> {
        let enter = || -> io::Result<()> {
            rustix::process::fchdir(&self.old)?;
            for path in ["proc", "sys"] {
                hide_mounts(Path::new(path))?;
            }
            // What covers `/` is no prison, but the root of the namespace.
            if !self.covers_root {
                attach(&self.root, &self.old)?;
            }
            rustix::process::fchdir(&self.root)?;
            rustix::process::chroot(".")?;
            rustix::process::chdir("/")?;
            Ok(())
        };
        enter().map_err(|e| InitFailure::system("enter the root without pivot_root", &e))
    }
}

/// Takes every mount at `path`, relative to the current directory, out of the tree; one that cannot be is covered.
fn hide_mounts(path: &Path) -> io::Result<()> {
    // Mounts on top of each other are as few as a host's administrator has made.
    for _ in 0..64 {
        match detach_at(path) {
            Ok(()) => {}
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => return Ok(()),
            // No mount (any more), or one that a user namespace has locked.
            Err(e) if matches!(e.raw_os_error(), Some(libc::EINVAL | libc::EPERM)) => break,
            Err(e) => return Err(e),
        }
    }
    let place = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, rustix::fs::Mode::empty())?;
    attach(empty_directory()?, place)
}

/// Whether a mount becomes read-only only after others were made inside it.
fn late_readonly(mount: &MountPlan) -> bool {
    mount.attributes.contains(Attributes::RDONLY)
        && mount.destination == Path::new("/dev")
        && mount.is_new("tmpfs")
}

fn make_mount(
    root: Root<'_>,
    plan: &MountPlan,
    taken: Option<OwnedFd>,
    view: &cgroup::View,
) -> Result<(), InitFailure> {
    let to = plan.destination.display();
    match &plan.source {
        Source::Bind { path, extent } => {
            let from = path.display();
            let fail = |e: io::Error| {
                InitFailure::system(format_args!("error mounting \"{from}\" to rootfs at \"{to}\""), &e)
            };
            let mount = match taken {
                Some(mount) => mount,
                None => clone_host_tree(path, *extent).map_err(fail)?,
            };
            let target = if kind_of(&mount).map_err(fail)? == FileType::Directory {
                root.make_directories(&plan.destination, 0o755)
            } else {
                root.make_file(&plan.destination, 0o755)
            };
            let target = target.map_err(|e| {
                InitFailure::system(
                    format_args!("error mounting \"{from}\" to rootfs at \"{to}\": create mountpoint"),
                    &e,
                )
            })?;
            change_attributes(&mount, plan).map_err(fail)?;
            attach(&mount, target).map_err(fail)
        }
        Source::Filesystem { kind, device, options } => {
            let fail = |e: io::Error| {
                InitFailure::system(format_args!("error mounting \"{device}\" to rootfs at \"{to}\""), &e)
            };
            let covered =
                kind == "tmpfs" && root.open(&plan.destination, OFlags::PATH | OFlags::DIRECTORY).is_ok();
            let target = if plan.is_system() || plan.destination == Path::new("/dev") {
                directory_without_links(root, &plan.destination)
            } else {
                root.make_directories(&plan.destination, 0o755)
            };
            let target = target.map_err(|e| match e.raw_os_error() {
                Some(libc::ELOOP | libc::ENOTDIR) if plan.is_system() => InitFailure::invalid(format!(
                    "error mounting \"{device}\" to rootfs at \"{to}\": filesystem \"{kind}\" must be mounted on ordinary directory"
                )),
                _ => fail(e),
            })?;
            let like = covered.then_some(target.as_fd());
            let mount = new_filesystem(plan, kind, device, options, like).map_err(fail)?;
            if plan.copy_up {
                copy_directory(target.as_fd(), mount.as_fd()).map_err(fail)?;
            }
            // A new mount was made with its attributes, and has none that could be taken away.
            let changes =
                MountPlan { attributes: Attributes::NONE, cleared: Attributes::NONE, ..plan.clone() };
            change_attributes(&mount, &changes).map_err(fail)?;
            attach(&mount, target).map_err(fail)?;
            // Once it is attached: older kernels take no mount, which nodes are in a user namespace, on a detached one.
            if kind == "tmpfs" && plan.destination == Path::new("/dev") {
                devices::populate(mount.as_fd())?;
                devices::make_directory(mount.as_fd(), "pts").map_err(fail)?;
                devices::make_directory(mount.as_fd(), "shm").map_err(fail)?;
            }
            Ok(())
        }
        Source::Cgroup => {
            let fail = |e: io::Error| {
                InitFailure::system(format_args!("error mounting \"cgroup\" to rootfs at \"{to}\""), &e)
            };
            let target = root.make_directories(&plan.destination, 0o755).map_err(fail)?;
            view.mount(target.as_fd(), plan.attributes).map_err(fail)
        }
    }
}

/// Opens the directory `path` beneath `root`, making it when it is missing; a link anywhere in it is refused.
fn directory_without_links(root: Root<'_>, path: &Path) -> io::Result<OwnedFd> {
    let found = match root.locate_without_links(path) {
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => {
            root.make_directories(path, 0o755)?;
            root.locate_without_links(path)?
        }
        other => other?,
    };
    match kind_of(&found)? {
        FileType::Directory => Ok(found),
        _ => Err(io::Error::from_raw_os_error(libc::ENOTDIR)),
    }
}

fn new_filesystem(
    plan: &MountPlan,
    kind: &str,
    device: &str,
    options: &[(String, Option<String>)],
    covered: Option<BorrowedFd<'_>>,
) -> io::Result<OwnedFd> {
    let filesystem = Filesystem::open(kind)?;
    if !device.is_empty() {
        filesystem.set("source", device)?;
    }
    for (key, value) in options {
        match value {
            Some(value) => filesystem.set(key, value)?,
            None => filesystem.flag(key)?,
        };
    }
    if let Some(covered) = covered
        && kind == "tmpfs"
        && !options.iter().any(|(key, _)| key == "mode")
    {
        // A tmpfs without a mode looks like the directory it covers.
        let mode = rustix::fs::fstat(covered)?.st_mode & 0o7777;
        filesystem.set("mode", &format!("{mode:o}"))?;
    }
    let attributes = if late_readonly(plan) {
        Attributes(plan.attributes.0 & !Attributes::RDONLY.0)
    } else {
        plan.attributes
    };
    filesystem.mount(attributes)
}

fn change_attributes(mount: &OwnedFd, plan: &MountPlan) -> io::Result<()> {
    let (set, clear) = (plan.attributes, plan.cleared);
    if set != Attributes::NONE || clear != Attributes::NONE {
        set_attributes(mount, &Change { set, clear, ..Change::default() }, Extent::One)?;
    }
    let (set, clear) = (plan.tree_attributes, plan.tree_cleared);
    if set != Attributes::NONE || clear != Attributes::NONE {
        set_attributes(mount, &Change { set, clear, ..Change::default() }, Extent::Tree)?;
    }
    for &(propagation, extent) in &plan.propagation {
        set_attributes(mount, &Change { propagation: Some(propagation), ..Change::default() }, extent)?;
    }
    Ok(())
}

/// Mounts `path` on itself, read-only. A path that does not exist needs no protection.
fn make_readonly(root: Root<'_>, path: &Path) -> io::Result<()> {
    let Some(target) = existing(root, path)? else { return Ok(()) };
    let mount = clone_tree(&target, Extent::Tree)?;
    set_attributes(&mount, &Change { set: Attributes::RDONLY, ..Change::default() }, Extent::Tree)?;
    attach(mount, target)
}

/// Covers files with the null device and directories with one empty read-only tmpfs.
fn mask_all(root: Root<'_>, paths: &[PathBuf]) -> Result<(), InitFailure> {
    let mut null: Option<OwnedFd> = None;
    let mut empty: Option<OwnedFd> = None;
    for path in paths {
        let fail = |e: io::Error| InitFailure::system(format_args!("can't mask path {path:?}"), &e);
        let Some(target) = existing(root, path).map_err(fail)? else { continue };
        if kind_of(&target).map_err(fail)? == FileType::Directory {
            let cover = match &empty {
                Some(first) => clone_tree(first, Extent::One).map_err(fail)?,
                None => empty_directory().map_err(fail)?,
            };
            attach(&cover, target).map_err(fail)?;
            empty.get_or_insert(cover);
        } else {
            let source = match &null {
                Some(fd) => fd,
                None => null.insert(devices::host_null().map_err(fail)?),
            };
            attach(clone_tree(source, Extent::One).map_err(fail)?, target).map_err(fail)?;
        }
    }
    Ok(())
}

fn empty_directory() -> io::Result<OwnedFd> {
    let filesystem = Filesystem::open("tmpfs")?;
    filesystem.set("source", "tmpfs")?.set("nr_blocks", "1")?.set("nr_inodes", "1")?;
    filesystem.mount(Attributes::RDONLY | Attributes::NOSUID | Attributes::NODEV | Attributes::NOEXEC)
}

fn existing(root: Root<'_>, path: &Path) -> io::Result<Option<OwnedFd>> {
    match root.locate(path) {
        Ok(fd) => Ok(Some(fd)),
        Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => Ok(None),
        Err(e) => Err(e),
    }
}
