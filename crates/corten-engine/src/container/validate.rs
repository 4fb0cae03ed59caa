//! Checks of a create or update request: what cannot be meant is refused, what this host cannot do is dropped with
//! a warning. Texts and order are Docker's. Pure: the host is a value ([`HostFacts`]).

use corten_api::container::{Config, HealthConfig, HostConfig, PortMap, Resources, RestartPolicy};

use super::host::HostFacts;
use super::{caps, mounts, signal};

/// Why a request is refused (400).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub String);

pub(crate) fn invalid<T>(text: impl Into<String>) -> Result<T, Invalid> {
    Err(Invalid(text.into()))
}

/// The least memory a container can live in.
const MIN_MEMORY: i64 = 6 << 20;
/// The shortest duration of a health check: a millisecond.
const MIN_DURATION: i64 = 1_000_000;
/// The most bytes that the environment, the labels or the arguments may have.
const MAX_TEXT: usize = 1 << 20;

/// Checks what does not depend on the host, and cleans the working directory.
pub fn config(config: &mut Config) -> Result<(), Invalid> {
    if !config.working_dir.is_empty() {
        if !config.working_dir.starts_with('/') {
            let path = &config.working_dir;
            return invalid(format!(
                "the working directory '{path}' is invalid, it needs to be an absolute path"
            ));
        }
        config.working_dir = mounts::clean(&config.working_dir);
    }
    if !config.stop_signal.is_empty() {
        signal::parse(&config.stop_signal).map_err(|error| Invalid(error.to_string()))?;
    }
    for variable in config.env.iter().flatten() {
        if variable.is_empty() || variable.starts_with('=') {
            return invalid(format!("invalid environment variable: {variable}"));
        }
    }
    if let Some(check) = &config.healthcheck {
        health(check)?;
    }
    for port in config.exposed_ports.iter().flatten().map(|(port, _)| port) {
        if parse_port(port).is_none() {
            return invalid(format!("invalid port specification: {port:?}"));
        }
    }
    without_control(config)
}

/// Refuses NUL anywhere, and control characters where a line of a generated file is made from a value.
fn without_control(config: &Config) -> Result<(), Invalid> {
    let lists = [&config.env, &config.cmd, &config.entrypoint];
    let mut length = 0;
    for text in lists.into_iter().flatten().flatten() {
        length += text.len();
        if text.contains('\0') {
            return invalid("invalid argument: a NUL byte is not permitted");
        }
    }
    for (key, value) in config.labels.iter().flatten() {
        length += key.len() + value.len();
    }
    if length > MAX_TEXT * 2 {
        return invalid("arguments, environment and labels are longer than 2 MiB");
    }
    for (what, text) in
        [("hostname", &config.hostname), ("domainname", &config.domainname), ("user", &config.user)]
    {
        if text.chars().any(char::is_control) {
            return invalid(format!("invalid {what}: control characters are not permitted"));
        }
    }
    if config.hostname.len() > 63 {
        return invalid(format!("invalid hostname: {} is longer than 63 characters", config.hostname));
    }
    Ok(())
}

fn health(check: &HealthConfig) -> Result<(), Invalid> {
    let durations = [
        ("Interval", check.interval),
        ("Timeout", check.timeout),
        ("StartPeriod", check.start_period),
        ("StartInterval", check.start_interval),
    ];
    for (name, value) in &durations[..2] {
        if *value != 0 && *value < MIN_DURATION {
            return invalid(format!("{name} in Healthcheck cannot be less than 1ms"));
        }
    }
    if check.retries < 0 {
        return invalid("Retries in Healthcheck cannot be negative");
    }
    for (name, value) in &durations[2..] {
        if *value != 0 && *value < MIN_DURATION {
            return invalid(format!("{name} in Healthcheck cannot be less than 1ms"));
        }
    }
    Ok(())
}

/// Refused wherever a link would lead to or from the host's own stack.
pub const HOST_NETWORK_AND_LINKS: &str = "conflicting options: host type networking can't be used with links. This would result in undefined behavior";

