//! What is known about an image as a whole: its manifests, how much they take, who uses them.

use corten_api::image::{
    AttestationData, ImageData, ManifestKind, ManifestSize, ManifestSummary, UnpackedSize,
};
use corten_store::oci::{Descriptor, media};
use corten_store::{ContentError, NamedImage};
use corten_types::{Digest, Platform};

use super::usage::ImageUse;
use super::{Error, Images, shown, signed};

const REFERENCE_TYPE: &str = "vnd.docker.reference.type";
const REFERENCE_DIGEST: &str = "vnd.docker.reference.digest";

/// An image with all its platforms.
pub(super) struct Whole {
    pub manifests: Vec<ManifestSummary>,
    /// ChainIDs of all layers of all platforms that are here.
    pub chains: Vec<Digest>,
    pub size: u64,
    pub containers: i64,
    /// The manifest that fits best, of those that fit and are here.
    pub best: Option<Descriptor>,
}

/// Which of an image's platforms is meant.
#[derive(Debug, Clone, Copy)]
pub(super) enum Wanted<'a> {
    /// This one.
    Only(&'a Platform),
    /// This machine's, or any other.
    Any,
}

impl Wanted<'_> {
    /// How well a platform fits; less is better, nothing is not at all.
    pub(super) fn rank(self, platform: &Platform) -> Option<u8> {
        match self {
            Self::Only(wanted) => platform.satisfies(wanted).then_some(0),
            Self::Any => Some(if platform.satisfies(&Platform::host()) { 0 } else { 1 }),
        }
    }
}

impl Images {
    /// All manifests that a target names, here or not, in order.
    pub(super) fn reachable(&self, target: &Descriptor) -> Result<Vec<Descriptor>, Error> {
        if media::is_manifest(&target.media_type) {
            return Ok(vec![target.clone()]);
        }
        let mut found = Vec::new();
        self.collect_reachable(target, &mut found, 0)?;
        Ok(found)
    }

    fn collect_reachable(
        &self,
        target: &Descriptor,
        found: &mut Vec<Descriptor>,
        depth: usize,
    ) -> Result<(), Error> {
        const DEPTH_MAX: usize = 8;
        if media::is_manifest(&target.media_type) {
            found.push(target.clone());
        } else if media::is_index(&target.media_type) && depth < DEPTH_MAX {
            for child in self.store.content().children(target)? {
                self.collect_reachable(&child, found, depth + 1)?;
            }
        }
        Ok(())
    }

    /// Whether config and layers of a manifest are here.
    pub(super) fn is_available(&self, manifest: &Descriptor) -> bool {
        let content = self.store.content();
        let Ok(document) = content.manifest(manifest) else { return false };
        std::iter::once(&document.config).chain(&document.layers).all(|blob| content.contains(&blob.digest))
    }

    /// Whether a manifest is no image, though its type says so.
    pub(super) fn is_pseudo(&self, manifest: &Descriptor) -> Result<bool, ContentError> {
        if manifest.annotations.contains_key(REFERENCE_TYPE) {
            return Ok(true);
        }
        let unknown = |platform: &Platform| platform.os == "unknown" && platform.architecture == "unknown";
        if manifest.platform.as_ref().is_some_and(unknown) {
            return Ok(true);
        }
        let document = self.store.content().manifest(manifest)?;
        let is_layer = |layer: &Descriptor| media::is_layer(&layer.media_type);
        Ok(!document.layers.is_empty() && !document.layers.iter().any(is_layer))
    }

    /// What the image's manifests are, take and are used by.
    pub(super) fn whole(
        &self,
        image: &NamedImage,
        wanted: Wanted<'_>,
        uses: &[ImageUse],
    ) -> Result<Whole, Error> {
        let content = self.store.content();
        let snapshots = self.store.snapshots();
        let mut whole =
            Whole { manifests: Vec::new(), chains: Vec::new(), size: 0, containers: 0, best: None };
        let mut best_rank = None;
        for target in self.reachable(&image.target)? {
            let available = self.is_available(&target);
            let size: u64 = content.present(&target)?.iter().map(|blob| blob.size).sum();
            whole.size += size;
            let mut summary = ManifestSummary {
                id: target.digest.to_string(),
                descriptor: shown(&target),
                available,
                size: ManifestSize { content: signed(size), total: signed(size) },
                kind: ManifestKind::Unknown,
                image_data: None,
                attestation_data: None,
            };
            match self.is_pseudo(&target) {
                Ok(true) => {
                    let subject = target.annotations.get(REFERENCE_DIGEST).and_then(|text| text.parse().ok());
                    if let Some(subject) = subject {
                        summary.kind = ManifestKind::Attestation;
                        summary.attestation_data = Some(AttestationData { subject });
                    }
                    whole.manifests.push(summary);
                    continue;
                }
                // A manifest that is not here is taken at its word.
                Ok(false) | Err(ContentError::NotFound { .. }) => {}
                Err(_) => {
                    whole.manifests.push(summary);
                    continue;
                }
            }
            summary.kind = ManifestKind::Image;
            let config = match content.manifest(&target).and_then(|manifest| content.config(&manifest.config))
            {
                Ok(config) if available => Some(config),
                _ => None,
            };
            let platform = match (&target.platform, &config) {
                (Some(platform), _) => platform.clone(),
                (None, Some(config)) => config.platform(),
                (None, None) => Platform {
                    architecture: String::new(),
                    os: String::new(),
                    os_version: String::new(),
                    os_features: Vec::new(),
                    variant: String::new(),
                },
            };
            let mut data =
                ImageData { platform: platform.clone(), size: UnpackedSize::default(), containers: None };
            if let Some(config) = config {
                let chains = config.chain_ids();
                let unpacked = chains.last().map_or(0, |top| snapshots.chain_usage(top).size);
                whole.chains.extend(chains);
                whole.size += unpacked;
                data.size.unpacked = signed(unpacked);
                summary.size.total += signed(unpacked);
                for user in uses.iter().filter(|user| user.manifest == Some(target.digest)) {
                    data.containers.get_or_insert_default().push(user.container.clone());
                    whole.containers += 1;
                }
                if let Some(rank) = wanted.rank(&platform)
                    && best_rank.is_none_or(|best| rank < best)
                {
                    best_rank = Some(rank);
                    whole.best = Some(target);
                }
            }
            summary.image_data = Some(data);
            whole.manifests.push(summary);
        }
        Ok(whole)
    }
}
