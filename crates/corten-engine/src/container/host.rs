//! What this machine is and can do, read once: the checks and the OCI spec take it as a value.

use std::fs;
use std::path::Path;

use super::caps;

/// Facts about the machine.
#[derive(Debug, Clone, Default)]
pub struct HostFacts {
    /// CPUs online.
    pub cpus: u32,
    /// Bytes of memory.
    pub memory: u64,
    /// `0-3`: CPUs that containers may be pinned to.
    pub cpuset_cpus: String,
    /// Memory nodes likewise.
    pub cpuset_mems: String,
    /// Only the unified hierarchy is mounted.
    pub cgroup_v2: bool,
    /// Swap can be limited.
    pub swap_limit: bool,
    /// Block I/O can be weighted.
    pub blkio_weight: bool,
    /// Paths hidden from containers, as far as they exist here.
    pub masked_paths: Vec<String>,
    /// Capabilities this daemon holds.
    pub capabilities: Vec<&'static str>,
    /// AppArmor is on.
    pub apparmor: bool,
    /// The AppArmor profile of containers that name none; empty when there is none.
    pub default_apparmor: String,
    /// Kernel version, major and minor.
    pub kernel: (u32, u32),
    /// Whether sysctls that every container gets exist: `net.ipv4.ping_group_range`,
    /// `net.ipv4.ip_unprivileged_port_start`.
    pub default_sysctls: bool,
}

impl HostFacts {
    /// Reads them. What cannot be read counts as not there.
    pub fn read() -> Self {
        let cgroup = Path::new("/sys/fs/cgroup");
        let cgroup_v2 = cgroup.join("cgroup.controllers").exists();
        let v1_set = |name: &str| read_line(&format!("/sys/fs/cgroup/cpuset/{name}"));
        let v2_set = |name: &str| read_line(&format!("/sys/fs/cgroup/{name}.effective"));
        let set = |name: &str| if cgroup_v2 { v2_set(name) } else { v1_set(name) };
        let online = read_line("/sys/devices/system/cpu/online").unwrap_or_else(|| "0".into());
        let nodes = read_line("/sys/devices/system/node/online").unwrap_or_else(|| "0".into());
        Self {
            cpus: std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(1)),
            memory: total_memory(),
            cpuset_cpus: set("cpuset.cpus").unwrap_or(online),
            cpuset_mems: set("cpuset.mems").unwrap_or(nodes),
            cgroup_v2,
            swap_limit: cgroup_v2 || cgroup.join("memory/memory.memsw.limit_in_bytes").exists(),
            blkio_weight: blkio_weight(cgroup_v2),
            masked_paths: masked_paths(),
            capabilities: capabilities(),
            apparmor: read_line("/sys/module/apparmor/parameters/enabled").as_deref() == Some("Y"),
            default_apparmor: String::new(),
            kernel: kernel(),
            default_sysctls: Path::new("/proc/sys/net/ipv4/ip_unprivileged_port_start").exists(),
        }
    }
}

fn read_line(path: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    Some(text.trim().to_owned()).filter(|line| !line.is_empty())
}

fn total_memory() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
}

fn blkio_weight(cgroup_v2: bool) -> bool {
    if cgroup_v2 {
        read_line("/sys/fs/cgroup/cgroup.controllers").is_some_and(|list| list.split(' ').any(|c| c == "io"))
    } else {
        ["blkio.weight", "blkio.bfq.weight"]
            .iter()
            .any(|f| Path::new("/sys/fs/cgroup/blkio").join(f).exists())
    }
}

/// Docker's list; the files of single CPUs where this machine has them.
fn masked_paths() -> Vec<String> {
    let mut paths: Vec<String> = super::oci_spec::MASKED_PATHS.map(str::to_owned).to_vec();
    let possible = read_line("/sys/devices/system/cpu/possible").unwrap_or_default();
    let last = possible.rsplit(['-', ',']).next().and_then(|n| n.parse::<u32>().ok()).unwrap_or(0);
    for cpu in 0..=last.min(8191) {
        let path = format!("/sys/devices/system/cpu/cpu{cpu}/thermal_throttle");
        if Path::new(&path).exists() {
            paths.push(path);
        }
    }
    paths
}

fn capabilities() -> Vec<&'static str> {
    let text = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("CapBnd:")).unwrap_or_default();
    let bits = u64::from_str_radix(line.trim(), 16).unwrap_or(0);
    caps::ALL.iter().enumerate().filter(|(n, _)| bits >> n & 1 == 1).map(|(_, name)| *name).collect()
}

fn kernel() -> (u32, u32) {
    let text = read_line("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = text.split(['.', '-']).map(|n| n.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}
