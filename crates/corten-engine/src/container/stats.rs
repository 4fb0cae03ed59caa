//! `stats`: figures of the kernel in Docker's JSON, read from outside of the container.

use std::collections::BTreeMap;
use std::fs;

use corten_api::container::{
    BlkioEntry, BlkioStats, CpuStats, CpuUsage, MemoryStats, NetworkStats, PidsStats, Stats, Throttling,
};
use corten_runtime::cgroup::{Cgroup, CgroupStats};
use jiff::Timestamp;

use super::inspect::go_time;
use super::start::cgroup_path;
use super::{Container, ContainerError, Containers, Shared, View};

/// Nanoseconds of a clock tick of `/proc/stat`.
const TICK: u64 = 10_000_000;

/// Names of cgroup v1's `memory.stat` that Docker shows.
const MEMORY_V1: [&str; 32] = [
    "active_anon",
    "active_file",
    "cache",
    "dirty",
    "hierarchical_memory_limit",
    "hierarchical_memsw_limit",
    "inactive_anon",
    "inactive_file",
    "mapped_file",
    "pgfault",
    "pgmajfault",
    "pgpgin",
    "pgpgout",
    "rss",
    "rss_huge",
    "total_active_anon",
    "total_active_file",
    "total_cache",
    "total_dirty",
    "total_inactive_anon",
    "total_inactive_file",
    "total_mapped_file",
    "total_pgfault",
    "total_pgmajfault",
    "total_pgpgin",
    "total_pgpgout",
    "total_rss",
    "total_rss_huge",
    "total_unevictable",
    "total_writeback",
    "unevictable",
    "writeback",
];

/// Names of cgroup v2's `memory.stat` that Docker shows.
const MEMORY_V2: [&str; 31] = [
    "active_anon",
    "active_file",
    "anon",
    "anon_thp",
    "file",
    "file_dirty",
    "file_mapped",
    "file_writeback",
    "inactive_anon",
    "inactive_file",
    "kernel_stack",
    "pgactivate",
    "pgdeactivate",
    "pgfault",
    "pglazyfree",
    "pglazyfreed",
    "pgmajfault",
    "pgrefill",
    "pgscan",
    "pgsteal",
    "shmem",
    "slab",
    "slab_reclaimable",
    "slab_unreclaimable",
    "sock",
    "thp_collapse_alloc",
    "thp_fault_alloc",
    "unevictable",
    "workingset_activate",
    "workingset_nodereclaim",
    "workingset_refault",
];

/// Takes samples of one container, each with the one before in it.
pub struct Sampler {
    shared: std::sync::Arc<Shared>,
    container: std::sync::Arc<Container>,
    before: Option<(Timestamp, CpuStats)>,
}

impl Containers {
    /// A sampler for a container, running or not.
    pub fn sampler(&self, container: &str) -> Result<Sampler, ContainerError> {
        let container = self.find(container)?;
        Ok(Sampler { shared: self.shared.clone(), container, before: None })
    }
}

impl Sampler {
    /// The container runs.
    pub fn runs(&self) -> bool {
        self.container.view().live.state.run().is_some()
    }

    /// The container is removed: no sample follows.
    pub fn ended(&self) -> bool {
        self.container.view().removed
    }

    /// Figures of now. Of a container that does not run, its name and id alone.
    pub fn sample(&mut self) -> Stats {
        let view = self.container.view();
        let mut stats = self.measure(&view).unwrap_or_default();
        stats.name = format!("/{}", view.record.name);
        stats.id.clone_from(&view.record.id);
        let now = (!stats.read.is_empty()).then(Timestamp::now);
        stats.read = go_time(now);
        stats.preread = go_time(self.before.as_ref().map(|(time, _)| *time));
        if let Some((_, cpu)) = self.before.take() {
            stats.precpu_stats = cpu;
        }
        self.before = now.map(|now| (now, stats.cpu_stats.clone()));
        stats
    }

    fn measure(&self, view: &View) -> Option<Stats> {
        let run = view.live.state.run()?;
        let cgroup = Cgroup::open(&cgroup_path(&self.shared, &view.record)).ok()?;
        let measured = cgroup.stats().ok()?;
        let mut stats = convert(measured, self.shared.facts.memory);
        (stats.cpu_stats.system_cpu_usage, stats.cpu_stats.online_cpus) = machine_cpu();
        // A mark that this was measured; the caller writes the time.
        stats.read = "now".into();
        if view.record.host.network_mode != "host" && !view.record.config.network_disabled {
            stats.networks = Some(interfaces(run.pid)).filter(|list| !list.is_empty());
        }
        Some(stats)
    }
}

