//! A container's OCI runtime spec, made as Docker makes it. Pure: what depends on the machine is a value in
//! [`Input`], and the golden files beside the tests show whole results.
//!
//! What is not here: making anything. The namespace paths, device numbers and mount sources arrive resolved.

use corten_api::container::{Config, HostConfig};
use corten_runtime::spec::{
    Capabilities, ConsoleSize, Linux, LinuxResources, Namespace, NamespaceKind, PidLimits, Process, Rlimit,
    Root, Spec, User, VERSION,
};

use super::host::HostFacts;
use super::{caps, user};
use crate::userns::Ids;

mod devices;
mod limits;
mod mounts;
pub(super) mod security;

pub use devices::{Devices, device_rule, resolve_devices};
pub use limits::{BlockDevices, resolve_block_devices, resources};
pub use mounts::{SpecMount, SpecSource};
pub(super) use security::rules;
pub use security::{Seccomp, SecurityError, SecurityOptions};

/// Hidden from every container that is not privileged.
pub const MASKED_PATHS: [&str; 12] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];

/// Read-only in every container that is not privileged.
pub const READONLY_PATHS: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// `PATH` of containers whose image sets none.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Where the reaping init lies in a container that has one.
pub const INIT_PATH: &str = "/sbin/docker-init";

/// Where one of a container's namespaces comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ns {
    /// A new one.
    New,
    /// The host's.
    Host,
    /// The one at this path.
    Path(String),
}

/// All that goes into a spec.
pub struct Input<'a> {
    /// Id of the container.
    pub id: &'a str,
    /// Merged configuration.
    pub config: &'a Config,
    /// Host configuration with defaults.
    pub host: &'a HostConfig,
    /// Program and arguments.
    pub command: (&'a str, &'a [String]),
    /// Resolved user.
    pub user: &'a user::User,
    /// The machine.
    pub facts: &'a HostFacts,
    /// Parsed security options.
    pub security: &'a SecurityOptions,
    /// Mounts besides the default ones, sources resolved.
    pub mounts: Vec<SpecMount>,
    /// Devices, resolved.
    pub devices: Devices,
    /// Devices of the block I/O limits, resolved.
    pub block_devices: BlockDevices,
    /// Network namespace.
    pub network: Ns,
    /// IPC namespace.
    pub ipc: Ns,
    /// Process namespace.
    pub pid: Ns,
    /// Cgroup, as the runtime names it.
    pub cgroup: String,
    /// User namespace and its ids.
    pub userns: Option<(String, Ids)>,
    /// Host path of the reaping init, for containers that want one.
    pub init: Option<&'a str>,
    /// Variables that tell of linked containers.
    pub links: Vec<String>,
    /// Most processes, where the container says nothing.
    pub default_pids: Option<i64>,
    /// rlimits of the daemon's configuration: (name, soft, hard).
    pub default_ulimits: Vec<(String, i64, i64)>,
}

/// Makes the spec, all but its filter ([`rules`]).
pub fn build(input: Input<'_>) -> Result<Spec, SecurityError> {
    let (config, host) = (input.config, input.host);
    let capabilities = capabilities(host, input.facts)?;
    let process = process(&input, &capabilities);
    let mut limits = limits::resources(&host.resources, &input.block_devices);
    limits.devices = input.devices.rules;
    limits.pids = limits.pids.or_else(|| input.default_pids.map(|limit| PidLimits { limit }));
    let mut linux = Linux {
        sysctl: sysctls(host, input.facts, input.userns.is_some()),
        resources: Some(LinuxResources { ..limits }),
        cgroups_path: input.cgroup.clone(),
        namespaces: Vec::new(),
        devices: input.devices.nodes,
        masked_paths: host.masked_paths.clone().unwrap_or_default(),
        readonly_paths: host.readonly_paths.clone().unwrap_or_default(),
        ..Linux::default()
    };
    if let Some((path, ids)) = &input.userns {
        linux.namespaces.push(Namespace { kind: NamespaceKind::User, path: path.clone() });
        let [users, groups] = ids.mappings();
        (linux.uid_mappings, linux.gid_mappings) = (vec![users], vec![groups]);
    }
    linux.namespaces.push(Namespace { kind: NamespaceKind::Mount, path: String::new() });
    let uts = if host.uts_mode == "host" { Ns::Host } else { Ns::New };
    let cgroup = if host.cgroupns_mode == "private" { Ns::New } else { Ns::Host };
    for (kind, ns) in [
        (NamespaceKind::Network, &input.network),
        (NamespaceKind::Uts, &uts),
        (NamespaceKind::Pid, &input.pid),
        (NamespaceKind::Ipc, &input.ipc),
        (NamespaceKind::Cgroup, &cgroup),
    ] {
        match ns {
            Ns::New => linux.namespaces.push(Namespace { kind, path: String::new() }),
            Ns::Path(path) => linux.namespaces.push(Namespace { kind, path: path.clone() }),
            Ns::Host => {}
        }
    }
    let planned = mounts::plan(host, input.mounts, input.init, input.security.writable_cgroups);
    linux.rootfs_propagation = planned.rootfs_propagation;
    let own_uts = uts == Ns::New;
    Ok(Spec {
        oci_version: VERSION.into(),
        process: Some(process),
        root: Some(Root { path: "rootfs".into(), readonly: host.readonly_rootfs }),
        hostname: if own_uts { config.hostname.clone() } else { String::new() },
        domainname: if own_uts { config.domainname.clone() } else { String::new() },
        mounts: planned.mounts,
        hooks: None,
        annotations: host.annotations.clone().unwrap_or_default(),
        linux: Some(linux),
    })
}

