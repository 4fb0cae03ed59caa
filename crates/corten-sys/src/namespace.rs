//! Namespaces: joining them, and an excursion that is undone.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags};

use crate::syscall::check;

/// The kinds of namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// User and group ids, capabilities.
    User,
    /// Mount table.
    Mount,
    /// Host and domain name.
    Uts,
    /// System V IPC and POSIX message queues.
    Ipc,
    /// Network devices, addresses, sockets.
    Net,
    /// Process ids.
    Pid,
    /// View of the cgroup tree.
    Cgroup,
    /// Offsets of the monotonic and boot clocks.
    Time,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 8] =
        [Self::User, Self::Mount, Self::Uts, Self::Ipc, Self::Net, Self::Pid, Self::Cgroup, Self::Time];

    /// The `CLONE_NEW*` flag.
    pub const fn flag(self) -> u64 {
        (match self {
            Self::User => libc::CLONE_NEWUSER,
            Self::Mount => libc::CLONE_NEWNS,
            Self::Uts => libc::CLONE_NEWUTS,
            Self::Ipc => libc::CLONE_NEWIPC,
            Self::Net => libc::CLONE_NEWNET,
            Self::Pid => libc::CLONE_NEWPID,
            Self::Cgroup => libc::CLONE_NEWCGROUP,
            Self::Time => 0x80,
        }) as u64
    }

    /// The name of its file in `/proc/<pid>/ns`.
    pub const fn file(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Mount => "mnt",
            Self::Uts => "uts",
            Self::Ipc => "ipc",
            Self::Net => "net",
            Self::Pid => "pid",
            Self::Cgroup => "cgroup",
            Self::Time => "time",
        }
    }
}

/// Joins the namespace behind `fd`, or, when `fd` is a pidfd, the namespaces `flags` of that process.
///
/// `flags` are `CLONE_NEW*` bits; 0 accepts any kind of a namespace descriptor.
pub fn join(fd: impl AsFd, flags: u64) -> io::Result<()> {
    // SAFETY: setns(2) takes a live descriptor and flags; it changes the caller's namespaces and no memory.
    check(unsafe { libc::syscall(libc::SYS_setns, fd.as_fd().as_raw_fd(), flags as libc::c_int) })?;
    Ok(())
}

/// Moves the caller into new namespaces of the kinds `flags` (`CLONE_NEW*` bits).
pub fn unshare(flags: u64) -> io::Result<()> {
    // SAFETY: namespace bits never unshare the descriptor table or the address space, so no owned descriptor and
    // no reference of this process is affected. Other bits are masked out.
    let namespaces = Kind::ALL.iter().fold(0, |all, kind| all | kind.flag()) & flags;
    check(unsafe { libc::syscall(libc::SYS_unshare, namespaces) })?;
    Ok(())
}

/// A user namespace, and a network namespace that belongs to it.
#[derive(Debug)]
pub struct Owned {
    /// The user namespace.
    pub user: OwnedFd,
    /// The network namespace, where one was asked for.
    pub net: Option<OwnedFd>,
}

/// Makes a user namespace with these id maps (as `/proc/<pid>/uid_map` and `gid_map` are written), and with `net` a
/// network namespace that it owns. Both live as long as something refers to them.
///
/// Namespaces of users are made for processes only: a copy of the caller is born into them, does nothing, and is ended
/// before this returns. The caller may have threads.
pub fn make_owned(users: &str, groups: &str, net: bool) -> io::Result<Owned> {
    let flags = Kind::User.flag() | if net { Kind::Net.flag() } else { 0 };
    let holder = crate::process::Holder::born_into(flags)?;
    let file = |name: &str| format!("/proc/{}/{name}", holder.pid());
    std::fs::write(file("uid_map"), users)?;
    std::fs::write(file("gid_map"), groups)?;
    let open = |name: &str| -> io::Result<OwnedFd> {
        Ok(rustix::fs::open(file(name), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
    };
    Ok(Owned { user: open("ns/user")?, net: if net { Some(open("ns/net")?) } else { None } })
}

/// A stay in other namespaces that ends with [`Excursion::leave`] or the value's end.
///
/// It serves namespaces that only children get (pid, time), and the joins that a child could no longer do once
/// it lives in a new user namespace. The caller must be single-threaded, else its threads live in different worlds.
#[derive(Debug)]
pub struct Excursion {
    homes: Vec<(Kind, OwnedFd)>,
}

impl Excursion {
    /// Joins every namespace of `targets`, after remembering the way back.
    pub fn enter<'a>(targets: impl IntoIterator<Item = (Kind, &'a OwnedFd)>) -> io::Result<Self> {
        let mut excursion = Self { homes: Vec::new() };
        for (kind, target) in targets {
            let home = rustix::fs::openat(
                CWD,
                format!("/proc/self/ns/{}", kind.file()),
                OFlags::RDONLY | OFlags::CLOEXEC,
                Mode::empty(),
            )?;
            join(target, kind.flag())?;
            excursion.homes.push((kind, home));
        }
        Ok(excursion)
    }

    /// Makes a time namespace with `offsets` (lines of `clock seconds nanoseconds`) for the children to come.
    pub fn enter_new_time(&mut self, offsets: &str) -> io::Result<()> {
        let home =
            rustix::fs::openat(CWD, "/proc/self/ns/time", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        unshare(Kind::Time.flag())?;
        self.homes.push((Kind::Time, home));
        if !offsets.is_empty() {
            std::fs::write("/proc/self/timens_offsets", offsets)?;
        }
        Ok(())
    }

    /// Forgets the way back: for a child that was made there and stays.
    pub fn stay(mut self) {
        self.homes.clear();
    }

    /// Goes back to where the caller came from.
    pub fn leave(mut self) -> io::Result<()> {
        self.go_home()
    }

    fn go_home(&mut self) -> io::Result<()> {
        while let Some((kind, home)) = self.homes.pop() {
            join(&home, kind.flag())?;
        }
        Ok(())
    }
}

impl Drop for Excursion {
    fn drop(&mut self) {
        // A process that cannot return would do its further work in a container's namespaces.
        if self.go_home().is_err() {
            std::process::abort();
        }
    }
}
