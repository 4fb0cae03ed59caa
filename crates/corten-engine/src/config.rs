//! What the daemon was told at its start, parsed: defaults of containers, and where things lie.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::runtimes::Runtimes;

pub use corten_registry::Proxies;

/// Settings of the engine. The daemon's flags and `daemon.json` become this.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// What survives the machine: database, content, container folders (`/var/lib/corten`).
    pub data_root: PathBuf,
    /// What dies with the machine: sockets, bundles, pids (`/run/corten`).
    pub exec_root: PathBuf,
    /// The shim's program file.
    pub shim: PathBuf,
    /// The program that unpacks layers when it is executed as `corten-worker`; without one they are unpacked in this
    /// process, which is for tests.
    pub worker: Option<PathBuf>,
    /// Parent of the containers' cgroups: a path, or a slice of systemd.
    pub cgroup_parent: String,
    /// Who makes the containers' cgroups.
    pub cgroup_driver: CgroupDriver,
    /// Log driver of containers that name none.
    pub log_driver: String,
    /// Options of [`Self::log_driver`].
    pub log_options: BTreeMap<String, String>,
    /// Limits of containers that do not set them: name to (soft, hard).
    pub default_ulimits: BTreeMap<String, (i64, i64)>,
    /// Run an init in every container that does not say otherwise.
    pub init: bool,
    /// Containers survive the daemon's orderly end too.
    pub live_restore: bool,
    /// Seconds a container gets to stop when the daemon ends and it says nothing itself.
    pub shutdown_timeout: u64,
    /// Name servers of containers that name none; empty takes the host's.
    pub dns: Vec<String>,
    /// Search domains likewise.
    pub dns_search: Vec<String>,
    /// Resolver options likewise.
    pub dns_options: Vec<String>,
    /// What `host-gateway` in extra hosts stands for; empty is the default bridge's address.
    pub host_gateway_ips: Vec<String>,
    /// MTU of networks that set none; 0 is the default.
    pub mtu: u32,
    /// Address and prefix of the default bridge, as `--bip`.
    pub bip: Option<String>,
    /// Pools that networks take their subnets from: (base, size of each).
    pub default_address_pools: Vec<(String, u8)>,
    /// Networks: what else the daemon was told.
    pub network: crate::network::NetworkConfig,
    /// Start containers without new privileges unless they say otherwise.
    pub no_new_privileges: bool,
    /// Where specifications of devices lie (CDI); later ones win.
    pub cdi_folders: Vec<PathBuf>,
    /// Where [`Self::seccomp`] comes from: `builtin`, `unconfined` or a path.
    pub seccomp_source: String,
    /// System call filter of containers that name none.
    pub seccomp: crate::container::oci_spec::Seccomp,
    /// Bytes of `/dev/shm` of containers that do not say.
    pub shm_size: i64,
    /// IPC namespace of containers that do not say: `private` or `shareable`.
    pub ipc_mode: String,
    /// Most processes of a container that does not say; `None` is no limit.
    pub pids_limit: Option<i64>,
    /// User namespaces of containers.
    pub userns: crate::userns::UsernsConfig,
    /// Cgroup namespace of containers that do not say; `None` leaves it to the cgroup version.
    pub cgroupns_mode: Option<String>,
    /// What can change while the daemon runs, as it is at the start; see [`crate::system::System::live`].
    pub live: Live,
}

/// Who makes the containers' cgroups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CgroupDriver {
    /// The engine, in the file system.
    #[default]
    Cgroupfs,
    /// systemd, a scope for each container.
    Systemd,
}

impl CgroupDriver {
    /// Docker's name of it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cgroupfs => "cgroupfs",
            Self::Systemd => "systemd",
        }
    }
}

/// Settings that a reload changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Live {
    /// Whether `info` says that this daemon is being debugged.
    pub debug: bool,
    /// `key=value` labels of the daemon.
    pub labels: Vec<String>,
    /// Registries reached over plain HTTP or with unverified TLS: `host[:port]` or networks.
    pub insecure_registries: Vec<String>,
    /// Mirrors, each ending in a slash: addresses for those of Docker Hub, `domain=address` for those of another registry.
    pub registry_mirrors: Vec<String>,
    /// Proxies on the way to registries.
    pub proxies: Proxies,
    /// How layers travel.
    pub transfers: Transfers,
    /// Containers survive the daemon's orderly end too.
    pub live_restore: bool,
    /// Seconds a container gets to stop when the daemon ends and it says nothing itself.
    pub shutdown_timeout: u64,
    /// What containers may be made by.
    pub runtimes: Arc<Runtimes>,
}

/// Bounds of what goes to and comes from registries at the same time, all pulls and pushes together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transfers {
    /// Blobs that are downloaded at once.
    pub downloads: usize,
    /// Blobs that are uploaded at once.
    pub uploads: usize,
    /// How often a transfer is begun or taken up again without having come forward in between.
    pub attempts: u32,
}

impl Transfers {
    /// More than there ever are.
    pub const UNLIMITED: usize = 1 << 20;
}

