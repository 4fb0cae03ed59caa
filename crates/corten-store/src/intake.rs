//! The way in: new blobs, layers and names that become visible together, or not at all.
//!
//! ```text
//!   Store::intake ─┬─ blob / bytes ──> content/ingest/<random>      (digest verified)
//!                  ├─ download ──────> content/ingest/<hex>.part     (the same, and can be resumed)
//!                  ├─ unpack ────────> snapshots/<n>/fs             (DiffID verified, all layers at once)
//!                  └─ name
//!        commit:  blobs synced ─> renamed ─> one transaction ─> index; trees are sealed later
//!        drop:    everything to the trash
//! ```
//!
//! What an intake found in the store already it holds: the collector leaves it alone until the intake ends. A process
//! that dies at any step leaves files that no row names, which the next `Store::open` removes.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::Arc;

use corten_archive::{ApplyError, DiffError};
use corten_types::{Digest, ErrorKind, Kind};
use parking_lot::Mutex;
use rustix::fs::{Mode, OFlags};

mod blob;
mod commit;
pub(crate) mod partial;
mod unpack;

pub use blob::BlobWriter;
pub use commit::{Committed, Upper};

use crate::content::{Content, ContentError};
use crate::database::{DatabaseError, Durability};
use crate::name::{Name, NameChange, plan_put, write_name};
use crate::oci::Descriptor;
use crate::state::{self, LayerRow, NameRow};
use crate::{Shared, now, trash};

/// Why something could not be taken in.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// The content is not what it should be.
    #[error("failed commit: unexpected commit digest {found}, expected {expected}: failed precondition")]
    Digest {
        /// What it should have been.
        expected: Digest,
        /// What it was.
        found: Digest,
    },
    /// The content has not the length it should have.
    #[error("failed size validation: {found} != {expected}: failed precondition")]
    Size {
        /// What it should have been.
        expected: u64,
        /// What it was.
        found: u64,
    },
    /// A layer's tar is not the one its image's config names.
    #[error("wrong diff id calculated on extraction: {found}, expected {expected}")]
    DiffId {
        /// What it should have been.
        expected: Digest,
        /// What it was.
        found: Digest,
    },
    /// A layer could not be unpacked.
    #[error("failed to extract {layer}: {source}")]
    Apply {
        /// Which.
        layer: String,
        /// Why.
        source: ApplyError,
    },
    /// A snapshot could not be made a layer.
    #[error("failed to read the changes of {key}: {source}")]
    Diff {
        /// Which.
        key: String,
        /// Why.
        source: DiffError,
    },
    /// A blob that is needed is not here.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// The disk failed, or is full.
    #[error("could not {operation} {path}: {source}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The rows could not be stored.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl Kind for IntakeError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Digest { .. } | Self::Size { .. } | Self::DiffId { .. } => ErrorKind::InvalidArgument,
            Self::Apply { source, .. } => source.kind(),
            Self::Content(error) => error.kind(),
            Self::Diff { .. } | Self::Io { .. } | Self::Database(_) => ErrorKind::Internal,
        }
    }
}

/// An open intake. Its methods block and may be called from many threads; dropped without a commit, it leaves nothing.
pub struct Intake {
    shared: Arc<Shared>,
    hold: u64,
    staged: Mutex<Staged>,
}

#[derive(Default)]
struct Staged {
    blobs: HashMap<Digest, (PathBuf, u64)>,
    /// On the parts that are among the blobs.
    claims: Vec<partial::Claim>,
    /// Unpacked, but not settled with what lies beneath.
    trees: HashMap<Digest, unpack::Unpacked>,
    layers: HashMap<Digest, LayerRow>,
    /// The snapshots that are the trees of some of the layers, by those.
    taken: HashMap<Digest, String>,
    names: Vec<(Name, Descriptor, BTreeMap<String, String>)>,
}

fn remove_quietly(path: &std::path::Path) {
    if let Err(error) = std::fs::remove_file(path) {
        tracing::debug!(path = %path.display(), %error, "could not remove an ingest; the next start does");
    }
}

