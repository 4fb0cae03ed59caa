//! `cp`, `export` and `diff`: a container's tree from outside.
//!
//! The tree is a directory descriptor: of a running container `/proc/<init>/root`, of any other a detached mount of its
//! snapshot. Every path is resolved beneath it by the kernel; nothing of the host can be reached, and nothing from the
//! container is ever executed. A tree that is mounted for this keeps the container from starting until it is done,
//! because a snapshot has one mount at a time.

use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use corten_api::container::{Change, PathStat};
use corten_archive::{ApplyError, ApplyOptions, ChangeKind, Limits, Ownership, PackOptions};
use corten_sys::path::Root;
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use tokio::sync::OwnedMutexGuard;

use super::mounts::{MountKind, clean};
use super::start::read_text;
use super::validate::Invalid;
use super::{Container, ContainerError, Containers, Shared, View, user};
use crate::userns::Ids;

/// How an archive is unpacked into a container.
#[derive(Debug, Clone, Copy, Default)]
pub struct PutOptions {
    /// Refuse to replace a folder by something else, or something else by a folder.
    pub keep_kinds: bool,
    /// Files belong to the container's user.
    pub own_by_user: bool,
}

/// A container's tree, held open.
struct Tree {
    root: OwnedFd,
    /// What the ids of the tree are inside, where they are mapped: what runs is seen from outside.
    ids: Option<Ids>,
    _mounted: Option<OwnedMutexGuard<()>>,
}

/// Something of a container's tree, ready to be packed.
pub struct ArchiveSource {
    /// Keeps what `object` lies in where it is.
    _tree: Tree,
    object: OwnedFd,
    options: PackOptions,
    /// What it is.
    pub stat: PathStat,
}

impl ArchiveSource {
    /// Writes it as a tar. Blocks.
    pub fn write(self, out: &mut dyn Write) -> Result<(), corten_archive::DiffError> {
        corten_archive::pack(&self.object, &self.options, out)
    }
}

impl Containers {
    /// What lies at a path of the container.
    pub async fn stat_path(&self, name: &str, path: &str) -> Result<PathStat, ContainerError> {
        let container = self.find(name)?;
        let (tree, inside) = open(&self.shared, &container, path).await?;
        Ok(look(&tree, &inside, path, name)?.stat)
    }

    /// What lies at a path of the container, to be packed.
    pub async fn read_archive(&self, name: &str, path: &str) -> Result<ArchiveSource, ContainerError> {
        let container = self.find(name)?;
        let (tree, inside) = open(&self.shared, &container, path).await?;
        let found = look(&tree, &inside, path, name)?;
        let last = last_component(path);
        let name = if last == "/" { None } else { Some(last.as_bytes().to_vec()) };
        let ids = tree.ids.map(Ids::map);
        emit(&self.shared, &container.view(), "archive-path");
        Ok(ArchiveSource {
            _tree: tree,
            object: found.object,
            options: PackOptions { name, ids, ..PackOptions::default() },
            stat: found.stat,
        })
    }

