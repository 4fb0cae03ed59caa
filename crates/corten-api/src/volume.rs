//! Volumes.

use serde_json::Value;

use crate::wire::{List, Map, is_default};

wire! {
    /// A volume, as lists and inspect show it.
    pub struct Volume {
        /// When it was made, in RFC 3339.
        #[serde(skip_serializing_if = "is_default")]
        pub created_at: String,
        /// `local`.
        pub driver: String,
        /// Labels; null when none were given.
        pub labels: Map<String>,
        /// Where its content lies on the host.
        pub mountpoint: String,
        /// Its name; 64 hexadecimal digits for an anonymous one.
        pub name: String,
        /// The driver's options; null when none were given.
        pub options: Map<String>,
        /// `local`.
        pub scope: String,
        /// What the driver tells about it.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub status: Option<serde_json::Map<String, Value>>,
        /// How it is used; only in `system/df`.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub usage_data: Option<UsageData>,
    }

    /// How a volume is used.
    pub struct UsageData {
        /// Containers that have it; -1 when unknown.
        pub ref_count: i64,
        /// Bytes; -1 when unknown.
        pub size: i64,
    }

    /// `POST /volumes/create`.
    pub struct CreateOptions {
        /// A volume of a cluster, which there is none of.
        pub cluster_volume_spec: Option<Value>,
        /// `local`, or empty for it.
        pub driver: String,
        /// `type`, `device`, `o`, `size`.
        pub driver_opts: Map<String>,
        /// Labels.
        pub labels: Map<String>,
        /// Its name; empty for an anonymous one.
        pub name: String,
    }

    /// `GET /volumes`.
    pub struct ListResponse {
        /// The volumes; never null.
        pub volumes: List<Volume>,
        /// What went wrong on the way.
        pub warnings: List<String>,
    }

    /// `POST /volumes/prune`.
    pub struct PruneReport {
        /// Names.
        pub volumes_deleted: List<String>,
        /// Bytes.
        pub space_reclaimed: u64,
    }
}
