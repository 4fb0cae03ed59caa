//! Events.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One event of the stream, with the members that older clients read (`status`, `id`, `from`).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Message {
    /// The action, for containers and images.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub status: String,
    /// The actor's id, for containers and images.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// The image, for containers.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub from: String,
    /// `container`, `image`, `network`, `volume`, `builder`, `daemon`.
    #[serde(rename = "Type")]
    pub r#type: String,
    /// `create`, `start`, `die`, …
    #[serde(rename = "Action")]
    pub action: String,
    /// What it happened to.
    #[serde(rename = "Actor")]
    pub actor: Actor,
    /// `local`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub scope: String,
    /// Unix time in seconds.
    pub time: i64,
    /// Unix time in nanoseconds.
    #[serde(rename = "timeNano")]
    pub time_nano: i64,
}

/// What an event happened to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Actor {
    /// Id, or the name of what has none.
    #[serde(rename = "ID")]
    pub id: String,
    /// Name, image, labels, exit code, …
    #[serde(rename = "Attributes")]
    pub attributes: BTreeMap<String, String>,
}