    /// Unpacks a tar (of whatever compression) into a folder of the container.
    pub async fn write_archive(
        &self,
        name: &str,
        path: &str,
        options: PutOptions,
        archive: impl Read + Send + 'static,
    ) -> Result<(), ContainerError> {
        let container = self.find(name)?;
        let view = container.view();
        let (tree, inside) = open(&self.shared, &container, path).await?;
        let missing = || ContainerError::FileNotFound { path: path.to_owned(), container: name.to_owned() };
        let root = Root::new(tree.root.as_fd());
        let target = root.locate(&inside).map_err(|error| not_found(error, missing))?;
        let stat =
            rustix::fs::fstat(&target).map_err(|error| ContainerError::io("look at the target", error))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return Err(Invalid("extraction point is not a directory".into()).into());
        }
        writable(&view, path)?;
        let mut apply = ApplyOptions::copy(Limits::for_disk(&tree.root));
        apply.replace_directories = !options.keep_kinds;
        if options.own_by_user && !view.record.config.user.is_empty() {
            let (passwd, group) = (read_text(root, "/etc/passwd"), read_text(root, "/etc/group"));
            let owner = user::resolve(&view.record.config.user, &[], &passwd, &group)?;
            apply.ownership = Ownership::All { uid: owner.uid, gid: owner.gid };
        }
        let ids = tree.ids;
        if let Some(ids) = ids {
            apply.ownership = match apply.ownership {
                Ownership::All { uid, gid } => {
                    Ownership::All { uid: ids.map().users.outside(uid), gid: ids.map().groups.outside(gid) }
                }
                _ => Ownership::Inside(ids.map()),
            };
        }
        let unpacked = tokio::task::spawn_blocking(move || {
            let mut plain = corten_archive::decompress(std::io::BufReader::new(archive))?;
            // The folder was reached beneath the root: from here on it is the root itself.
            let target = rustix::fs::openat(
                &target,
                ".",
                OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
                Mode::empty(),
            )
            .map_err(|errno| ApplyError::Io {
                path: ".".into(),
                operation: "open".into(),
                source: errno.into(),
            })?;
            let mut unpack = || corten_archive::unpack(&target, b"", &mut plain, &apply);
            // Nobody else than the namespace's own users can make files there.
            let result = match ids {
                None => unpack(),
                Some(ids) => as_root_of(ids, unpack),
            };
            drop(tree);
            result
        });
        match unpacked.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(unpack_error(error)),
            Err(error) => return Err(ContainerError::io("unpack an archive", std::io::Error::other(error))),
        }
        emit(&self.shared, &view, "extract-to-dir");
        Ok(())
    }

    /// The container's whole tree, without what is mounted into it, to be packed.
    pub async fn export(&self, name: &str) -> Result<ArchiveSource, ContainerError> {
        let container = self.find(name)?;
        let tree = open_tree(&self.shared, &container).await?;
        let ids = tree.ids.map(Ids::map);
        let object = tree.root.try_clone().map_err(|error| ContainerError::io("open the tree", error))?;
        emit(&self.shared, &container.view(), "export");
        Ok(ArchiveSource {
            _tree: tree,
            object,
            options: PackOptions { name: None, contents_only: true, ids, without_mounts: true },
            stat: PathStat::default(),
        })
    }

    /// What differs between the container and its image.
    pub async fn changes(&self, name: &str) -> Result<Vec<Change>, ContainerError> {
        let id = self.find(name)?.id().to_owned();
        let snapshots = self.shared.store.snapshots().clone();
        let changes = tokio::task::spawn_blocking(move || snapshots.changes(&id)).await;
        let changes =
            changes.map_err(|error| ContainerError::io("compare trees", std::io::Error::other(error)))??;
        let shown = changes.into_iter().map(|change| Change {
            kind: match change.kind {
                ChangeKind::Modified => 0,
                ChangeKind::Added => 1,
                ChangeKind::Deleted => 2,
            },
            path: String::from_utf8_lossy(&change.path).into_owned(),
        });
        Ok(shown.collect())
    }
}

/// Does it as the root of a user namespace, as far as files are concerned.
fn as_root_of<T: Send>(
    ids: Ids,
    body: impl FnOnce() -> Result<T, ApplyError> + Send,
) -> Result<T, ApplyError> {
    let done = corten_sys::process::with_files_of(ids.user, ids.group, || Ok(body()));
    done.unwrap_or_else(|source| {
        Err(ApplyError::Io { path: ".".into(), operation: "become the owner of".into(), source })
    })
}

fn emit(shared: &Shared, view: &View, action: &str) {
    shared.events.emit("container", action, &view.record.id, view.attributes());
}

fn unpack_error(error: ApplyError) -> ContainerError {
    match error {
        ApplyError::Read { .. } | ApplyError::Header { .. } | ApplyError::Entry { .. } => {
            Invalid(error.to_string()).into()
        }
        ApplyError::Limit { .. } => {
            let full = std::io::Error::new(std::io::ErrorKind::StorageFull, error);
            ContainerError::io("unpack an archive", full)
        }
        ApplyError::Io { ref source, .. } => {
            let kind = source.raw_os_error().map(rustix::io::Errno::from_raw_os_error);
            use rustix::io::Errno;
            match kind {
                // The tree is in the way of the archive, which is the request's affair.
                Some(
                    Errno::EXIST
                    | Errno::NOENT
                    | Errno::NOTDIR
                    | Errno::ISDIR
                    | Errno::NOTEMPTY
                    | Errno::ROFS
                    | Errno::LOOP
                    | Errno::STALE,
                ) => Invalid(error.to_string()).into(),
                _ => ContainerError::io("unpack an archive", std::io::Error::other(error)),
            }
        }
    }
}

