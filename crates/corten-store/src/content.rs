//! Blobs by digest: complete, verified, never changed.
//!
//! Nothing is written here directly: new blobs come in through an [`Intake`](crate::Intake) and become visible when it
//! is committed. Parsed documents are kept in memory until their blob is collected.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::sync::Arc;

use corten_types::{Digest, ErrorKind, Kind};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;

use crate::Shared;
use crate::oci::{
    CONFIG_LIMIT, Descriptor, ImageConfig, Index, LAYERS_LIMIT, MANIFEST_LIMIT, Manifest, media,
};

/// Why a blob could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    /// There is no such blob.
    #[error("content digest {digest}: not found")]
    NotFound {
        /// Which.
        digest: Digest,
    },
    /// The blob is there, but is not what its descriptor says.
    #[error("content {digest} is not a valid {what}: {reason}")]
    Malformed {
        /// Which.
        digest: Digest,
        /// What it should have been.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The disk failed.
    #[error("could not read content {digest}: {source}")]
    Read {
        /// Which.
        digest: Digest,
        /// What the system said.
        source: std::io::Error,
    },
}

impl Kind for ContentError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound { .. } => ErrorKind::NotFound,
            Self::Malformed { .. } => ErrorKind::InvalidArgument,
            Self::Read { .. } => ErrorKind::Internal,
        }
    }
}

/// The blobs of a store; clones share it.
#[derive(Clone)]
pub struct Content {
    pub(crate) shared: Arc<Shared>,
}

#[derive(Clone)]
enum Document {
    Manifest(Arc<Manifest>),
    Index(Arc<Index>),
    Config(Arc<ImageConfig>),
}

/// Documents that were read before.
#[derive(Default)]
pub(crate) struct Documents(Mutex<HashMap<Digest, Document>>);

impl Documents {
    pub(crate) fn forget(&self, digest: &Digest) {
        self.0.lock().remove(digest);
    }
}

impl Content {
    /// The size of a blob in bytes, if it is there.
    pub fn size(&self, digest: &Digest) -> Option<u64> {
        self.shared.state.read().blobs.get(digest).copied()
    }

    /// Whether the blob is there.
    pub fn contains(&self, digest: &Digest) -> bool {
        self.size(digest).is_some()
    }

