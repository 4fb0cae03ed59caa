//! The collector: removes blobs and layers that nothing names.
//!
//! Named is what a walk from the images' targets reaches, what the config of a reached manifest unpacks to, what lies
//! beneath a container's snapshot, and what an open intake or lease holds.

use std::collections::HashSet;
use std::sync::Arc;

use corten_types::Digest;

use crate::content::{Content, ContentError};
use crate::database::{DatabaseError, Durability};
use crate::intake::partial;
use crate::oci::{Descriptor, media};
use crate::state::{self, LayerRow};
use crate::{Shared, seal, trash};

/// What the collector removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Collected {
    /// Blobs, with their sizes in bytes.
    pub blobs: Vec<(Digest, u64)>,
    /// Layers' trees by ChainID, with their sizes on disk in bytes.
    pub layers: Vec<(Digest, u64)>,
}

/// What a set of targets reaches.
#[derive(Default)]
struct Reached {
    blobs: HashSet<Digest>,
    chains: HashSet<Digest>,
}

/// Removes what is not reached. Manifests in `given_up`, and what only they reach, go although an index names them.
pub(crate) fn collect(shared: &Arc<Shared>, given_up: &HashSet<Digest>) -> Result<Collected, DatabaseError> {
    partial::discard_stale(shared);
    let content = Content { shared: shared.clone() };
    // No intake publishes between the walk and the removal; none can hold what is on its way out.
    let _gate = shared.gate.lock();
    let targets: Vec<Descriptor> = shared.state.read().names.values().map(|row| row.target.clone()).collect();
    let mut reached = Reached::default();
    for target in &targets {
        walk(&content, target, given_up, &mut reached, 0);
    }
    let (blobs, layers) = {
        let mut state = shared.state.write();
        let roots: Vec<Digest> = reached
            .chains
            .iter()
            .copied()
            .chain(state.snapshots.values().filter_map(|snapshot| snapshot.parent))
            .chain(state.holds.values().flatten().copied())
            .collect();
        let mut kept = HashSet::new();
        for root in roots {
            let mut next = Some(root);
            while let Some(chain) = next {
                if !kept.insert(chain) {
                    break;
                }
                next = state.layers.get(&chain).and_then(|layer| layer.parent);
            }
        }
        let blobs: Vec<(Digest, u64)> = state
            .blobs
            .iter()
            .filter(|(digest, _)| !reached.blobs.contains(digest) && !state.is_held(digest))
            .map(|(digest, size)| (*digest, *size))
            .collect();
        let layers: Vec<(Digest, LayerRow)> = state
            .layers
            .iter()
            .filter(|(chain, _)| !kept.contains(chain))
            .map(|(chain, row)| (*chain, row.clone()))
            .collect();
        for (digest, _) in &blobs {
            state.blobs.remove(digest);
        }
        for (chain, _) in &layers {
            state.layers.remove(chain);
        }
        (blobs, layers)
    };
    if blobs.is_empty() && layers.is_empty() {
        return Ok(Collected::default());
    }
    // A tree that is not on the disk yet may need its blob once more.
    if !blobs.is_empty()
        && seal::is_needed(shared)
        && let Err(error) = seal::seal(shared)
    {
        tracing::warn!(%error, "nothing is collected while unpacked layers cannot be synced");
        let mut state = shared.state.write();
        state.blobs.extend(blobs);
        state.layers.extend(layers);
        return Ok(Collected::default());
    }
    let (old_blobs, old_layers) = (blobs.clone(), layers.clone());
    shared.database.make_room();
    let deleted = shared.database.write_blocking(Durability::Full, move |tx| {
        old_blobs.iter().try_for_each(|(digest, _)| state::delete_blob(tx, digest))?;
        old_layers.iter().try_for_each(|(chain, _)| state::delete_layer(tx, chain))
    });
    if let Err(error) = deleted {
        let mut state = shared.state.write();
        state.blobs.extend(blobs);
        state.layers.extend(layers);
        return Err(error);
    }
    for (digest, _) in &blobs {
        shared.documents.forget(digest);
        trash::discard(shared, &shared.layout.blob(digest));
    }
    for (_, row) in &layers {
        trash::discard(shared, &shared.layout.snapshot(row.dir));
    }
    let mut layers: Vec<_> = layers.into_iter().map(|(chain, row)| (chain, row.usage.size)).collect();
    layers.sort_unstable();
    let mut blobs = blobs;
    blobs.sort_unstable();
    Ok(Collected { blobs, layers })
}

fn walk(
    content: &Content,
    descriptor: &Descriptor,
    given_up: &HashSet<Digest>,
    reached: &mut Reached,
    depth: usize,
) {
    const DEPTH_MAX: usize = 8;
    let digest = descriptor.digest;
    if given_up.contains(&digest) || !content.contains(&digest) || depth > DEPTH_MAX {
        return;
    }
    if !reached.blobs.insert(digest) {
        return;
    }
    let children = match content.children(descriptor) {
        Ok(children) => children,
        Err(ContentError::NotFound { .. }) => return,
        Err(error) => {
            tracing::warn!(digest = %descriptor.digest, %error, "a damaged document keeps nothing but itself");
            return;
        }
    };
    if media::is_manifest(&descriptor.media_type)
        && let Some(config) = children.first()
        && media::is_config(&config.media_type)
        && let Ok(config) = content.config(config)
    {
        reached.chains.extend(config.chain_ids());
    }
    for child in &children {
        walk(content, child, given_up, reached, depth + 1);
    }
}
