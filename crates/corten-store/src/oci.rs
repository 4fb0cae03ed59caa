//! The documents of an image: descriptor, manifest, index and config (OCI image-spec 1.1 and Docker schema 2).
//!
//! Documents come from strangers: they are read with a size limit, `null` is the same as absent, and unknown fields
//! are ignored. Field order is that of the Go structs, so that what we write is what Docker would have written.

use std::collections::BTreeMap;

use corten_types::{Digest, Platform};
use serde::{Deserialize, Deserializer, Serialize};

/// Media types (OCI image-spec, media-types.md; distribution, manifest-v2-2.md).
pub mod media {
    /// OCI manifest.
    pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    /// OCI index.
    pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
    /// OCI image config.
    pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    /// OCI layer, plain tar.
    pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
    /// OCI layer, gzip.
    pub const LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
    /// OCI layer, zstd.
    pub const LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
    /// Docker schema 2 manifest.
    pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    /// Docker manifest list.
    pub const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
    /// Docker image config.
    pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
    /// Docker layer, plain tar.
    pub const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";
    /// Docker layer, gzip.
    pub const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";

    /// Whether a document of this type is a manifest of one platform.
    pub fn is_manifest(media_type: &str) -> bool {
        matches!(media_type, MANIFEST | DOCKER_MANIFEST)
    }

    /// Whether a document of this type is an index of manifests.
    pub fn is_index(media_type: &str) -> bool {
        matches!(media_type, INDEX | DOCKER_INDEX)
    }

    /// Whether a blob of this type is a layer of a root file system.
    pub fn is_layer(media_type: &str) -> bool {
        media_type.starts_with("application/vnd.oci.image.layer.")
            || media_type.starts_with("application/vnd.docker.image.rootfs.")
    }

    /// Whether a blob of this type is an image config.
    pub fn is_config(media_type: &str) -> bool {
        matches!(media_type, CONFIG | DOCKER_CONFIG)
    }
}

/// Largest manifest or index that is read, in bytes.
pub const MANIFEST_LIMIT: u64 = 4 << 20;
/// Largest config that is read, in bytes.
pub const CONFIG_LIMIT: u64 = 8 << 20;
/// Most layers an image may have.
pub const LAYERS_LIMIT: usize = 500;

fn null_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(d: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(d)?.unwrap_or_default())
}

/// What names some content: its type, digest and size (descriptor.md).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// Type of the content.
    #[serde(default, deserialize_with = "null_default")]
    pub media_type: String,
    /// Digest of the content.
    pub digest: Digest,
    /// Size of the content in bytes.
    pub size: u64,
    /// Where else it can be had.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    /// Free metadata.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// The content itself, base64.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub data: String,
    /// What the content runs on, in an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// Type of an artifact.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub artifact_type: String,
}

impl Descriptor {
    /// A descriptor with nothing but type, digest and size.
    pub fn new(media_type: &str, digest: Digest, size: u64) -> Self {
        Self {
            media_type: media_type.into(),
            digest,
            size,
            urls: Vec::new(),
            annotations: BTreeMap::new(),
            data: String::new(),
            platform: None,
            artifact_type: String::new(),
        }
    }
}

/// The manifest of an image for one platform (manifest.md).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u32,
    /// [`media::MANIFEST`] or [`media::DOCKER_MANIFEST`]; OCI allows none.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub media_type: String,
    /// Type of an artifact.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub artifact_type: String,
    /// The config.
    pub config: Descriptor,
    /// The layers, bottom first.
    #[serde(default, deserialize_with = "null_default")]
    pub layers: Vec<Descriptor>,
    /// What this refers to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Free metadata.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// An index of manifests, one for each platform (image-index.md).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: u32,
    /// [`media::INDEX`] or [`media::DOCKER_INDEX`]; OCI allows none.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub media_type: String,
    /// The manifests.
    #[serde(default, deserialize_with = "null_default")]
    pub manifests: Vec<Descriptor>,
    /// Free metadata.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// The config of an image (config.md, with Docker's additions).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// When it was made, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Who made it.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub author: String,
    /// CPU architecture by Go's name.
    #[serde(default, deserialize_with = "null_default")]
    pub architecture: String,
    /// Variant of the CPU.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub variant: String,
    /// Operating system by Go's name.
    #[serde(default, deserialize_with = "null_default")]
    pub os: String,
    /// Version of the operating system.
    #[serde(
        rename = "os.version",
        default,
        deserialize_with = "null_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub os_version: String,
    /// Features of the operating system.
    #[serde(
        rename = "os.features",
        default,
        deserialize_with = "null_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub os_features: Vec<String>,
    /// How to run it.
    #[serde(default, deserialize_with = "null_default")]
    pub config: RunConfig,
    /// The layers by DiffID.
    #[serde(default, deserialize_with = "null_default")]
    pub rootfs: RootFs,
    /// What each layer was made by.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<History>,
}

