//! Names of images, and what they lead to.
//!
//! An image's id is the digest of what its name points at: an index, or a manifest of one platform. Several names may
//! point at one target; a target that lost its last name but is still wanted has the name `moby-dangling@<digest>`.

use std::collections::BTreeMap;
use std::sync::Arc;

use corten_types::{Digest, ErrorKind, Kind, Platform, Reference, ReferenceError};

use crate::content::{Content, ContentError};
use crate::database::{DatabaseError, Durability};
use crate::name::{Name, NameChange, NamedImage, plan_put, plan_untag, write_name};
use crate::oci::{Descriptor, ImageConfig, Manifest, media};
use crate::state::NameRow;
use crate::{Shared, now};

/// An image for one platform, with all that is needed to run it.
#[derive(Debug, Clone)]
pub struct Image {
    /// The digest of the target; what Docker calls the image's id.
    pub id: Digest,
    /// What the name points at: an index or a manifest.
    pub target: Descriptor,
    /// The manifest that was chosen.
    pub manifest_descriptor: Descriptor,
    /// Its content.
    pub manifest: Arc<Manifest>,
    /// Its config.
    pub config: Arc<ImageConfig>,
    /// What it runs on.
    pub platform: Platform,
    /// All names that point at the target, in order.
    pub names: Vec<Reference>,
    /// Its layers, bottom first.
    pub layers: Vec<Layer>,
}

impl Image {
    /// The ChainID of the whole root file system; nothing for an image without layers.
    pub fn chain_id(&self) -> Option<Digest> {
        self.layers.last().map(|layer| layer.chain_id)
    }
}

/// One layer of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// The blob.
    pub descriptor: Descriptor,
    /// The digest of its plain tar.
    pub diff_id: Digest,
    /// It and all beneath it.
    pub chain_id: Digest,
}

/// Why an image could not be found, named or removed. The texts are Docker's.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// Nothing has this name or id.
    #[error("No such image: {reference}")]
    NotFound {
        /// The name or id, in its short form.
        reference: String,
    },
    /// Several images have an id that begins so.
    #[error("ambiguous reference")]
    Ambiguous,
    /// The text is neither a name nor an id.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// The image is there, but not for that platform.
    #[error("image with reference {reference} was found but does not provide {wanted}")]
    Platform {
        /// The image.
        reference: String,
        /// What was asked for, in words.
        wanted: String,
    },
    /// The config and the manifest disagree.
    #[error("image {id} is damaged: {reason}")]
    Damaged {
        /// Which.
        id: Digest,
        /// How.
        reason: String,
    },
    /// A document of the image could not be read.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// The change could not be stored.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl Kind for ImageError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound { .. } | Self::Ambiguous | Self::Platform { .. } => ErrorKind::NotFound,
            Self::Reference(_) => ErrorKind::InvalidArgument,
            Self::Damaged { .. } => ErrorKind::InvalidArgument,
            Self::Content(error) => error.kind(),
            Self::Database(error) => error.kind(),
        }
    }
}

/// What names an image on a command line: `sha256:…`, 64 digits, or a name.
enum Query {
    Id(Digest),
    Name(Reference),
}

impl Query {
    fn parse(text: &str) -> Result<Self, ReferenceError> {
        if let Ok(digest) = text.parse() {
            return Ok(Self::Id(digest));
        }
        if let Ok(digest) = format!("sha256:{text}").parse() {
            return Ok(Self::Id(digest));
        }
        text.parse().map(Self::Name)
    }

    fn not_found(self) -> ImageError {
        let reference = match self {
            Self::Id(digest) => digest.to_string(),
            Self::Name(name) => name.or_latest().familiar(),
        };
        ImageError::NotFound { reference }
    }
}

/// The hexadecimal digits of what may be the beginning of an id.
fn id_prefix(text: &str) -> Option<&str> {
    let hex = text.strip_prefix("sha256:").unwrap_or(text);
    let digits = hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    ((4..=64).contains(&hex.len()) && digits).then_some(hex)
}

/// The names of a store; clones share it.
#[derive(Clone)]
pub struct Images {
    pub(crate) shared: Arc<Shared>,
}

impl Images {
    fn content(&self) -> Content {
        Content { shared: self.shared.clone() }
    }

    /// All names, ordered.
    pub fn list(&self) -> Vec<NamedImage> {
        let state = self.shared.state.read();
        state.names.iter().filter_map(|(name, row)| NamedImage::from_row(name, row)).collect()
    }

    /// What this very name points at.
    pub fn get(&self, name: &Name) -> Option<NamedImage> {
        let text = name.to_string();
        let state = self.shared.state.read();
        state.names.get(&text).and_then(|row| NamedImage::from_row(&text, row))
    }

