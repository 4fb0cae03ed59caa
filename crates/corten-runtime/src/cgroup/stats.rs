//! What a container has used: the figures behind Docker's `stats`.

use std::collections::BTreeMap;
use std::path::Path;

use super::files::{field, number, read};
use super::{Cgroup, CgroupError};

/// What a container has used so far.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CgroupStats {
    /// Which version of cgroups the figures are from: their names differ.
    pub unified: bool,
    /// CPU time.
    pub cpu: CpuStats,
    /// Memory.
    pub memory: MemoryStats,
    /// Processes.
    pub pids: PidsStats,
    /// Block devices.
    pub blkio: BlkioStats,
}

/// CPU time, in nanoseconds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CpuStats {
    /// All of it.
    pub total: u64,
    /// In user mode.
    pub user: u64,
    /// In the kernel.
    pub kernel: u64,
    /// By CPU; only v1 knows.
    pub per_cpu: Vec<u64>,
    /// What a quota took away.
    pub throttling: Throttling,
}

/// What a CPU quota took away.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Throttling {
    /// Periods so far.
    pub periods: u64,
    /// Periods in which the quota was used up.
    pub throttled_periods: u64,
    /// Nanoseconds that processes had to wait.
    pub throttled_time: u64,
}

/// Memory, in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MemoryStats {
    /// Used now, page cache included.
    pub usage: u64,
    /// The most used so far; only v1 and newer v2 kernels know.
    pub max_usage: Option<u64>,
    /// The limit; `None` when there is none.
    pub limit: Option<u64>,
    /// How often the limit was hit; only v1 knows.
    pub failures: Option<u64>,
    /// The kernel's own list (`memory.stat`).
    pub details: BTreeMap<String, u64>,
}

/// Processes and threads.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PidsStats {
    /// Now.
    pub current: u64,
    /// The limit; `None` when there is none.
    pub limit: Option<u64>,
}

/// Block devices, by device and operation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BlkioStats {
    /// Bytes.
    pub service_bytes: Vec<BlkioEntry>,
    /// Operations.
    pub serviced: Vec<BlkioEntry>,
}

/// One figure about one device.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BlkioEntry {
    /// Major number.
    pub major: u64,
    /// Minor number.
    pub minor: u64,
    /// `Read`, `Write`, `Sync`, … on v1, `read` and `write` on v2.
    pub operation: String,
    /// How much.
    pub value: u64,
}

/// Reads everything. A controller that is not there leaves zeros.
pub(super) fn read_all(cgroup: &Cgroup) -> Result<CgroupStats, CgroupError> {
    if cgroup.layout.is_unified() {
        let Some(directory) = &cgroup.unified else { return Err(CgroupError::None) };
        std::fs::metadata(directory).map_err(CgroupError::file(directory, "read figures"))?;
        return Ok(unified(directory));
    }
    let mut stats = CgroupStats::default();
    if let Some(directory) = cgroup.legacy("cpuacct") {
        legacy_cpu(directory, &mut stats.cpu);
    }
    if let Some(directory) = cgroup.legacy("cpu") {
        let text = read(&directory.join("cpu.stat")).unwrap_or_default();
        stats.cpu.throttling = Throttling {
            periods: field(&text, "nr_periods").unwrap_or(0),
            throttled_periods: field(&text, "nr_throttled").unwrap_or(0),
            throttled_time: field(&text, "throttled_time").unwrap_or(0),
        };
    }
    if let Some(directory) = cgroup.legacy("memory") {
        let usage = directory.join("memory.usage_in_bytes");
        stats.memory = MemoryStats {
            usage: read(&usage).map_err(CgroupError::file(&usage, "read"))?.trim().parse().unwrap_or(0),
            max_usage: number(&directory.join("memory.max_usage_in_bytes")),
            limit: number(&directory.join("memory.limit_in_bytes")),
            failures: number(&directory.join("memory.failcnt")),
            details: details(&read(&directory.join("memory.stat")).unwrap_or_default()),
        };
    }
    if let Some(directory) = cgroup.legacy("pids") {
        stats.pids = pids(directory);
    }
    if let Some(directory) = cgroup.legacy("blkio") {
        stats.blkio = legacy_blkio(directory);
    }
    Ok(stats)
}

fn pids(directory: &Path) -> PidsStats {
    PidsStats {
        current: number(&directory.join("pids.current")).unwrap_or(0),
        limit: number(&directory.join("pids.max")),
    }
}

