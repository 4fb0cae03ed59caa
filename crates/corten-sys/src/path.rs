//! Paths inside a tree that somebody else controls: every step is resolved by the kernel beneath a root descriptor.
//!
//! ```text
//!   Root(fd)  +  "/etc/../link/file"   --openat2(RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)-->  fd inside the root
//! ```
//!
//! Links are followed as if the root were `/`; `..` at the root stays there; magic links of procfs are refused. New
//! names are made relative to a directory descriptor that was reached this way, without following a last link.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, mkdirat, mknodat, openat2, symlinkat};
use rustix::io::Errno;

/// How often a resolution is tried again while somebody renames inside the tree.
const ATTEMPTS: usize = 128;

/// How many dangling links are followed when something is made.
const LINKS: usize = 40;

/// A directory that stands for `/`.
#[derive(Debug, Clone, Copy)]
pub struct Root<'fd>(BorrowedFd<'fd>);

/// A directory inside the root and the last name of a path: where something can be made.
#[derive(Debug)]
pub struct Place {
    /// The directory.
    pub parent: OwnedFd,
    /// One name without a slash, neither `.` nor `..`.
    pub name: PathBuf,
}

impl<'fd> Root<'fd> {
    /// Takes the directory `root`.
    pub fn new(root: BorrowedFd<'fd>) -> Self {
        Self(root)
    }

    /// Opens `path` beneath the root. Close-on-exec is added to `flags`.
    pub fn open(self, path: impl AsRef<Path>, flags: OFlags) -> io::Result<OwnedFd> {
        self.open_with(path, flags, Mode::empty(), ResolveFlags::empty())
    }

    /// Opens `path` as a location only (`O_PATH`), following a last link.
    pub fn locate(self, path: impl AsRef<Path>) -> io::Result<OwnedFd> {
        self.open(path, OFlags::PATH)
    }

    /// Like [`Root::locate`], but a link anywhere in `path` is `ELOOP`.
    pub fn locate_without_links(self, path: impl AsRef<Path>) -> io::Result<OwnedFd> {
        self.open_with(path, OFlags::PATH, Mode::empty(), ResolveFlags::NO_SYMLINKS)
    }