fn convert(measured: CgroupStats, machine_memory: u64) -> Stats {
    let shown: &[&str] = if measured.unified { &MEMORY_V2 } else { &MEMORY_V1 };
    let mut details = measured.memory.details;
    let figures = shown.iter().map(|&name| (name.to_owned(), details.remove(name).unwrap_or(0))).collect();
    let entries = |list: Vec<corten_runtime::cgroup::BlkioEntry>| {
        list.into_iter()
            .map(|entry| BlkioEntry {
                major: entry.major,
                minor: entry.minor,
                op: entry.operation.to_ascii_lowercase(),
                value: entry.value,
            })
            .collect::<Vec<_>>()
    };
    let bytes = entries(measured.blkio.service_bytes);
    let operations = entries(measured.blkio.serviced);
    let blkio = if measured.unified {
        BlkioStats {
            io_service_bytes_recursive: (!bytes.is_empty()).then_some(bytes),
            ..BlkioStats::default()
        }
    } else {
        let none = || Some(Vec::new());
        BlkioStats {
            io_service_bytes_recursive: Some(bytes),
            io_serviced_recursive: Some(operations),
            io_queue_recursive: none(),
            io_service_time_recursive: none(),
            io_wait_time_recursive: none(),
            io_merged_recursive: none(),
            io_time_recursive: none(),
            sectors_recursive: none(),
        }
    };
    let limit = measured.memory.limit.unwrap_or(u64::MAX);
    Stats {
        pids_stats: PidsStats {
            current: measured.pids.current,
            limit: measured.pids.limit.unwrap_or(u64::MAX),
        },
        blkio_stats: blkio,
        cpu_stats: CpuStats {
            cpu_usage: CpuUsage {
                total_usage: measured.cpu.total,
                percpu_usage: measured.cpu.per_cpu,
                usage_in_kernelmode: measured.cpu.kernel,
                usage_in_usermode: measured.cpu.user,
            },
            system_cpu_usage: 0,
            online_cpus: 0,
            throttling_data: Throttling {
                periods: measured.cpu.throttling.periods,
                throttled_periods: measured.cpu.throttling.throttled_periods,
                throttled_time: measured.cpu.throttling.throttled_time,
            },
        },
        memory_stats: MemoryStats {
            usage: measured.memory.usage,
            // Docker shows the most used of v1 only.
            max_usage: measured.memory.max_usage.filter(|_| !measured.unified).unwrap_or(0),
            stats: figures,
            failcnt: measured.memory.failures.unwrap_or(0),
            limit: if machine_memory > 0 { limit.min(machine_memory) } else { limit },
        },
        ..Stats::default()
    }
}

/// CPU time of the machine in nanoseconds, and its CPUs.
fn machine_cpu() -> (u64, u32) {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let mut total = 0;
    let mut cpus = 0;
    for line in text.lines().take_while(|line| line.starts_with("cpu")) {
        if let Some(rest) = line.strip_prefix("cpu ") {
            // user, nice, system, idle, iowait, irq, softirq, steal; the rest is counted in these.
            total = rest.split_whitespace().take(8).filter_map(|n| n.parse::<u64>().ok()).sum::<u64>() * TICK;
        } else {
            cpus += 1;
        }
    }
    (total, cpus)
}

/// Counters of a network namespace, without loopback.
fn interfaces(pid: i32) -> BTreeMap<String, NetworkStats> {
    let text = fs::read_to_string(format!("/proc/{pid}/net/dev")).unwrap_or_default();
    parse_interfaces(&text)
}

fn parse_interfaces(text: &str) -> BTreeMap<String, NetworkStats> {
    let line = |line: &str| {
        let (name, rest) = line.split_once(':')?;
        let n: Vec<u64> = rest.split_whitespace().filter_map(|n| n.parse().ok()).collect();
        let name = name.trim();
        (n.len() >= 16 && name != "lo").then(|| {
            let stats = NetworkStats {
                rx_bytes: n[0],
                rx_packets: n[1],
                rx_errors: n[2],
                rx_dropped: n[3],
                tx_bytes: n[8],
                tx_packets: n[9],
                tx_errors: n[10],
                tx_dropped: n[11],
            };
            (name.to_owned(), stats)
        })
    };
    text.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_of_interfaces() {
        let text = "Inter-|   Receive\n face |bytes\n    lo: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n  eth0:  90  1 2 3 0 0 0 0 42 4 5 6 0 0 0 0\n";
        let stats = parse_interfaces(text);
        assert_eq!(stats.keys().collect::<Vec<_>>(), ["eth0"]);
        let eth0 = &stats["eth0"];
        assert_eq!((eth0.rx_bytes, eth0.rx_dropped, eth0.tx_bytes, eth0.tx_dropped), (90, 3, 42, 6));
    }

    #[test]
    fn no_limit_is_the_machines_memory_and_no_pids_limit_is_all_ones() {
        let stats = convert(CgroupStats::default(), 1 << 30);
        assert_eq!(stats.memory_stats.limit, 1 << 30);
        assert_eq!(stats.pids_stats.limit, u64::MAX);
    }

    #[test]
    fn the_machine_has_cpus() {
        let (total, cpus) = machine_cpu();
        assert!(total > 0 && cpus > 0);
    }
}
