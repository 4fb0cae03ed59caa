//! What a container's mounts are bound from when no path of the host is it: a place inside a volume, an image's tree, shared memory
//! that other containers may join.
//!
//! ```text
//! exec_root/mounts/<id>/shm      a tmpfs, as long as the container runs
//! exec_root/mounts/<id>/<n>      a subpath or an image, until the container has bound it
//! ```
//!
//! Whatever the container or its image put there is only ever reached through descriptors. Nothing in these folders is ever removed
//! recursively: a mount may still be there, and what it shows is somebody's data.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use corten_sys::mount::{Attributes, Extent, Filesystem, attach, clone_tree};
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::UnmountFlags;

use super::mounts::{MountKind, MountPoint, tmpfs_options};
use super::oci_spec::{SpecMount, SpecSource};
use super::{ContainerError, Shared};

/// Name of the shared memory.
const SHM: &str = "shm";
/// Name of the root file system.
const ROOT: &str = "root";

/// The sources of one container.
#[derive(Debug, Clone)]
pub(super) struct Sources {
    folder: PathBuf,
}

impl Sources {
    /// Those that lie in this folder, which need not exist.
    pub(super) fn at(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// A place inside the tree at `base`, called `name`; `path` is how the tree is called in errors.
    pub(super) fn subpath(
        &self,
        name: &str,
        base: BorrowedFd<'_>,
        path: &Path,
        subpath: &str,
    ) -> Result<PathBuf, ContainerError> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let found = rustix::fs::openat2(base, subpath, flags, Mode::empty(), resolve);
        let place = found.map_err(|errno| match errno {
            Errno::XDEV => {
                ContainerError::SubpathEscapes { base: path.to_owned(), subpath: subpath.to_owned() }
            }
            errno => ContainerError::Subpath { path: path.join(subpath), source: errno.into() },
        })?;
        let bind = || -> io::Result<PathBuf> {
            let tree = clone_tree(&place, Extent::Tree)?;
            let kind = FileType::from_raw_mode(rustix::fs::fstat(&place)?.st_mode);
            self.put(name, &tree, kind.is_dir())
        };
        bind().map_err(|source| ContainerError::io(format!("mount {}", path.join(subpath).display()), source))
    }

    /// The container's root file system, for a runtime that knows it by its path.
    pub(super) fn root(&self, tree: &OwnedFd) -> Result<PathBuf, ContainerError> {
        self.put(ROOT, tree, true).map_err(|source| ContainerError::io("mount the root file system", source))
    }

    /// A detached tree of an image, called `name`, or the place `subpath` inside it.
    pub(super) fn image(&self, name: &str, tree: OwnedFd, subpath: &str) -> Result<PathBuf, ContainerError> {
        let whole = self
            .put(name, &tree, true)
            .map_err(|source| ContainerError::io(format!("mount an image at {name}"), source))?;
        if subpath.is_empty() {
            return Ok(whole);
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let base = rustix::fs::open(&whole, flags, Mode::empty())
            .map_err(|errno| ContainerError::io(format!("open {}", whole.display()), errno))?;
        self.subpath(&format!("{name}.sub"), base.as_fd(), &whole, subpath)
    }

    /// The shared memory, made with this size where there is none yet.
    pub(super) fn make_shm(&self, bytes: i64) -> Result<PathBuf, ContainerError> {
        let make = || -> io::Result<PathBuf> {
            let tmpfs = Filesystem::open("tmpfs")?;
            tmpfs.set("source", SHM)?.set("mode", "1777")?.set("size", &bytes.to_string())?;
            let restrictions = Attributes::NOSUID | Attributes::NOEXEC | Attributes::NODEV;
            self.put(SHM, &tmpfs.mount(restrictions)?, true)
        };
        make().map_err(|source| ContainerError::io("make shared memory", source))
    }

    /// The shared memory, where there is one.
    pub(super) fn shm(&self) -> Option<PathBuf> {
        let path = self.folder.join(SHM);
        path.exists().then_some(path)
    }

    fn put(&self, name: &str, tree: &OwnedFd, directory: bool) -> io::Result<PathBuf> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        let path = self.folder.join(name);
        if directory {
            match fs::DirBuilder::new().mode(0o700).create(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                made => made?,
            }
        } else {
            fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path)?;
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        attach(tree, rustix::fs::open(&path, flags, Mode::empty())?)?;
        Ok(path)
    }

    /// Lets go of what a container that was made has bound; shared memory stays.
    pub(super) fn release_bound(&self) {
        self.release(|name| name != SHM);
    }

    /// Lets go of everything.
    pub(super) fn release_all(&self) {
        self.release(|_| true);
        let _ = fs::remove_dir(&self.folder);
    }