/// The capabilities in a container's bounding set.
pub fn capabilities(host: &HostConfig, facts: &HostFacts) -> Result<Vec<&'static str>, SecurityError> {
    let add = host.cap_add.as_deref().unwrap_or_default();
    let drop = host.cap_drop.as_deref().unwrap_or_default();
    Ok(caps::of_container(add, drop, host.privileged, &facts.capabilities)?)
}

fn process(input: &Input<'_>, capabilities: &[&'static str]) -> Process {
    let (config, host) = (input.config, input.host);
    let (program, arguments) = input.command;
    let mut args = Vec::new();
    if input.init.is_some() {
        args.extend([INIT_PATH.to_owned(), "--".to_owned()]);
    }
    args.push(program.to_owned());
    args.extend_from_slice(arguments);
    let names: Vec<String> = capabilities.iter().map(|&name| name.to_owned()).collect();
    let root = input.user.uid == 0;
    let [height, width] = host.console_size;
    Process {
        terminal: config.tty,
        console_size: (config.tty && (height, width) != (0, 0))
            .then(|| ConsoleSize { height: height.into(), width: width.into() }),
        user: User {
            uid: input.user.uid,
            gid: input.user.gid,
            additional_gids: input.user.groups.clone(),
            ..User::default()
        },
        args,
        env: environment(config, &input.user.home, &input.links),
        cwd: if config.working_dir.is_empty() { "/".into() } else { config.working_dir.clone() },
        // A user other than root keeps nothing but the bound (CVE-2021-20188); nothing is ever inherited.
        capabilities: Some(Capabilities {
            bounding: names.clone(),
            effective: if root { names.clone() } else { Vec::new() },
            permitted: if root { names } else { Vec::new() },
            ..Capabilities::default()
        }),
        rlimits: rlimits(input),
        no_new_privileges: input.security.no_new_privileges,
        apparmor_profile: security::apparmor(input.security, host.privileged, input.facts),
        oom_score_adj: i32::try_from(host.oom_score_adj).ok(),
        ..Process::default()
    }
}

/// The environment: what every container has, what tells of linked ones, then the configuration's, which wins.
pub fn environment(config: &Config, home: &str, links: &[String]) -> Vec<String> {
    let mut env = vec![format!("PATH={DEFAULT_PATH}"), format!("HOSTNAME={}", config.hostname)];
    if config.tty {
        env.push("TERM=xterm".into());
    }
    env.extend_from_slice(links);
    env = replace_or_append(env, config.env.iter().flatten());
    if !env.iter().any(|variable| variable.starts_with("HOME=")) {
        env.push(format!("HOME={home}"));
    }
    env
}

/// Docker's merge of environments: the later value stands at the earlier place, a name without `=` takes it away.
pub fn replace_or_append<'a>(base: Vec<String>, more: impl IntoIterator<Item = &'a String>) -> Vec<String> {
    let mut env: Vec<Option<String>> = base.into_iter().map(Some).collect();
    for variable in more {
        let name = variable.split('=').next().unwrap_or_default();
        let same = |slot: &Option<String>| {
            slot.as_deref().is_some_and(|known| known.split('=').next().unwrap_or_default() == name)
        };
        let place = env.iter().position(same);
        let value = variable.contains('=').then(|| variable.clone());
        match place {
            Some(place) => env[place] = value,
            None => env.push(value),
        }
    }
    env.into_iter().flatten().collect()
}

