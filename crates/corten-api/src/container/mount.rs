use crate::wire::{List, Map, is_default, is_none_or_empty};

wire! {
    /// A mount in the long form (`--mount`).
    pub struct Mount {
        /// `bind`, `volume`, `tmpfs`, `image`, `npipe`, `cluster`.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub r#type: String,
        /// Host path, volume name or image.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub source: String,
        /// Path in the container.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub target: String,
        /// Read-only.
        #[serde(skip_serializing_if = "is_default")]
        pub read_only: bool,
        /// macOS only.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub consistency: String,
        /// Of a bind.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub bind_options: Option<BindOptions>,
        /// Of a volume.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub volume_options: Option<VolumeOptions>,
        /// Of an image.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub image_options: Option<ImageOptions>,
        /// Of a tmpfs.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub tmpfs_options: Option<TmpfsOptions>,
    }

    /// Options of a bind mount.
    pub struct BindOptions {
        /// `rprivate`, `private`, `rshared`, `shared`, `rslave`, `slave`.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub propagation: String,
        /// Without the mounts below the source.
        #[serde(skip_serializing_if = "is_default")]
        pub non_recursive: bool,
        /// Make the source if it is missing.
        #[serde(skip_serializing_if = "is_default")]
        pub create_mountpoint: bool,
        /// Read-only at the top only.
        #[serde(skip_serializing_if = "is_default")]
        pub read_only_non_recursive: bool,
        /// Fail where recursive read-only does not exist.
        #[serde(skip_serializing_if = "is_default")]
        pub read_only_force_recursive: bool,
    }

    /// Options of a volume mount.
    pub struct VolumeOptions {
        /// Do not copy the image's content into an empty volume.
        #[serde(skip_serializing_if = "is_default")]
        pub no_copy: bool,
        /// Labels of a volume made for this mount.
        #[serde(skip_serializing_if = "is_none_or_empty")]
        pub labels: Map<String>,
        /// Path inside the volume.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub subpath: String,
        /// Driver of a volume made for this mount.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub driver_config: Option<VolumeDriverConfig>,
    }

    /// Options of an image mount.
    pub struct ImageOptions {
        /// Path inside the image.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub subpath: String,
    }

    /// A volume driver.
    pub struct VolumeDriverConfig {
        /// Name.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub name: String,
        /// Options.
        #[serde(skip_serializing_if = "is_none_or_empty")]
        pub options: Map<String>,
    }

    /// Options of a tmpfs mount.
    pub struct TmpfsOptions {
        /// Size limit, 0 none.
        #[serde(skip_serializing_if = "is_default")]
        pub size_bytes: i64,
        /// Permission bits, 0 means 1777.
        #[serde(skip_serializing_if = "is_default")]
        pub mode: u32,
        /// More mount options: `[name]` or `[name, value]`.
        #[serde(skip_serializing_if = "is_none_or_empty")]
        pub options: List<Vec<String>>,
    }
}