impl Intake {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let hold = {
            let mut state = shared.state.write();
            let hold = state.next_hold;
            state.next_hold += 1;
            state.holds.insert(hold, Default::default());
            hold
        };
        Self { shared, hold, staged: Mutex::default() }
    }

    /// Keeps a blob of the store from the collector while the intake lives. Says whether it is there; one whose file was
    /// lost or cut is not, so that it is taken in anew.
    pub fn hold(&self, blob: &Digest) -> bool {
        let mut state = self.shared.state.write();
        let there = state.blobs.get(blob).is_some_and(|size| {
            std::fs::metadata(self.shared.layout.blob(blob)).is_ok_and(|file| file.len() == *size)
        });
        if there {
            state.holds.entry(self.hold).or_default().insert(*blob);
        }
        there
    }

    /// [`Intake::hold`] for a layer's tree and all beneath it. A lowest layer's ChainID is the digest of its plain tar
    /// too, and one of them may be there without the other.
    pub fn hold_layer(&self, chain: &Digest) -> bool {
        let mut state = self.shared.state.write();
        let there = self.shared.has_tree(&state, chain);
        if there {
            state.holds.entry(self.hold).or_default().insert(*chain);
        }
        there
    }

    /// Ends a [`Intake::hold`]: the next collection takes the blob, unless something else names or holds it.
    pub fn release(&self, blob: &Digest) {
        if let Some(held) = self.shared.state.write().holds.get_mut(&self.hold) {
            held.remove(blob);
        }
    }

    /// Whether the blob is in the store or in this intake. If it is, it stays.
    pub fn has_blob(&self, digest: &Digest) -> bool {
        self.staged.lock().blobs.contains_key(digest) || self.hold(digest)
    }

    /// Begins a blob.
    pub fn writer(&self) -> Result<BlobWriter<&Self>, IntakeError> {
        BlobWriter::begin(self)
    }

    /// [`Intake::writer`] for a blob that comes in pieces over a longer time: it keeps its intake alive.
    pub fn shared_writer(self: &Arc<Self>) -> Result<BlobWriter<Arc<Self>>, IntakeError> {
        BlobWriter::begin(self.clone())
    }

    /// Takes a whole blob from `reader`.
    pub fn copy(
        &self,
        reader: &mut dyn Read,
        digest: Option<&Digest>,
        size: Option<u64>,
    ) -> Result<(Digest, u64), IntakeError> {
        let mut writer = self.writer()?;
        self.fill(&mut writer, reader)?;
        writer.finish(digest, size)
    }

    /// Writes all that `reader` gives to `writer`.
    pub fn fill(&self, writer: &mut BlobWriter<&Self>, reader: &mut dyn Read) -> Result<(), IntakeError> {
        let path = self.shared.layout.ingest();
        let mut buffer = vec![0; 256 << 10];
        loop {
            let n = match reader.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(n) => n,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(IntakeError::Io { operation: "receive", path, source }),
            };
            writer.write_all(&buffer[..n]).map_err(|source| IntakeError::Io {
                operation: "write",
                path: path.clone(),
                source,
            })?;
        }
    }

    /// Takes a small document.
    pub fn bytes(&self, media_type: &str, bytes: &[u8]) -> Result<Descriptor, IntakeError> {
        let (digest, size) = self.copy(&mut &*bytes, None, None)?;
        Ok(Descriptor::new(media_type, digest, size))
    }

    /// Opens a blob of the store or of this intake.
    pub fn open(&self, digest: &Digest) -> Result<File, IntakeError> {
        let staged = self.staged.lock().blobs.get(digest).map(|(path, _)| path.clone());
        match staged {
            Some(path) => {
                File::open(&path).map_err(|source| IntakeError::Io { operation: "open", path, source })
            }
            None => Ok(Content { shared: self.shared.clone() }.open(digest)?),
        }
    }

    /// A whole blob of the store or of this intake, of at most `limit` bytes.
    pub fn read(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>, IntakeError> {
        let mut bytes = Vec::new();
        let read = self.open(digest)?.take(limit + 1).read_to_end(&mut bytes);
        read.map_err(|source| ContentError::Read { digest: *digest, source })?;
        if bytes.len() as u64 > limit {
            let reason = format!("it has more than {limit} bytes");
            return Err(ContentError::Malformed { digest: *digest, what: "document", reason }.into());
        }
        Ok(bytes)
    }

    /// Gives a name when the intake is committed.
    pub fn name(&self, name: Name, target: Descriptor, labels: BTreeMap<String, String>) {
        self.staged.lock().names.push((name, target, labels));
    }

    /// Throws away blobs of this intake that are not in `wanted`.
    pub fn keep_only(&self, wanted: &HashSet<Digest>) {
        self.staged.lock().blobs.retain(|digest, (path, _)| {
            let keep = wanted.contains(digest);
            if !keep {
                remove_quietly(path);
            }
            keep
        });
    }

    /// [`Intake::commit`] for something that no name reaches yet: `lease` holds it from before it is visible, so that
    /// there is no moment at which the collector could take it.
    pub fn commit_under(self, lease: &Intake) -> Result<(), IntakeError> {
        {
            let staged = self.staged.lock();
            let mut state = self.shared.state.write();
            let mut held = state.holds.get(&self.hold).cloned().unwrap_or_default();
            held.extend(staged.blobs.keys().copied());
            held.extend(staged.layers.keys().copied());
            state.holds.entry(lease.hold).or_default().extend(held);
        }
        self.commit()
    }

    /// Makes everything visible that was taken in so far. Durable when this returns.
    pub fn commit(&self) -> Result<(), IntakeError> {
        let shared = self.shared.clone();
        let mut staged = std::mem::take(&mut *self.staged.lock());
        let outcome = self.publish(&mut staged);
        if outcome.is_err() {
            discard_staged(&shared, staged);
        }
        outcome
    }

    fn publish(&self, staged: &mut Staged) -> Result<(), IntakeError> {
        let shared = &self.shared;
        let io = |operation, path: PathBuf| {
            move |errno: rustix::io::Errno| IntakeError::Io { operation, path, source: errno.into() }
        };
        for (path, size) in staged.blobs.values() {
            // Larger ones were synced when they ended, beside the others that were still on their way.
            if *size < blob::SYNCED_AT_END {
                let file = File::open(path);
                file.and_then(|file| file.sync_data()).map_err(|source| IntakeError::Io {
                    operation: "sync",
                    path: path.clone(),
                    source,
                })?;
            }
        }
        // The collector and other intakes stay away between the look at the index and the rows.
        let _gate = shared.gate.lock();
        {
            let state = shared.state.read();
            let twins: Vec<Digest> =
                staged.layers.keys().filter(|chain| shared.has_tree(&state, chain)).copied().collect();
            for chain in twins {
                if let Some(twin) = staged.layers.remove(&chain)
                    && staged.taken.remove(&chain).is_none()
                {
                    trash::discard(shared, &shared.layout.snapshot(twin.dir));
                }
            }
        }
        for (digest, (path, _)) in &mut staged.blobs {
            let target = shared.layout.blob(digest);
            rustix::fs::rename(&*path, &target).map_err(io("publish", path.clone()))?;
            *path = target;
        }
        if !staged.blobs.is_empty() {
            let blobs = open_directory(&shared.layout.blobs())?;
            rustix::fs::fsync(&blobs).map_err(io("sync", shared.layout.blobs()))?;
        }
        let names = self.plan_names(&staged.names);
        let blobs: Vec<(Digest, u64)> =
            staged.blobs.iter().map(|(digest, (_, size))| (*digest, *size)).collect();
        let layers: Vec<(Digest, LayerRow)> =
            staged.layers.iter().map(|(chain, row)| (*chain, row.clone())).collect();
        if blobs.is_empty() && layers.is_empty() && names.is_empty() {
            return Ok(());
        }
        let (new_blobs, new_layers, new_names) = (blobs.clone(), layers.clone(), names.clone());
        let taken: Vec<String> = staged.taken.values().cloned().collect();
        let ended = taken.clone();
        shared.database.write_blocking(Durability::Full, move |tx| {
            ended.iter().try_for_each(|key| state::delete_snapshot(tx, key))?;
            new_blobs.iter().try_for_each(|(digest, size)| state::put_blob(tx, digest, *size))?;
            new_layers.iter().try_for_each(|(chain, row)| state::put_layer(tx, chain, row))?;
            new_names.iter().try_for_each(|(name, row)| write_name(tx, name, row))
        })?;
        let mut state = shared.state.write();
        state.blobs.extend(blobs);
        let unsealed = !layers.is_empty();
        state.layers.extend(layers);
        for key in &taken {
            state.snapshots.remove(key);
        }
        state.apply_names(names);
        drop(state);
        if unsealed {
            shared.sealer.wake();
        }
        Ok(())
    }

    fn plan_names(&self, wanted: &[(Name, Descriptor, BTreeMap<String, String>)]) -> Vec<NameChange> {
        let mut names = self.shared.state.read().names.clone();
        let mut changes: BTreeMap<String, Option<NameRow>> = BTreeMap::new();
        for (name, target, labels) in wanted {
            for (text, row) in plan_put(&names, name, target.clone(), labels.clone(), now()) {
                match &row {
                    Some(row) => names.insert(text.clone(), row.clone()),
                    None => names.remove(&text),
                };
                changes.insert(text, row);
            }
        }
        changes.into_iter().collect()
    }
}

impl Drop for Intake {
    fn drop(&mut self) {
        self.shared.state.write().holds.remove(&self.hold);
        let staged = std::mem::take(&mut *self.staged.lock());
        discard_staged(&self.shared, staged);
    }
}

fn discard_staged(shared: &Shared, staged: Staged) {
    for (path, _) in staged.blobs.into_values() {
        trash::discard(shared, &path);
    }
    for (chain, row) in staged.layers {
        // What is a snapshot's is its owner's to remove.
        if !staged.taken.contains_key(&chain) {
            trash::discard(shared, &shared.layout.snapshot(row.dir));
        }
    }
}

pub(crate) fn open_directory(path: &std::path::Path) -> Result<std::os::fd::OwnedFd, IntakeError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| IntakeError::Io {
        operation: "open",
        path: path.to_owned(),
        source: errno.into(),
    })
}
