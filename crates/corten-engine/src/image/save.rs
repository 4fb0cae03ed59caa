//! Images as an archive: an OCI layout that older Dockers read too, byte for byte what dockerd 28.5 writes.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::sync::Arc;

use corten_archive::{Entry, EntryKind, Writer};
use corten_store::oci::{Descriptor, Index, media};
use corten_store::{Content, ContentError, ImageError, Intake, Name, NamedImage};
use corten_types::{Digest, Platform, Reference};
use serde::Serialize;

use super::summary::Wanted;
use super::{Error, Images};

/// What is to be saved: found, and kept from the collector until the plan is dropped.
pub struct SavePlan {
    content: Content,
    records: BTreeMap<String, Record>,
    _lease: Intake,
}

/// One entry of the archive.
enum Record {
    Directory,
    Document(u32, Vec<u8>),
    Blob(Digest, u64),
}

/// One image of `manifest.json`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Option<Vec<String>>,
}

impl Images {
    /// Finds what is to be saved. A repository without a tag means all its tags.
    pub fn plan_save(
        self: &Arc<Self>,
        names: &[String],
        platform: Option<&Platform>,
    ) -> Result<SavePlan, Error> {
        let mut chosen = Vec::new();
        for name in names {
            self.choose(name, &mut chosen)?;
        }
        let wanted = platform.map_or(Wanted::Any, Wanted::Only);
        let lease = self.store.intake();
        let mut archive =
            Archive { images: self, lease: &lease, records: BTreeMap::new(), docker: Vec::new() };
        let mut manifests = Vec::new();
        for (image, name) in chosen {
            let mut target = image.target.clone();
            if let Some(platform) = platform {
                target = self.best_available(&image, wanted)?.ok_or_else(|| ImageError::Platform {
                    reference: image.name.familiar(),
                    wanted: format!("the specified platform ({platform})"),
                })?;
            }
            target.annotations.remove("io.containerd.image.name");
            target.annotations.remove("org.opencontainers.image.ref.name");
            if let Some(name) = &name {
                target.annotations.insert("io.containerd.image.name".into(), name.to_string());
                let tag = name.tag().map_or_else(|| name.to_string(), str::to_owned);
                target.annotations.insert("org.opencontainers.image.ref.name".into(), tag);
            }
            archive.image(&target, name.as_ref(), wanted)?;
            manifests.push(target);
            self.tell("save", &image.id(), &image.id().to_string());
        }
        let records = archive.finish(manifests)?;
        Ok(SavePlan { content: self.store.content().clone(), records, _lease: lease })
    }

    fn choose(&self, text: &str, chosen: &mut Vec<(NamedImage, Option<Reference>)>) -> Result<(), Error> {
        let found = self.store.images().find(text);
        let reference = text.parse::<Reference>();
        let by_digest = match (&found, &reference) {
            (_, Ok(reference)) if reference.digest().is_some() => true,
            (Ok(image), _) => image.id().to_string().starts_with(text) || image.id().hex().starts_with(text),
            _ => false,
        };
        if !by_digest
            && let Ok(reference) = &reference
            && reference.tag().is_none()
        {
            let mut all = self.store.images().list();
            all.retain(|image| {
                image
                    .name
                    .reference()
                    .is_some_and(|name| name.repository() == *reference && name.tag().is_some())
            });
            if all.is_empty() {
                return Err(
                    ImageError::NotFound { reference: reference.clone().or_latest().familiar() }.into()
                );
            }
            for image in all {
                let name = image.name.reference().cloned();
                chosen.push((image, name));
            }
            return Ok(());
        }
        let image = found?;
        let name = match (&image.name, by_digest) {
            (Name::Reference(name), false) => Some(name.clone()),
            _ => None,
        };
        chosen.push((image, name));
        Ok(())
    }

    fn best_available(&self, image: &NamedImage, wanted: Wanted<'_>) -> Result<Option<Descriptor>, Error> {
        let whole = self.whole(image, wanted, &[])?;
        Ok(whole.best)
    }
}

struct Archive<'a> {
    images: &'a Images,
    lease: &'a Intake,
    records: BTreeMap<String, Record>,
    docker: Vec<(Digest, DockerImage)>,
}

