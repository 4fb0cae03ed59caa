//! What a pushed manifest says, as far as a registry must know: its type, what it needs, what it refers to.
//!
//! Bytes come from strangers: at most [`LIMIT`] of them, one kind of document and no other (CVE-2021-41190), and at
//! most [`REFERENCES`] descriptors. The bytes themselves are kept as they came; nothing here writes a manifest.

use std::collections::BTreeMap;

use corten_store::oci::media;
use serde::{Deserialize, Deserializer, Serialize};

use crate::digest::ContentDigest;

/// The largest manifest, in bytes (distribution-spec, "Pushing manifests").
pub const LIMIT: usize = 4 << 20;
/// The most descriptors in one manifest.
const REFERENCES: usize = 10_000;

/// What one manifest or index says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Its media type.
    pub media_type: String,
    /// What it needs to be whole.
    pub references: Vec<Needed>,
    /// The manifest it says something about.
    pub subject: Option<ContentDigest>,
    /// What kind of artifact it is: its `artifactType`, or the type of its config.
    pub artifact_type: String,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
}

/// Something that a document needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Needed {
    /// A blob: a config or layer.
    Blob(ContentDigest),
    /// Another manifest: an entry of an index.
    Manifest(ContentDigest),
}

impl Needed {
    /// Its digest.
    pub fn digest(&self) -> &ContentDigest {
        match self {
            Self::Blob(digest) | Self::Manifest(digest) => digest,
        }
    }
}

/// Why a document is refused.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// The request names a type that is no manifest's.
    #[error("{0:?} is not the type of an OCI or Docker schema 2 manifest or index")]
    Type(String),
    /// The document names another type than the request.
    #[error("the manifest says that it is {document:?}, the request that it is {request:?}")]
    TypesDiffer {
        /// The document's.
        document: String,
        /// The request's.
        request: String,
    },
    /// It is no JSON of the right shape.
    #[error("the manifest cannot be read: {0}")]
    Shape(#[from] serde_json::Error),
    /// It has the fields of another kind of document.
    #[error("the manifest has the fields of another kind of document")]
    Ambiguous,
    /// It is of another version.
    #[error("schemaVersion is {0}, not 2")]
    Version(u32),
    /// It has more descriptors than allowed.
    #[error("the manifest names {0} descriptors, more than 10000")]
    TooMany(usize),
}

fn null_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(d: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(d)?.unwrap_or_default())
}

/// A descriptor in a pushed document, and one in a list of referrers.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// Type of the content.
    #[serde(default, deserialize_with = "null_default")]
    pub media_type: String,
    /// Size in bytes.
    pub size: u64,
    /// Digest.
    pub digest: ContentDigest,
    /// Where else it can be had.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    /// Type of an artifact.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub artifact_type: String,
    /// Free metadata.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Fields {
    schema_version: u32,
    #[serde(default, deserialize_with = "null_default")]
    media_type: String,
    #[serde(default, deserialize_with = "null_default")]
    artifact_type: String,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
    fs_layers: Option<serde::de::IgnoredAny>,
    subject: Option<Descriptor>,
    #[serde(default, deserialize_with = "null_default")]
    annotations: BTreeMap<String, String>,
}

impl Document {
    /// Reads a document that a request calls `content_type`.
    pub fn parse(content_type: &str, bytes: &[u8]) -> Result<Self, DocumentError> {
        let index = media::is_index(content_type);
        if !index && !media::is_manifest(content_type) {
            return Err(DocumentError::Type(content_type.chars().take(128).collect()));
        }
        let fields: Fields = serde_json::from_slice(bytes)?;
        if fields.schema_version != 2 {
            return Err(DocumentError::Version(fields.schema_version));
        }
        if !fields.media_type.is_empty() && fields.media_type != content_type {
            let document = fields.media_type.chars().take(128).collect();
            return Err(DocumentError::TypesDiffer { document, request: content_type.into() });
        }
        let foreign = if index {
            fields.config.is_some() || fields.layers.is_some()
        } else {
            fields.manifests.is_some() || fields.config.is_none()
        };
        if foreign || fields.fs_layers.is_some() {
            return Err(DocumentError::Ambiguous);
        }
        let artifact_type = match &fields.config {
            Some(config) if fields.artifact_type.is_empty() => config.media_type.clone(),
            _ => fields.artifact_type,
        };
        let layers = fields.layers.unwrap_or_default();
        let manifests = fields.manifests.unwrap_or_default();
        let count = layers.len() + manifests.len();
        if count > REFERENCES {
            return Err(DocumentError::TooMany(count));
        }
        // A layer that may not be given away lies where its addresses say (image-spec, layer.md).
        let here = |layer: &Descriptor| {
            !(layer.media_type.contains("nondistributable") || layer.media_type.contains(".foreign."))
        };
        let blobs = fields.config.into_iter().chain(layers.into_iter().filter(here));
        let references = blobs
            .map(|blob| Needed::Blob(blob.digest))
            .chain(manifests.into_iter().map(|manifest| Needed::Manifest(manifest.digest)))
            .collect();
        Ok(Self {
            media_type: content_type.into(),
            references,
            subject: fields.subject.map(|subject| subject.digest),
            artifact_type,
            annotations: fields.annotations,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use corten_types::Digest;

    fn descriptor(media_type: &str, content: &[u8]) -> String {
        format!(r#"{{"mediaType":"{media_type}","digest":"{}","size":1}}"#, Digest::of(content))
    }

    #[test]
    fn a_manifest_needs_its_config_and_the_layers_that_may_be_given_away() {
        let layers = [
            descriptor(media::LAYER, b"l"),
            descriptor("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", b"n"),
            descriptor("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", b"f"),
        ];
        let text = format!(
            r#"{{"schemaVersion":2,"config":{},"layers":[{}],"subject":{}}}"#,
            descriptor("application/x.config", b"c"),
            layers.join(","),
            descriptor(media::MANIFEST, b"s"),
        );
        let document = Document::parse(media::MANIFEST, text.as_bytes()).unwrap();
        let needed = [b"c", b"l"].map(|content| Needed::Blob(Digest::of(content).into()));
        assert_eq!(document.references, needed);
        assert_eq!(document.subject, Some(Digest::of(b"s").into()));
        assert_eq!(document.artifact_type, "application/x.config");
    }

    #[test]
    fn what_is_no_manifest_is_refused() {
        let blob = descriptor(media::CONFIG, b"c");
        let refused = |content_type: &str, text: &str| {
            Document::parse(content_type, text.as_bytes()).expect_err(text).to_string()
        };
        refused("text/html", "{}");
        refused(media::MANIFEST, "<html>");
        refused(media::MANIFEST, "{}");
        refused(media::MANIFEST, r#"{"schemaVersion":2}"#);
        refused(media::MANIFEST, r#"{"schemaVersion":1,"fsLayers":[]}"#);
        refused(media::MANIFEST, &format!(r#"{{"schemaVersion":2,"config":{blob},"manifests":[]}}"#));
        refused(media::INDEX, &format!(r#"{{"schemaVersion":2,"config":{blob},"manifests":[]}}"#));
        refused(media::INDEX, &format!(r#"{{"schemaVersion":2,"mediaType":"{}"}}"#, media::MANIFEST));
        refused(media::MANIFEST, &"[".repeat(100_000));
        let bad = r#"{"schemaVersion":2,"config":{"digest":"sha256:../../etc/passwd","size":1}}"#;
        refused(media::MANIFEST, bad);
    }
}
