//! Trees: committed layers, and the writable snapshots of containers on top of them.
//!
//! ```text
//!   prepare(key, chain) ──> snapshots/<n>/{fs,work} + row ──> mount ──> …writes… ──> remove(key) ──> trash
//! ```
//!
//! At the bottom of every container lies one tree of ours, with the files and directories that a container's mounts go
//! to (`/proc`, `/etc/hosts`, …). What an image has itself lies above it and is what is seen; so these places never show
//! up as something the container has changed.
//!
//! A snapshot's row is written without a sync: it is made durable by the next durable change, which is the record of
//! the container it belongs to. A tree without a row is rubbish and goes to the trash when the store is opened; a row
//! whose tree was lost with the machine gets an empty one.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use corten_archive::{Change, DiffError};
use corten_types::{Digest, ErrorKind, Kind};
use rustix::fs::{AtFlags, Gid, Mode, OFlags, Uid};

use crate::database::{DatabaseError, Durability};
use crate::overlay::{self, Mapped, MappedError, Sync, Writable};
use crate::state::{self, SnapshotRow, Usage};
use crate::{Shared, trash};

/// Why a snapshot could not be made, used or removed.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// There is no snapshot of that key.
    #[error("snapshot {key} does not exist: not found")]
    NotFound {
        /// Which.
        key: String,
    },
    /// There is one already.
    #[error("snapshot {key}: already exists")]
    Exists {
        /// Which.
        key: String,
    },
    /// A layer it lies on is not unpacked.
    #[error("parent snapshot {chain} does not exist: not found")]
    Parent {
        /// The layer.
        chain: Digest,
    },
    /// A file or directory of it could not be handled.
    #[error("snapshot {key}: could not {operation} {path}: {source}")]
    Io {
        /// Which.
        key: String,
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The overlay could not be mounted.
    #[error("snapshot {key}: could not mount an overlay of {layers} layers: {source}")]
    Mount {
        /// Which.
        key: String,
        /// How many layers there are beneath.
        layers: usize,
        /// What the system said.
        source: std::io::Error,
    },
    /// Its ids cannot be mapped.
    #[error("the file system of {path} cannot map user and group ids, which a user namespace needs")]
    Unmappable {
        /// Where its trees lie.
        path: PathBuf,
    },
    /// Its changes could not be read.
    #[error("snapshot {key}: {source}")]
    Diff {
        /// Which.
        key: String,
        /// Why.
        source: DiffError,
    },
    /// The row could not be stored.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl Kind for SnapshotError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound { .. } | Self::Parent { .. } => ErrorKind::NotFound,
            Self::Exists { .. } => ErrorKind::Conflict,
            Self::Unmappable { .. } => ErrorKind::InvalidArgument,
            Self::Io { .. } | Self::Mount { .. } | Self::Diff { .. } | Self::Database(_) => {
                ErrorKind::Internal
            }
        }
    }
}

/// The trees of a store; clones share it.
#[derive(Clone)]
pub struct Snapshots {
    pub(crate) shared: Arc<Shared>,
}

/// A writable snapshot: an upper directory over the layers of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    key: String,
    /// Top first, the mount points last.
    lower: Vec<PathBuf>,
    upper: PathBuf,
    work: PathBuf,
}

impl Snapshot {
    /// What it is for: a container's id.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The directory that takes what is written.
    pub fn upper(&self) -> &Path {
        &self.upper
    }

    /// Overlay's own directory beside it.
    pub fn work(&self) -> &Path {
        &self.work
    }

    /// The trees beneath, top first.
    pub fn lower(&self) -> &[PathBuf] {
        &self.lower
    }

    /// Mounts it, attached nowhere. Only one mount of a snapshot may exist at a time.
    ///
    /// A volatile one may follow another: as long as the machine is up, what was written is in memory, and nobody asks
    /// for it after that.
    pub fn mount(&self, sync: Sync) -> Result<OwnedFd, SnapshotError> {
        self.mount_as(sync, None)
    }

    /// Mounts it with mapped ids; on the disk they stay those of the container.
    pub fn mount_mapped(&self, sync: Sync, mapped: Mapped<'_>) -> Result<OwnedFd, SnapshotError> {
        self.mount_as(sync, Some(mapped))
    }