fn path_of(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

impl Archive<'_> {
    fn image(
        &mut self,
        target: &Descriptor,
        name: Option<&Reference>,
        wanted: Wanted<'_>,
    ) -> Result<(), Error> {
        let content = self.images.store.content();
        let shown = if media::is_manifest(&target.media_type) {
            self.manifest(target)?;
            Some(target.clone())
        } else {
            self.blob(target);
            let mut fitting: Vec<(u8, Descriptor)> = Vec::new();
            for child in content.index(target)?.manifests.clone() {
                self.manifest(&child)?;
                let rank = child.platform.as_ref().map_or(Some(u8::MAX), |platform| wanted.rank(platform));
                fitting.extend(rank.map(|rank| (rank, child)));
            }
            fitting.sort_by_key(|(rank, _)| *rank);
            fitting.into_iter().next().map(|(_, child)| child)
        };
        let Some(shown) = shown else { return Ok(()) };
        let position = self.docker.iter().position(|(digest, _)| *digest == shown.digest);
        let position = match position {
            Some(position) => position,
            None => {
                let manifest = content.manifest(&shown)?;
                let layers: Vec<String> =
                    manifest.layers.iter().map(|layer| path_of(&layer.digest)).collect();
                let image = DockerImage {
                    config: path_of(&manifest.config.digest),
                    repo_tags: None,
                    layers: (!layers.is_empty()).then_some(layers),
                };
                self.docker.push((shown.digest, image));
                self.docker.len() - 1
            }
        };
        if let Some(name) = name {
            self.docker[position].1.repo_tags.get_or_insert_default().push(name.familiar());
        }
        Ok(())
    }

    /// A manifest and what it names, if all of that is here; the manifest alone otherwise.
    fn manifest(&mut self, target: &Descriptor) -> Result<(), Error> {
        let content = self.images.store.content();
        if !content.contains(&target.digest) {
            return Ok(());
        }
        self.blob(target);
        if media::is_index(&target.media_type) {
            for child in content.children(target)? {
                self.manifest(&child)?;
            }
            return Ok(());
        }
        if !media::is_manifest(&target.media_type) {
            return Ok(());
        }
        let children = content.children(target)?;
        if children.iter().all(|child| content.contains(&child.digest)) {
            for child in children.iter().filter(|child| !is_foreign(&child.media_type)) {
                self.blob(child);
            }
        }
        Ok(())
    }

    fn blob(&mut self, blob: &Descriptor) {
        if self.lease.hold(&blob.digest) {
            self.records.insert(path_of(&blob.digest), Record::Blob(blob.digest, blob.size));
        }
    }

    fn finish(mut self, manifests: Vec<Descriptor>) -> Result<BTreeMap<String, Record>, Error> {
        let index = Index {
            schema_version: 2,
            media_type: media::INDEX.into(),
            manifests,
            annotations: BTreeMap::new(),
        };
        let images: Vec<DockerImage> = self.docker.into_iter().map(|(_, image)| image).collect();
        let bytes =
            |json: serde_json::Result<Vec<u8>>| json.map_err(|error| Error::Archive(error.to_string()));
        if self.records.values().any(|record| matches!(record, Record::Blob(..))) {
            self.records.insert("blobs/".into(), Record::Directory);
            self.records.insert("blobs/sha256/".into(), Record::Directory);
        }
        let layout = br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec();
        self.records.insert("oci-layout".into(), Record::Document(0o444, layout));
        self.records.insert("index.json".into(), Record::Document(0o644, bytes(serde_json::to_vec(&index))?));
        if !images.is_empty() {
            let manifest = bytes(serde_json::to_vec(&images))?;
            self.records.insert("manifest.json".into(), Record::Document(0o644, manifest));
        }
        Ok(self.records)
    }
}

/// Whether a layer may not be given away.
fn is_foreign(media_type: &str) -> bool {
    media_type.contains(".nondistributable.") || media_type.contains(".foreign.")
}

impl SavePlan {
    /// Writes the archive. Blocks.
    pub fn write(&self, out: &mut dyn Write) -> Result<(), Error> {
        let failed = |source| Error::Stream { operation: "write the archive", source };
        let mut writer = Writer::new(out);
        for (path, record) in &self.records {
            match record {
                Record::Directory => {
                    let entry = Entry::new(path.as_str(), EntryKind::Directory, 0o755);
                    writer.append(&entry, &mut std::io::empty()).map_err(failed)?;
                }
                Record::Document(mode, bytes) => {
                    let mut entry = Entry::new(path.as_str(), EntryKind::File, *mode);
                    entry.size = bytes.len() as u64;
                    writer.append(&entry, &mut bytes.as_slice()).map_err(failed)?;
                }
                Record::Blob(digest, size) => {
                    let mut entry = Entry::new(path.as_str(), EntryKind::File, 0o444);
                    entry.size = *size;
                    let mut blob: Box<dyn Read> = Box::new(self.content.open(digest)?);
                    writer.append(&entry, &mut blob).map_err(|source| match source.kind() {
                        std::io::ErrorKind::UnexpectedEof => {
                            ContentError::Read { digest: *digest, source }.into()
                        }
                        _ => failed(source),
                    })?;
                }
            }
        }
        writer.finish().map_err(failed)?.flush().map_err(failed)
    }
}
