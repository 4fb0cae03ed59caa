use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use corten_archive::{Applied, Limits};
use corten_types::Digest;
use rustix::fs::Mode;

use super::{Intake, IntakeError, open_directory};
use crate::content::ContentError;
use crate::image::Layer;
use crate::snapshot::tree_usage;
use crate::state::LayerRow;
use crate::unpacker::Source;
use crate::{Shared, trash};

impl Intake {
    /// Unpacks those of an image's layers that are not unpacked yet, all at once. Their blobs are in the store or in
    /// this intake.
    pub fn unpack(&self, layers: &[Layer]) -> Result<(), IntakeError> {
        let missing: Vec<(usize, &Layer)> =
            layers.iter().enumerate().filter(|(_, layer)| !self.has_layer(&layer.chain_id)).collect();
        let next = AtomicUsize::new(0);
        let to_unpack: Vec<&Layer> = {
            let staged = self.staged.lock();
            let there = |layer: &Layer| staged.trees.contains_key(&layer.chain_id);
            missing.iter().map(|(_, layer)| *layer).filter(|layer| !there(layer)).collect()
        };
        let workers = std::thread::available_parallelism().map_or(2, usize::from).min(to_unpack.len());
        let work = || {
            while let Some(layer) = to_unpack.get(next.fetch_add(1, Ordering::Relaxed)) {
                let blob = self.open(&layer.descriptor.digest)?;
                self.unpack_from(layer, Source::Whole(blob))?;
            }
            Ok::<_, IntakeError>(())
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> = (1..workers.max(1)).map(|_| scope.spawn(work)).collect();
            let mut all = work();
            for thread in threads {
                match thread.join() {
                    Ok(more) => all = all.and(more),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            all
        })?;
        for (position, layer) in missing {
            let below = position.checked_sub(1).map(|below| layers[below].chain_id);
            if let Some(tree) = self.take_tree(&layer.chain_id) {
                self.settle(layer.chain_id, below, tree)?;
            }
        }
        Ok(())
    }

    /// Unpacks a layer from `source`, which may be the blob that is still being downloaded. [`Intake::unpack`] settles it
    /// when the layers beneath are there too.
    pub fn unpack_from(&self, layer: &Layer, source: Source) -> Result<(), IntakeError> {
        let tree = self.apply(
            Some(&layer.diff_id),
            source,
            Some(layer.descriptor.digest),
            expansion(layer.descriptor.size),
        )?;
        self.staged.lock().trees.insert(layer.chain_id, tree);
        Ok(())
    }

    /// Unpacks a layer although its tree is there, and gives the new tree's row.
    pub(crate) fn unpack_again(
        &self,
        layer: &Layer,
        parent: Option<Digest>,
    ) -> Result<LayerRow, IntakeError> {
        self.unpack_from(layer, Source::Whole(self.open(&layer.descriptor.digest)?))?;
        if let Some(tree) = self.take_tree(&layer.chain_id) {
            self.settle(layer.chain_id, parent, tree)?;
        }
        let row = self.staged.lock().layers.get(&layer.chain_id).cloned();
        row.ok_or_else(|| ContentError::NotFound { digest: layer.chain_id }.into())
    }

    /// Puts a layer that was unpacked again in the place of the old one.
    pub(crate) fn commit_instead(&self, chain: &Digest) -> Result<(), IntakeError> {
        let old = self.shared.state.write().layers.remove(chain);
        let committed = self.commit();
        if let Some(old) = old {
            if committed.is_ok() {
                trash::discard(&self.shared, &self.shared.layout.snapshot(old.dir));
            } else {
                self.shared.state.write().layers.insert(*chain, old);
            }
        }
        committed
    }

    fn take_tree(&self, chain: &Digest) -> Option<Unpacked> {
        self.staged.lock().trees.remove(chain)
    }

    /// Unpacks one layer whose DiffID nobody has said, from its blob, and gives that and the chain.
    pub fn unpack_unknown(
        &self,
        parent: Option<&Digest>,
        blob: &Digest,
    ) -> Result<(Digest, Digest), IntakeError> {
        let file = self.open(blob)?;
        let size = file.metadata().map_or(0, |metadata| metadata.len());
        let tree = self.apply(None, Source::Whole(file), Some(*blob), expansion(size))?;
        let diff_id = tree.diff_id;
        let chain = Digest::chain(parent, &diff_id);
        if !self.has_layer(&chain) {
            self.settle(chain, parent.copied(), tree)?;
        }
        Ok((diff_id, chain))
    }

    /// Whether the layer is in the store or in this intake. If it is, it stays.
    pub fn has_layer(&self, chain: &Digest) -> bool {
        self.staged.lock().layers.contains_key(chain) || self.hold_layer(chain)
    }

    fn apply(
        &self,
        expected: Option<&Digest>,
        source: Source,
        blob: Option<Digest>,
        bytes_max: u64,
    ) -> Result<Unpacked, IntakeError> {
        let (mut unpacked, root) = self.new_tree()?;
        let disk = Limits::for_disk(&root);
        let limits = Limits { bytes: disk.bytes.min(bytes_max), ..disk };
        let (applied, found) = self
            .shared
            .unpacker
            .unpack(root, source, blob, limits)
            .map_err(|source| IntakeError::Apply { layer: name_layer(expected), source })?;
        if let Some(expected) = expected
            && *expected != found
        {
            return Err(IntakeError::DiffId { expected: *expected, found });
        }
        unpacked.diff_id = found;
        unpacked.applied = applied;
        Ok(unpacked)
    }

    /// An empty tree for a layer.
    pub(super) fn new_tree(&self) -> Result<(Unpacked, OwnedFd), IntakeError> {
        let dir = {
            let mut state = self.shared.state.write();
            state.next_dir += 1;
            state.next_dir - 1
        };
        let unpacked = Unpacked {
            shared: self.shared.clone(),
            dir: Some(dir),
            diff_id: Digest::of(b""),
            applied: Applied::default(),
        };
        let (outer, tree) = (self.shared.layout.snapshot(dir), self.shared.layout.tree(dir));
        for path in [&outer, &tree] {
            let mode = Mode::from_raw_mode(0o755);
            rustix::fs::mkdir(path, mode).map_err(|errno| IntakeError::Io {
                operation: "create",
                path: path.clone(),
                source: errno.into(),
            })?;
        }
        let root = open_directory(&tree)?;
        Ok((unpacked, root))
    }

    /// Brings an unpacked tree in harmony with the trees beneath it, measures it and stages it.
    pub(super) fn settle(
        &self,
        chain: Digest,
        parent: Option<Digest>,
        mut tree: Unpacked,
    ) -> Result<(), IntakeError> {
        let Some(dir) = tree.dir else { return Ok(()) };
        let path = self.shared.layout.tree(dir);
        let root = open_directory(&path)?;
        let mut below = Vec::new();
        let mut next = parent;
        while let Some(chain) = next {
            let staged = self.staged.lock().layers.get(&chain).cloned();
            let row = staged.or_else(|| self.shared.state.read().layers.get(&chain).cloned());
            let Some(row) = row else { break };
            below.push(open_directory(&self.shared.layout.tree(row.dir))?);
            next = row.parent;
        }
        corten_archive::settle(&root, &tree.applied, &below)
            .map_err(|source| IntakeError::Apply { layer: name_layer(Some(&tree.diff_id)), source })?;
        let usage =
            tree_usage(&path).map_err(|source| IntakeError::Io { operation: "measure", path, source })?;
        let row = LayerRow { dir, parent, usage, sealed: false };
        tree.dir = None;
        if let Some(twin) = self.staged.lock().layers.insert(chain, row) {
            trash::discard(&self.shared, &self.shared.layout.snapshot(twin.dir));
        }
        Ok(())
    }
}

/// A layer may unpack to so many bytes whatever its size.
const BYTES_MIN: u64 = 1 << 30;
/// A larger one, to so many times its size: what compresses better is made to fill disks.
const EXPANSION_MAX: u64 = 200;

/// How many bytes a layer of so many may unpack to.
fn expansion(size: u64) -> u64 {
    size.saturating_mul(EXPANSION_MAX).max(BYTES_MIN)
}

/// A tree that nobody names yet; dropped, it goes to the trash.
pub(super) struct Unpacked {
    shared: Arc<Shared>,
    dir: Option<u64>,
    pub(super) diff_id: Digest,
    pub(super) applied: Applied,
}

pub(super) fn name_layer(diff_id: Option<&Digest>) -> String {
    diff_id.map_or_else(|| "layer".into(), |diff_id| format!("layer {diff_id}"))
}

impl Drop for Unpacked {
    fn drop(&mut self) {
        if let Some(dir) = self.dir {
            trash::discard(&self.shared, &self.shared.layout.snapshot(dir));
        }
    }
}