    fn mount_as(&self, sync: Sync, mapped: Option<Mapped<'_>>) -> Result<OwnedFd, SnapshotError> {
        if sync == Sync::Volatile {
            // Overlay's mark that nothing was synced, because of which it would refuse.
            let overlay = self.work.join("work");
            if overlay.join("incompat").exists() {
                let overlay = open_tree(&self.key, &overlay)?;
                corten_archive::remove_all(&overlay, "incompat".as_ref()).map_err(|errno| {
                    SnapshotError::Io {
                        key: self.key.clone(),
                        operation: "clean",
                        path: self.work.clone(),
                        source: errno.into(),
                    }
                })?;
            }
        }
        let writable = Writable { upper: &self.upper, work: &self.work, sync };
        let mounted = match mapped {
            None => overlay::mount(&self.lower, Some(writable)),
            Some(mapped) => match overlay::mount_mapped(&self.lower, writable, mapped) {
                Err(MappedError::FileSystem) => {
                    return Err(SnapshotError::Unmappable { path: self.upper.clone() });
                }
                Err(MappedError::Mount(errno)) => Err(errno),
                Ok(mounted) => Ok(mounted),
            },
        };
        mounted.map_err(|errno| SnapshotError::Mount {
            key: self.key.clone(),
            layers: self.lower.len(),
            source: errno.into(),
        })
    }
}

impl Snapshots {
    /// Whether all layers of a chain are unpacked.
    pub fn has_chain(&self, chain: &Digest) -> bool {
        self.shared.state.read().trees(chain).is_some()
    }

    /// Space of one layer's tree.
    pub fn layer_usage(&self, chain: &Digest) -> Option<Usage> {
        self.shared.state.read().layers.get(chain).map(|layer| layer.usage)
    }

    /// Space of a layer's tree and all trees beneath it; nothing where one is not unpacked.
    pub fn chain_usage(&self, chain: &Digest) -> Usage {
        let state = self.shared.state.read();
        let mut total = Usage::default();
        let mut next = Some(*chain);
        while let Some(chain) = next {
            let Some(layer) = state.layers.get(&chain) else { return Usage::default() };
            total.size += layer.usage.size;
            total.inodes += layer.usage.inodes;
            next = layer.parent;
        }
        total
    }

    /// Makes a writable snapshot on top of a chain of layers, or of nothing.
    pub async fn prepare(&self, key: &str, parent: Option<&Digest>) -> Result<Snapshot, SnapshotError> {
        let parent = parent.copied();
        let row = {
            let mut state = self.shared.state.write();
            if state.snapshots.contains_key(key) {
                return Err(SnapshotError::Exists { key: key.into() });
            }
            if let Some(chain) = parent
                && state.trees(&chain).is_none()
            {
                return Err(SnapshotError::Parent { chain });
            }
            let row = SnapshotRow { dir: state.next_dir, parent };
            state.next_dir += 1;
            // From here on the collector sees that the chain is in use.
            state.snapshots.insert(key.into(), row.clone());
            row
        };
        let made = self.make(key, &row);
        let stored = match made {
            Ok(()) => {
                let (key, row) = (key.to_owned(), row.clone());
                let change = move |tx: &rusqlite::Transaction<'_>| state::put_snapshot(tx, &key, &row);
                self.shared.database.write(Durability::None, change).await.map_err(SnapshotError::from)
            }
            Err(error) => Err(error),
        };
        if let Err(error) = stored {
            self.shared.state.write().snapshots.remove(key);
            trash::discard(&self.shared, &self.shared.layout.snapshot(row.dir));
            return Err(error);
        }
        self.describe(key, &row)
    }

    fn make(&self, key: &str, row: &SnapshotRow) -> Result<(), SnapshotError> {
        let layout = &self.shared.layout;
        let io = |operation, path: &Path, source: std::io::Error| SnapshotError::Io {
            key: key.into(),
            operation,
            path: path.to_owned(),
            source,
        };
        let (dir, tree, work) = (layout.snapshot(row.dir), layout.tree(row.dir), layout.work(row.dir));
        for path in [&dir, &tree, &work] {
            rustix::fs::mkdir(path, Mode::from_raw_mode(0o711))
                .map_err(|errno| io("create", path, errno.into()))?;
        }
        // The root directory of the merged tree is the upper one: it must look like the image's.
        let below = match row.parent {
            Some(chain) => {
                let top = self.shared.state.read().layers.get(&chain).map(|layer| layer.dir);
                top.map(|top| layout.tree(top))
            }
            None => None,
        };
        copy_root(below.as_deref(), &tree).map_err(|source| io("prepare", &tree, source))
    }

    /// The snapshot of that key.
    pub fn get(&self, key: &str) -> Result<Snapshot, SnapshotError> {
        let row = self.shared.state.read().snapshots.get(key).cloned();
        let row = row.ok_or_else(|| SnapshotError::NotFound { key: key.into() })?;
        self.describe(key, &row)
    }

    /// The keys of all writable snapshots.
    pub fn keys(&self) -> Vec<String> {
        self.shared.state.read().snapshots.keys().cloned().collect()
    }

