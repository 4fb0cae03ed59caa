//! Which step on which image made which layer.
//!
//! A key is the digest of the image before the step, the step's line in the history (with the digests of what it
//! copies and the arguments it sees), and how the image is run after it. So a hit proves that everything that could
//! change the result is the same. An entry names its layer; it counts only while the store has that layer.

use corten_store::oci::{Descriptor, RunConfig};
use corten_store::{DatabaseError, Records, Store};
use corten_types::{Digest, Digester};
use serde::{Deserialize, Serialize};

use crate::draft::{Draft, NewLayer};

/// The kind of the cache's records.
const KIND: &str = "build-cache";

/// What a step made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When, RFC 3339: a hit repeats it, so that the same steps give the same image.
    pub created: String,
    /// The layer's blob, if there is one.
    pub layer: Option<Descriptor>,
    /// The digest of its plain tar.
    pub diff_id: Option<Digest>,
}

impl Entry {
    /// What a step made at `created`.
    pub fn new(created: &str, layer: Option<&NewLayer>) -> Self {
        Self {
            created: created.into(),
            layer: layer.map(|layer| layer.descriptor.clone()),
            diff_id: layer.map(|layer| layer.diff_id),
        }
    }

    /// The layer.
    pub fn layer(&self) -> Option<NewLayer> {
        Some(NewLayer { descriptor: self.layer.clone()?, diff_id: self.diff_id? })
    }
}

/// The key of a step on `before` that leaves `after`. `inputs` is what counts beside the history's line.
pub fn key(before: &Draft, after: &RunConfig, created_by: &str, inputs: &str) -> Digest {
    let mut digester = Digester::new();
    let mut field = |bytes: &[u8]| {
        digester.update(&(bytes.len() as u64).to_le_bytes());
        digester.update(bytes);
    };
    // The manifest names config and layers by digest; a base image counts by its own id as well.
    field(before.documents().descriptor.digest.as_bytes());
    field(before.id().map(|id| id.to_string()).unwrap_or_default().as_bytes());
    field(created_by.as_bytes());
    field(inputs.as_bytes());
    field(&serde_json::to_vec(after).unwrap_or_default());
    digester.finish()
}

/// The index of what builds made.
#[derive(Clone)]
pub struct Cache {
    records: Records,
    store: Store,
}

impl Cache {
    /// The cache that is kept in `store`.
    pub fn new(store: &Store) -> Self {
        Self { records: store.records().clone(), store: store.clone() }
    }

    /// What `key` made on `before`, if its layer is still there.
    pub fn find(&self, key: &Digest, before: &Draft) -> Result<Option<Entry>, DatabaseError> {
        let Some(bytes) = self.records.get(KIND, &key.hex())? else { return Ok(None) };
        let Ok(entry) = serde_json::from_slice::<Entry>(&bytes) else { return Ok(None) };
        let there = match entry.layer() {
            None => true,
            Some(layer) => {
                let chain = Digest::chain(before.chain().as_ref(), &layer.diff_id);
                self.store.snapshots().has_chain(&chain)
                    && self.store.content().contains(&layer.descriptor.digest)
            }
        };
        Ok(there.then_some(entry))
    }

    /// Remembers what `key` made.
    pub async fn put(&self, key: &Digest, entry: &Entry) -> Result<(), DatabaseError> {
        self.records.put(KIND, &key.hex(), serde_json::to_vec(entry).unwrap_or_default()).await
    }

    /// Forgets everything; gives the keys.
    pub async fn clear(&self) -> Result<Vec<String>, DatabaseError> {
        let keys: Vec<String> = self.records.list(KIND)?.into_iter().map(|(key, _)| key).collect();
        for key in &keys {
            self.records.delete(KIND, key).await?;
        }
        Ok(keys)
    }
}