    /// All names that point at `target`, ordered.
    pub fn names_of(&self, target: &Digest) -> Vec<NamedImage> {
        let state = self.shared.state.read();
        let rows = state.names.iter().filter(|(_, row)| row.target.digest == *target);
        rows.filter_map(|(name, row)| NamedImage::from_row(name, row)).collect()
    }

    /// Finds an image by what a user typed: a name, an id, the beginning of an id, or a name with a digest.
    pub fn find(&self, text: &str) -> Result<NamedImage, ImageError> {
        let query = Query::parse(text)?;
        match &query {
            Query::Id(digest) => {
                let mut named = self.names_of(digest);
                if named.is_empty() { Err(query.not_found()) } else { Ok(named.swap_remove(0)) }
            }
            Query::Name(name) if name.digest().is_some() => {
                let digest = name.digest().copied().unwrap_or_else(|| Digest::of(b""));
                let repository = name.repository();
                let same = |image: &NamedImage| {
                    image.name.reference().is_some_and(|reference| reference.repository() == repository)
                };
                self.names_of(&digest).into_iter().find(same).ok_or_else(|| query.not_found())
            }
            Query::Name(name) => {
                let name = Name::Reference(name.clone().or_latest());
                if let Some(image) = self.get(&name) {
                    return Ok(image);
                }
                let Some(prefix) = id_prefix(text) else { return Err(query.not_found()) };
                let mut found = self.by_prefix(prefix);
                if found.is_empty() {
                    return Err(query.not_found());
                }
                if found.iter().any(|image| image.id() != found[0].id()) {
                    return Err(ImageError::Ambiguous);
                }
                Ok(found.swap_remove(0))
            }
        }
    }

    /// Finds what is to be removed: the image that has exactly this name, if the text is one, and all names of its
    /// target.
    pub fn find_all(&self, text: &str) -> Result<(Option<NamedImage>, Vec<NamedImage>), ImageError> {
        let query = Query::parse(text)?;
        match &query {
            Query::Id(digest) => {
                let all = self.names_of(digest);
                if all.is_empty() { Err(query.not_found()) } else { Ok((None, all)) }
            }
            Query::Name(reference) => {
                let exact = self.get(&Name::Reference(reference.clone().or_latest()));
                if let Some(exact) = exact {
                    let all = self.names_of(&exact.id());
                    return Ok((Some(exact), all));
                }
                if let Some(digest) = reference.digest() {
                    let all = self.names_of(digest);
                    return if all.is_empty() { Err(query.not_found()) } else { Ok((None, all)) };
                }
                let Some(prefix) = id_prefix(text) else { return Err(query.not_found()) };
                let all = self.by_prefix(prefix);
                let Some(first) = all.first() else { return Err(query.not_found()) };
                if all.iter().any(|image| image.id() != first.id()) {
                    return Err(ImageError::Ambiguous);
                }
                Ok((None, all))
            }
        }
    }

    fn by_prefix(&self, prefix: &str) -> Vec<NamedImage> {
        let state = self.shared.state.read();
        let rows = state.names.iter().filter(|(_, row)| row.target.digest.hex().starts_with(prefix));
        rows.filter_map(|(name, row)| NamedImage::from_row(name, row)).collect()
    }

    /// Finds an image as [`Images::find`] does, for this machine where it has several platforms.
    pub fn resolve(&self, text: &str) -> Result<Image, ImageError> {
        self.resolve_for(text, None)
    }

    /// Finds an image as [`Images::find`] does, for `platform` if one is given.
    pub fn resolve_for(&self, text: &str, platform: Option<&Platform>) -> Result<Image, ImageError> {
        let named = self.find(text)?;
        self.image(&named, platform)
    }

    /// The image behind a name, for `platform` if one is given, otherwise for this machine or for what there is.
    pub fn image(&self, named: &NamedImage, platform: Option<&Platform>) -> Result<Image, ImageError> {
        let content = self.content();
        let host = Platform::host();
        let mut best: Option<(Descriptor, Platform)> = None;
        for descriptor in self.manifests(&named.target)? {
            let present = match &descriptor.platform {
                Some(present) => present.clone(),
                None => {
                    match content.manifest(&descriptor).and_then(|manifest| content.config(&manifest.config))
                    {
                        Ok(config) => config.platform(),
                        Err(ContentError::NotFound { .. }) => continue,
                        Err(error) => return Err(error.into()),
                    }
                }
            };
            let better = match platform {
                Some(wanted) => best.is_none() && present.satisfies(wanted),
                None => {
                    let known = !(present.os == "unknown" && present.architecture == "unknown");
                    best.as_ref()
                        .is_none_or(|(_, so_far)| present.satisfies(&host) && !so_far.satisfies(&host))
                        && known
                }
            };
            if better {
                best = Some((descriptor, present));
            }
        }
        let Some((manifest_descriptor, platform)) = best else {
            let wanted = match platform {
                Some(platform) => format!("the specified platform ({platform})"),
                None => "any platform".into(),
            };
            return Err(ImageError::Platform { reference: named.name.familiar(), wanted });
        };
        let manifest = content.manifest(&manifest_descriptor)?;
        let config = content.config(&manifest.config)?;
        let layers = layers_of(named.id(), &manifest, &config)?;
        let names = self.names_of(&named.id()).into_iter();
        let names = names.filter_map(|named| named.name.reference().cloned()).collect();
        let target = named.target.clone();
        Ok(Image { id: named.id(), target, manifest_descriptor, manifest, config, platform, names, layers })
    }