    /// Opens a blob for reading. The file stays readable when the blob is collected meanwhile.
    pub fn open(&self, digest: &Digest) -> Result<File, ContentError> {
        if !self.contains(digest) {
            return Err(ContentError::NotFound { digest: *digest });
        }
        File::open(self.shared.layout.blob(digest)).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => ContentError::NotFound { digest: *digest },
            _ => ContentError::Read { digest: *digest, source },
        })
    }

    /// A whole blob of at most `limit` bytes.
    pub fn read(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>, ContentError> {
        let size = self.size(digest).ok_or(ContentError::NotFound { digest: *digest })?;
        if size > limit {
            let reason = format!("it has {size} bytes, more than {limit}");
            return Err(ContentError::Malformed { digest: *digest, what: "document", reason });
        }
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
        self.open(digest)?
            .take(limit)
            .read_to_end(&mut bytes)
            .map_err(|source| ContentError::Read { digest: *digest, source })?;
        Ok(bytes)
    }

    /// The manifest that `descriptor` names.
    pub fn manifest(&self, descriptor: &Descriptor) -> Result<Arc<Manifest>, ContentError> {
        let digest = descriptor.digest;
        if let Some(Document::Manifest(manifest)) = self.cached(&digest) {
            return Ok(manifest);
        }
        let manifest = Arc::new(parse_manifest(digest, &self.read(&digest, MANIFEST_LIMIT)?)?);
        self.keep(digest, Document::Manifest(manifest.clone()));
        Ok(manifest)
    }

    /// The index that `descriptor` names.
    pub fn index(&self, descriptor: &Descriptor) -> Result<Arc<Index>, ContentError> {
        let digest = descriptor.digest;
        if let Some(Document::Index(index)) = self.cached(&digest) {
            return Ok(index);
        }
        let index = Arc::new(parse_index(digest, &self.read(&digest, MANIFEST_LIMIT)?)?);
        self.keep(digest, Document::Index(index.clone()));
        Ok(index)
    }

    /// The image config that `descriptor` names.
    pub fn config(&self, descriptor: &Descriptor) -> Result<Arc<ImageConfig>, ContentError> {
        let digest = descriptor.digest;
        if let Some(Document::Config(config)) = self.cached(&digest) {
            return Ok(config);
        }
        let config = Arc::new(parse_config(digest, &self.read(&digest, CONFIG_LIMIT)?)?);
        self.keep(digest, Document::Config(config.clone()));
        Ok(config)
    }

    /// What `descriptor` points at directly: the manifests of an index, config and layers of a manifest; nothing for
    /// other blobs, and nothing where the document itself is not there.
    pub fn children(&self, descriptor: &Descriptor) -> Result<Vec<Descriptor>, ContentError> {
        if !self.contains(&descriptor.digest) {
            return Ok(Vec::new());
        }
        if media::is_manifest(&descriptor.media_type) {
            let manifest = self.manifest(descriptor)?;
            return Ok(std::iter::once(&manifest.config).chain(&manifest.layers).cloned().collect());
        }
        if media::is_index(&descriptor.media_type) {
            return Ok(self.index(descriptor)?.manifests.clone());
        }
        Ok(Vec::new())
    }

    /// `root` and all beneath it that is there, each before its children, in order. A digest that is named twice
    /// comes twice, as in containerd's walk.
    pub fn present(&self, root: &Descriptor) -> Result<Vec<Descriptor>, ContentError> {
        let mut found = Vec::new();
        self.collect_present(root, &mut found, 0)?;
        Ok(found)
    }

    fn collect_present(
        &self,
        descriptor: &Descriptor,
        found: &mut Vec<Descriptor>,
        depth: usize,
    ) -> Result<(), ContentError> {
        /// An index may hold indexes, but no image has more than a few levels of them.
        const DEPTH_MAX: usize = 8;
        if !self.contains(&descriptor.digest) {
            return Ok(());
        }
        found.push(descriptor.clone());
        if depth < DEPTH_MAX {
            for child in self.children(descriptor)? {
                self.collect_present(&child, found, depth + 1)?;
            }
        }
        Ok(())
    }

    fn cached(&self, digest: &Digest) -> Option<Document> {
        self.shared.documents.0.lock().get(digest).cloned()
    }

    fn keep(&self, digest: Digest, document: Document) {
        self.shared.documents.0.lock().insert(digest, document);
    }
}

/// Reads a manifest; a document that is an index as well, or neither, is refused (CVE-2021-41190).
pub fn parse_manifest(digest: Digest, bytes: &[u8]) -> Result<Manifest, ContentError> {
    let shape: Shape = parse(digest, "manifest", bytes)?;
    if shape.manifests.is_some() || shape.fs_layers.is_some() {
        let reason = "it has the fields of another kind of document".to_owned();
        return Err(ContentError::Malformed { digest, what: "manifest", reason });
    }
    let manifest: Manifest = parse(digest, "manifest", bytes)?;
    check_type(digest, "manifest", &manifest.media_type, media::is_manifest)?;
    if manifest.layers.len() > LAYERS_LIMIT {
        let reason = format!("it has {} layers, more than {LAYERS_LIMIT}", manifest.layers.len());
        return Err(ContentError::Malformed { digest, what: "manifest", reason });
    }
    Ok(manifest)
}