fn not_found(error: std::io::Error, missing: impl FnOnce() -> ContainerError) -> ContainerError {
    use rustix::io::Errno;
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NOENT | Errno::NOTDIR) => missing(),
        Some(Errno::LOOP | Errno::NAMETOOLONG | Errno::INVAL | Errno::XDEV) => {
            Invalid(error.to_string()).into()
        }
        _ => ContainerError::io("look into the container", error),
    }
}

/// The tree of the container, with what is mounted into it if it runs.
async fn open_tree(shared: &Shared, container: &Arc<Container>) -> Result<Tree, ContainerError> {
    if let Some(run) = container.view().live.state.run() {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        if let Ok(root) = rustix::fs::open(format!("/proc/{}/root", run.pid), flags, Mode::empty()) {
            let ids = container.view().live.userns.map(|userns| userns.ids);
            return Ok(Tree { root, ids, _mounted: None });
        }
    }
    let guard = container.root_lock().lock_owned().await;
    let root = shared.store.snapshots().get(container.id())?.mount(corten_store::Sync::Normal)?;
    Ok(Tree { root, ids: None, _mounted: Some(guard) })
}

/// The tree in which a path lies, and the path in it. What is mounted into a container that does not run is reached by
/// its source.
async fn open(
    shared: &Shared,
    container: &Arc<Container>,
    path: &str,
) -> Result<(Tree, PathBuf), ContainerError> {
    if path.is_empty() {
        return Err(Invalid("bad parameter: path cannot be empty".into()).into());
    }
    if path.contains('\0') {
        return Err(Invalid("invalid path: a NUL byte is not permitted".into()).into());
    }
    let view = container.view();
    let absolute = clean(&format!("/{path}"));
    if view.live.state.run().is_none() {
        let below = |point: &&super::mounts::MountPoint| {
            matches!(point.kind, MountKind::Bind | MountKind::Volume)
                && absolute
                    .strip_prefix(&point.destination)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let deepest = view.record.mounts.iter().filter(below).max_by_key(|point| point.destination.len());
        if let Some(point) = deepest {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            if let Ok(root) = rustix::fs::open(&point.source, flags, Mode::empty()) {
                let rest = absolute.strip_prefix(&point.destination).unwrap_or_default();
                let rest = if rest.is_empty() { "/" } else { rest };
                return Ok((Tree { root, ids: None, _mounted: None }, preserve_end(rest, path)));
            }
        }
    }
    Ok((open_tree(shared, container).await?, preserve_end(&absolute, path)))
}

/// Keeps what the end of a path says: `x/` and `x/.` are what a link leads to, `x` is the link.
fn preserve_end(cleaned: &str, path: &str) -> PathBuf {
    let follows = path.ends_with('/') || path.ends_with("/.") || path == ".";
    if follows && cleaned != "/" { format!("{cleaned}/").into() } else { cleaned.into() }
}

/// Go's `filepath.Base`, except that `x/.` keeps its dot.
fn last_component(path: &str) -> &str {
    if path == "." || path.ends_with("/.") {
        return ".";
    }
    let trimmed = path.trim_end_matches('/');
    match trimmed.rsplit('/').next() {
        None | Some("") => "/",
        Some(name) => name,
    }
}

/// Something that was found in a tree.
struct Found {
    /// Open as a location only.
    object: OwnedFd,
    stat: PathStat,
}

fn look(tree: &Tree, inside: &Path, path: &str, container: &str) -> Result<Found, ContainerError> {
    let missing = || ContainerError::FileNotFound { path: path.to_owned(), container: container.to_owned() };
    let root = Root::new(tree.root.as_fd());
    let follows = inside.as_os_str().as_encoded_bytes().ends_with(b"/");
    let fd = if follows {
        root.open(inside, OFlags::PATH | OFlags::DIRECTORY)
    } else {
        root.open(inside, OFlags::PATH | OFlags::NOFOLLOW)
    };
    let fd = fd.map_err(|error| not_found(error, missing))?;
    let stat = rustix::fs::statat(&fd, "", AtFlags::EMPTY_PATH)
        .map_err(|error| ContainerError::io("look into the container", error))?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    let mut link_target = String::new();
    if kind == FileType::Symlink {
        link_target = match root.locate(inside) {
            Ok(end) => place_of(&end).unwrap_or_default(),
            Err(_) => dangling(&fd, inside),
        };
    }
    let time = jiff::Timestamp::new(stat.st_mtime, i32::try_from(stat.st_mtime_nsec).unwrap_or(0));
    Ok(Found {
        object: fd,
        stat: PathStat {
            name: last_component(path).to_owned(),
            size: stat.st_size,
            mode: go_mode(stat.st_mode),
            mtime: time.unwrap_or_default().to_string(),
            link_target,
        },
    })
}

/// The path of an open file as its own tree sees it.
fn place_of(fd: &OwnedFd) -> Option<String> {
    let place = std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).ok()?;
    place.into_os_string().into_string().ok().filter(|text| text.starts_with('/'))
}

