//! `info` and `version`: honest values in Docker's shape.

use std::collections::BTreeMap;

use corten_api::system::{
    Commit, Component, Containerd, FirewallBackend, IndexConfig, Info, Platform, Plugins, RegistryConfig,
    Runtime, Swarm, Version,
};

use crate::Engine;
use crate::runtimes::{BUILTIN, Runtimes};

/// The engine's version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Newest API version.
const API_VERSION: &str = "1.51";
/// Oldest API version.
const MIN_API_VERSION: &str = "1.24";
/// Commit of the source, where the build knows it.
const COMMIT: &str = match option_env!("CORTEN_COMMIT") {
    Some(commit) => commit,
    None => "",
};

/// When it was built: as the build says, or else when the program file was written.
fn build_time() -> String {
    if let Some(time) = option_env!("CORTEN_BUILD_TIME") {
        return time.to_owned();
    }
    let written = std::fs::metadata("/proc/self/exe").and_then(|file| file.modified()).ok();
    let written = written.and_then(|time| jiff::Timestamp::try_from(time).ok()).unwrap_or_default();
    written.strftime("%Y-%m-%dT%H:%M:%S.%9f+00:00").to_string()
}

impl Engine {
    /// What `GET /version` tells.
    pub fn version(&self) -> Version {
        let host = self.system.host();
        let build_time = build_time();
        let details = [
            ("ApiVersion", API_VERSION),
            ("Arch", host.go_architecture()),
            ("BuildTime", &*build_time),
            ("Experimental", "false"),
            ("GitCommit", COMMIT),
            ("GoVersion", ""),
            ("KernelVersion", &host.kernel_version),
            ("MinAPIVersion", MIN_API_VERSION),
            ("Os", "linux"),
        ];
        let details = details.map(|(k, v)| (k.to_owned(), v.to_owned()));
        let component = |name: &str, details: BTreeMap<String, String>| Component {
            name: name.into(),
            version: VERSION.into(),
            details: Some(details),
        };
        let commit = || BTreeMap::from([("GitCommit".to_owned(), COMMIT.to_owned())]);
        Version {
            platform: Platform { name: "Corten".into() },
            components: vec![component("Engine", details.into()), component("corten-shim", commit())],
            version: VERSION.into(),
            api_version: API_VERSION.into(),
            min_api_version: MIN_API_VERSION.into(),
            git_commit: COMMIT.into(),
            go_version: String::new(),
            os: "linux".into(),
            arch: host.go_architecture().into(),
            kernel_version: host.kernel_version.clone(),
            experimental: false,
            build_time,
        }
    }

