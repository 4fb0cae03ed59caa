//! Trees that are on their way to the disk.
//!
//! A pull or commit is acknowledged when its blobs are durable and their rows are; the trees that were unpacked from them
//! reach the disk a moment later. Until then their rows are *unsealed*: when the machine goes down, the next
//! [`Store::open`](crate::Store::open) unpacks them again from their blobs.
//!
//! ```text
//!   commit: blobs synced ─> rows (unsealed) ─> acknowledged ─> one syncfs for all, in the background ─> sealed
//!                                   └── machine lost ──> opened again: unpacked again
//! ```
//!
//! A blob goes only when no unsealed tree may still need it: the collector seals first.

use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Arc, Weak};
use std::time::Duration;

use corten_types::Digest;

use crate::database::Durability;
use crate::image::{Images, Layer};
use crate::intake::{Intake, IntakeError, open_directory};
use crate::{Shared, state, trash};

/// How long the sealer waits for more to come.
const PAUSE: Duration = Duration::from_millis(500);

/// Wakes the sealer.
pub(crate) struct Sealer {
    queue: Sender<()>,
}

impl Sealer {
    /// The sealer's two ends; [`Sealer::run`] takes the second one.
    pub(crate) fn new() -> (Self, Receiver<()>) {
        let (queue, receiver) = channel();
        (Self { queue }, receiver)
    }

    /// Trees were committed.
    pub(crate) fn wake(&self) {
        // A store that closes leaves them to the next one.
        let _ = self.queue.send(());
    }

    /// Starts the thread; it ends with the store.
    pub(crate) fn run(shared: Weak<Shared>, receiver: Receiver<()>) -> std::io::Result<()> {
        let work = move || {
            while receiver.recv().is_ok() {
                while matches!(receiver.recv_timeout(PAUSE), Ok(())) {}
                let Some(shared) = shared.upgrade() else { return };
                if let Err(error) = seal(&shared) {
                    tracing::warn!(%error, "unpacked layers could not be synced; it is tried again with the next ones");
                }
                if matches!(receiver.try_recv(), Err(TryRecvError::Disconnected)) {
                    return;
                }
            }
        };
        std::thread::Builder::new().name("corten-sealer".into()).spawn(work).map(drop)
    }
}

/// Syncs all trees that are not on the disk for sure, and says so in their rows.
pub(crate) fn seal(shared: &Shared) -> Result<(), IntakeError> {
    let unsealed: Vec<Digest> = {
        let state = shared.state.read();
        state.layers.iter().filter(|(_, layer)| !layer.sealed).map(|(chain, _)| *chain).collect()
    };
    if unsealed.is_empty() {
        return Ok(());
    }
    let root = open_directory(shared.layout.root())?;
    rustix::fs::syncfs(&root).map_err(|errno| IntakeError::Io {
        operation: "sync",
        path: shared.layout.root().to_owned(),
        source: errno.into(),
    })?;
    let rows = unsealed.clone();
    // Without a sync of its own: a seal that is lost with the machine only costs unpacking.
    shared.database.write_blocking(Durability::None, move |tx| state::seal_layers(tx, &rows))?;
    let mut state = shared.state.write();
    for chain in unsealed {
        if let Some(layer) = state.layers.get_mut(&chain) {
            layer.sealed = true;
        }
    }
    Ok(())
}

/// Whether a tree that stays may still need its blob.
pub(crate) fn is_needed(shared: &Shared) -> bool {
    shared.state.read().layers.values().any(|layer| !layer.sealed)
}

/// After the machine was lost: unpacks every unsealed tree again. One whose blob is not here is forgotten, unless a
/// container lies on it.
pub(crate) fn rebuild(shared: &Arc<Shared>) -> Result<(), IntakeError> {
    if !is_needed(shared) {
        return Ok(());
    }
    let is_unsealed =
        |chain: &Digest| shared.state.read().layers.get(chain).is_some_and(|layer| !layer.sealed);
    let layers = (Images { shared: shared.clone() }).all_layers();
    for (parent, layer) in &layers {
        if !is_unsealed(&layer.chain_id) {
            continue;
        }
        let again = again(shared, *parent, layer);
        match again {
            Ok(()) => {
                tracing::info!(layer = %layer.diff_id, "unpacked again: it had not reached the disk for sure")
            }
            Err(error) => {
                tracing::warn!(layer = %layer.diff_id, %error, "a layer is lost; pulling its image brings it back");
                forget(shared, &layer.chain_id)?;
            }
        }
    }
    let left: Vec<Digest> = {
        let state = shared.state.read();
        state.layers.iter().filter(|(_, layer)| !layer.sealed).map(|(chain, _)| *chain).collect()
    };
    // What was just unpacked again is unsealed too, but known.
    for chain in left.iter().filter(|chain| layers.iter().all(|(_, layer)| layer.chain_id != **chain)) {
        if shared.state.read().snapshots.values().any(|snapshot| snapshot.parent == Some(*chain)) {
            tracing::warn!(%chain, "a container lies on a layer that may be damaged and that no image holds");
        } else {
            forget(shared, chain)?;
        }
    }
    seal(shared)
}

fn again(shared: &Arc<Shared>, parent: Option<Digest>, layer: &Layer) -> Result<(), IntakeError> {
    let intake = Intake::new(shared.clone());
    intake.unpack_again(layer, parent)?;
    intake.commit_instead(&layer.chain_id)
}

fn forget(shared: &Arc<Shared>, chain: &Digest) -> Result<(), IntakeError> {
    let owned = *chain;
    shared.database.write_blocking(Durability::Full, move |tx| state::delete_layer(tx, &owned))?;
    if let Some(row) = shared.state.write().layers.remove(chain) {
        trash::discard(shared, &shared.layout.snapshot(row.dir));
    }
    Ok(())
}
