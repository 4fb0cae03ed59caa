//! Images: list, inspect, history, removal.

use std::collections::BTreeMap;

use corten_types::{Digest, Platform};
use serde::{Deserialize, Serialize};
use serde_json::{Map as Object, Value};

use crate::descriptor::Descriptor;
use crate::wire::{List, Map, is_default, is_none_or_empty};

wire! {
    /// One image of `GET /images/json`.
    pub struct Summary {
        /// How many containers use it; -1 where it was not counted.
        pub containers: i64,
        /// When it was made, in seconds since 1970.
        pub created: i64,
        /// Its id.
        pub id: String,
        /// Labels of its config.
        pub labels: Map<String>,
        /// The image it was built on by the classic builder.
        pub parent_id: String,
        /// What its name points at.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub descriptor: Option<Descriptor>,
        /// Its manifests, where they were asked for.
        #[serde(skip_serializing_if = "is_none_or_empty")]
        pub manifests: List<ManifestSummary>,
        /// Names with digests.
        pub repo_digests: List<String>,
        /// Names with tags.
        pub repo_tags: List<String>,
        /// Bytes it shares with other images; -1 where they were not counted.
        pub shared_size: i64,
        /// Bytes of content and of unpacked layers.
        pub size: i64,
        /// The same, for clients older than 1.44.
        #[serde(skip_serializing_if = "is_default")]
        pub virtual_size: i64,
    }

    /// Bytes of one manifest's image.
    pub struct ManifestSize {
        /// Of the content that is there.
        pub content: i64,
        /// Of content and unpacked layers.
        pub total: i64,
    }

    /// Bytes of the unpacked layers.
    pub struct UnpackedSize {
        /// Bytes on disk.
        pub unpacked: i64,
    }

    /// What kind of storage keeps the layers.
    pub struct DriverData {
        /// Nothing, with this store.
        pub data: Map<String>,
        /// Its name.
        pub name: String,
    }

    /// The layers by DiffID.
    pub struct RootFs {
        /// Always `layers`.
        #[serde(skip_serializing_if = "is_default")]
        pub r#type: String,
        /// DiffIDs, bottom first.
        #[serde(skip_serializing_if = "is_none_or_empty")]
        pub layers: List<String>,
    }

    /// What the engine knows about an image beside its content.
    pub struct Metadata {
        /// When it last got a name, RFC 3339.
        pub last_tag_time: String,
    }

    /// The answer of `GET /images/{name}/json`.
    pub struct Inspect {
        /// Its id.
        pub id: String,
        /// Names with tags.
        pub repo_tags: List<String>,
        /// Names with digests.
        pub repo_digests: List<String>,
        /// The image it was built on by the classic builder.
        pub parent: String,
        /// Comment of its last layer.
        pub comment: String,
        /// When it was made, RFC 3339.
        #[serde(skip_serializing_if = "is_default")]
        pub created: String,
        /// Version of the Docker that made it; no longer filled.
        pub docker_version: String,
        /// Who made it.
        pub author: String,
        /// CPU architecture.
        pub architecture: String,
        /// Variant of the CPU.
        #[serde(skip_serializing_if = "is_default")]
        pub variant: String,
        /// Operating system.
        pub os: String,
        /// Version of the operating system.
        #[serde(skip_serializing_if = "is_default")]
        pub os_version: String,
        /// Bytes of its content.
        pub size: i64,
        /// The same, for clients older than 1.44.
        #[serde(skip_serializing_if = "is_default")]
        pub virtual_size: i64,
        /// What keeps its layers.
        pub graph_driver: DriverData,
        /// Its layers.
        #[serde(rename = "RootFS")]
        pub root_fs: RootFs,
        /// What the engine knows beside.
        pub metadata: Metadata,
        /// What its name points at.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub descriptor: Option<Descriptor>,
        /// Its manifests, where they were asked for.
        #[serde(skip_serializing_if = "is_none_or_empty")]
        pub manifests: List<ManifestSummary>,
        /// How to run it; members that an old client expects are filled in.
        pub config: Object<String, Value>,
    }

    /// One step of `GET /images/{name}/history`.
    pub struct HistoryItem {
        /// Why.
        pub comment: String,
        /// When, in seconds since 1970.
        pub created: i64,
        /// The command.
        pub created_by: String,
        /// The image that ended with this step, or `<missing>`.
        pub id: String,
        /// Bytes of the layer on disk.
        pub size: i64,
        /// Names of that image.
        pub tags: List<String>,
    }

    /// One thing that `DELETE /images/{name}` did.
    pub struct Deleted {
        /// The id of what was deleted.
        #[serde(skip_serializing_if = "is_default")]
        pub deleted: String,
        /// The name that was taken away.
        #[serde(skip_serializing_if = "is_default")]
        pub untagged: String,
    }

    /// The answer of `POST /images/prune`.
    pub struct PruneReport {
        /// What was done.
        pub images_deleted: List<Deleted>,
        /// Bytes of content that were freed.
        pub space_reclaimed: u64,
    }
}

/// What a manifest is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ManifestKind {
    /// An image for a platform.
    Image,
    /// What BuildKit says about an image.
    Attestation,
    /// Something else.
    Unknown,
}

/// One manifest of an image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ManifestSummary {
    /// Its digest.
    #[serde(rename = "ID")]
    pub id: String,
    /// Its descriptor.
    #[serde(rename = "Descriptor")]
    pub descriptor: Descriptor,
    /// Whether all of its content is here.
    #[serde(rename = "Available")]
    pub available: bool,
    /// How much it takes.
    #[serde(rename = "Size")]
    pub size: ManifestSize,
    /// What it is for.
    #[serde(rename = "Kind")]
    pub kind: ManifestKind,
    /// About an image.
    #[serde(rename = "ImageData", default, skip_serializing_if = "Option::is_none")]
    pub image_data: Option<ImageData>,
    /// About an attestation.
    #[serde(rename = "AttestationData", default, skip_serializing_if = "Option::is_none")]
    pub attestation_data: Option<AttestationData>,
}

/// What is said about a manifest that is an image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ImageData {
    /// What it runs on.
    pub platform: Platform,
    /// How much its layers take.
    pub size: UnpackedSize,
    /// The containers that use it.
    pub containers: List<String>,
}

/// What is said about a manifest that is an attestation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AttestationData {
    /// What it attests.
    #[serde(rename = "For")]
    pub subject: Digest,
}

/// How [`Inspect::config`] is filled for a client: what it expects although it is empty.
pub fn legacy_config(at_least_1_50: bool) -> BTreeMap<&'static str, Value> {
    let mut fields = BTreeMap::from([
        ("Cmd", Value::Null),
        ("Entrypoint", Value::Null),
        ("Env", Value::Null),
        ("Labels", Value::Null),
        ("OnBuild", Value::Null),
        ("User", Value::from("")),
        ("Volumes", Value::Null),
        ("WorkingDir", Value::from("")),
    ]);
    if !at_least_1_50 {
        for name in ["AttachStderr", "AttachStdin", "AttachStdout", "OpenStdin", "StdinOnce", "Tty"] {
            fields.insert(name, Value::from(false));
        }
        for name in ["Domainname", "Hostname", "Image"] {
            fields.insert(name, Value::from(""));
        }
    }
    fields
}