/// Checks what a network mode leaves to be chosen, as the client asked for it: nothing is filled in yet.
pub fn network_mode(config: &Config, host: &HostConfig) -> Result<(), Invalid> {
    let any = |list: &Option<Vec<String>>| list.iter().flatten().next().is_some();
    let conflict = |text: &str| invalid(format!("conflicting options: {text}"));
    let mode = host.network_mode.as_str();
    if mode == "container" || mode.starts_with("container:") {
        if mode.strip_prefix("container:").is_none_or(str::is_empty) {
            return invalid("invalid network mode: invalid container format container:<name|id>");
        }
        let ports = host.port_bindings.iter().flatten().next().is_some() || host.publish_all_ports;
        let exposed = config.exposed_ports.iter().flatten().next().is_some();
        let checks = [
            (!config.hostname.is_empty(), "hostname and the network mode"),
            (
                any(&host.links),
                "container type network can't be used with links. This would result in undefined behavior",
            ),
            (any(&host.dns), "dns and the network mode"),
            (any(&host.extra_hosts), "custom host-to-IP mapping and the network mode"),
            (ports, "port publishing and the container type network mode"),
            (exposed, "port exposing and the container type network mode"),
        ];
        if let Some((_, text)) = checks.iter().find(|(conflicts, _)| *conflicts) {
            return conflict(text);
        }
    }
    if host.uts_mode == "host" && !config.hostname.is_empty() {
        return conflict("hostname and the UTS mode");
    }
    if mode == "host" && any(&host.links) {
        return invalid(HOST_NETWORK_AND_LINKS);
    }
    Ok(())
}

/// Checks what depends on the host, drops what this one cannot do, and returns the warnings.
pub fn host_config(host: &mut HostConfig, facts: &HostFacts) -> Result<Vec<String>, Invalid> {
    if host.auto_remove && !matches!(host.restart_policy.name.as_str(), "" | "no") {
        return invalid("can't create 'AutoRemove' container with restart policy");
    }
    let mut warnings = Vec::new();
    for mount in host.mounts.iter().flatten() {
        if mount.r#type == "image" {
            warnings.push("Image mount is an experimental feature".into());
        }
        let text = |error: mounts::MountError| Invalid(error.to_string());
        mounts::parse_mount(mount).map_err(text)?;
    }
    for line in host.extra_hosts.iter().flatten() {
        extra_host(line)?;
    }
    port_bindings(host.port_bindings.as_ref())?;
    restart_policy(&host.restart_policy)?;
    caps::check(host.cap_add.iter().flatten())
        .map_err(|error| Invalid(format!("invalid CapAdd: {error}")))?;
    caps::check(host.cap_drop.iter().flatten())
        .map_err(|error| Invalid(format!("invalid CapDrop: {error}")))?;
    if !matches!(host.isolation.as_str(), "" | "default") {
        return invalid(format!("invalid isolation ({}): linux only supports 'default'", host.isolation));
    }
    if host.annotations.iter().flatten().any(|(key, _)| key.is_empty()) {
        return invalid("invalid Annotations: the empty string is not permitted as an annotation key");
    }
    resources(&mut host.resources, facts, Purpose::Create, &mut warnings)?;
    namespaces(host)?;
    if host.network_mode == "host" && host.port_bindings.iter().flatten().next().is_some() {
        warnings.push("Published ports are discarded when using host network mode".into());
    }
    for (target, options) in host.tmpfs.iter().flatten() {
        mounts::check_tmpfs(options).map_err(|error| Invalid(error.to_string()))?;
        mounts::check_target(target).map_err(|error| Invalid(error.to_string()))?;
    }
    for name in host.sysctls.iter().flatten().map(|(name, _)| name) {
        sysctl(name, host)?;
    }
    Ok(warnings)
}

