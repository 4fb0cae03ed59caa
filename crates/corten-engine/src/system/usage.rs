//! How many there are, and how much they take.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use corten_api::system::DiskUsage;
use corten_types::{Digest, ErrorKind, Kind};

use crate::Engine;
use crate::container::state::State;
use crate::container::{ContainerError, ListFilter};
use crate::image::ListRequest;

/// How many of what there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Running containers.
    pub running: i64,
    /// Paused containers.
    pub paused: i64,
    /// All other containers.
    pub stopped: i64,
    /// Images, each once however many names it has.
    pub images: i64,
}

/// Whose usage is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wanted {
    /// Containers with their sizes.
    pub containers: bool,
    /// Images and the sum of all layers.
    pub images: bool,
    /// Volumes.
    pub volumes: bool,
    /// The build cache.
    pub build_cache: bool,
}

impl Wanted {
    /// Everything.
    pub const ALL: Self = Self { containers: true, images: true, volumes: true, build_cache: true };
}

/// Why usage could not be measured.
#[derive(Debug, thiserror::Error)]
pub enum UsageError {
    /// Of containers.
    #[error(transparent)]
    Containers(#[from] ContainerError),
    /// Of images.
    #[error(transparent)]
    Images(#[from] crate::image::Error),
    /// The daemon is ending.
    #[error("the daemon is ending")]
    Ending,
}

impl Kind for UsageError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Containers(error) => error.kind(),
            Self::Images(error) => error.kind(),
            Self::Ending => ErrorKind::Unavailable,
        }
    }
}

impl Engine {
    /// How many containers and images there are. From memory.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for view in self.containers.views() {
            match view.live.state {
                State::Running(_) => counts.running += 1,
                State::Paused(_) => counts.paused += 1,
                _ => counts.stopped += 1,
            }
        }
        let images: BTreeSet<Digest> = self.store.images().list().iter().map(|image| image.id()).collect();
        counts.images = images.len() as i64;
        counts
    }

    /// What everything that was asked for takes on disk. Measures, so it may take a while.
    pub async fn disk_usage(self: &Arc<Self>, wanted: Wanted) -> Result<DiskUsage, UsageError> {
        let engine = self.clone();
        let measured = tokio::task::spawn_blocking(move || engine.measure(wanted)).await;
        let mut usage = measured.map_err(|_| UsageError::Ending)??;
        if wanted.volumes {
            usage.volumes = Some(self.volumes.usage().await);
        }
        Ok(usage)
    }

    fn measure(&self, wanted: Wanted) -> Result<DiskUsage, UsageError> {
        let mut usage = DiskUsage::default();
        if wanted.containers {
            let filter = ListFilter { all: true, size: true, ..ListFilter::default() };
            let mut rows = self.containers.list(&filter)?;
            // A list shows the manifest, this does not.
            rows.iter_mut().for_each(|row| row.image_manifest_descriptor = None);
            usage.containers = Some(rows);
        }
        if wanted.images {
            usage.images =
                Some(self.images.list(&ListRequest { shared_size: true, ..ListRequest::default() })?);
            usage.layers_size = self.layers_size();
        }
        if wanted.build_cache {
            usage.build_cache = Some(Vec::new());
        }
        Ok(usage)
    }

    /// Bytes of all images, each blob and each unpacked layer once.
    fn layers_size(&self) -> i64 {
        let (content, images, snapshots) =
            (self.store.content(), self.store.images(), self.store.snapshots());
        let named = images.list();
        let mut blobs: BTreeMap<Digest, u64> = BTreeMap::new();
        let mut chains: BTreeSet<Digest> = BTreeSet::new();
        for image in &named {
            // An image of which only a part is here counts with that part.
            let present = content.present(&image.target).unwrap_or_default();
            blobs.extend(present.iter().map(|blob| (blob.digest, blob.size)));
            if let Ok(whole) = images.resolve(&image.id().to_string()) {
                chains.extend(whole.layers.iter().map(|layer| layer.chain_id));
            }
        }
        let unpacked: u64 =
            chains.iter().filter_map(|chain| snapshots.layer_usage(chain)).map(|usage| usage.size).sum();
        i64::try_from(unpacked + blobs.values().sum::<u64>()).unwrap_or(i64::MAX)
    }
}
