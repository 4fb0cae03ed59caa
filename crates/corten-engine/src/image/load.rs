//! Images from an archive: OCI layouts, and the archives of `docker save` old and new, of podman and of skopeo.
//!
//! Paths of the archive are keys of a map and nothing else. Everything becomes visible together when the whole archive
//! was read, verified and unpacked, or not at all.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{BufReader, Read};
use std::sync::Arc;

use corten_archive::{Compression, EntryKind, Reader, decompress};
use corten_store::oci::{CONFIG_LIMIT, Descriptor, Index, LAYERS_LIMIT, Manifest, media};
use corten_store::{Intake, Name, parse_config, parse_index};
use corten_types::{Digest, Platform, Reference};
use serde::Deserialize;

use super::summary::Wanted;
use super::{Error, Images, blocking, layout};

/// An image that was loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// Its id.
    pub id: Digest,
    /// Its name, where the archive has one.
    pub name: Option<String>,
}

impl Loaded {
    /// What Docker says about it.
    pub fn message(&self) -> String {
        match &self.name {
            Some(name) => format!("Loaded image: {name}\n"),
            None => format!("Loaded image ID: {}\n", self.id),
        }
    }
}

/// Largest JSON file of an archive, in bytes.
const JSON_LIMIT: u64 = 20 << 20;
const IMAGE_NAME: &str = "io.containerd.image.name";
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// One image of `manifest.json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct LayoutVersion {
    #[serde(rename = "imageLayoutVersion")]
    version: String,
}

impl Images {
    /// Loads all images of an archive; with a platform, they must be for it.
    pub async fn load(
        self: &Arc<Self>,
        archive: Box<dyn Read + Send>,
        platform: Option<Platform>,
    ) -> Result<Vec<Loaded>, Error> {
        let images = self.clone();
        let loaded = blocking(move || images.load_blocking(archive, platform.as_ref())).await?;
        for image in &loaded {
            self.tell("load", &image.id, &image.id.to_string());
        }
        Ok(loaded)
    }

    fn load_blocking(
        &self,
        archive: Box<dyn Read + Send>,
        platform: Option<&Platform>,
    ) -> Result<Vec<Loaded>, Error> {
        let intake = self.store.intake();
        let targets = receive(&intake, archive)?.targets(&intake)?;
        let wanted = platform.map_or(Wanted::Any, Wanted::Only);
        let mut reached = HashSet::new();
        let mut loaded = Vec::new();
        for target in targets {
            let arrived = layout::read(&intake, &target, &mut reached)?;
            let mut provides = false;
            for image in &arrived {
                let Some(present) = &image.platform else { continue };
                let rank = wanted.rank(present);
                provides |= rank.is_some();
                // Images for other machines are unpacked when somebody runs them.
                if rank == Some(0) {
                    intake.unpack(&image.layers()?)?;
                } else {
                    image.layers()?;
                }
            }
            let name = name_of(&target);
            let shown = name.as_ref().map(Reference::familiar);
            if let Some(platform) = platform
                && !provides
            {
                let shown = shown.unwrap_or_else(|| target.digest.to_string());
                return Err(corten_store::ImageError::Platform {
                    reference: shown,
                    wanted: format!("the specified platform ({platform})"),
                }
                .into());
            }
            loaded.push(Loaded { id: target.digest, name: shown });
            let name = name.map_or(Name::Dangling(target.digest), Name::Reference);
            intake.name(name, target, BTreeMap::new());
        }
        intake.keep_only(&reached);
        intake.commit()?;
        Ok(loaded)
    }
}

fn name_of(target: &Descriptor) -> Option<Reference> {
    let text = [IMAGE_NAME, REF_NAME].into_iter().find_map(|key| target.annotations.get(key))?;
    text.parse::<Reference>().ok().map(Reference::or_latest)
}

/// What an archive held.
#[derive(Default)]
struct Received {
    blobs: HashMap<Vec<u8>, (Digest, u64)>,
    links: Vec<(Vec<u8>, Vec<u8>)>,
    layout: Option<LayoutVersion>,
    images: Option<Vec<DockerImage>>,
}

fn receive(intake: &Intake, archive: Box<dyn Read + Send>) -> Result<Received, Error> {
    let broken = |error: corten_archive::ApplyError| Error::Archive(error.to_string());
    let plain = decompress(BufReader::with_capacity(256 << 10, archive)).map_err(broken)?;
    let mut reader = Reader::new(plain);
    let mut received = Received::default();
    while let Some(entry) = reader.next_entry().map_err(broken)? {
        let path = clean(&entry.path);
        match entry.kind {
            EntryKind::Symlink => {
                let parent = path.iter().rposition(|&b| b == b'/').map_or(&[][..], |slash| &path[..=slash]);
                let target = clean(&[parent, &entry.link].concat());
                received.links.push((path, target));
            }
            EntryKind::File if entry.pieces.is_some() => {
                return Err(Error::Archive("a sparse file has no place in an image archive".into()));
            }
            EntryKind::File => match path.as_slice() {
                b"oci-layout" => received.layout = Some(json(&mut reader, "oci-layout")?),
                b"manifest.json" => received.images = json(&mut reader, "manifest.json")?,
                _ => {
                    let blob = intake.copy(&mut reader, None, Some(entry.size))?;
                    received.blobs.insert(path, blob);
                }
            },
            _ => {}
        }
    }
    Ok(received)
}