fn namespaces(host: &HostConfig) -> Result<(), Invalid> {
    let of_container = |mode: &str| mode.strip_prefix("container:").is_some_and(|id| !id.is_empty());
    let ipc = host.ipc_mode.as_str();
    if !matches!(ipc, "" | "none" | "private" | "host" | "shareable") && !ipc.starts_with("container:") {
        return invalid(format!("invalid IPC mode: {ipc}"));
    }
    let pid = host.pid_mode.as_str();
    if !matches!(pid, "" | "host") && !of_container(pid) {
        return invalid(format!("invalid PID mode: {pid}"));
    }
    if host.shm_size < 0 {
        return invalid("SHM size can not be less than 0");
    }
    if !matches!(host.uts_mode.as_str(), "" | "host") {
        return invalid(format!("invalid UTS mode: {}", host.uts_mode));
    }
    if !(-1000..=1000).contains(&host.oom_score_adj) {
        let value = host.oom_score_adj;
        return invalid(format!("Invalid value {value}, range for oom score adj is [-1000, 1000]"));
    }
    if !matches!(host.cgroupns_mode.as_str(), "" | "private" | "host") {
        return invalid(format!("invalid cgroup namespace mode: {}", host.cgroupns_mode));
    }
    Ok(())
}

/// Refuses sysctls that are not of a namespace the container has for itself (CVE-2022-0811).
fn sysctl(name: &str, host: &HostConfig) -> Result<(), Invalid> {
    let word = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'/' | b':');
    if name.is_empty() || !name.bytes().all(word) || name.contains("..") {
        return invalid(format!("invalid sysctl name: {name:?}"));
    }
    let name = name.replace('/', ".");
    let net = name.starts_with("net.");
    let ipc = name.starts_with("fs.mqueue.")
        || name.starts_with("kernel.msg")
        || name.starts_with("kernel.shm")
        || name == "kernel.sem";
    let uts = matches!(name.as_str(), "kernel.domainname" | "kernel.hostname");
    if net && host.network_mode == "host" {
        return invalid(format!("sysctl {name:?} not allowed in host network namespace"));
    }
    if ipc && host.ipc_mode == "host" {
        return invalid(format!("sysctl {name:?} is not allowed in the hosts ipc namespace"));
    }
    if uts && host.uts_mode == "host" {
        return invalid(format!("sysctl {name:?} is not allowed in the hosts uts namespace"));
    }
    if net || ipc || uts {
        Ok(())
    } else {
        invalid(format!("sysctl {name:?} is not in a separate kernel namespace"))
    }
}

/// Checks a line of `/etc/hosts`, `name:address`.
fn extra_host(line: &str) -> Result<(), Invalid> {
    let Some((name, address)) = line.split_once(':').filter(|(name, _)| !name.is_empty()) else {
        return invalid(format!("bad format for add-host: {line:?}"));
    };
    if name.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return invalid(format!("bad format for add-host: {line:?}"));
    }
    let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
    if address != "host-gateway" && bare.parse::<std::net::IpAddr>().is_err() {
        return invalid(format!("invalid IP address in add-host: {address:?}"));
    }
    Ok(())
}

/// A container's port, `80`, `80/tcp`, `53/udp`: number and protocol.
pub fn parse_port(text: &str) -> Option<(u16, &'static str)> {
    let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = match protocol.to_ascii_lowercase().as_str() {
        "tcp" | "" => "tcp",
        "udp" => "udp",
        "sctp" => "sctp",
        _ => return None,
    };
    let digits = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    Some((number.parse().ok().filter(|_| digits)?, protocol))
}

/// Ports of the host, `8080` or `8080-8090`; empty is any free one.
fn is_port_range(text: &str) -> bool {
    let number = |text: &str| parse_port(text).filter(|_| !text.contains('/')).map(|(number, _)| number);
    match text.split_once('-') {
        None => text.is_empty() || number(text).is_some(),
        Some((from, to)) => matches!((number(from), number(to)), (Some(from), Some(to)) if from <= to),
    }
}

fn port_bindings(ports: Option<&PortMap>) -> Result<(), Invalid> {
    for (port, bindings) in ports.into_iter().flatten() {
        if parse_port(port).is_none() {
            let number = port.split('/').next().unwrap_or_default();
            return invalid(format!("invalid port specification: {number:?}"));
        }
        for binding in bindings.iter().flatten() {
            let number = binding.host_port.split('/').next().unwrap_or_default();
            if !is_port_range(number) {
                return invalid(format!("invalid port specification: {:?}", binding.host_port));
            }
            if !binding.host_ip.is_empty() && binding.host_ip.parse::<std::net::IpAddr>().is_err() {
                return invalid(format!("invalid IP address: {:?}", binding.host_ip));
            }
        }
    }
    Ok(())
}