impl Default for Transfers {
    fn default() -> Self {
        Self { downloads: 3, uploads: 5, attempts: 5 }
    }
}

impl Live {
    /// What a client of registries is to know.
    pub fn registries(&self) -> corten_registry::Settings {
        let mut mirrors: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for mirror in &self.registry_mirrors {
            let (domain, address) = mirror.split_once('=').unwrap_or(("docker.io", mirror));
            mirrors.entry(domain.into()).or_default().push(address.into());
        }
        let certificates = ["/etc/docker/certs.d", "/etc/corten/certs.d"].map(PathBuf::from).to_vec();
        let (insecure, proxies) = (self.insecure_registries.clone(), self.proxies.clone());
        corten_registry::Settings { insecure, mirrors, certificates, proxies }
    }

    /// The mirrors of Docker Hub.
    pub fn hub_mirrors(&self) -> Vec<String> {
        self.registry_mirrors.iter().filter(|mirror| !mirror.contains('=')).cloned().collect()
    }
}

impl Default for Live {
    fn default() -> Self {
        Self {
            debug: false,
            labels: Vec::new(),
            insecure_registries: Vec::new(),
            registry_mirrors: Vec::new(),
            proxies: Proxies::default(),
            transfers: Transfers::default(),
            live_restore: true,
            shutdown_timeout: 15,
            runtimes: Arc::default(),
        }
    }
}

impl EngineConfig {
    /// The defaults, with these two roots and this shim.
    pub fn new(
        data_root: impl Into<PathBuf>,
        exec_root: impl Into<PathBuf>,
        shim: impl Into<PathBuf>,
    ) -> Self {
        Self {
            data_root: data_root.into(),
            exec_root: exec_root.into(),
            shim: shim.into(),
            worker: None,
            cgroup_parent: "/corten".into(),
            cgroup_driver: CgroupDriver::default(),
            log_driver: "json-file".into(),
            log_options: BTreeMap::new(),
            default_ulimits: BTreeMap::new(),
            init: false,
            live_restore: true,
            shutdown_timeout: 15,
            dns: Vec::new(),
            dns_search: Vec::new(),
            dns_options: Vec::new(),
            host_gateway_ips: Vec::new(),
            mtu: 0,
            bip: None,
            default_address_pools: Vec::new(),
            network: crate::network::NetworkConfig::default(),
            no_new_privileges: false,
            cdi_folders: vec!["/etc/cdi".into(), "/var/run/cdi".into()],
            seccomp_source: "builtin".into(),
            seccomp: crate::container::oci_spec::Seccomp::Default,
            shm_size: 64 << 20,
            ipc_mode: "private".into(),
            pids_limit: None,
            userns: crate::userns::UsernsConfig::default(),
            cgroupns_mode: None,
            live: Live::default(),
        }
    }
}

/// Where things lie below the two roots.
///
/// ```text
/// data_root  corten.db  content/  snapshots/  containers/<id>/  volumes/  events/  tmp/
/// exec_root  runtime.db  containers/<id>/{config.json,shim.sock,exit.json,shim.pid}  netns/<id>  mounts/<id>
/// ```
#[derive(Debug, Clone)]
pub struct Paths {
    /// Survives the machine.
    pub data_root: PathBuf,
    /// Dies with the machine.
    pub exec_root: PathBuf,
}

impl Paths {
    /// A container's durable folder: log, hosts, hostname, resolv.conf.
    pub fn container(&self, id: &str) -> PathBuf {
        self.data_root.join("containers").join(id)
    }

    /// A container's folder of the running machine: bundle, shim socket, exit record.
    pub fn container_exec(&self, id: &str) -> PathBuf {
        self.exec_root.join("containers").join(id)
    }

    /// What a container's mounts are bound from, where that is no path of the host.
    pub fn mounts(&self, id: &str) -> PathBuf {
        self.exec_root.join("mounts").join(id)
    }

    /// Where the network namespace of a sandbox is bound.
    pub fn netns(&self, id: &str) -> PathBuf {
        self.exec_root.join("netns").join(id)
    }

    /// The log of a container with the `json-file` driver.
    pub fn json_log(&self, id: &str) -> PathBuf {
        self.container(id).join(format!("{id}-json.log"))
    }

    /// The folder of all volumes.
    pub fn volumes(&self) -> PathBuf {
        self.data_root.join("volumes")
    }

    /// The journal of events.
    pub fn events(&self) -> PathBuf {
        self.data_root.join("events")
    }

    /// Scratch space on the same file system as the content.
    pub fn tmp(&self) -> PathBuf {
        self.data_root.join("tmp")
    }

    /// The durable database.
    pub fn database(&self) -> PathBuf {
        self.data_root.join("corten.db")
    }

    /// The database that dies with the machine.
    pub fn runtime_database(&self) -> PathBuf {
        self.exec_root.join("runtime.db")
    }
}

impl AsRef<Path> for Paths {
    fn as_ref(&self) -> &Path {
        &self.data_root
    }
}