fn json<T: for<'de> Deserialize<'de>>(reader: &mut dyn Read, name: &str) -> Result<T, Error> {
    let mut bytes = Vec::new();
    let read = reader.take(JSON_LIMIT + 1).read_to_end(&mut bytes);
    read.map_err(|source| Error::Stream { operation: "read the archive", source })?;
    if bytes.len() as u64 > JSON_LIMIT {
        return Err(Error::Archive(format!("{name} has more than {JSON_LIMIT} bytes")));
    }
    serde_json::from_slice(&bytes)
        .map_err(|error| Error::Archive(format!("untar manifest {name:?}: {error}")))
}

/// The path without empty components and dots; `..` is kept out of trouble by being a name like any other.
fn clean(path: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|&b| b == b'/') {
        match part {
            b"" | b"." => {}
            b".." if parts.last().is_some_and(|last| *last != b"..") => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join(&b'/')
}

impl Received {
    /// What the archive's images are, in its order.
    fn targets(mut self, intake: &Intake) -> Result<Vec<Descriptor>, Error> {
        match (self.layout.take(), self.images.take()) {
            (Some(layout), _) => self.layout_targets(&layout, intake),
            (None, Some(images)) => self.docker_targets(images, intake),
            (None, None) => Err(Error::Archive("unrecognized image format".into())),
        }
    }

    fn layout_targets(&self, layout: &LayoutVersion, intake: &Intake) -> Result<Vec<Descriptor>, Error> {
        if layout.version != "1.0.0" {
            return Err(Error::Archive(format!("unsupported OCI version {}", layout.version)));
        }
        let (digest, _) = self
            .blobs
            .get(b"index.json".as_slice())
            .ok_or_else(|| Error::Archive("missing index.json in OCI layout 1.0.0".into()))?;
        let index: Index = parse_index(*digest, &intake.read(digest, JSON_LIMIT)?)?;
        Ok(index.manifests)
    }

    fn docker_targets(mut self, images: Vec<DockerImage>, intake: &Intake) -> Result<Vec<Descriptor>, Error> {
        // Archives of old Dockers have layers that are links to layers of other images.
        for (path, target) in std::mem::take(&mut self.links) {
            let Some(blob) = self.blobs.get(&target).copied() else {
                return Err(Error::Archive(format!(
                    "no target for symlink layer from {:?} to {:?}",
                    String::from_utf8_lossy(&path),
                    String::from_utf8_lossy(&target)
                )));
            };
            self.blobs.insert(path, blob);
        }
        let mut targets = Vec::new();
        for image in images {
            let target = self.docker_target(&image, intake)?;
            let tags = image.repo_tags.unwrap_or_default();
            if tags.is_empty() {
                targets.push(target.clone());
            }
            for tag in tags {
                let name: Reference = tag
                    .parse()
                    .map_err(|error| Error::Archive(format!("normalize image ref {tag:?}: {error}")))?;
                let name = name.or_latest();
                let mut named = target.clone();
                named.annotations.insert(IMAGE_NAME.into(), name.to_string());
                named.annotations.insert(REF_NAME.into(), name.tag().unwrap_or_default().into());
                targets.push(named);
            }
        }
        Ok(targets)
    }

    /// Writes the manifest that containerd writes for an image of a Docker archive.
    fn docker_target(&self, image: &DockerImage, intake: &Intake) -> Result<Descriptor, Error> {
        let find = |path: &str| self.blobs.get(&clean(path.as_bytes())).copied();
        let (digest, size) = find(&image.config)
            .ok_or_else(|| Error::Archive(format!("image config {:?} not found", image.config)))?;
        let config = parse_config(digest, &intake.read(&digest, CONFIG_LIMIT)?)?;
        let mut layers = Vec::new();
        let paths = image.layers.as_deref().unwrap_or_default();
        if paths.len() > LAYERS_LIMIT {
            return Err(Error::Archive(format!("{} layers, more than {LAYERS_LIMIT}", paths.len())));
        }
        for path in paths {
            let (digest, size) = find(path).ok_or_else(|| {
                Error::Archive(format!("failed to resolve layers: layer {path:?} not found"))
            })?;
            let mut start = Vec::new();
            let read = intake.open(&digest)?.take(10).read_to_end(&mut start);
            read.map_err(|source| Error::Stream { operation: "read a layer", source })?;
            let media_type = match Compression::detect(&start) {
                Compression::None => media::DOCKER_LAYER,
                _ => media::DOCKER_LAYER_GZIP,
            };
            layers.push(Descriptor::new(media_type, digest, size));
        }
        let manifest = Manifest {
            schema_version: 2,
            media_type: media::DOCKER_MANIFEST.into(),
            artifact_type: String::new(),
            config: Descriptor::new(media::DOCKER_CONFIG, digest, size),
            layers,
            subject: None,
            annotations: BTreeMap::new(),
        };
        let bytes = serde_json::to_vec(&manifest).map_err(|error| Error::Archive(error.to_string()))?;
        let mut target = intake.bytes(media::DOCKER_MANIFEST, &bytes)?;
        let platform = Platform::new(&config.os, &config.architecture, &config.variant);
        target.platform =
            Some(Platform { os_version: config.os_version, os_features: config.os_features, ..platform });
        Ok(target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_keys_and_lead_nowhere() {
        assert_eq!(clean(b"./a//b/../c"), b"a/c");
        assert_eq!(clean(b"../../etc/passwd"), b"../../etc/passwd");
        assert_eq!(clean(b"/blobs/sha256/x"), b"blobs/sha256/x");
    }
}
