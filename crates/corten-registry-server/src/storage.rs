//! The repositories on disk: the content store, the rows that say which repository holds what, and both in step.
//!
//! ```text
//!  push   bytes → intake ──commit under a lease──▶ content ──▶ row ──▶ catalog (holds the content)
//!  delete row ──▶ catalog (lets go of the content) ──▶ the collector takes it
//! ```
//!
//! Invariants:
//! - A repository's row is written after the content is durable, and content goes after its last row: a process that
//!   is killed anywhere leaves content without a row, which [`Storage::open`] removes, never a row without content.
//! - Changes of one repository follow each other. A change that began ends, whatever becomes of the client.
//!
//! Locks, in the order they are taken: a repository's gate, then the catalog. None is held while a client is waited for.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use corten_store::{Durability, InProcess, Intake, OpenError, Store};
use corten_types::Digest;
use parking_lot::RwLock;
use rustix::fs::{FlockOperation, Mode, OFlags};

use crate::catalog::{Blob, Catalog, Change, Manifest, Repository, kind};
use crate::digest::ContentDigest;
use crate::error::Refusal;
use crate::name::RepositoryName;

/// How many gates there are; repositories share them by their names' hash.
const GATES: usize = 64;

/// Why the registry's storage could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// Another process has it.
    #[error("{0} is in use by another registry")]
    InUse(String),
    /// The lock could not be made.
    #[error("could not lock {path}: {source}")]
    Lock {
        /// The lock file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The content store could not be opened.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The rows could not be read.
    #[error(transparent)]
    Rows(#[from] corten_store::DatabaseError),
}

/// The repositories of one data root.
pub struct Storage {
    store: Store,
    /// Holds what the catalog names, and nothing else.
    held: Intake,
    catalog: RwLock<Catalog>,
    gates: Vec<Arc<tokio::sync::Mutex<()>>>,
    _lock: OwnedFd,
}

impl Storage {
    /// Opens the storage of a data root, making it where there is none, and removes what an unclean end left behind.
    pub async fn open(root: &Path) -> Result<Arc<Self>, StorageError> {
        let lock = lock(root)?;
        let store = Store::open(root, Arc::new(InProcess)).await?;
        let held = store.intake();
        let mut catalog = Catalog::default();
        let mut lost = 0_u64;
        for kind in [kind::BLOB, kind::MANIFEST, kind::TAG] {
            for (id, value) in store.records().list(kind)? {
                let Some(change) = Change::read(kind, &id, &value) else {
                    tracing::error!(kind, id, "a row that cannot be read is ignored");
                    continue;
                };
                if change.content().is_some_and(|content| !held.hold(&content)) {
                    lost += 1;
                    continue;
                }
                catalog.apply(change);
            }
        }
        if lost > 0 {
            tracing::error!(lost, "content is missing on disk; pushing it again brings it back");
        }
        let gates = (0..GATES).map(|_| Arc::default()).collect();
        let storage = Self { store, held, catalog: RwLock::new(catalog), gates, _lock: lock };
        storage.store.collect().await?;
        Ok(Arc::new(storage))
    }

    /// Looks at the catalog.
    pub fn look<T>(&self, look: impl FnOnce(&Catalog) -> T) -> T {
        look(&self.catalog.read())
    }

    /// Looks at a repository; `None` where there is none.
    pub fn repository<T>(&self, name: &RepositoryName, look: impl FnOnce(&Repository) -> T) -> Option<T> {
        self.catalog.read().repository(name).map(look)
    }

    /// A blob of a repository.
    pub fn blob(&self, name: &RepositoryName, digest: &ContentDigest) -> Option<Arc<Blob>> {
        self.repository(name, |repository| repository.blobs.get(digest).cloned())?
    }

    /// A manifest of a repository.
    pub fn manifest(&self, name: &RepositoryName, digest: &ContentDigest) -> Option<Arc<Manifest>> {
        self.repository(name, |repository| repository.manifests.get(digest).cloned())?
    }

    /// Opens content; it stays readable when it is collected meanwhile.
    pub fn open_content(&self, content: &Digest) -> Result<File, Refusal> {
        Ok(self.store.content().open(content)?)
    }

    /// Reads a manifest.
    pub fn read(&self, manifest: &Manifest) -> Result<Vec<u8>, Refusal> {
        Ok(self.store.content().read(&manifest.content, crate::document::LIMIT as u64)?)
    }

    /// Begins to take content in.
    pub fn intake(&self) -> Intake {
        self.store.intake()
    }

    /// How many blobs there are, and their bytes.
    pub fn usage(&self) -> (u64, u64) {
        self.store.usage_of_content()
    }

    /// Takes content that came in, and keeps it while the answer lives.
    pub async fn commit_content(&self, intake: Intake) -> Result<Intake, Refusal> {
        let lease = self.store.intake();
        run(move || {
            intake.commit_under(&lease)?;
            Ok(lease)
        })
        .await
    }

    /// Plans changes of one repository with nobody else changing it, and makes them all or none. `leases` are kept
    /// until it is done. Durable as asked when this returns.
    pub async fn change<T: Send + 'static>(
        self: &Arc<Self>,
        name: &RepositoryName,
        durability: Durability,
        leases: Vec<Intake>,
        plan: impl FnOnce(&Catalog) -> Result<(Vec<Change>, T), Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let gate = self.gates[gate_of(name)].clone().lock_owned().await;
        let storage = self.clone();
        // In a task of its own: rows and catalog must not part where the client goes away in between.
        let task = tokio::spawn(async move {
            let (changes, answer) = plan(&storage.catalog.read())?;
            if !changes.is_empty() {
                let rows = changes.iter().map(Change::record).collect();
                storage.store.records().batch_with(durability, rows).await?;
                storage.apply(changes);
            }
            drop((leases, gate));
            Ok(answer)
        });
        match task.await {
            Ok(answer) => answer,
            Err(panic) => Err(Refusal::Failed(format!("a change failed: {panic}"))),
        }
    }

    /// Removes content that no repository holds; how many blobs and bytes.
    pub async fn collect(&self) -> Result<(usize, u64), Refusal> {
        let collected = self.store.collect().await?;
        let bytes = collected.blobs.iter().map(|(_, size)| size).sum();
        Ok((collected.blobs.len(), bytes))
    }

    fn apply(&self, changes: Vec<Change>) {
        let mut catalog = self.catalog.write();
        for change in changes {
            if let Some(content) = change.content() {
                self.held.hold(&content);
            }
            if let Some(unused) = catalog.apply(change) {
                self.held.release(&unused);
            }
        }
    }
}

/// Runs what blocks on a thread where it may.
pub async fn run<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(panic) => Err(Refusal::Failed(format!("a thread failed: {panic}"))),
    }
}

fn gate_of(name: &RepositoryName) -> usize {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    usize::try_from(hasher.finish() % GATES as u64).unwrap_or(0)
}

fn lock(root: &Path) -> Result<OwnedFd, StorageError> {
    let path = root.join("registry.lock");
    let failed = |source| StorageError::Lock { path: path.display().to_string(), source };
    std::fs::create_dir_all(root).map_err(failed)?;
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC;
    let file = rustix::fs::open(&path, flags, Mode::from_raw_mode(0o600)).map_err(|e| failed(e.into()))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(StorageError::InUse(root.display().to_string())),
        Err(errno) => Err(failed(errno.into())),
    }
}
