use std::collections::BTreeMap;

use super::{Config, HostConfig, PortMap};
use crate::descriptor::Descriptor;
use crate::endpoint::EndpointSettings;
use crate::wire::{List, Map, is_none_or_empty};

wire! {
    /// `GET /containers/{id}/json`.
    pub struct Inspect {
        /// Full id.
        pub id: String,
        /// RFC 3339 with nanoseconds, UTC.
        pub created: String,
        /// Program that was started.
        pub path: String,
        /// Its arguments.
        pub args: Vec<String>,
        /// State.
        pub state: State,
        /// Id of the image.
        pub image: String,
        /// Host path of the container's resolv.conf; empty before the first start.
        pub resolv_conf_path: String,
        /// Host path of its hostname file.
        pub hostname_path: String,
        /// Host path of its hosts file.
        pub hosts_path: String,
        /// Host path of its log.
        pub log_path: String,
        /// `/name`.
        pub name: String,
        /// Restarts by policy since the last start by a user.
        pub restart_count: u64,
        /// Storage driver.
        pub driver: String,
        /// `linux`.
        pub platform: String,
        /// SELinux label of the mounts.
        pub mount_label: String,
        /// SELinux label of the processes.
        pub process_label: String,
        /// AppArmor profile.
        pub app_armor_profile: String,
        /// Running execs; `null` when there is none.
        #[serde(rename = "ExecIDs")]
        pub exec_ids: List<String>,
        /// Host configuration.
        pub host_config: HostConfig,
        /// Storage of the container's root.
        pub graph_driver: GraphDriver,
        /// Bytes of the writable layer, only on request.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub size_rw: Option<i64>,
        /// Bytes of all layers, only on request.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub size_root_fs: Option<i64>,
        /// Mounts of volumes and binds.
        pub mounts: Vec<MountPoint>,
        /// Configuration.
        pub config: Config,
        /// Network.
        pub network_settings: NetworkSettings,
        /// Manifest the container was made from.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub image_manifest_descriptor: Option<Descriptor>,
    }

    /// State as Docker's overlapping flags.
    pub struct State {
        /// `created`, `running`, `paused`, `restarting`, `removing`, `exited`, `dead`.
        pub status: String,
        /// Also true when paused, and in older Dockers when restarting.
        pub running: bool,
        /// Frozen.
        pub paused: bool,
        /// Waiting for the next start by policy.
        pub restarting: bool,
        /// The kernel killed it because memory ran out.
        #[serde(rename = "OOMKilled")]
        pub oom_killed: bool,
        /// Removal failed.
        pub dead: bool,
        /// Process id on the host, 0 when it does not run.
        pub pid: i64,
        /// Last exit code.
        pub exit_code: i64,
        /// Why the last start failed.
        pub error: String,
        /// Last start; `0001-01-01T00:00:00Z` for never.
        pub started_at: String,
        /// Last exit.
        pub finished_at: String,
        /// Health, when there is a check.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub health: Option<Health>,
    }

    /// Health of a container.
    pub struct Health {
        /// `starting`, `healthy`, `unhealthy`, `none`.
        pub status: String,
        /// Consecutive failures.
        pub failing_streak: u64,
        /// The last five probes, oldest first.
        pub log: Vec<HealthLog>,
    }

    /// One probe.
    pub struct HealthLog {
        /// When it started.
        pub start: String,
        /// When it ended.
        pub end: String,
        /// 0 healthy, -1 timed out.
        pub exit_code: i64,
        /// First 4096 bytes of its output.
        pub output: String,
    }

    /// Storage driver of a root.
    pub struct GraphDriver {
        /// Data of the driver; `null` for snapshotters.
        pub data: Map<String>,
        /// Name.
        pub name: String,
    }

    /// A volume or bind of a container.
    pub struct MountPoint {
        /// `bind`, `volume`, `tmpfs`, `image`.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub r#type: String,
        /// Volume name.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub name: String,
        /// Path on the host.
        pub source: String,
        /// Path in the container.
        pub destination: String,
        /// Volume driver.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub driver: String,
        /// Options as given.
        pub mode: String,
        /// Writable.
        #[serde(rename = "RW")]
        pub rw: bool,
        /// Propagation.
        pub propagation: String,
    }

    /// Network of a container.
    pub struct NetworkSettings {
        /// Unused.
        pub bridge: String,
        /// Id of the sandbox.
        #[serde(rename = "SandboxID")]
        pub sandbox_id: String,
        /// Path of the network namespace.
        pub sandbox_key: String,
        /// Ports in use.
        pub ports: Option<PortMap>,
        /// Unused.
        pub hairpin_mode: bool,
        /// Unused.
        #[serde(rename = "LinkLocalIPv6Address")]
        pub link_local_ipv6_address: String,
        /// Unused.
        #[serde(rename = "LinkLocalIPv6PrefixLen")]
        pub link_local_ipv6_prefix_len: i64,
        /// Unused.
        #[serde(rename = "SecondaryIPAddresses")]
        pub secondary_ip_addresses: List<Address>,
        /// Unused.
        #[serde(rename = "SecondaryIPv6Addresses")]
        pub secondary_ipv6_addresses: List<Address>,
        /// Endpoint on the default bridge; so are the next seven.
        #[serde(rename = "EndpointID")]
        pub endpoint_id: String,
        /// IPv4 gateway.
        pub gateway: String,
        /// IPv6 address.
        #[serde(rename = "GlobalIPv6Address")]
        pub global_ipv6_address: String,
        /// Its prefix length.
        #[serde(rename = "GlobalIPv6PrefixLen")]
        pub global_ipv6_prefix_len: i64,
        /// IPv4 address.
        #[serde(rename = "IPAddress")]
        pub ip_address: String,
        /// Its prefix length.
        #[serde(rename = "IPPrefixLen")]
        pub ip_prefix_len: i64,
        /// IPv6 gateway.
        #[serde(rename = "IPv6Gateway")]
        pub ipv6_gateway: String,
        /// Hardware address.
        pub mac_address: String,
        /// All endpoints by network name.
        pub networks: BTreeMap<String, EndpointSettings>,
    }

    /// An address with its prefix.
    pub struct Address {
        /// Address.
        pub addr: String,
        /// Prefix length.
        pub prefix_len: i64,
    }

    /// One row of `GET /containers/json`.
    pub struct Summary {
        /// Full id.
        pub id: String,
        /// `/name`.
        pub names: Vec<String>,
        /// Image as the user named it, or its id when the name has moved on.
        pub image: String,
        /// Id of the image.
        #[serde(rename = "ImageID")]
        pub image_id: String,
        /// Manifest the container was made from.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub image_manifest_descriptor: Option<Descriptor>,
        /// Program and arguments.
        pub command: String,
        /// Unix seconds.
        pub created: i64,
        /// Ports.
        pub ports: Vec<SummaryPort>,
        /// Bytes of the writable layer, only on request.
        #[serde(skip_serializing_if = "crate::wire::is_default")]
        pub size_rw: i64,
        /// Bytes of all layers, only on request.
        #[serde(skip_serializing_if = "crate::wire::is_default")]
        pub size_root_fs: i64,
        /// Labels.
        pub labels: BTreeMap<String, String>,
        /// As [`State::status`].
        pub state: String,
        /// State for people: `Up 5 minutes (healthy)`.
        pub status: String,
        /// Parts of the host configuration.
        pub host_config: SummaryHostConfig,
        /// Endpoints.
        pub network_settings: SummaryNetworkSettings,
        /// Volumes and binds.
        pub mounts: Vec<MountPoint>,
    }

    /// Host configuration in a list.
    pub struct SummaryHostConfig {
        /// Network mode.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub network_mode: String,
        /// Annotations.
        #[serde(skip_serializing_if = "is_none_or_empty")]
        pub annotations: Map<String>,
    }

    /// Endpoints in a list.
    pub struct SummaryNetworkSettings {
        /// By network name.
        pub networks: BTreeMap<String, EndpointSettings>,
    }

    /// A port in a list.
    pub struct SummaryPort {
        /// Address of the host.
        #[serde(rename = "IP", skip_serializing_if = "String::is_empty")]
        pub ip: String,
        /// Port in the container.
        pub private_port: u16,
        /// Port of the host.
        #[serde(skip_serializing_if = "crate::wire::is_default")]
        pub public_port: u16,
        /// `tcp`, `udp`, `sctp`.
        pub r#type: String,
    }
}
