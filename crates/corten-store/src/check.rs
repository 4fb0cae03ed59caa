//! Whether what is here is what it should be: every blob against its digest, every layer's tree against its blob.
//!
//! A repair throws a damaged blob away, so that the next pull of its image brings it back, and puts a freshly unpacked
//! tree in the place of a damaged one; not while a container lies on it, since its mount would be pulled from under it.
//!
//! What an unclean stop of the machine can do is looked for at every start, cheaply: [`reseal`].

use std::collections::HashSet;
use std::io::Write;
use std::sync::Arc;

use corten_types::{Digest, Digester};

use crate::content::{Content, ContentError};
use crate::database::Durability;
use crate::image::Layer;
use crate::intake::{Intake, IntakeError, open_directory};
use crate::state;
use crate::{Shared, trash};

/// What a check looked at and found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checked {
    /// Blobs that were hashed.
    pub blobs: usize,
    /// Trees that were compared.
    pub layers: usize,
    /// Trees that no image here has the blob of.
    pub unchecked: usize,
    /// What is not as it should be.
    pub damaged: Vec<Damage>,
}

/// One thing that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// What kind of thing.
    pub what: Damaged,
    /// The blob's digest, or the layer's ChainID.
    pub id: Digest,
    /// What is wrong.
    pub reason: String,
    /// Whether it was mended; a blob that was thrown away comes back with the next pull.
    pub repaired: bool,
}

/// A kind of thing that can be damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damaged {
    /// Content.
    Blob,
    /// A layer's tree.
    Layer,
}

/// Whether to mend what is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repair {
    /// Only say it.
    No,
    /// Mend what can be mended.
    Yes,
}

/// Checks everything. Reads all of it, which takes a while.
pub(crate) fn check(
    shared: &Arc<Shared>,
    layers: &[(Option<Digest>, Layer)],
    repair: Repair,
) -> Result<Checked, IntakeError> {
    let mut checked = Checked::default();
    let intake = Intake::new(shared.clone());
    let mut blobs: Vec<(Digest, u64)> =
        shared.state.read().blobs.iter().map(|(digest, size)| (*digest, *size)).collect();
    blobs.sort_unstable();
    let mut bad = HashSet::new();
    for (digest, size) in blobs {
        // Collected meanwhile.
        if !intake.hold(&digest) && !shared.state.read().blobs.contains_key(&digest) {
            continue;
        }
        checked.blobs += 1;
        if let Some(reason) = damage_of_blob(shared, &digest, size) {
            bad.insert(digest);
            if repair == Repair::Yes {
                throw_away(shared, &digest)?;
            }
            let repaired = repair == Repair::Yes;
            checked.damaged.push(Damage { what: Damaged::Blob, id: digest, reason, repaired });
        }
    }
    let mut seen = HashSet::new();
    // Lower ones come before those that lie on them.
    for (parent, layer) in layers {
        if !seen.insert(layer.chain_id) || !intake.hold_layer(&layer.chain_id) {
            continue;
        }
        if bad.contains(&layer.descriptor.digest) || !intake.hold(&layer.descriptor.digest) {
            seen.remove(&layer.chain_id);
            continue;
        }
        checked.layers += 1;
        if let Some((reason, repaired)) = check_layer(shared, layer, *parent, repair)? {
            checked.damaged.push(Damage { what: Damaged::Layer, id: layer.chain_id, reason, repaired });
        }
    }
    checked.unchecked = shared.state.read().layers.keys().filter(|chain| !seen.contains(chain)).count();
    Ok(checked)
}

/// What is wrong with a blob.
fn damage_of_blob(shared: &Arc<Shared>, digest: &Digest, size: u64) -> Option<String> {
    struct Hash(Digester);
    impl Write for Hash {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.update(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut file = match (Content { shared: shared.clone() }).open(digest) {
        Ok(file) => file,
        Err(ContentError::NotFound { .. }) => return Some("it is missing".into()),
        Err(error) => return Some(error.to_string()),
    };
    let mut hash = Hash(Digester::new());
    let found = match std::io::copy(&mut file, &mut hash) {
        Ok(found) => found,
        Err(error) => return Some(format!("it cannot be read: {error}")),
    };
    if found != size {
        return Some(format!("it has {found} bytes, not {size}"));
    }
    let found = hash.0.finish();
    (found != *digest).then(|| format!("its digest is {found}"))
}

fn throw_away(shared: &Arc<Shared>, digest: &Digest) -> Result<(), IntakeError> {
    let _gate = shared.gate.lock();
    let owned = *digest;
    shared.database.write_blocking(Durability::Full, move |tx| state::delete_blob(tx, &owned))?;
    shared.state.write().blobs.remove(digest);
    shared.documents.forget(digest);
    trash::discard(shared, &shared.layout.blob(digest));
    Ok(())
}

/// Unpacks a layer once more and compares; says what is wrong, and whether it was mended.
fn check_layer(
    shared: &Arc<Shared>,
    layer: &Layer,
    parent: Option<Digest>,
    repair: Repair,
) -> Result<Option<(String, bool)>, IntakeError> {
    let fresh = Intake::new(shared.clone());
    let row = fresh.unpack_again(layer, parent)?;
    let Some(old) = shared.state.read().layers.get(&layer.chain_id).cloned() else { return Ok(None) };
    let reason = match open_directory(&shared.layout.tree(old.dir)) {
        Err(error) => error.to_string(),
        Ok(tree) => {
            let again = open_directory(&shared.layout.tree(row.dir))?;
            match corten_archive::difference(&tree, &again) {
                Ok(None) => return Ok(None),
                Ok(Some(path)) => {
                    format!("/{} is not what it was", String::from_utf8_lossy(&path).escape_debug())
                }
                Err(error) => error.to_string(),
            }
        }
    };
    if repair == Repair::No {
        return Ok(Some((reason, false)));
    }
    if is_in_use(shared, &layer.chain_id) {
        return Ok(Some((format!("{reason}; a container lies on it"), false)));
    }
    fresh.commit_instead(&layer.chain_id)?;
    Ok(Some((reason, true)))
}

/// Whether a container's snapshot lies on the layer.
fn is_in_use(shared: &Shared, chain: &Digest) -> bool {
    let state = shared.state.read();
    let parents = state.snapshots.values().filter_map(|snapshot| snapshot.parent);
    parents.into_iter().any(|parent| {
        let mut next = Some(parent);
        while let Some(at) = next {
            if at == *chain {
                return true;
            }
            next = state.layers.get(&at).and_then(|layer| layer.parent);
        }
        false
    })
}

/// After the machine went down without notice: throws away what has visibly lost its content. A blob has its length and,
/// if it is small, its digest; larger ones were synced before their rows, and a full check is for whoever
/// doubts the disk.
pub(crate) fn reseal(shared: &Arc<Shared>) -> Result<(), IntakeError> {
    const SMALL: u64 = 64 << 10;
    let blobs: Vec<(Digest, u64)> =
        shared.state.read().blobs.iter().map(|(digest, size)| (*digest, *size)).collect();
    for (digest, size) in blobs {
        let reason = if size <= SMALL {
            damage_of_blob(shared, &digest, size)
        } else {
            let found = std::fs::metadata(shared.layout.blob(&digest)).map(|metadata| metadata.len()).ok();
            (found != Some(size)).then(|| "its length is not what it was".to_owned())
        };
        if let Some(reason) = reason {
            tracing::warn!(%digest, %reason, "a blob was lost with the machine; pulling its image brings it back");
            throw_away(shared, &digest)?;
        }
    }
    Ok(())
}
