//! What is kept of a container.
//!
//! ```text
//!  corten.db  records "container"        Record: what it is              durable when the create is acknowledged
//!             records "container-state"  Live: where it is in its life   written at once, synced with the next durable change
//! ```
//!
//! Both survive the daemon. After the machine went down without warning, the second may be a little old; what it then
//! says of running processes is corrected at the start (see `restore`).

use std::collections::BTreeMap;

use corten_api::container::{Config, HostConfig, PortMap};
use corten_api::descriptor::Descriptor;
use corten_api::endpoint::EndpointSettings;
use corten_types::Platform;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::mounts::MountPoint;
use super::state::{Last, State};

/// Kind of [`Record`]s.
pub const CONTAINER: &str = "container";
/// Kind of [`Live`] records.
pub const STATE: &str = "container-state";

/// What a container is. Changes by rename, update, connect and disconnect only.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Full id.
    pub id: String,
    /// Name, without a slash.
    pub name: String,
    /// When it was created.
    pub created: Timestamp,
    /// Program.
    pub path: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Id of the image (`sha256:…`), empty for none.
    pub image: String,
    /// Manifest of the image it was made from.
    pub manifest: Option<Descriptor>,
    /// Platform of the image.
    pub platform: Platform,
    /// Merged configuration.
    pub config: Config,
    /// Host configuration with defaults.
    pub host: HostConfig,
    /// Mounts, by destination.
    pub mounts: Vec<MountPoint>,
    /// Names of the volumes that were made for this container alone.
    pub anonymous_volumes: Vec<String>,
    /// What it wants of each network, by the network's name.
    pub networks: BTreeMap<String, EndpointSettings>,
    /// It asked for no limit of its processes, which Docker's form of the record cannot tell from not having asked.
    #[serde(default)]
    pub unlimited_pids: bool,
}

/// Where a container is in its life.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Live {
    /// State.
    pub state: State,
    /// Last start and exit.
    pub last: Last,
    /// Restarts by policy since somebody started it.
    pub restart_count: u64,
    /// Somebody stopped it: its policy does not start it again.
    pub stopped_by_user: bool,
    /// Network stack while it runs.
    pub network: NetworkView,
    /// Its user namespace while it runs.
    #[serde(default)]
    pub userns: Option<crate::userns::Userns>,
}

/// A network stack as inspect shows it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct NetworkView {
    /// Id of the sandbox.
    pub sandbox_id: String,
    /// Path of the namespace.
    pub sandbox_key: String,
    /// Ports.
    pub ports: PortMap,
    /// Endpoints by network name.
    pub endpoints: BTreeMap<String, EndpointSettings>,
}
