//! Where things lie beneath the data root.
//!
//! ```text
//! corten.db                     names what is there; whatever it does not name is rubbish
//! boot                          the boot of the machine in which the store was opened last
//! reserve/<n>                   bytes that are given back when a removal needs room on a full disk
//! content/blobs/sha256/<hex>    complete and verified, never changed
//! content/ingest/<random>       on its way in; of no value after a restart
//! content/ingest/<hex>.part     a download that can be resumed
//! snapshots/<n>/fs              a layer's tree, or the upper directory of a container
//! snapshots/init                the bottom of every container: the places its mounts go to
//! snapshots/<n>/work            overlay's own directory beside an upper one
//! trash/<random>                on its way out
//! ```

use std::path::{Path, PathBuf};

use corten_types::{Digest, random_hex};

#[derive(Debug, Clone)]
pub(crate) struct Layout {
    root: PathBuf,
}

impl Layout {
    pub(crate) fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.root.join("corten.db")
    }

    pub(crate) fn reserve(&self) -> PathBuf {
        self.root.join(crate::reserve::RESERVE)
    }

    pub(crate) fn boot(&self) -> PathBuf {
        self.root.join("boot")
    }

    pub(crate) fn blobs(&self) -> PathBuf {
        self.root.join("content/blobs/sha256")
    }

    pub(crate) fn blob(&self, digest: &Digest) -> PathBuf {
        self.blobs().join(digest.hex())
    }

    pub(crate) fn ingest(&self) -> PathBuf {
        self.root.join("content/ingest")
    }

    pub(crate) fn snapshots(&self) -> PathBuf {
        self.root.join("snapshots")
    }

    pub(crate) fn snapshot(&self, dir: u64) -> PathBuf {
        self.snapshots().join(dir.to_string())
    }

    pub(crate) fn tree(&self, dir: u64) -> PathBuf {
        self.snapshot(dir).join("fs")
    }

    pub(crate) fn work(&self, dir: u64) -> PathBuf {
        self.snapshot(dir).join("work")
    }

    pub(crate) fn init(&self) -> PathBuf {
        self.snapshots().join("init")
    }

    pub(crate) fn trash(&self) -> PathBuf {
        self.root.join("trash")
    }

    pub(crate) fn new_trash(&self) -> PathBuf {
        self.trash().join(random_hex(8))
    }
}
