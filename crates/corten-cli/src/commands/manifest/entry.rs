//! One manifest of a list, as docker keeps it and shows it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use corten_types::{Digest, Platform, Reference};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::error::{Failure, Outcome};

const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// What names a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// Its type.
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// What it runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
}

/// A manifest, and where it comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Entry {
    /// The reference it was found by.
    #[serde(rename = "Ref")]
    pub reference: Reference,
    /// What names it.
    pub descriptor: Descriptor,
    /// Its bytes, base64.
    pub raw: String,
    /// Its document, where it is a Docker schema 2 manifest.
    #[serde(default, rename = "SchemaV2Manifest", skip_serializing_if = "Option::is_none")]
    pub docker: Option<Value>,
    /// Its document, where it is an OCI manifest.
    #[serde(default, rename = "OCIManifest", skip_serializing_if = "Option::is_none")]
    pub oci: Option<Value>,
}

impl Entry {
    /// A manifest that a registry gave.
    pub fn new(reference: Reference, descriptor: Descriptor, bytes: &[u8]) -> Outcome<Self> {
        let document: Value = serde_json::from_slice(bytes)
            .map_err(|error| Failure::new(format!("{reference}: the manifest cannot be read: {error}")))?;
        let oci = descriptor.media_type == OCI_MANIFEST;
        let (docker, oci) = if oci { (None, Some(document)) } else { (Some(document), None) };
        Ok(Self { reference, descriptor, raw: STANDARD.encode(bytes), docker, oci })
    }

    /// Its bytes.
    pub fn bytes(&self) -> Outcome<Vec<u8>> {
        let bytes = STANDARD.decode(&self.raw).unwrap_or_default();
        let (expected, found) = (self.descriptor.digest, Digest::of(&bytes));
        if expected == found {
            Ok(bytes)
        } else {
            let name = &self.reference;
            Err(Failure::new(format!(
                "internal digest mismatch for {name}: expected {expected}, got {found}"
            )))
        }
    }

    /// The blobs it needs: its config and layers.
    pub fn blobs(&self) -> Vec<Digest> {
        let document = self.docker.as_ref().or(self.oci.as_ref());
        let Some(document) = document else { return Vec::new() };
        let layers = document["layers"].as_array().into_iter().flatten();
        std::iter::once(&document["config"])
            .chain(layers)
            .filter_map(|descriptor| descriptor["digest"].as_str()?.parse().ok())
            .collect()
    }
}

/// Whether a document of this type is a list of manifests.
pub fn is_list(media_type: &str) -> bool {
    matches!(media_type, DOCKER_LIST | OCI_INDEX)
}

/// Whether a document of this type is a manifest of one platform.
pub fn is_manifest(media_type: &str) -> bool {
    matches!(media_type, DOCKER_MANIFEST | OCI_MANIFEST)
}

/// The list of some manifests: its type and its bytes, those that docker writes.
pub fn list(target: &Reference, entries: &[Entry]) -> Outcome<(&'static str, Vec<u8>)> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct List<'a> {
        schema_version: u32,
        media_type: &'a str,
        manifests: Vec<Member<'a>>,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Member<'a> {
        media_type: &'a str,
        size: u64,
        digest: Digest,
        platform: Shown<'a>,
    }
    #[derive(Serialize, Default)]
    struct Shown<'a> {
        architecture: &'a str,
        os: &'a str,
        #[serde(rename = "os.version", skip_serializing_if = "str::is_empty")]
        os_version: &'a str,
        #[serde(rename = "os.features", skip_serializing_if = "<[String]>::is_empty")]
        os_features: &'a [String],
        #[serde(skip_serializing_if = "str::is_empty")]
        variant: &'a str,
    }
    let mut manifests = Vec::new();
    for entry in entries {
        let (theirs, ours) = (entry.reference.domain(), target.domain());
        if theirs != ours {
            return Err(Failure::new(format!(
                "cannot use source images from a different registry than the target image: {theirs} != {ours}"
            )));
        }
        let platform = entry.descriptor.platform.as_ref().map(|platform| Shown {
            architecture: &platform.architecture,
            os: &platform.os,
            os_version: &platform.os_version,
            os_features: &platform.os_features,
            variant: &platform.variant,
        });
        manifests.push(Member {
            media_type: &entry.descriptor.media_type,
            size: entry.descriptor.size,
            digest: entry.descriptor.digest,
            platform: platform.unwrap_or_default(),
        });
    }
    let oci = entries.first().is_some_and(|first| first.descriptor.media_type == OCI_MANIFEST);
    let media_type = if oci { OCI_INDEX } else { DOCKER_LIST };
    let list = List { schema_version: 2, media_type, manifests };
    Ok((media_type, indented(&list, b"   ")?))
}

