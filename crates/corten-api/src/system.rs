//! What the daemon tells about itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::volume::Volume;
use crate::wire::{List, Map, is_default};

wire! {
    /// `GET /version`.
    pub struct Version {
        /// Whose engine it is.
        pub platform: Platform,
        /// Its parts.
        pub components: Vec<Component>,
        /// The engine's version.
        pub version: String,
        /// Newest API version.
        pub api_version: String,
        /// Oldest API version.
        #[serde(rename = "MinAPIVersion")]
        pub min_api_version: String,
        /// Commit of the engine's source.
        pub git_commit: String,
        /// Empty: there is no Go in it.
        pub go_version: String,
        /// `linux`.
        pub os: String,
        /// Go's name of the architecture.
        pub arch: String,
        /// The running kernel.
        #[serde(skip_serializing_if = "is_default")]
        pub kernel_version: String,
        /// Experimental features are on.
        #[serde(skip_serializing_if = "is_default")]
        pub experimental: bool,
        /// When it was built.
        #[serde(skip_serializing_if = "is_default")]
        pub build_time: String,
    }

    /// The engine's product.
    pub struct Platform {
        /// Its name.
        pub name: String,
    }

    /// A part of the engine.
    pub struct Component {
        /// Its name.
        pub name: String,
        /// Its version.
        pub version: String,
        /// More about it.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub details: Map<String>,
    }

    /// `GET /info`.
    pub struct Info {
        /// Of this data root, for ever.
        #[serde(rename = "ID")]
        pub id: String,
        /// Containers in all states.
        pub containers: i64,
        /// Those that run.
        pub containers_running: i64,
        /// Those that are paused.
        pub containers_paused: i64,
        /// Those that do neither.
        pub containers_stopped: i64,
        /// Images.
        pub images: i64,
        /// The snapshotter.
        pub driver: String,
        /// About the snapshotter.
        pub driver_status: Vec<[String; 2]>,
        /// Drivers by what they drive.
        pub plugins: Plugins,
        /// Memory limits work.
        pub memory_limit: bool,
        /// Swap limits work.
        pub swap_limit: bool,
        /// Kernel memory limits work; gone since 1.42.
        #[serde(skip_serializing_if = "is_default")]
        pub kernel_memory: bool,
        /// Kernel TCP memory limits work (cgroup v1).
        #[serde(rename = "KernelMemoryTCP", skip_serializing_if = "is_default")]
        pub kernel_memory_tcp: bool,
        /// `--cpu-period` works.
        pub cpu_cfs_period: bool,
        /// `--cpu-quota` works.
        pub cpu_cfs_quota: bool,
        /// `--cpu-shares` works.
        #[serde(rename = "CPUShares")]
        pub cpu_shares: bool,
        /// `--cpuset-cpus` works.
        #[serde(rename = "CPUSet")]
        pub cpu_set: bool,
        /// `--pids-limit` works.
        pub pids_limit: bool,
        /// The kernel forwards IPv4.
        #[serde(rename = "IPv4Forwarding")]
        pub ipv4_forwarding: bool,
        /// The daemon is being debugged.
        pub debug: bool,
        /// Open descriptors of the daemon.
        #[serde(rename = "NFd")]
        pub nfd: i64,
        /// `--oom-kill-disable` works.
        pub oom_kill_disable: bool,
        /// Threads of the daemon, where Docker counts goroutines.
        #[serde(rename = "NGoroutines")]
        pub ngoroutines: i64,
        /// Now.
        pub system_time: String,
        /// Log driver of containers that name none.
        pub logging_driver: String,
        /// Who makes cgroups.
        pub cgroup_driver: String,
        /// `1` or `2`.
        #[serde(skip_serializing_if = "is_default")]
        pub cgroup_version: String,
        /// Clients that follow events.
        #[serde(rename = "NEventsListener")]
        pub nevents_listener: i64,
        /// The running kernel.
        pub kernel_version: String,
        /// The host's distribution.
        pub operating_system: String,
        /// Its version.
        #[serde(rename = "OSVersion")]
        pub os_version: String,
        /// `linux`.
        #[serde(rename = "OSType")]
        pub os_type: String,
        /// The kernel's name of the architecture.
        pub architecture: String,
        /// Docker Hub's address.
        pub index_server_address: String,
        /// How registries are reached.
        pub registry_config: RegistryConfig,
        /// Processors.
        #[serde(rename = "NCPU")]
        pub ncpu: i64,
        /// Bytes of memory.
        pub mem_total: i64,
        /// Null: there is no cluster.
        pub generic_resources: Option<Value>,
        /// The data root.
        pub docker_root_dir: String,
        /// Proxy of outgoing HTTP.
        pub http_proxy: String,
        /// Proxy of outgoing HTTPS.
        pub https_proxy: String,
        /// Hosts without proxy.
        pub no_proxy: String,
        /// The host's name.
        pub name: String,
        /// The daemon's labels.
        pub labels: Vec<String>,
        /// Experimental features are on.
        pub experimental_build: bool,
        /// The engine's version.
        pub server_version: String,
        /// OCI runtimes by name.
        pub runtimes: BTreeMap<String, Runtime>,
        /// The one containers get.
        pub default_runtime: String,
        /// The cluster.
        pub swarm: Swarm,
        /// Containers survive the daemon's orderly end.
        pub live_restore_enabled: bool,
        /// Windows only; empty.
        pub isolation: String,
        /// The program of `--init`.
        pub init_binary: String,
        /// containerd's commit, which there is none of.
        pub containerd_commit: Commit,
        /// The runtime's commit.
        pub runc_commit: Commit,
        /// The init's commit.
        pub init_commit: Commit,
        /// Confinement: `name=seccomp,profile=builtin`, …
        pub security_options: Vec<String>,
        /// Who makes firewall rules; since 1.49.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub firewall_backend: Option<FirewallBackend>,
        /// Where CDI specifications lie.
        #[serde(rename = "CDISpecDirs")]
        pub cdi_spec_dirs: Vec<String>,
        /// The containerd it works with, which is none; since 1.46.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub containerd: Option<Containerd>,
        /// What limits this host or this configuration has.
        pub warnings: List<String>,
    }

    /// Drivers by what they drive.
    pub struct Plugins {
        /// Volume drivers.
        pub volume: Vec<String>,
        /// Network drivers.
        pub network: Vec<String>,
        /// Authorization plugins; null without any.
        pub authorization: List<String>,
        /// Log drivers.
        pub log: Vec<String>,
    }

    /// How registries are reached.
    pub struct RegistryConfig {
        /// By registry.
        pub index_configs: BTreeMap<String, IndexConfig>,
        /// Networks whose registries may be reached in the clear.
        #[serde(rename = "InsecureRegistryCIDRs")]
        pub insecure_registry_cidrs: Vec<String>,
        /// Mirrors of Docker Hub; null without any.
        pub mirrors: List<String>,
    }

    /// One registry.
    pub struct IndexConfig {
        /// Its mirrors.
        pub mirrors: Vec<String>,
        /// Its name.
        pub name: String,
        /// It is Docker Hub.
        pub official: bool,
        /// It is reached with verified TLS only.
        pub secure: bool,
    }

    /// An OCI runtime.
    pub struct Runtime {
        /// Its program.
        #[serde(rename = "path", skip_serializing_if = "is_default")]
        pub path: String,
        /// Arguments it gets.
        #[serde(rename = "runtimeArgs", skip_serializing_if = "Vec::is_empty")]
        pub runtime_args: Vec<String>,
        /// What it can do.
        #[serde(rename = "status", skip_serializing_if = "Option::is_none")]
        pub status: Map<String>,
    }

    /// The cluster this daemon is in.
    pub struct Swarm {
        /// Its id there.
        #[serde(rename = "NodeID")]
        pub node_id: String,
        /// Its address there.
        pub node_addr: String,
        /// `inactive`.
        pub local_node_state: String,
        /// It is a manager.
        pub control_available: bool,
        /// What is wrong.
        pub error: String,
        /// Its managers; null without any.
        pub remote_managers: Option<Value>,
    }

    /// A commit.
    pub struct Commit {
        /// The commit.
        #[serde(rename = "ID")]
        pub id: String,
        /// The commit that was expected; before 1.49.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub expected: Option<String>,
    }

    /// A containerd.
    pub struct Containerd {
        /// Its socket.
        pub address: String,
        /// What is kept there.
        pub namespaces: ContainerdNamespaces,
    }

    /// Namespaces of a containerd.
    pub struct ContainerdNamespaces {
        /// Of containers.
        pub containers: String,
        /// Of plugins.
        pub plugins: String,
    }

    /// Who makes firewall rules.
    pub struct FirewallBackend {
        /// `nftables`.
        pub driver: String,
        /// More about it.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub info: Option<Vec<[String; 2]>>,
    }
}