/// Reads an index; a document that is a manifest as well, or neither, is refused (CVE-2021-41190).
pub fn parse_index(digest: Digest, bytes: &[u8]) -> Result<Index, ContentError> {
    let shape: Shape = parse(digest, "index", bytes)?;
    if shape.config.is_some() || shape.layers.is_some() || shape.fs_layers.is_some() {
        let reason = "it has the fields of another kind of document".to_owned();
        return Err(ContentError::Malformed { digest, what: "index", reason });
    }
    let index: Index = parse(digest, "index", bytes)?;
    check_type(digest, "index", &index.media_type, media::is_index)?;
    Ok(index)
}

/// Reads an image config.
pub fn parse_config(digest: Digest, bytes: &[u8]) -> Result<ImageConfig, ContentError> {
    let config: ImageConfig = parse(digest, "image config", bytes)?;
    if config.rootfs.diff_ids.len() > LAYERS_LIMIT {
        let reason = format!("it has {} layers, more than {LAYERS_LIMIT}", config.rootfs.diff_ids.len());
        return Err(ContentError::Malformed { digest, what: "image config", reason });
    }
    Ok(config)
}

/// Which fields a document has, to tell kinds apart.
#[derive(serde::Deserialize)]
struct Shape {
    #[serde(default)]
    manifests: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    config: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    layers: Option<serde::de::IgnoredAny>,
    #[serde(default, rename = "fsLayers")]
    fs_layers: Option<serde::de::IgnoredAny>,
}

fn check_type(
    digest: Digest,
    what: &'static str,
    media_type: &str,
    is: impl Fn(&str) -> bool,
) -> Result<(), ContentError> {
    if media_type.is_empty() || is(media_type) {
        return Ok(());
    }
    Err(ContentError::Malformed { digest, what, reason: format!("its media type is {media_type:?}") })
}

/// How deep documents may nest, as in Go.
const JSON_DEPTH_MAX: usize = 10_000;

/// Whether a document nests deeper than anybody would read. Its parser passes over what it does not know at any depth,
/// which another program that gets the same document may not do.
fn is_too_deep(bytes: &[u8]) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for &byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                if depth > JSON_DEPTH_MAX {
                    return true;
                }
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

fn parse<T: DeserializeOwned>(digest: Digest, what: &'static str, bytes: &[u8]) -> Result<T, ContentError> {
    if is_too_deep(bytes) {
        return Err(ContentError::Malformed { digest, what, reason: "exceeded max depth".into() });
    }
    serde_json::from_slice(bytes).map_err(|error| ContentError::Malformed {
        digest,
        what,
        reason: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_that_fits_two_kinds_is_refused() {
        let digest = Digest::of(b"");
        let descriptor = format!(r#"{{"mediaType":"x","digest":"{digest}","size":0}}"#);
        let both =
            format!(r#"{{"schemaVersion":2,"config":{descriptor},"layers":[],"manifests":[{descriptor}]}}"#);
        assert!(parse_manifest(digest, both.as_bytes()).is_err());
        assert!(parse_index(digest, both.as_bytes()).is_err());
        let manifest = format!(r#"{{"schemaVersion":2,"config":{descriptor},"layers":[]}}"#);
        assert!(parse_manifest(digest, manifest.as_bytes()).is_ok());
        assert!(parse_index(digest, manifest.as_bytes()).is_err());
    }

    #[test]
    fn deep_json_is_an_error_and_no_crash() {
        let deep = "[".repeat(200_000);
        assert!(parse_manifest(Digest::of(b""), deep.as_bytes()).is_err());
        assert!(parse_config(Digest::of(b""), deep.as_bytes()).is_err());
        let hidden =
            format!(r#"{{"rootfs":{{"type":"layers","diff_ids":[]}},"x":{deep}{}}}"#, "]".repeat(200_000));
        assert!(parse_config(Digest::of(b""), hidden.as_bytes()).is_err());
        let quoted = format!(
            r#"{{"architecture":"a","os":"b","rootfs":{{"type":"layers","diff_ids":[]}},"x":"\"{deep}"}}"#
        );
        assert!(parse_config(Digest::of(b""), quoted.as_bytes()).is_ok());
    }
}
