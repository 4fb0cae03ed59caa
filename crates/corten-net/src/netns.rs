//! Network namespaces: made, entered and bound by threads of their own.
//!
//! The daemon's threads never change their namespace. Whatever must happen inside another one (opening a socket,
//! writing a sysctl) runs on a thread made for it, which ends afterwards; sockets opened there stay usable everywhere.
//!
//! A namespace lives as long as something refers to it: a process, a bound file, a socket, a descriptor. Nothing here
//! deletes devices: with the last reference the kernel takes them away by itself, later and off everybody's path.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::mount::{UnmountFlags, mount_bind, unmount};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

const CLONE_NEWNET: u64 = 0x4000_0000;

/// A network namespace, held by a descriptor.
#[derive(Debug)]
pub struct Namespace {
    fd: OwnedFd,
}

impl Namespace {
    /// Makes an empty one and runs `inside` in it.
    pub fn create<T: Send>(inside: impl FnOnce(BorrowedFd<'_>) -> T + Send) -> io::Result<(Self, T)> {
        on_a_thread(|| {
            corten_sys::namespace::unshare(CLONE_NEWNET)?;
            let fd = current()?;
            let value = inside(fd.as_fd());
            Ok((Self { fd }, value))
        })
    }

    /// Takes over the one behind `fd` and runs `inside` in it.
    pub fn of<T: Send>(
        fd: OwnedFd,
        inside: impl FnOnce(BorrowedFd<'_>) -> T + Send,
    ) -> io::Result<(Self, T)> {
        let namespace = Self { fd };
        let value = namespace.enter(|| inside(namespace.fd.as_fd()))?;
        Ok((namespace, value))
    }

    /// The calling thread's.
    pub fn current() -> io::Result<Self> {
        current().map(|fd| Self { fd })
    }

    /// The one bound at `path`.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { fd: File::open(path)?.into() })
    }

    /// Runs `inside` in it.
    pub fn enter<T: Send>(&self, inside: impl FnOnce() -> T + Send) -> io::Result<T> {
        on_a_thread(|| {
            move_into_link_name_space(self.fd.as_fd(), Some(LinkNameSpaceType::Network))?;
            Ok(inside())
        })
    }

    /// Binds it at `path`, a new file, so that it outlives this process.
    pub fn bind(&self, path: &Path) -> io::Result<()> {
        use std::os::fd::AsRawFd;
        File::create_new(path)?;
        let source = format!("/proc/self/fd/{}", self.fd.as_raw_fd());
        mount_bind(source, path).inspect_err(|_| drop(std::fs::remove_file(path)))?;
        Ok(())
    }

    /// Takes the binding at `path` away, whether something is bound there or not.
    pub fn unbind(path: &Path) -> io::Result<()> {
        match unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            Ok(()) | Err(rustix::io::Errno::INVAL) => {}
            Err(rustix::io::Errno::NOENT) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        }
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn current() -> io::Result<OwnedFd> {
    Ok(File::open("/proc/thread-self/ns/net")?.into())
}

fn on_a_thread<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("netns".into())
            .stack_size(256 * 1024)
            .spawn_scoped(scope, work)?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
