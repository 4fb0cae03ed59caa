use crate::wire::List;

wire! {
    /// `GET /containers/{id}/top`.
    pub struct TopResponse {
        /// Rows.
        pub processes: Vec<Vec<String>>,
        /// Column heads.
        pub titles: Vec<String>,
    }

    /// `POST /containers/{id}/wait`.
    pub struct WaitResponse {
        /// Why waiting failed (a removal that did not work).
        #[serde(skip_serializing_if = "Option::is_none")]
        pub error: Option<WaitError>,
        /// Exit code.
        pub status_code: i64,
    }

    /// Part of [`WaitResponse`].
    pub struct WaitError {
        /// Text.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub message: String,
    }

    /// One entry of `GET /containers/{id}/changes`.
    pub struct Change {
        /// 0 modified, 1 added, 2 deleted.
        pub kind: u8,
        /// Path in the container.
        pub path: String,
    }

    /// `POST /containers/prune`.
    pub struct PruneReport {
        /// Ids removed.
        pub containers_deleted: List<String>,
        /// Bytes given back.
        pub space_reclaimed: u64,
    }

    /// Header `X-Docker-Container-Path-Stat` (base64 of this JSON).
    pub struct PathStat {
        /// Last component.
        #[serde(rename = "name")]
        pub name: String,
        /// Bytes.
        #[serde(rename = "size")]
        pub size: i64,
        /// Go's `os.FileMode` bits.
        #[serde(rename = "mode")]
        pub mode: u32,
        /// RFC 3339.
        #[serde(rename = "mtime")]
        pub mtime: String,
        /// Where a symbolic link points, as a path in the container.
        #[serde(rename = "linkTarget")]
        pub link_target: String,
    }
}