    /// What `GET /info` tells.
    pub fn info(&self) -> Info {
        let host = self.system.host();
        let live = self.system.live();
        let counts = self.counts();
        let mut warnings = host.cgroups.warnings();
        warnings.extend(self.system.warnings());
        warnings.extend(self.networks.warnings().into_iter().map(|text| format!("WARNING: {text}")));
        Info {
            id: self.system.id().to_owned(),
            containers: counts.running + counts.paused + counts.stopped,
            containers_running: counts.running,
            containers_paused: counts.paused,
            containers_stopped: counts.stopped,
            images: counts.images,
            driver: "overlayfs".into(),
            // The word by which clients know that images have the ids and descriptors of an OCI store.
            driver_status: vec![["driver-type".into(), "io.containerd.snapshotter.v1".into()]],
            plugins: Plugins {
                volume: vec!["local".into()],
                network: ["bridge", "host", "null"].map(str::to_owned).into(),
                authorization: None,
                log: crate::logs::driver::DRIVERS.map(str::to_owned).into(),
            },
            memory_limit: host.cgroups.memory,
            swap_limit: host.cgroups.swap,
            kernel_memory: false,
            kernel_memory_tcp: host.cgroups.kernel_tcp,
            cpu_cfs_period: host.cgroups.cpu_quota,
            cpu_cfs_quota: host.cgroups.cpu_quota,
            cpu_shares: host.cgroups.cpu_shares,
            cpu_set: host.cgroups.cpuset,
            pids_limit: host.cgroups.pids,
            ipv4_forwarding: std::fs::read("/proc/sys/net/ipv4/ip_forward")
                .is_ok_and(|v| v.starts_with(b"1")),
            debug: live.debug,
            nfd: count_folder("/proc/self/fd"),
            oom_kill_disable: host.cgroups.oom_kill_disable,
            ngoroutines: count_folder("/proc/self/task"),
            system_time: jiff::Timestamp::now().to_string(),
            logging_driver: self.config.log_driver.clone(),
            cgroup_driver: self.config.cgroup_driver.name().into(),
            cgroup_version: host.cgroups.version.to_string(),
            nevents_listener: self.events.followers() as i64,
            kernel_version: host.kernel_version.clone(),
            operating_system: host.operating_system.clone(),
            os_version: host.os_version.clone(),
            os_type: "linux".into(),
            architecture: host.architecture.clone(),
            index_server_address: "https://index.docker.io/v1/".into(),
            registry_config: registries(&live.hub_mirrors(), &live.insecure_registries),
            ncpu: host.processors as i64,
            mem_total: host.memory as i64,
            generic_resources: None,
            docker_root_dir: self.paths.data_root.to_string_lossy().into_owned(),
            http_proxy: live.proxies.told().http.clone(),
            https_proxy: live.proxies.told().https.clone(),
            no_proxy: live.proxies.told().without.clone(),
            name: host.name.clone(),
            labels: live.labels.clone(),
            experimental_build: false,
            server_version: VERSION.into(),
            runtimes: runtimes(&live.runtimes),
            default_runtime: live.runtimes.default.clone(),
            swarm: Swarm { local_node_state: "inactive".into(), ..Swarm::default() },
            live_restore_enabled: live.live_restore,
            isolation: String::new(),
            init_binary: "corten-shim".into(),
            containerd_commit: Commit::default(),
            runc_commit: Commit { id: COMMIT.into(), expected: None },
            init_commit: Commit { id: COMMIT.into(), expected: None },
            security_options: security_options(
                self.containers.facts().apparmor,
                &self.config.seccomp_source,
                self.config.userns.remap.is_some(),
            ),
            firewall_backend: Some(FirewallBackend { driver: "nftables".into(), info: None }),
            cdi_spec_dirs: self
                .config
                .cdi_folders
                .iter()
                .map(|folder| folder.to_string_lossy().into_owned())
                .collect(),
            // Clients expect the member; empty says that there is no containerd.
            containerd: Some(Containerd::default()),
            warnings: Some(warnings).filter(|w| !w.is_empty()),
        }
    }
}

/// Our own runtime under its names, and the registered ones.
fn runtimes(known: &Runtimes) -> BTreeMap<String, Runtime> {
    let own = BUILTIN.map(|name| (name.to_owned(), Runtime { path: "corten".into(), ..Runtime::default() }));
    let registered = known.registered.iter().map(|(name, runtime)| {
        let shown = Runtime { path: runtime.path.clone(), runtime_args: runtime.args.clone(), status: None };
        (name.clone(), shown)
    });
    own.into_iter().chain(registered).collect()
}

fn count_folder(path: &str) -> i64 {
    std::fs::read_dir(path).map_or(-1, |entries| entries.count() as i64)
}

fn registries(mirrors: &[String], insecure: &[String]) -> RegistryConfig {
    let hub =
        IndexConfig { mirrors: mirrors.to_vec(), name: "docker.io".into(), official: true, secure: true };
    let mut index_configs = BTreeMap::from([("docker.io".to_owned(), hub)]);
    let mut networks = vec!["::1/128".to_owned(), "127.0.0.0/8".to_owned()];
    for registry in insecure {
        if registry.contains('/') {
            networks.push(registry.clone());
        } else {
            let config =
                IndexConfig { mirrors: Vec::new(), name: registry.clone(), official: false, secure: false };
            index_configs.insert(registry.clone(), config);
        }
    }
    RegistryConfig {
        index_configs,
        insecure_registry_cidrs: networks,
        mirrors: Some(mirrors.to_vec()).filter(|m| !m.is_empty()),
    }
}
/// The walls that this machine has, as Docker lists them.
fn security_options(apparmor: bool, seccomp: &str, remapped: bool) -> Vec<String> {
    let mut options = Vec::new();
    if apparmor {
        options.push("name=apparmor".into());
    }
    options.push(format!("name=seccomp,profile={seccomp}"));
    if remapped {
        options.push("name=userns".into());
    }
    options
}
