//! The documents of images on their way in: read from an intake, before anything is visible.

use std::collections::HashSet;

use corten_store::oci::{
    CONFIG_LIMIT, Descriptor, ImageConfig, LAYERS_LIMIT, MANIFEST_LIMIT, Manifest, media,
};
use corten_store::{ContentError, Intake, IntakeError, Layer, parse_config, parse_index, parse_manifest};
use corten_types::{Digest, Platform};

use super::Error;

/// A manifest with its config, as far as both are there.
pub(super) struct Arrived {
    pub manifest: Manifest,
    pub config: Option<ImageConfig>,
    pub platform: Option<Platform>,
}

impl Arrived {
    /// The layers, bottom first; an error where manifest and config disagree.
    pub(super) fn layers(&self) -> Result<Vec<Layer>, Error> {
        let Some(config) = &self.config else { return Ok(Vec::new()) };
        let blobs: Vec<&Descriptor> =
            self.manifest.layers.iter().filter(|layer| media::is_layer(&layer.media_type)).collect();
        if blobs.len() != config.rootfs.diff_ids.len() || blobs.len() > LAYERS_LIMIT {
            let reason = format!(
                "mismatched image rootfs and manifest layers: {} layers, {} diff ids",
                blobs.len(),
                config.rootfs.diff_ids.len()
            );
            return Err(Error::Archive(reason));
        }
        let chain = config.chain_ids();
        let layers = blobs.into_iter().zip(config.rootfs.diff_ids.iter().zip(chain));
        Ok(layers
            .map(|(blob, (diff_id, chain_id))| Layer {
                descriptor: blob.clone(),
                diff_id: *diff_id,
                chain_id,
            })
            .collect())
    }
}

/// Reads what a target leads to. All digests that belong to it go into `reached`.
pub(super) fn read(
    intake: &Intake,
    target: &Descriptor,
    reached: &mut HashSet<Digest>,
) -> Result<Vec<Arrived>, Error> {
    let mut arrived = Vec::new();
    walk(intake, target, reached, &mut arrived, 0)?;
    Ok(arrived)
}

fn walk(
    intake: &Intake,
    target: &Descriptor,
    reached: &mut HashSet<Digest>,
    arrived: &mut Vec<Arrived>,
    depth: usize,
) -> Result<(), Error> {
    const DEPTH_MAX: usize = 8;
    reached.insert(target.digest);
    if media::is_index(&target.media_type) && depth < DEPTH_MAX {
        let index = parse_index(target.digest, &intake.read(&target.digest, MANIFEST_LIMIT)?)?;
        for child in &index.manifests {
            // An index may name platforms that the archive does not bring.
            if intake.has_blob(&child.digest) {
                walk(intake, child, reached, arrived, depth + 1)?;
            }
        }
        return Ok(());
    }
    if !media::is_manifest(&target.media_type) {
        return Err(Error::Archive(format!(
            "descriptor {} is neither a manifest nor an index: {}",
            target.digest, target.media_type
        )));
    }
    let manifest = parse_manifest(target.digest, &intake.read(&target.digest, MANIFEST_LIMIT)?)?;
    reached.insert(manifest.config.digest);
    reached.extend(manifest.layers.iter().map(|layer| layer.digest));
    let config = match intake.read(&manifest.config.digest, CONFIG_LIMIT) {
        Ok(bytes) if media::is_config(&manifest.config.media_type) => {
            Some(parse_config(manifest.config.digest, &bytes)?)
        }
        Ok(_) | Err(IntakeError::Content(ContentError::NotFound { .. })) => None,
        Err(error) => return Err(error.into()),
    };
    let platform = target.platform.clone().or_else(|| config.as_ref().map(ImageConfig::platform));
    arrived.push(Arrived { manifest, config, platform });
    Ok(())
}