/// `GET /system/df`: null is what was not asked for.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DiskUsage {
    /// Bytes of all layers.
    pub layers_size: i64,
    /// Images, as their list shows them.
    pub images: Option<Vec<crate::image::Summary>>,
    /// Containers, as their list with sizes shows them.
    pub containers: Option<Vec<crate::container::Summary>>,
    /// Volumes with their usage.
    pub volumes: Option<Vec<Volume>>,
    /// Records of the build cache.
    pub build_cache: Option<Vec<Value>>,
    /// Bytes of the build cache; before 1.42.
    #[serde(skip_serializing_if = "is_default")]
    pub builder_size: i64,
}

/// The answer to `POST /auth`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct AuthResponse {
    /// A token to use instead of the password.
    pub identity_token: String,
    /// `Login Succeeded`.
    pub status: String,
}

/// The answer to `POST /system/check`, which is Corten's own: what was looked at, and what is not as it should be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct CheckReport {
    /// Blobs that were hashed.
    pub blobs: usize,
    /// Layers whose trees were compared with their blobs.
    pub layers: usize,
    /// Layers without a blob to compare with.
    pub unchecked: usize,
    /// What is damaged.
    pub damaged: Vec<Damage>,
}

/// Something that is damaged.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Damage {
    /// `blob` or `layer`.
    pub kind: String,
    /// Its digest or ChainID.
    #[serde(rename = "ID")]
    pub id: String,
    /// What is wrong.
    pub reason: String,
    /// Whether it was mended.
    pub repaired: bool,
}