/// A value as JSON with this indentation.
pub fn indented(value: &impl Serialize, indent: &[u8]) -> Outcome<Vec<u8>> {
    let mut out = Vec::new();
    let format = serde_json::ser::PrettyFormatter::with_indent(indent);
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, format);
    value.serialize(&mut serializer).map_err(|error| Failure::new(format!("cannot write JSON: {error}")))?;
    Ok(out)
}

/// A JSON document with another indentation; its fields keep their order and its values their spelling.
pub fn indented_document(bytes: &[u8]) -> Outcome<Vec<u8>> {
    let document: &RawValue =
        serde_json::from_slice(bytes).map_err(|error| Failure::new(format!("cannot read JSON: {error}")))?;
    let value: Value = serde_json::from_str(document.get())
        .map_err(|error| Failure::new(format!("cannot read JSON: {error}")))?;
    indented(&value, b"\t")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, media_type: &str, platform: Platform) -> Entry {
        let bytes = format!(r#"{{"config":{{"digest":"{}"}},"layers":[]}}"#, Digest::of(b"c"));
        let descriptor = Descriptor {
            media_type: media_type.into(),
            digest: Digest::of(bytes.as_bytes()),
            size: bytes.len() as u64,
            platform: Some(platform),
        };
        Entry::new(name.parse().unwrap(), descriptor, bytes.as_bytes()).unwrap()
    }

    #[test]
    fn a_list_is_written_as_docker_writes_it() {
        let entries = [entry("r.io/a:1", DOCKER_MANIFEST, Platform::new("linux", "arm", "v7"))];
        let (media_type, bytes) = list(&"r.io/b".parse().unwrap(), &entries).unwrap();
        assert_eq!(media_type, DOCKER_LIST);
        let expected = format!(
            "{{\n   \"schemaVersion\": 2,\n   \"mediaType\": \"{DOCKER_LIST}\",\n   \"manifests\": [\n      {{\n         \
             \"mediaType\": \"{DOCKER_MANIFEST}\",\n         \"size\": {},\n         \"digest\": \"{}\",\n         \
             \"platform\": {{\n            \"architecture\": \"arm\",\n            \"os\": \"linux\",\n            \
             \"variant\": \"v7\"\n         }}\n      }}\n   ]\n}}",
            entries[0].descriptor.size, entries[0].descriptor.digest
        );
        assert_eq!(String::from_utf8(bytes).unwrap(), expected);
        let other = list(&"s.io/b".parse().unwrap(), &entries).unwrap_err().to_string();
        assert!(other.ends_with("the target image: r.io != s.io"), "{other}");
    }

    #[test]
    fn an_entry_knows_its_blobs_and_whether_its_bytes_are_its_own() {
        let mut entry = entry("a", OCI_MANIFEST, Platform::host());
        assert_eq!(entry.blobs(), [Digest::of(b"c")]);
        assert!(entry.bytes().is_ok());
        entry.raw = STANDARD.encode(b"{}");
        assert!(entry.bytes().unwrap_err().to_string().starts_with("internal digest mismatch for"));
    }
}