    /// The layers of all images, each with the one beneath it, which comes before.
    pub(crate) fn all_layers(&self) -> Vec<(Option<Digest>, Layer)> {
        let content = self.content();
        let layers = |named: &NamedImage, manifest: &Descriptor| -> Result<Vec<Layer>, ImageError> {
            let manifest = content.manifest(manifest)?;
            let config = content.config(&manifest.config)?;
            layers_of(named.id(), &manifest, &config)
        };
        let mut all = Vec::new();
        for named in self.list() {
            // What is not whole says nothing about its layers.
            for manifest in self.manifests(&named.target).unwrap_or_default() {
                let mut parent = None;
                for layer in layers(&named, &manifest).unwrap_or_default() {
                    let chain = layer.chain_id;
                    all.push((parent, layer));
                    parent = Some(chain);
                }
            }
        }
        all
    }

    /// The manifests beneath a target that are here.
    pub fn manifests(&self, target: &Descriptor) -> Result<Vec<Descriptor>, ImageError> {
        let present = self.content().present(target)?;
        Ok(present.into_iter().filter(|descriptor| media::is_manifest(&descriptor.media_type)).collect())
    }

    /// Points `name` at `target`. What it pointed at before stays, without a name if that was the last one.
    pub async fn put(
        &self,
        name: Name,
        target: Descriptor,
        labels: BTreeMap<String, String>,
    ) -> Result<(), ImageError> {
        self.change(move |names| plan_put(names, &name, target, labels, now())).await
    }

    /// Removes a name. What nothing names any more is collected by [`Store::collect`](crate::Store::collect).
    pub async fn delete(&self, name: &Name) -> Result<(), ImageError> {
        self.delete_all(std::slice::from_ref(name)).await
    }

    /// [`Images::delete`] for many names at once.
    pub async fn delete_all(&self, names: &[Name]) -> Result<(), ImageError> {
        let gone: Vec<String> = names.iter().map(ToString::to_string).collect();
        self.shared.database.make_room();
        self.change(move |names| {
            gone.into_iter().filter(|name| names.contains_key(name)).map(|name| (name, None)).collect()
        })
        .await
    }

    /// Removes a name, but keeps its target if that was the last one.
    pub async fn untag(&self, name: &Name) -> Result<(), ImageError> {
        let name = name.clone();
        self.change(move |names| plan_untag(names, &name, now())).await
    }

    /// Plans a change of the names and makes it, alone.
    async fn change(
        &self,
        plan: impl FnOnce(&BTreeMap<String, NameRow>) -> Vec<NameChange> + Send + 'static,
    ) -> Result<(), ImageError> {
        let shared = self.shared.clone();
        let changed = tokio::task::spawn_blocking(move || {
            let _gate = shared.gate.lock();
            let changes = plan(&shared.state.read().names);
            let stored = changes.clone();
            shared.database.write_blocking(Durability::Full, move |tx| {
                stored.iter().try_for_each(|(name, row)| write_name(tx, name, row))
            })?;
            shared.state.write().apply_names(changes);
            Ok(())
        });
        match changed.await {
            Ok(changed) => changed,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }
}

fn layers_of(id: Digest, manifest: &Manifest, config: &ImageConfig) -> Result<Vec<Layer>, ImageError> {
    let layers: Vec<&Descriptor> =
        manifest.layers.iter().filter(|layer| media::is_layer(&layer.media_type)).collect();
    let diff_ids = &config.rootfs.diff_ids;
    if layers.len() != diff_ids.len() {
        let reason = format!("{} layers, but {} diff ids", layers.len(), diff_ids.len());
        return Err(ImageError::Damaged { id, reason });
    }
    let chain = config.chain_ids();
    Ok(layers
        .into_iter()
        .zip(diff_ids.iter().zip(chain))
        .map(|(descriptor, (diff_id, chain_id))| Layer {
            descriptor: descriptor.clone(),
            diff_id: *diff_id,
            chain_id,
        })
        .collect())
}
