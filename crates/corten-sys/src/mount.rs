//! Mounts as descriptors: made detached, given attributes, and attached to a directory or file that is itself a
//! descriptor. Nothing here takes a path inside a container.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::CWD;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, fsconfig_create,
    fsconfig_set_fd, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree, unmount,
};

use crate::syscall::check;

/// Properties of one mount (not of its filesystem): `MOUNT_ATTR_*` bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Attributes(pub u64);

impl Attributes {
    /// No property set.
    pub const NONE: Self = Self(0);
    /// Nothing can be written.
    pub const RDONLY: Self = Self(0x01);
    /// Set-user-id and file capabilities have no effect.
    pub const NOSUID: Self = Self(0x02);
    /// Device nodes cannot be opened.
    pub const NODEV: Self = Self(0x04);
    /// Nothing can be executed.
    pub const NOEXEC: Self = Self(0x08);
    /// The field of access-time modes; zero is `relatime`.
    pub const ATIME: Self = Self(0x70);
    /// Access times are never updated.
    pub const NOATIME: Self = Self(0x10);
    /// Access times are always updated.
    pub const STRICTATIME: Self = Self(0x20);
    /// Access times of directories are never updated.
    pub const NODIRATIME: Self = Self(0x80);
    /// The mount maps ids through a user namespace.
    pub const IDMAP: Self = Self(0x0010_0000);
    /// Symbolic links are not followed.
    pub const NOSYMFOLLOW: Self = Self(0x0020_0000);

    /// Whether every bit of `other` is set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl std::ops::BitOr for Attributes {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl std::ops::BitOrAssign for Attributes {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

/// How mounts and unmounts below a mount travel between namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    /// Both ways.
    Shared,
    /// Into this mount only.
    Slave,
    /// Not at all.
    Private,
    /// Not at all, and the mount cannot be the source of a bind.
    Unbindable,
}

/// One mount, or it and all mounts below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// This mount alone.
    One,
    /// The whole tree.
    Tree,
}

/// A change of the attributes of existing mounts; see `mount_setattr(2)`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Change<'fd> {
    /// Bits to set.
    pub set: Attributes,
    /// Bits to clear; clearing is done first.
    pub clear: Attributes,
    /// New propagation, or `None` to leave it.
    pub propagation: Option<Propagation>,
    /// The user namespace whose mapping the mount gets; needs [`Attributes::IDMAP`] in `set`.
    pub user_namespace: Option<BorrowedFd<'fd>>,
}

/// The kernel's `struct mount_attr` (version 0).
#[repr(C)]
struct MountAttr {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

impl Change<'_> {
    fn raw(&self) -> MountAttr {
        let mut clear = self.clear.0;
        // The kernel takes a new access-time mode only when the whole field is cleared with it.
        if self.set.0 & Attributes::ATIME.0 != 0 {
            clear |= Attributes::ATIME.0;
        }
        MountAttr {
            attr_set: self.set.0,
            attr_clr: clear,
            propagation: match self.propagation {
                None => 0,
                Some(Propagation::Shared) => libc::MS_SHARED,
                Some(Propagation::Slave) => libc::MS_SLAVE,
                Some(Propagation::Private) => libc::MS_PRIVATE,
                Some(Propagation::Unbindable) => libc::MS_UNBINDABLE,
            },
            userns_fd: self.user_namespace.map_or(0, |fd| fd.as_raw_fd() as u64),
        }
    }
}

/// Applies `change` to the mount whose root `mount` is.
pub fn set_attributes(mount: impl AsFd, change: &Change<'_>, extent: Extent) -> io::Result<()> {
    let attr = change.raw();
    let recursive = if extent == Extent::Tree { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a NUL-terminated empty string, `attr` has the kernel's layout and the size that is passed,
    // and both live across the call. The kernel keeps no pointer.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | recursive,
            &raw const attr,
            size_of::<MountAttr>(),
        )
    })?;
    Ok(())
}

/// A filesystem being configured; it becomes a detached mount by [`Filesystem::mount`].
#[derive(Debug)]
pub struct Filesystem(OwnedFd);

impl Filesystem {
    /// Starts the configuration of a new filesystem of type `name`.
    pub fn open(name: &str) -> io::Result<Self> {
        Ok(Self(fsopen(name, FsOpenFlags::FSOPEN_CLOEXEC)?))
    }

    /// Sets an option without a value.
    pub fn flag(&self, key: &str) -> io::Result<&Self> {
        fsconfig_set_flag(&self.0, key)?;
        Ok(self)
    }

    /// Sets an option to a text.
    pub fn set(&self, key: &str, value: &str) -> io::Result<&Self> {
        fsconfig_set_string(&self.0, key, value)?;
        Ok(self)
    }

    /// Sets an option to a descriptor.
    pub fn set_fd(&self, key: &str, value: impl AsFd) -> io::Result<&Self> {
        fsconfig_set_fd(&self.0, key, value)?;
        Ok(self)
    }

    /// Makes the filesystem and a detached mount of it.
    pub fn mount(self, attributes: Attributes) -> io::Result<OwnedFd> {
        fsconfig_create(&self.0)?;
        let flags = MountAttrFlags::from_bits_retain(attributes.0 as u32);
        Ok(fsmount(&self.0, FsMountFlags::FSMOUNT_CLOEXEC, flags)?)
    }

    /// What the kernel has said about this configuration, for error messages.
    pub fn messages(&self) -> String {
        let mut text = String::new();
        let mut buffer = [0u8; 1024];
        while let Ok(n @ 1..) = rustix::io::read(&self.0, &mut buffer) {
            let line = String::from_utf8_lossy(&buffer[..n]);
            text.push_str(line.trim_end());
            text.push_str("; ");
        }
        text
    }
}

/// A detached copy of the mount (or the tree of mounts) at what `at` refers to.
pub fn clone_tree(at: impl AsFd, extent: Extent) -> io::Result<OwnedFd> {
    let mut flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    if extent == Extent::Tree {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    Ok(open_tree(at, "", flags)?)
}

/// A detached copy of the mount (or the tree of mounts) at `path` of the caller's own mount namespace.
///
/// For sources that belong to the host; links in `path` are followed.
pub fn clone_host_tree(path: &std::path::Path, extent: Extent) -> io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if extent == Extent::Tree {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    Ok(open_tree(CWD, path, flags)?)
}

/// Attaches the detached `mount` on top of what `target` refers to.
pub fn attach(mount: impl AsFd, target: impl AsFd) -> io::Result<()> {
    move_mount(
        mount,
        "",
        target,
        "",
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH,
    )?;
    Ok(())
}

/// Runs `body` on a thread of its own with a copy of the mount table, in and out of which nothing propagates and which
/// is gone afterwards. A detached mount that `body` makes outlives it.
pub fn within_own_table<T: Send>(body: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(move || {
            crate::process::unshare_directory()?;
            crate::namespace::unshare(crate::namespace::Kind::Mount.flag())?;
            let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC;
            let root = rustix::fs::open("/", flags, rustix::fs::Mode::empty())?;
            let change = Change { propagation: Some(Propagation::Private), ..Change::default() };
            set_attributes(&root, &change, Extent::Tree)?;
            body()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Takes the mount at the caller's current directory (and what lies below it) out of the tree; it ends when
/// nobody uses it any more.
pub fn detach_current_directory() -> io::Result<()> {
    Ok(unmount(".", UnmountFlags::DETACH)?)
}

/// Takes the mount at `path`, relative to the caller's current directory and without following a last link, out of the
/// tree.
pub fn detach_at(path: &std::path::Path) -> io::Result<()> {
    Ok(unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)?)
}