/// Where a link that leads nowhere would lead.
fn dangling(link: &OwnedFd, place: &Path) -> String {
    let text = rustix::fs::readlinkat(link, "", Vec::new()).ok().and_then(|text| text.into_string().ok());
    let text = text.unwrap_or_default();
    if text.starts_with('/') {
        return clean(&text);
    }
    let parent = place.parent().unwrap_or(Path::new("/"));
    clean(&format!("{}/{text}", parent.display()))
}

/// The bits of Go's `os.FileMode`.
fn go_mode(mode: u32) -> u32 {
    let mut bits = mode & 0o777;
    bits |= match FileType::from_raw_mode(mode) {
        FileType::Directory => 1 << 31,
        FileType::Symlink => 1 << 27,
        FileType::BlockDevice => 1 << 26,
        FileType::CharacterDevice => 1 << 26 | 1 << 21,
        FileType::Fifo => 1 << 25,
        FileType::Socket => 1 << 24,
        _ => 0,
    };
    for (bit, go) in [(0o4000, 23), (0o2000, 22), (0o1000, 20)] {
        if mode & bit != 0 {
            bits |= 1 << go;
        }
    }
    bits
}

/// Refuses what lies on something read-only.
fn writable(view: &View, path: &str) -> Result<(), Invalid> {
    let absolute = clean(&format!("/{path}"));
    let covers = |destination: &str| {
        absolute.strip_prefix(destination).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let deepest = view
        .record
        .mounts
        .iter()
        .filter(|point| covers(&point.destination))
        .max_by_key(|point| point.destination.len());
    match deepest {
        Some(point) if point.rw => Ok(()),
        Some(_) => Err(Invalid("mounted volume is marked read-only".into())),
        None if view.record.host.readonly_rootfs => {
            Err(Invalid("container rootfs is marked read-only".into()))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_path_says_whether_a_link_is_followed() {
        assert_eq!(preserve_end("/a", "/a/"), Path::new("/a/"));
        assert_eq!(preserve_end("/a", "a/."), Path::new("/a/"));
        assert!(preserve_end("/a", "/a").as_os_str() == "/a");
        for (path, last) in
            [("/etc/hosts", "hosts"), ("/etc/", "etc"), ("/etc/.", "."), ("/", "/"), ("x", "x")]
        {
            assert_eq!(last_component(path), last, "{path}");
        }
    }

    #[test]
    fn modes_are_gos() {
        assert_eq!(go_mode(0o100_644), 0o644);
        assert_eq!(go_mode(0o40_755), 1 << 31 | 0o755);
        assert_eq!(go_mode(0o104_755), 1 << 23 | 0o755);
        assert_eq!(go_mode(0o41_777), 1 << 31 | 1 << 20 | 0o777);
        assert_eq!(go_mode(0o120_777), 1 << 27 | 0o777);
    }
}