    /// The chain a snapshot lies on.
    pub fn parent(&self, key: &str) -> Option<Digest> {
        self.shared.state.read().snapshots.get(key).and_then(|row| row.parent)
    }

    fn describe(&self, key: &str, row: &SnapshotRow) -> Result<Snapshot, SnapshotError> {
        let layout = &self.shared.layout;
        let mut lower = self.trees(row.parent.as_ref())?;
        lower.push(layout.init());
        Ok(Snapshot { key: key.into(), lower, upper: layout.tree(row.dir), work: layout.work(row.dir) })
    }

    /// Removes a writable snapshot. Its mounts must be gone. The answer comes before the files are deleted.
    pub async fn remove(&self, key: &str) -> Result<(), SnapshotError> {
        let Some(row) = self.shared.state.write().snapshots.remove(key) else {
            return Err(SnapshotError::NotFound { key: key.into() });
        };
        let owned = key.to_owned();
        let deleted = self
            .shared
            .database
            .write_removal(Durability::None, move |tx| state::delete_snapshot(tx, &owned))
            .await;
        if let Err(error) = deleted {
            self.shared.state.write().snapshots.insert(key.into(), row);
            return Err(error.into());
        }
        trash::discard(&self.shared, &self.shared.layout.snapshot(row.dir));
        Ok(())
    }

    /// Mounts the layers of a chain, read-only and attached nowhere.
    pub fn view(&self, chain: Option<&Digest>) -> Result<OwnedFd, SnapshotError> {
        let mut lower = self.trees(chain)?;
        // A read-only overlay wants two trees.
        while lower.len() < 2 {
            lower.push(self.shared.layout.init().join("proc"));
        }
        overlay::mount(&lower, None).map_err(|errno| SnapshotError::Mount {
            key: chain.map_or_else(|| "scratch".into(), ToString::to_string),
            layers: lower.len(),
            source: errno.into(),
        })
    }

    /// The trees of a chain, top first.
    fn trees(&self, chain: Option<&Digest>) -> Result<Vec<PathBuf>, SnapshotError> {
        let Some(chain) = chain else { return Ok(Vec::new()) };
        let dirs = self.shared.state.read().trees(chain).ok_or(SnapshotError::Parent { chain: *chain })?;
        Ok(dirs.into_iter().map(|dir| self.shared.layout.tree(dir)).collect())
    }

    /// The space a container has written. Walks its upper directory.
    pub fn usage(&self, key: &str) -> Result<Usage, SnapshotError> {
        let snapshot = self.get(key)?;
        tree_usage(&snapshot.upper).map_err(|source| SnapshotError::Io {
            key: key.into(),
            operation: "measure",
            path: snapshot.upper.clone(),
            source,
        })
    }

    /// What a container has changed, as `docker diff` shows it, ordered by path. Walks its upper directory.
    pub fn changes(&self, key: &str) -> Result<Vec<Change>, SnapshotError> {
        let snapshot = self.get(key)?;
        let upper = open_tree(key, &snapshot.upper)?;
        let lower: Result<Vec<_>, _> = snapshot.lower.iter().map(|path| open_tree(key, path)).collect();
        corten_archive::changes(&upper, &lower?)
            .map_err(|source| SnapshotError::Diff { key: key.into(), source })
    }

    /// Writes what a container has changed as the tar of a layer.
    pub fn diff(&self, key: &str, out: &mut dyn std::io::Write) -> Result<(), SnapshotError> {
        let snapshot = self.get(key)?;
        let upper = open_tree(key, &snapshot.upper)?;
        corten_archive::diff(&upper, out).map_err(|source| SnapshotError::Diff { key: key.into(), source })
    }
}

fn open_tree(key: &str, path: &Path) -> Result<OwnedFd, SnapshotError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| SnapshotError::Io {
        key: key.into(),
        operation: "open",
        path: path.to_owned(),
        source: errno.into(),
    })
}

pub(crate) fn tree_usage(path: &Path) -> std::io::Result<Usage> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let root = rustix::fs::open(path, flags, Mode::empty())?;
    let (size, inodes) = corten_archive::usage(&root)?;
    Ok(Usage { size, inodes })
}

/// Gives `tree` the mode and owner of the root of the tree below it; 0755 and root where there is none.
fn copy_root(below: Option<&Path>, tree: &Path) -> std::io::Result<()> {
    let (mode, uid, gid) = match below {
        None => (0o755, 0, 0),
        Some(below) => {
            let stat = rustix::fs::lstat(below)?;
            (stat.st_mode & 0o7777, stat.st_uid, stat.st_gid)
        }
    };
    if (uid, gid) != (0, 0) {
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        rustix::fs::chownat(rustix::fs::CWD, tree, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    }
    rustix::fs::chmod(tree, Mode::from_raw_mode(mode))?;
    Ok(())
}