impl ImageConfig {
    /// What the image runs on.
    pub fn platform(&self) -> Platform {
        Platform {
            architecture: self.architecture.clone(),
            os: self.os.clone(),
            os_version: self.os_version.clone(),
            os_features: self.os_features.clone(),
            variant: self.variant.clone(),
        }
    }

    /// The ChainIDs of the layers, bottom first.
    pub fn chain_ids(&self) -> Vec<Digest> {
        let mut chain: Vec<Digest> = Vec::with_capacity(self.rootfs.diff_ids.len());
        for diff_id in &self.rootfs.diff_ids {
            chain.push(Digest::chain(chain.last(), diff_id));
        }
        chain
    }
}

/// An empty JSON object; Go's `struct{}` as the value of a set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Empty {}

/// How an image wants to be run. Lists that are absent and lists that are `null` are the same.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RunConfig {
    /// User, or `user:group`.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// Ports the program listens on: `80/tcp`.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub exposed_ports: BTreeMap<String, Empty>,
    /// Environment, `NAME=value`.
    #[serde(default, skip_serializing_if = "is_empty_list")]
    pub env: Option<Vec<String>>,
    /// What is run, before the command.
    #[serde(default, skip_serializing_if = "is_empty_list")]
    pub entrypoint: Option<Vec<String>>,
    /// The default command.
    #[serde(default, skip_serializing_if = "is_empty_list")]
    pub cmd: Option<Vec<String>>,
    /// Paths that want a volume.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub volumes: BTreeMap<String, Empty>,
    /// Working directory.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
    /// Labels.
    #[serde(default, skip_serializing_if = "is_empty_map")]
    pub labels: Option<BTreeMap<String, String>>,
    /// Signal that asks the program to end.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub stop_signal: String,
    /// Whether `Cmd` is one escaped command line (Windows).
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "std::ops::Not::not")]
    pub args_escaped: bool,
    /// How to see whether the program is healthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// What a build on top of this image begins with.
    #[serde(default, skip_serializing_if = "is_empty_list")]
    pub on_build: Option<Vec<String>>,
    /// The shell of shell-form commands.
    #[serde(default, skip_serializing_if = "is_empty_list")]
    pub shell: Option<Vec<String>>,
}

fn is_empty_list(list: &Option<Vec<String>>) -> bool {
    list.as_ref().is_none_or(Vec::is_empty)
}

fn is_empty_map(map: &Option<BTreeMap<String, String>>) -> bool {
    map.as_ref().is_none_or(BTreeMap::is_empty)
}

fn is_zero(n: &i64) -> bool {
    *n == 0
}

/// How to see whether a program is healthy; durations in nanoseconds, zero inherits.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Healthcheck {
    /// `NONE`, `CMD args…` or `CMD-SHELL line`.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "Vec::is_empty")]
    pub test: Vec<String>,
    /// Time between checks.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "is_zero")]
    pub interval: i64,
    /// Time after which a check has failed.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "is_zero")]
    pub timeout: i64,
    /// Time in which failures do not count.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "is_zero")]
    pub start_period: i64,
    /// Time between checks during the start period.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "is_zero")]
    pub start_interval: i64,
    /// Failures in a row that make it unhealthy.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "is_zero")]
    pub retries: i64,
}

/// The layers by DiffID, bottom first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(rename = "type", default, deserialize_with = "null_default")]
    pub kind: String,
    /// Digest of each layer's plain tar.
    #[serde(default, deserialize_with = "null_default")]
    pub diff_ids: Vec<Digest>,
}

/// What one layer, or one change without a layer, was made by.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// When, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// The command.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub created_by: String,
    /// Who.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub author: String,
    /// Why.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// Whether this step made no layer.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "std::ops::Not::not")]
    pub empty_layer: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_is_absent() {
        let config: ImageConfig = serde_json::from_str(
            r#"{"architecture":"amd64","os":"linux","config":{"Env":null,"Cmd":["sh"],"Volumes":null,"Labels":null},
                "rootfs":{"type":"layers","diff_ids":null},"history":null,"container":"ignored"}"#,
        )
        .unwrap();
        assert_eq!(config.config.cmd, Some(vec!["sh".to_owned()]));
        assert!(config.rootfs.diff_ids.is_empty());
        assert!(config.history.is_empty());
    }

    #[test]
    fn a_descriptor_is_written_as_go_writes_it() {
        let digest = Digest::of(b"");
        assert_eq!(
            serde_json::to_string(&Descriptor::new(media::LAYER, digest, 3)).unwrap(),
            format!(r#"{{"mediaType":"{}","digest":"{digest}","size":3}}"#, media::LAYER)
        );
    }

    #[test]
    fn a_digest_of_another_algorithm_is_refused() {
        let text = format!(r#"{{"mediaType":"x","digest":"sha512:{}","size":3}}"#, "0".repeat(128));
        assert!(serde_json::from_str::<Descriptor>(&text).is_err());
    }
}
