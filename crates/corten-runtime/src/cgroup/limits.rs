//! From the specification's limits to lines in the files of cgroup v1 and v2: pure.

use crate::spec::{BlockIoLimits, CpuLimits, LinuxResources, MemoryLimits};

/// One line to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// The controller that the file belongs to; empty for files of every cgroup.
    pub controller: &'static str,
    /// The file's name.
    pub file: String,
    /// What is written.
    pub value: String,
    /// What happens when the kernel does not have the file.
    pub missing: Missing,
}

/// What a missing file means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    /// The limit cannot be met.
    Refuse,
    /// Nothing is lost.
    Ignore,
}

/// A list of lines being made.
#[derive(Debug, Default)]
struct Lines(Vec<Line>);

impl Lines {
    fn push(&mut self, controller: &'static str, file: impl Into<String>, value: impl ToString) {
        let line = Line { controller, file: file.into(), value: value.to_string(), missing: Missing::Refuse };
        self.0.push(line);
    }

    fn push_optional(&mut self, controller: &'static str, file: impl Into<String>, value: impl ToString) {
        let line = Line { controller, file: file.into(), value: value.to_string(), missing: Missing::Ignore };
        self.0.push(line);
    }
}

/// A number of bytes where negative is unlimited, as systemd counts.
pub(super) fn or_max_number(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

fn or_max(value: i64) -> String {
    if value < 0 { "max".into() } else { value.to_string() }
}

/// What a v1 cgroup may have as its shares of the processors.
const SHARES_MIN: u64 = 2;
const SHARES_MAX: u64 = 262_144;

/// A v1 weight (2..=262144) as a v2 weight (1..=10000).
pub(super) fn weight_of_shares(shares: u64) -> u64 {
    1 + (shares.clamp(SHARES_MIN, SHARES_MAX) - SHARES_MIN) * 9999 / (SHARES_MAX - SHARES_MIN)
}

/// A v1 weight (10..=1000) as a v2 weight (1..=10000).
pub(super) fn weight_of_blkio(weight: u16) -> u64 {
    1 + (u64::from(weight.clamp(10, 1000)) - 10) * 9999 / 990
}

/// The lines of cgroup v2.
pub(super) fn plan_v2(limits: &LinuxResources) -> Result<Vec<Line>, String> {
    let mut lines = Lines::default();
    if let Some(memory) = &limits.memory {
        memory_v2(&mut lines, memory)?;
    }
    if let Some(cpu) = &limits.cpu {
        cpu_v2(&mut lines, cpu);
    }
    if let Some(pids) = &limits.pids {
        lines.push("pids", "pids.max", if pids.limit > 0 { pids.limit.to_string() } else { "max".into() });
    }
    if let Some(io) = &limits.block_io {
        io_v2(&mut lines, io);
    }
    for page in &limits.hugepage_limits {
        let size = page_size(&page.page_size)?;
        lines.push("hugetlb", format!("hugetlb.{size}.max"), page.limit);
        lines.push_optional("hugetlb", format!("hugetlb.{size}.rsvd.max"), page.limit);
    }
    rdma(&mut lines, limits)?;
    for (file, value) in &limits.unified {
        let safe = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if !file.contains('.') || !file.chars().all(safe) || file.starts_with("cgroup.") {
            return Err(format!("unified resource {file:?} is not a file of a controller"));
        }
        lines.push("", file.clone(), value);
    }
    Ok(lines.0)
}

fn memory_v2(lines: &mut Lines, memory: &MemoryLimits) -> Result<(), String> {
    // What the kernel calls swap is swap alone; the specification counts memory and swap together.
    match (memory.swap, memory.limit) {
        // No limit of memory without a word about swap is none of both.
        (Some(-1), _) | (None, Some(-1)) => lines.push_optional("memory", "memory.swap.max", "max"),
        (Some(swap), Some(limit)) if swap > 0 && limit > 0 => {
            if swap < limit {
                return Err("memory+swap limit should be >= memory limit".into());
            }
            lines.push_optional("memory", "memory.swap.max", swap - limit);
        }
        (Some(swap), None | Some(..=0)) if swap > 0 => return Err("swap limit needs a memory limit".into()),
        _ => {}
    }
    if let Some(limit) = memory.limit.filter(|&limit| limit != 0) {
        lines.push("memory", "memory.max", or_max(limit));
    }
    if let Some(low) = memory.reservation.filter(|&low| low != 0) {
        lines.push("memory", "memory.low", or_max(low));
    }
    Ok(())
}

fn cpu_v2(lines: &mut Lines, cpu: &CpuLimits) {
    if let Some(idle) = cpu.idle {
        lines.push("cpu", "cpu.idle", idle);
    }
    if let Some(shares) = cpu.shares.filter(|&shares| shares != 0) {
        lines.push("cpu", "cpu.weight", weight_of_shares(shares));
    }
    let quota = cpu.quota.filter(|&quota| quota != 0);
    let period = cpu.period.filter(|&period| period != 0);
    if quota.is_some() || period.is_some() {
        let quota = quota.filter(|&quota| quota > 0).map_or_else(|| "max".into(), |quota| quota.to_string());
        let value = period.map_or_else(|| quota.clone(), |period| format!("{quota} {period}"));
        lines.push("cpu", "cpu.max", value);
    }
    if let Some(burst) = cpu.burst {
        lines.push("cpu", "cpu.max.burst", burst);
    }
    if !cpu.cpus.is_empty() {
        lines.push("cpuset", "cpuset.cpus", &cpu.cpus);
    }
    if !cpu.mems.is_empty() {
        lines.push("cpuset", "cpuset.mems", &cpu.mems);
    }
}

fn io_v2(lines: &mut Lines, io: &BlockIoLimits) {
    if let Some(weight) = io.weight.filter(|&weight| weight != 0) {
        lines.push_optional("io", "io.bfq.weight", weight);
        lines.push_optional("io", "io.weight", weight_of_blkio(weight));
    }
    for device in &io.weight_device {
        if let Some(weight) = device.weight {
            lines.push_optional("io", "io.bfq.weight", format!("{}:{} {weight}", device.major, device.minor));
        }
    }
    let limits = [
        ("rbps", &io.throttle_read_bps_device),
        ("wbps", &io.throttle_write_bps_device),
        ("riops", &io.throttle_read_iops_device),
        ("wiops", &io.throttle_write_iops_device),
    ];
    for (key, devices) in limits {
        for device in devices {
            let rate = if device.rate == 0 { "max".into() } else { device.rate.to_string() };
            lines.push("io", "io.max", format!("{}:{} {key}={rate}", device.major, device.minor));
        }
    }
}

/// The lines of cgroup v1. The order between memory and its sum with swap depends on what they were;
/// whoever writes them turns it round when the kernel refuses.
pub(super) fn plan_v1(limits: &LinuxResources) -> Result<Vec<Line>, String> {
    let mut lines = Lines::default();
    if let Some(memory) = &limits.memory {
        memory_v1(&mut lines, memory)?;
    }
    if let Some(cpu) = &limits.cpu {
        cpu_v1(&mut lines, cpu)?;
    }
    if let Some(pids) = &limits.pids {
        lines.push("pids", "pids.max", if pids.limit > 0 { pids.limit.to_string() } else { "max".into() });
    }
    if let Some(io) = &limits.block_io {
        io_v1(&mut lines, io);
    }
    for page in &limits.hugepage_limits {
        let size = page_size(&page.page_size)?;
        lines.push("hugetlb", format!("hugetlb.{size}.limit_in_bytes"), page.limit);
        lines.push_optional("hugetlb", format!("hugetlb.{size}.rsvd.limit_in_bytes"), page.limit);
    }
    if let Some(network) = &limits.network {
        if let Some(class) = network.class_id.filter(|&class| class != 0) {
            lines.push("net_cls", "net_cls.classid", class);
        }
        for priority in &network.priorities {
            lines.push("net_prio", "net_prio.ifpriomap", format!("{} {}", priority.name, priority.priority));
        }
    }
    rdma(&mut lines, limits)?;
    if !limits.unified.is_empty() {
        return Err("invalid configuration: unified resources need cgroup v2".into());
    }
    Ok(lines.0)
}

fn memory_v1(lines: &mut Lines, memory: &MemoryLimits) -> Result<(), String> {
    if let (Some(limit @ 1..), Some(swap @ 1..)) = (memory.limit, memory.swap)
        && swap < limit
    {
        return Err("memory+swap limit should be >= memory limit".into());
    }
    if let Some(limit) = memory.limit.filter(|&limit| limit != 0) {
        lines.push("memory", "memory.limit_in_bytes", limit);
    }
    match memory.swap.filter(|&swap| swap != 0) {
        Some(-1) => lines.push_optional("memory", "memory.memsw.limit_in_bytes", -1),
        None if memory.limit == Some(-1) => lines.push_optional("memory", "memory.memsw.limit_in_bytes", -1),
        Some(swap) => lines.push("memory", "memory.memsw.limit_in_bytes", swap),
        None => {}
    }
    if let Some(soft) = memory.reservation.filter(|&soft| soft != 0) {
        lines.push("memory", "memory.soft_limit_in_bytes", soft);
    }
    if let Some(tcp) = memory.kernel_tcp.filter(|&tcp| tcp != 0) {
        lines.push("memory", "memory.kmem.tcp.limit_in_bytes", tcp);
    }
    match memory.swappiness {
        Some(swappiness @ 0..=100) => lines.push("memory", "memory.swappiness", swappiness),
        Some(other) => {
            return Err(format!("invalid memory swappiness value: {other} (valid range is 0-100)"));
        }
        None => {}
    }
    if memory.disable_oom_killer == Some(true) {
        lines.push("memory", "memory.oom_control", 1);
    }
    Ok(())
}

fn cpu_v1(lines: &mut Lines, cpu: &CpuLimits) -> Result<(), String> {
    if let Some(shares) = cpu.shares.filter(|&shares| shares != 0) {
        // The kernel would take the nearest that it allows, and say nothing.
        if shares < SHARES_MIN {
            return Err(format!("the minimum allowed cpu-shares is {SHARES_MIN}"));
        }
        if shares > SHARES_MAX {
            return Err(format!("the maximum allowed cpu-shares is {SHARES_MAX}"));
        }
        lines.push("cpu", "cpu.shares", shares);
    }
    if let Some(idle) = cpu.idle {
        lines.push("cpu", "cpu.idle", idle);
    }
    if let Some(period) = cpu.period.filter(|&period| period != 0) {
        lines.push("cpu", "cpu.cfs_period_us", period);
    }
    if let Some(quota) = cpu.quota.filter(|&quota| quota != 0) {
        lines.push("cpu", "cpu.cfs_quota_us", quota.max(-1));
    }
    if let Some(burst) = cpu.burst {
        lines.push("cpu", "cpu.cfs_burst_us", burst);
    }
    if let Some(period) = cpu.realtime_period.filter(|&period| period != 0) {
        lines.push("cpu", "cpu.rt_period_us", period);
    }
    if let Some(runtime) = cpu.realtime_runtime.filter(|&runtime| runtime != 0) {
        lines.push("cpu", "cpu.rt_runtime_us", runtime);
    }
    if !cpu.cpus.is_empty() {
        lines.push("cpuset", "cpuset.cpus", &cpu.cpus);
    }
    if !cpu.mems.is_empty() {
        lines.push("cpuset", "cpuset.mems", &cpu.mems);
    }
    Ok(())
}

fn io_v1(lines: &mut Lines, io: &BlockIoLimits) {
    if let Some(weight) = io.weight.filter(|&weight| weight != 0) {
        lines.push_optional("blkio", "blkio.bfq.weight", weight);
        lines.push_optional("blkio", "blkio.weight", weight);
    }
    if let Some(weight) = io.leaf_weight.filter(|&weight| weight != 0) {
        lines.push_optional("blkio", "blkio.leaf_weight", weight);
    }
    for device in &io.weight_device {
        let name = format!("{}:{}", device.major, device.minor);
        if let Some(weight) = device.weight {
            lines.push_optional("blkio", "blkio.bfq.weight_device", format!("{name} {weight}"));
            lines.push_optional("blkio", "blkio.weight_device", format!("{name} {weight}"));
        }
        if let Some(weight) = device.leaf_weight {
            lines.push_optional("blkio", "blkio.leaf_weight_device", format!("{name} {weight}"));
        }
    }
    let limits = [
        ("blkio.throttle.read_bps_device", &io.throttle_read_bps_device),
        ("blkio.throttle.write_bps_device", &io.throttle_write_bps_device),
        ("blkio.throttle.read_iops_device", &io.throttle_read_iops_device),
        ("blkio.throttle.write_iops_device", &io.throttle_write_iops_device),
    ];
    for (file, devices) in limits {
        for device in devices {
            lines.push("blkio", file, format!("{}:{} {}", device.major, device.minor, device.rate));
        }
    }
}

fn rdma(lines: &mut Lines, limits: &LinuxResources) -> Result<(), String> {
    for (device, limit) in &limits.rdma {
        if device.is_empty() || device.contains(char::is_whitespace) {
            return Err(format!("rdma device {device:?} is not a name"));
        }
        let mut value = device.clone();
        for (key, most) in [("hca_handle", limit.hca_handles), ("hca_object", limit.hca_objects)] {
            if let Some(most) = most {
                value.push_str(&format!(" {key}={most}"));
            }
        }
        lines.push("rdma", "rdma.max", value);
    }
    Ok(())
}

/// A size as in the names of the kernel's files.
fn page_size(text: &str) -> Result<&str, String> {
    match ["KB", "MB", "GB"].iter().find_map(|unit| text.strip_suffix(unit)) {
        Some(number) if !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()) => Ok(text),
        _ => Err(format!("huge page size {text:?} is not known")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{HugepageLimit, PidLimits, ThrottleDevice};

    fn text(lines: Vec<Line>) -> String {
        lines.iter().map(|line| format!("{}={}\n", line.file, line.value)).collect()
    }

    fn limits() -> LinuxResources {
        LinuxResources {
            memory: Some(MemoryLimits {
                limit: Some(100),
                swap: Some(150),
                reservation: Some(50),
                ..MemoryLimits::default()
            }),
            cpu: Some(CpuLimits {
                shares: Some(1024),
                quota: Some(50_000),
                period: Some(100_000),
                cpus: "0-1".into(),
                ..CpuLimits::default()
            }),
            pids: Some(PidLimits { limit: 64 }),
            block_io: Some(BlockIoLimits {
                weight: Some(500),
                throttle_read_bps_device: vec![ThrottleDevice { major: 8, minor: 0, rate: 1000 }],
                ..BlockIoLimits::default()
            }),
            hugepage_limits: vec![HugepageLimit { page_size: "2MB".into(), limit: 4096 }],
            ..LinuxResources::default()
        }
    }

    #[test]
    fn limits_in_v2() {
        assert_eq!(
            text(plan_v2(&limits()).unwrap()),
            "memory.swap.max=50\nmemory.max=100\nmemory.low=50\ncpu.weight=39\ncpu.max=50000 100000\n\
             cpuset.cpus=0-1\npids.max=64\nio.bfq.weight=500\nio.weight=4950\nio.max=8:0 rbps=1000\n\
             hugetlb.2MB.max=4096\nhugetlb.2MB.rsvd.max=4096\n"
        );
    }

    #[test]
    fn limits_in_v1() {
        assert_eq!(
            text(plan_v1(&limits()).unwrap()),
            "memory.limit_in_bytes=100\nmemory.memsw.limit_in_bytes=150\nmemory.soft_limit_in_bytes=50\n\
             cpu.shares=1024\ncpu.cfs_period_us=100000\ncpu.cfs_quota_us=50000\ncpuset.cpus=0-1\npids.max=64\n\
             blkio.bfq.weight=500\nblkio.weight=500\nblkio.throttle.read_bps_device=8:0 1000\n\
             hugetlb.2MB.limit_in_bytes=4096\nhugetlb.2MB.rsvd.limit_in_bytes=4096\n"
        );
    }

    #[test]
    fn unlimited_is_said_in_each_version_s_word() {
        let memory = MemoryLimits { limit: Some(-1), swap: Some(-1), ..MemoryLimits::default() };
        let limits = LinuxResources {
            memory: Some(memory),
            cpu: Some(CpuLimits { quota: Some(-1), ..CpuLimits::default() }),
            pids: Some(PidLimits { limit: -1 }),
            ..LinuxResources::default()
        };
        assert_eq!(
            text(plan_v2(&limits).unwrap()),
            "memory.swap.max=max\nmemory.max=max\ncpu.max=max\npids.max=max\n"
        );
        assert_eq!(
            text(plan_v1(&limits).unwrap()),
            "memory.limit_in_bytes=-1\nmemory.memsw.limit_in_bytes=-1\ncpu.cfs_quota_us=-1\npids.max=max\n"
        );
    }

    #[test]
    fn files_and_names_cannot_climb() {
        let unified = |file: &str| LinuxResources {
            unified: [(file.to_owned(), "1".to_owned())].into(),
            ..LinuxResources::default()
        };
        assert!(plan_v2(&unified("memory.high")).is_ok());
        for file in ["../memory.high", "cgroup.procs", "a/b.c", "plain"] {
            assert!(plan_v2(&unified(file)).is_err(), "{file}");
        }
        for size in ["2MB/../x", "MB", "2", "x2MB"] {
            assert!(page_size(size).is_err(), "{size}");
        }
        assert_eq!(page_size("1GB"), Ok("1GB"));
    }

    #[test]
    fn less_swap_than_memory_is_refused() {
        let memory = MemoryLimits { limit: Some(100), swap: Some(50), ..MemoryLimits::default() };
        let limits = LinuxResources { memory: Some(memory), ..LinuxResources::default() };
        assert!(plan_v1(&limits).is_err() && plan_v2(&limits).is_err());
    }

    #[test]
    fn weights_keep_their_ends_and_middle() {
        assert_eq!([2, 1024, 262_144].map(weight_of_shares), [1, 39, 10_000]);
        assert_eq!([10, 500, 1000].map(weight_of_blkio), [1, 4950, 10_000]);
    }
}