/// Checks a restart policy.
pub fn restart_policy(policy: &RestartPolicy) -> Result<(), Invalid> {
    let count = policy.maximum_retry_count;
    match policy.name.as_str() {
        "always" | "unless-stopped" | "no" if count < 0 => invalid(
            "invalid restart policy: maximum retry count can only be used with 'on-failure' and cannot be negative",
        ),
        "always" | "unless-stopped" | "no" if count > 0 => {
            invalid("invalid restart policy: maximum retry count can only be used with 'on-failure'")
        }
        "on-failure" if count < 0 => {
            invalid("invalid restart policy: maximum retry count cannot be negative")
        }
        "" | "always" | "unless-stopped" | "no" | "on-failure" => Ok(()),
        name => invalid(format!(
            "invalid restart policy: unknown policy '{name}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
        )),
    }
}

/// What limits are checked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A new container.
    Create,
    /// A change: what is not named stays as it is.
    Update,
}

/// Checks limits and drops what this host cannot do.
pub fn resources(
    limits: &mut Resources,
    facts: &HostFacts,
    purpose: Purpose,
    warnings: &mut Vec<String>,
) -> Result<(), Invalid> {
    if limits.memory_swappiness == Some(-1) {
        limits.memory_swappiness = None;
    }
    if limits.pids_limit.is_some_and(|limit| limit <= 0) && purpose == Purpose::Create {
        limits.pids_limit = None;
    }
    memory(limits, facts, purpose, warnings)?;
    cpu(limits, facts, warnings)?;
    block_io(limits, facts, warnings)?;
    for limit in limits.ulimits.iter().flatten() {
        if !ULIMITS.contains(&limit.name.as_str()) {
            return invalid(format!("invalid ulimit type: {}", limit.name));
        }
        if limit.hard != -1 && (limit.soft > limit.hard || limit.soft == -1) {
            let (soft, hard) = (limit.soft, limit.hard);
            return invalid(format!(
                "ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}"
            ));
        }
    }
    for rule in limits.device_cgroup_rules.iter().flatten() {
        if super::oci_spec::device_rule(rule).is_none() {
            return invalid(format!("invalid device cgroup rule format: '{rule}'"));
        }
    }
    Ok(())
}

/// The rlimits Linux has, by Docker's names.
const ULIMITS: [&str; 16] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
    "as",
];

fn memory(
    limits: &mut Resources,
    facts: &HostFacts,
    purpose: Purpose,
    warnings: &mut Vec<String>,
) -> Result<(), Invalid> {
    if limits.memory != 0 && limits.memory < MIN_MEMORY {
        return invalid("Minimum memory limit allowed is 6MB");
    }
    if limits.memory > 0 && limits.memory_swap != -1 && !facts.swap_limit {
        warnings.push("Your kernel does not support swap limit capabilities or the cgroup is not mounted. Memory limited without swap.".into());
        limits.memory_swap = -1;
    }
    if limits.memory > 0 && limits.memory_swap > 0 && limits.memory_swap < limits.memory {
        return invalid("Minimum memoryswap limit should be larger than memory limit, see usage");
    }
    if limits.memory == 0 && limits.memory_swap > 0 && purpose == Purpose::Create {
        return invalid("You should always set the Memory limit when using Memoryswap limit, see usage");
    }
    if limits.memory_swappiness.is_some() && facts.cgroup_v2 {
        warnings.push("Your kernel does not support memory swappiness capabilities or the cgroup is not mounted. Memory swappiness discarded.".into());
        limits.memory_swappiness = None;
    }
    if let Some(value) = limits.memory_swappiness.filter(|value| !(0..=100).contains(value)) {
        return invalid(format!("Invalid value: {value}, valid memory swappiness range is 0-100"));
    }
    if limits.memory_reservation > 0 && limits.memory_reservation < MIN_MEMORY {
        return invalid("Minimum memory reservation allowed is 6MB");
    }
    if limits.memory > 0 && limits.memory_reservation > 0 && limits.memory < limits.memory_reservation {
        return invalid("Minimum memory limit can not be less than memory reservation limit, see usage");
    }
    if limits.kernel_memory > 0 {
        warnings.push("Your kernel does not support kernel memory limit capabilities or the cgroup is not mounted. Limitation discarded.".into());
        limits.kernel_memory = 0;
    }
    if facts.cgroup_v2 {
        if limits.oom_kill_disable == Some(true) {
            warnings.push("Your kernel does not support OomKillDisable. OomKillDisable discarded.".into());
        }
        limits.oom_kill_disable = None;
    } else if limits.oom_kill_disable == Some(true) && limits.memory == 0 {
        warnings.push("OOM killer is disabled for the container, but no memory limit is set, this can result in the system running out of resources.".into());
    }
    Ok(())
}