    /// Opens `path` beneath the root with every choice given; `mode` counts when `flags` create.
    pub fn open_with(
        self,
        path: impl AsRef<Path>,
        flags: OFlags,
        mode: Mode,
        resolve: ResolveFlags,
    ) -> io::Result<OwnedFd> {
        let path = path.as_ref();
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let resolve = resolve | ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let mut attempts = 0;
        loop {
            match openat2(self.0, path, flags | OFlags::CLOEXEC, mode, resolve) {
                Ok(fd) => return Ok(fd),
                // The kernel could not prove that a `..` stayed inside because of a concurrent rename.
                Err(Errno::AGAIN | Errno::INTR) if attempts < ATTEMPTS => attempts += 1,
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// The directory in which `path`'s last name lies. A path that ends in `..` or is the root has none: `EINVAL`.
    pub fn place(self, path: impl AsRef<Path>) -> io::Result<Place> {
        let path = path.as_ref();
        let name = path.file_name().ok_or_else(|| io::Error::from(Errno::INVAL))?;
        let parent = path.parent().unwrap_or(Path::new("/"));
        let parent = self.open(parent, OFlags::PATH | OFlags::DIRECTORY)?;
        Ok(Place { parent, name: name.into() })
    }

    /// Opens the directory `path`, making what is missing with `mode` (before the umask).
    ///
    /// Links on the way are followed inside the root; the target of a dangling one is made, inside the root too.
    pub fn make_directories(self, path: impl AsRef<Path>, mode: u32) -> io::Result<OwnedFd> {
        self.make_directories_within(path.as_ref(), mode, LINKS)
    }

    fn make_directories_within(self, path: &Path, mode: u32, links: usize) -> io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        match self.open(path, flags) {
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => {}
            other => return other,
        }
        // Upward to the longest prefix that exists, then down, making one name after the other.
        let mut missing: Vec<&OsStr> = Vec::new();
        let mut prefix = path;
        let mut current = loop {
            match (prefix.file_name(), prefix.parent()) {
                (Some(name), Some(parent)) => {
                    missing.push(name);
                    prefix = parent;
                }
                // `..` after something that does not exist has no meaning.
                _ => return Err(Errno::NOENT.into()),
            }
            match self.open(prefix, flags) {
                Ok(fd) => break fd,
                Err(e) if e.raw_os_error() == Some(libc::ENOENT) => {}
                Err(e) => return Err(e),
            }
        };
        let mut made = prefix.to_path_buf();
        while let Some(name) = missing.pop() {
            match mkdirat(&current, name, Mode::from_raw_mode(mode)) {
                Ok(()) => {}
                Err(Errno::EXIST) => {
                    if let Some(text) = link_text(current.as_fd(), Path::new(name))? {
                        let rest: PathBuf = missing.iter().rev().collect();
                        let links = links.checked_sub(1).ok_or(Errno::LOOP)?;
                        return self.make_directories_within(&made.join(text).join(rest), mode, links);
                    }
                }
                Err(errno) => return Err(errno.into()),
            }
            made.push(name);
            current = rustix::fs::openat(
                &current,
                name,
                flags | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                Mode::empty(),
            )?;
        }
        Ok(current)
    }

    /// Opens `path` as a location, making an empty file (and its directories) when nothing is there.
    ///
    /// Links are treated as by [`Root::make_directories`].
    pub fn make_file(self, path: impl AsRef<Path>, mode: u32) -> io::Result<OwnedFd> {
        let mut path = path.as_ref().to_path_buf();
        for _ in 0..LINKS {
            match self.locate(&path) {
                Err(e) if e.raw_os_error() == Some(libc::ENOENT) => {}
                other => return other,
            }
            let directory = path.parent().unwrap_or(Path::new("/")).to_path_buf();
            self.make_directories(&directory, 0o755)?;
            let place = self.place(&path)?;
            if let Some(text) = link_text(place.parent.as_fd(), &place.name)? {
                path = directory.join(text);
                continue;
            }
            place.make_file(mode)?;
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            return Ok(rustix::fs::openat(&place.parent, &place.name, flags, Mode::empty())?);
        }
        Err(Errno::LOOP.into())
    }
}

/// The text of the link `name` in `directory`; `None` when it is no link or is not there.
fn link_text(directory: BorrowedFd<'_>, name: &Path) -> io::Result<Option<PathBuf>> {
    match rustix::fs::readlinkat(directory, name, Vec::new()) {
        Ok(text) => Ok(Some(PathBuf::from(OsStr::from_bytes(text.as_bytes())))),
        Err(Errno::INVAL | Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

impl Place {
    /// Makes an empty regular file; that one exists already is no error.
    pub fn make_file(&self, mode: u32) -> io::Result<()> {
        match mknodat(&self.parent, &self.name, FileType::RegularFile, Mode::from_raw_mode(mode), 0) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Makes a device node, a FIFO or a socket.
    pub fn make_node(&self, kind: FileType, mode: u32, device: u64) -> io::Result<()> {
        Ok(mknodat(&self.parent, &self.name, kind, Mode::from_raw_mode(mode), device)?)
    }

    /// Makes a symbolic link with the text `target`.
    pub fn make_link(&self, target: impl AsRef<Path>) -> io::Result<()> {
        Ok(symlinkat(target.as_ref(), &self.parent, &self.name)?)
    }
}

/// Opens a host directory as the root of a container's tree.
pub fn open_root(path: impl AsRef<Path>) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(CWD, path.as_ref(), flags, Mode::empty())?)
}

/// Whether the calling process's current directory lies inside its root directory.
///
/// `getcwd(2)` marks a directory that cannot be reached from the root with `(unreachable)` in front; a process whose
/// current directory is outside its root can walk out of it (the CVE-2024-21626 class).
pub fn current_directory_is_inside_root() -> io::Result<bool> {
    let path = rustix::process::getcwd(Vec::new())?;
    Ok(path.as_bytes().first() == Some(&b'/'))
}

/// The same place, seen from `file`: `fstat` of a location.
pub fn kind_of(file: impl AsFd) -> io::Result<FileType> {
    Ok(FileType::from_raw_mode(rustix::fs::fstat(file)?.st_mode))
}

/// Parses the bytes of a path from a configuration.
pub fn from_bytes(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

/// Changes the mode of what `fd` is open on, even where it was opened with `O_PATH` (`fchmodat2(2)`; before Linux 6.6
/// through the descriptor's magic link, which takes a mounted `/proc`).
pub fn change_mode(fd: impl AsFd, mode: u32) -> rustix::io::Result<()> {
    let fd = fd.as_fd();
    // SAFETY: the kernel reads an empty, NUL-terminated path that lives in the program; the descriptor is borrowed
    // for the whole call. Nothing is written to our memory.
    let ret =
        unsafe { libc::syscall(SYS_FCHMODAT2, fd.as_raw_fd(), c"".as_ptr(), mode, libc::AT_EMPTY_PATH) };
    match crate::syscall::check(ret) {
        Ok(_) => Ok(()),
        Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => {
            let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
            rustix::fs::chmodat(CWD, path, Mode::from_raw_mode(mode), rustix::fs::AtFlags::empty())
        }
        Err(error) => Err(Errno::from_io_error(&error).unwrap_or(Errno::IO)),
    }
}

/// The same number on every architecture.
const SYS_FCHMODAT2: libc::c_long = 452;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A tree in the temporary directory, removed at the end.
    struct Tree(PathBuf);

    impl Tree {
        fn new(name: &str) -> Self {
            let dir = std::env::temp_dir().join(format!("corten-path-{}-{name}", std::process::id()));
            std::fs::create_dir_all(dir.join("root")).unwrap();
            Self(dir)
        }
        fn root(&self) -> PathBuf {
            self.0.join("root")
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn an_absolute_link_stays_inside_the_root() {
        let tree = Tree::new("absolute");
        symlink("/etc/made", tree.root().join("link")).unwrap();
        std::fs::create_dir(tree.root().join("etc")).unwrap();
        let fd = open_root(tree.root()).unwrap();
        let root = Root::new(fd.as_fd());
        root.make_directories("/etc/made", 0o755).unwrap();
        root.make_file("link/file", 0o644).unwrap();
        assert!(tree.root().join("etc/made/file").exists());
        assert!(!Path::new("/etc/made").exists());
    }

    #[test]
    fn parent_steps_end_at_the_root() {
        let tree = Tree::new("parents");
        let fd = open_root(tree.root()).unwrap();
        Root::new(fd.as_fd()).make_directories("../../../made", 0o755).unwrap();
        assert!(tree.root().join("made").is_dir());
    }

    #[test]
    fn a_dangling_link_s_target_is_made_inside_the_root() {
        let tree = Tree::new("dangling");
        let outside = tree.0.join("outside");
        symlink(&outside, tree.root().join("link")).unwrap();
        std::fs::create_dir(tree.root().join("etc")).unwrap();
        symlink("../run/resolve/stub.conf", tree.root().join("etc/resolv.conf")).unwrap();
        symlink("loop", tree.root().join("loop")).unwrap();
        let fd = open_root(tree.root()).unwrap();
        let root = Root::new(fd.as_fd());
        root.make_directories("link/sub", 0o755).unwrap();
        root.make_file("etc/resolv.conf", 0o644).unwrap();
        assert!(!outside.exists());
        assert!(tree.root().join(outside.strip_prefix("/").unwrap()).join("sub").is_dir());
        assert!(tree.root().join("run/resolve/stub.conf").is_file());
        assert_eq!(root.make_file("loop", 0o644).unwrap_err().raw_os_error(), Some(libc::ELOOP));
        assert_eq!(root.make_directories("loop/x", 0o755).unwrap_err().raw_os_error(), Some(libc::ELOOP));
    }

    #[test]
    fn links_can_be_refused() {
        let tree = Tree::new("refused");
        std::fs::create_dir(tree.root().join("real")).unwrap();
        symlink("real", tree.root().join("proc")).unwrap();
        let fd = open_root(tree.root()).unwrap();
        let root = Root::new(fd.as_fd());
        assert_eq!(root.locate_without_links("proc").unwrap_err().raw_os_error(), Some(libc::ELOOP));
        assert!(root.locate("proc").is_ok());
    }

    #[test]
    fn magic_links_are_refused() {
        let fd = open_root("/").unwrap();
        assert_eq!(
            Root::new(fd.as_fd()).locate("/proc/self/cwd/x").unwrap_err().raw_os_error(),
            Some(libc::ELOOP)
        );
    }
}