fn details(text: &str) -> BTreeMap<String, u64> {
    text.lines()
        .filter_map(|line| {
            let (name, value) = line.split_once(' ')?;
            Some((name.to_owned(), value.trim().parse().ok()?))
        })
        .collect()
}

fn unified(directory: &Path) -> CgroupStats {
    let cpu = read(&directory.join("cpu.stat")).unwrap_or_default();
    let micros = |name: &str| field(&cpu, name).unwrap_or(0).saturating_mul(1000);
    let io = read(&directory.join("io.stat")).unwrap_or_default();
    CgroupStats {
        unified: true,
        cpu: CpuStats {
            total: micros("usage_usec"),
            user: micros("user_usec"),
            kernel: micros("system_usec"),
            per_cpu: Vec::new(),
            throttling: Throttling {
                periods: field(&cpu, "nr_periods").unwrap_or(0),
                throttled_periods: field(&cpu, "nr_throttled").unwrap_or(0),
                throttled_time: micros("throttled_usec"),
            },
        },
        memory: MemoryStats {
            usage: number(&directory.join("memory.current")).unwrap_or(0),
            max_usage: number(&directory.join("memory.peak")),
            limit: number(&directory.join("memory.max")),
            failures: None,
            details: details(&read(&directory.join("memory.stat")).unwrap_or_default()),
        },
        pids: pids(directory),
        blkio: unified_blkio(&io),
    }
}

fn unified_blkio(text: &str) -> BlkioStats {
    let mut stats = BlkioStats::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let Some((major, minor)) = words.next().and_then(device) else { continue };
        for word in words {
            let Some((key, value)) = word.split_once('=') else { continue };
            let Ok(value) = value.parse() else { continue };
            let entry = |operation: &str| BlkioEntry { major, minor, operation: operation.into(), value };
            match key {
                "rbytes" => stats.service_bytes.push(entry("read")),
                "wbytes" => stats.service_bytes.push(entry("write")),
                "rios" => stats.serviced.push(entry("read")),
                "wios" => stats.serviced.push(entry("write")),
                _ => {}
            }
        }
    }
    stats
}

fn device(text: &str) -> Option<(u64, u64)> {
    let (major, minor) = text.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn legacy_cpu(directory: &Path, cpu: &mut CpuStats) {
    cpu.total = number(&directory.join("cpuacct.usage")).unwrap_or(0);
    let all = read(&directory.join("cpuacct.usage_all")).unwrap_or_default();
    for line in all.lines().skip(1) {
        let mut words = line.split_whitespace().skip(1).map_while(|word| word.parse::<u64>().ok());
        let (user, kernel) = (words.next().unwrap_or(0), words.next().unwrap_or(0));
        cpu.user += user;
        cpu.kernel += kernel;
        cpu.per_cpu.push(user + kernel);
    }
}

fn legacy_blkio(directory: &Path) -> BlkioStats {
    let table = |files: [&str; 2]| {
        files
            .iter()
            .map(|file| legacy_entries(&read(&directory.join(file)).unwrap_or_default()))
            .find(|entries| !entries.is_empty())
            .unwrap_or_default()
    };
    BlkioStats {
        service_bytes: table([
            "blkio.bfq.io_service_bytes_recursive",
            "blkio.throttle.io_service_bytes_recursive",
        ]),
        serviced: table(["blkio.bfq.io_serviced_recursive", "blkio.throttle.io_serviced_recursive"]),
    }
}

/// Lines of `major:minor Operation number`; the sum at the end has no device.
fn legacy_entries(text: &str) -> Vec<BlkioEntry> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let (major, minor) = device(words.next()?)?;
            let operation = words.next()?.to_owned();
            Some(BlkioEntry { major, minor, operation, value: words.next()?.parse().ok()? })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_figures_of_v2_are_read_by_device() {
        let stats = unified_blkio("8:0 rbytes=4096 wbytes=0 rios=1 wios=0 dbytes=0 dios=0\n254:0\n");
        let values: Vec<_> =
            stats.service_bytes.iter().map(|e| (e.major, e.operation.as_str(), e.value)).collect();
        assert_eq!(values, [(8, "read", 4096), (8, "write", 0)]);
        assert_eq!(stats.serviced.len(), 2);
    }

    #[test]
    fn block_figures_of_v1_are_read_without_the_sum() {
        let entries = legacy_entries("8:0 Read 10\n8:0 Write 20\n8:0 Total 30\nTotal 30\n");
        assert_eq!(entries.len(), 3);
        assert_eq!((entries[1].operation.as_str(), entries[1].value), ("Write", 20));
    }
}