fn cpu(limits: &mut Resources, facts: &HostFacts, warnings: &mut Vec<String>) -> Result<(), Invalid> {
    if limits.cpu_shares < 0 {
        let shares = limits.cpu_shares;
        return invalid(format!("invalid CPU shares ({shares}): value must be a positive integer"));
    }
    if limits.nano_cpus > 0 && limits.cpu_period > 0 {
        return invalid("Conflicting options: Nano CPUs and CPU Period cannot both be set");
    }
    if limits.nano_cpus > 0 && limits.cpu_quota > 0 {
        return invalid("Conflicting options: Nano CPUs and CPU Quota cannot both be set");
    }
    if limits.nano_cpus < 0 || limits.nano_cpus > i64::from(facts.cpus) * 1_000_000_000 {
        let cpus = facts.cpus;
        return invalid(format!(
            "range of CPUs is from 0.01 to {cpus}.00, as there are only {cpus} CPUs available"
        ));
    }
    if limits.cpu_period != 0 && !(1000..=1_000_000).contains(&limits.cpu_period) {
        return invalid(
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
        );
    }
    if limits.cpu_quota > 0 && limits.cpu_quota < 1000 {
        return invalid("CPU cfs quota can not be less than 1ms (i.e. 1000)");
    }
    if limits.cpu_percent > 0 {
        warnings.push("linux does not support CPU percent. Percent discarded.".into());
        limits.cpu_percent = 0;
    }
    let sets = [
        ("cpus", "CPUs", &limits.cpuset_cpus, &facts.cpuset_cpus),
        ("mems", "memory nodes", &limits.cpuset_mems, &facts.cpuset_mems),
    ];
    for (short, long, asked, available) in sets {
        let Some(asked_list) = parse_set(asked) else {
            return invalid(format!("Invalid value {asked} for cpuset {short}: invalid format: {asked}"));
        };
        let have = parse_set(available).unwrap_or_default();
        if !asked_list.iter().all(|n| have.contains(n)) {
            return invalid(format!(
                "Requested {long} are not available - requested {asked}, available: {available}"
            ));
        }
    }
    Ok(())
}

/// The numbers of `0-2,5`; `None` if it is not such a list.
fn parse_set(text: &str) -> Option<std::collections::BTreeSet<u32>> {
    let mut set = std::collections::BTreeSet::new();
    for part in text.trim().split(',').filter(|_| !text.trim().is_empty()) {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let (from, to): (u32, u32) = (from.parse().ok()?, to.parse().ok()?);
        if from > to || to > 8192 {
            return None;
        }
        set.extend(from..=to);
    }
    Some(set)
}