fn rlimits(input: &Input<'_>) -> Vec<Rlimit> {
    #[expect(clippy::cast_sign_loss, reason = "-1 is the kernel's word for unlimited")]
    let limit = |name: &str, soft: i64, hard: i64| Rlimit {
        kind: format!("RLIMIT_{}", name.to_ascii_uppercase()),
        hard: hard as u64,
        soft: soft as u64,
    };
    let own = || input.host.resources.ulimits.iter().flatten();
    let mut list: Vec<Rlimit> = own().map(|u| limit(&u.name, u.soft, u.hard)).collect();
    for (name, soft, hard) in &input.default_ulimits {
        if !own().any(|ulimit| ulimit.name == *name) {
            list.push(limit(name, *soft, *hard));
        }
    }
    list
}

fn sysctls(host: &HostConfig, facts: &HostFacts, mapped: bool) -> std::collections::BTreeMap<String, String> {
    let mut map = std::collections::BTreeMap::new();
    let own_network = host.network_mode != "host" && !host.network_mode.starts_with("container:");
    if own_network && facts.default_sysctls {
        map.insert("net.ipv4.ip_unprivileged_port_start".to_owned(), "0".to_owned());
        // The range has groups that a user namespace has not.
        if !mapped {
            map.insert("net.ipv4.ping_group_range".to_owned(), "0 2147483647".to_owned());
        }
    }
    map.extend(host.sysctls.clone().unwrap_or_default());
    map
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(words: &[&str]) -> Option<Vec<String>> {
        Some(words.iter().map(|&word| word.to_owned()).collect())
    }

    #[test]
    fn the_configuration_wins_over_what_every_container_has() {
        let config = Config {
            hostname: "h".into(),
            tty: true,
            env: list(&["A=1", "PATH=/bin", "TERM", "A=2"]),
            ..Config::default()
        };
        assert_eq!(environment(&config, "/root", &[]), ["PATH=/bin", "HOSTNAME=h", "A=2", "HOME=/root"]);
    }

    /// The spec of a plain `run busybox sh`, and of one with everything, as Docker makes them.
    #[test]
    fn whole_specs() {
        let facts = HostFacts {
            cpus: 2,
            capabilities: caps::ALL.to_vec(),
            default_sysctls: true,
            kernel: (6, 1),
            ..HostFacts::default()
        };
        for name in ["plain", "privileged", "limits"] {
            let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/oci_spec");
            let text = std::fs::read_to_string(format!("{folder}/{name}.request.json")).unwrap();
            let request: corten_api::container::CreateRequest = serde_json::from_str(&text).unwrap();
            let (mut config, mut host) = (request.config, request.host_config);
            config.hostname = "0123456789ab".into();
            let engine = crate::config::EngineConfig::new("/d", "/e", "/s");
            super::super::validate::host_config(&mut host, &facts).unwrap();
            super::super::merge::with_defaults(&mut host, &facts, &engine).unwrap();
            let (program, arguments) = super::super::merge::command(&config).unwrap();
            let user = user::resolve(&config.user, &[], "root:x:0:0::/root:/bin/sh", "root:x:0:").unwrap();
            let security =
                SecurityOptions::parse(host.security_opt.as_deref().unwrap_or_default(), false).unwrap();
            let tmpfs = host.tmpfs.iter().flatten().map(|(target, data)| SpecMount {
                destination: target.clone(),
                source: SpecSource::Tmpfs(data.clone()),
            });
            let devices = resolve_devices(&host, |_| Ok(Vec::new())).unwrap();
            let spec = build(Input {
                id: "0123456789abcdef",
                config: &config,
                host: &host,
                command: (&program, &arguments),
                user: &user,
                facts: &facts,
                security: &security,
                mounts: tmpfs.collect(),
                devices,
                block_devices: BlockDevices::default(),
                network: Ns::Path("/run/corten/netns/0123".into()),
                ipc: Ns::New,
                pid: Ns::New,
                cgroup: "/corten/0123456789abcdef".into(),
                userns: None,
                init: None,
                links: Vec::new(),
                default_pids: None,
                default_ulimits: Vec::new(),
            })
            .unwrap();
            let made = serde_json::to_string_pretty(&spec).unwrap();
            let path = format!("{folder}/{name}.expected.json");
            if std::env::var_os("CORTEN_BLESS").is_some() {
                std::fs::write(&path, made + "\n").unwrap();
                continue;
            }
            let expected = std::fs::read_to_string(&path).unwrap_or_default();
            assert_eq!(made.trim(), expected.trim(), "{name}");
        }
    }
}