    fn release(&self, which: impl Fn(&str) -> bool) {
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if !which(&entry.file_name().to_string_lossy()) {
                continue;
            }
            // A start that was broken off may have put one over another.
            while rustix::mount::unmount(&path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW).is_ok() {}
            // Only what is empty is removed: a mount that stayed keeps its place, and its content.
            let removed = fs::remove_dir(&path).or_else(|error| match error.kind() {
                io::ErrorKind::NotADirectory => fs::remove_file(&path),
                _ => Err(error),
            });
            if let Err(error) = removed {
                tracing::warn!(path = %path.display(), %error, "the source of a mount was not released");
            }
        }
        if fs::read_dir(&self.folder).is_ok_and(|mut left| left.next().is_none()) {
            let _ = fs::remove_dir(&self.folder);
        }
    }
}

/// The key of the snapshot that keeps the layers of an image while a container mounts it; `place` counts the container's mounts.
pub(super) fn image_key(container: &str, place: usize) -> String {
    format!("{container}.{place}")
}

/// What is mounted for a container's mount, and where; missing sources of binds are made.
pub(super) fn spec_mount(
    shared: &Shared,
    sources: &Sources,
    container: &str,
    place: usize,
    point: &MountPoint,
) -> Result<SpecMount, ContainerError> {
    let destination = point.destination.clone();
    let name = place.to_string();
    let path = match point.kind {
        MountKind::Tmpfs => {
            let options = tmpfs_options(point.spec.tmpfs_options.as_ref(), !point.rw);
            let source = SpecSource::Tmpfs(options.map_err(ContainerError::Path)?);
            return Ok(SpecMount { destination, source });
        }
        MountKind::Image => {
            let chain = shared.store.snapshots().parent(&image_key(container, place));
            let tree = shared.store.snapshots().view(chain.as_ref())?;
            let subpath = point.spec.image_options.as_ref().map_or("", |options| &options.subpath);
            sources.image(&name, tree, subpath)?
        }
        MountKind::Volume => {
            let path = Path::new(&point.source);
            match point.spec.volume_options.as_ref().map(|options| options.subpath.as_str()) {
                None | Some("") => path.to_owned(),
                Some(subpath) => {
                    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                    let volume = rustix::fs::open(path, flags, Mode::empty())
                        .map_err(|errno| ContainerError::io(format!("open {}", path.display()), errno))?;
                    sources.subpath(&name, volume.as_fd(), path, subpath)?
                }
            }
        }
        MountKind::Bind => {
            make_bind_source(point)?;
            PathBuf::from(&point.source)
        }
    };
    let bind = point.spec.bind_options.clone().unwrap_or_default();
    let source = SpecSource::Bind {
        path: path.to_string_lossy().into_owned(),
        writable: point.rw,
        recursive: !bind.non_recursive,
        shallow_read_only: bind.read_only_non_recursive,
        propagation: point.propagation.clone(),
        mapped: false,
    };
    Ok(SpecMount { destination, source })
}

fn make_bind_source(point: &MountPoint) -> Result<(), ContainerError> {
    let path = Path::new(&point.source);
    if path.exists() {
        return Ok(());
    }
    if !point.create_source {
        return Err(ContainerError::BindSource(point.source.clone()));
    }
    fs::create_dir_all(path).map_err(|error| {
        ContainerError::Path(format!(
            "error while creating mount source path '{}': mkdir {}: {error}",
            point.source, point.source
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use corten_types::{ErrorKind, Kind as _};

    #[test]
    fn a_subpath_stays_inside_and_nothing_of_it_is_removed() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: mounting needs root");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let volume = dir.path().join("volume");
        fs::create_dir_all(volume.join("inner")).unwrap();
        fs::write(volume.join("inner/file"), "kept").unwrap();
        for (name, target) in [("out", "../.."), ("absolute", "/etc"), ("in", "inner")] {
            std::os::unix::fs::symlink(target, volume.join(name)).unwrap();
        }
        let base = rustix::fs::open(&volume, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap();
        let sources = Sources::at(dir.path().join("mounts"));
        let subpath = |subpath: &str| sources.subpath("0", base.as_fd(), &volume, subpath);
        assert_eq!(fs::read_to_string(subpath("in").unwrap().join("file")).unwrap(), "kept");
        sources.release_all();
        assert_eq!(fs::read_to_string(subpath("inner/file").unwrap()).unwrap(), "kept");
        sources.release_all();
        for (path, kind) in [
            ("out", ErrorKind::InvalidArgument),
            ("absolute", ErrorKind::InvalidArgument),
            ("none", ErrorKind::NotFound),
        ] {
            assert_eq!(subpath(path).unwrap_err().kind(), kind, "{path}");
        }
        sources.release_all();
        assert!(!dir.path().join("mounts").exists());
        assert_eq!(fs::read_to_string(volume.join("inner/file")).unwrap(), "kept");
    }
}