fn block_io(limits: &mut Resources, facts: &HostFacts, warnings: &mut Vec<String>) -> Result<(), Invalid> {
    if limits.blkio_weight > 0 && !facts.blkio_weight {
        warnings.push(
            "Your kernel does not support Block I/O weight or the cgroup is not mounted. Weight discarded."
                .into(),
        );
        limits.blkio_weight = 0;
    }
    if limits.blkio_weight > 0 && !(10..=1000).contains(&limits.blkio_weight) {
        return invalid("Range of blkio weight is from 10 to 1000");
    }
    if limits.io_maximum_bandwidth != 0 || limits.io_maximum_iops != 0 {
        return invalid(
            "Invalid QoS settings: linux does not support Maximum IO Bandwidth or Maximum IO IOps",
        );
    }
    if limits.blkio_weight_device.iter().flatten().next().is_some() && !facts.blkio_weight {
        warnings.push("Your kernel does not support Block I/O weight_device or the cgroup is not mounted. Weight-device discarded.".into());
        limits.blkio_weight_device = Some(Vec::new());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> HostFacts {
        HostFacts {
            cpus: 2,
            cpuset_cpus: "0-1".into(),
            cpuset_mems: "0".into(),
            swap_limit: true,
            ..HostFacts::default()
        }
    }

    fn refused(change: impl FnOnce(&mut HostConfig)) -> String {
        let mut host = HostConfig::default();
        change(&mut host);
        host_config(&mut host, &facts()).unwrap_err().to_string()
    }

    #[test]
    fn refusals_have_dockers_texts() {
        assert_eq!(refused(|h| h.resources.memory = 1 << 20), "Minimum memory limit allowed is 6MB");
        assert_eq!(
            refused(|h| h.resources.nano_cpus = 3_000_000_000),
            "range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available"
        );
        assert_eq!(
            refused(|h| h.resources.cpuset_cpus = "0-7".into()),
            "Requested CPUs are not available - requested 0-7, available: 0-1"
        );
        assert_eq!(
            refused(|h| h.resources.cpuset_cpus = "x".into()),
            "Invalid value x for cpuset cpus: invalid format: x"
        );
        assert_eq!(refused(|h| h.pid_mode = "container:".into()), "invalid PID mode: container:");
        assert_eq!(refused(|h| h.extra_hosts = Some(vec!["x".into()])), "bad format for add-host: \"x\"");
        assert_eq!(
            refused(|h| h.extra_hosts = Some(vec!["a:1.2.3".into()])),
            "invalid IP address in add-host: \"1.2.3\""
        );
        assert_eq!(
            refused(|h| h.cap_add = Some(vec!["FLY".into()])),
            "invalid CapAdd: unknown capability: \"CAP_FLY\""
        );
        assert_eq!(
            refused(|h| h.restart_policy.name = "often".into()),
            "invalid restart policy: unknown policy 'often'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
        );
    }

    #[test]
    fn sysctls_are_of_namespaces_the_container_has_for_itself() {
        let ask = |name: &str, network: &str| {
            let mut host = HostConfig { network_mode: network.into(), ..HostConfig::default() };
            host.sysctls = Some([(name.to_owned(), "1".to_owned())].into());
            host_config(&mut host, &facts()).is_ok()
        };
        assert!(ask("net.core.somaxconn", "bridge") && ask("kernel.shmmax", "bridge"));
        assert!(!ask("net.core.somaxconn", "host"));
        for bad in
            ["kernel.core_pattern", "vm.swappiness", "net.a=b+kernel.core_pattern", "net/../kernel", ""]
        {
            assert!(!ask(bad, "bridge"), "{bad}");
        }
    }

    #[test]
    fn ports() {
        assert_eq!(parse_port("80"), Some((80, "tcp")));
        assert_eq!(parse_port("53/UDP"), Some((53, "udp")));
        for bad in ["", "/tcp", "x", "70000", "80/http", "+80", "80-81"] {
            assert_eq!(parse_port(bad), None, "{bad}");
        }
        assert!(is_port_range("") && is_port_range("80") && is_port_range("80-90"));
        assert!(!is_port_range("90-80") && !is_port_range("-") && !is_port_range("80-"));
    }

    #[test]
    fn the_environment_and_the_working_directory() {
        let mut c = Config { env: Some(vec!["=x".into()]), ..Config::default() };
        assert_eq!(config(&mut c).unwrap_err().to_string(), "invalid environment variable: =x");
        let mut c = Config { working_dir: "/a/../b/".into(), ..Config::default() };
        config(&mut c).unwrap();
        assert_eq!(c.working_dir, "/b");
        let mut c = Config { working_dir: "a".into(), ..Config::default() };
        assert!(config(&mut c).is_err());
    }
}
