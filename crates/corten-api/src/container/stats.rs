use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::wire::is_default;

/// `GET /containers/{id}/stats`, one sample.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Stats {
    /// `/name`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Full id.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// When this sample was taken, RFC 3339.
    pub read: String,
    /// When the one before was taken.
    pub preread: String,
    /// Processes.
    pub pids_stats: PidsStats,
    /// Block devices.
    pub blkio_stats: BlkioStats,
    /// Windows only.
    pub num_procs: u32,
    /// Windows only.
    pub storage_stats: StorageStats,
    /// CPU now.
    pub cpu_stats: CpuStats,
    /// CPU at the sample before.
    pub precpu_stats: CpuStats,
    /// Memory.
    pub memory_stats: MemoryStats,
    /// By interface name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub networks: Option<BTreeMap<String, NetworkStats>>,
}

/// Processes and threads.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PidsStats {
    /// Now.
    #[serde(skip_serializing_if = "is_default")]
    pub current: u64,
    /// Limit; 18446744073709551615 is none.
    #[serde(skip_serializing_if = "is_default")]
    pub limit: u64,
}

/// Block I/O; `null` lists where the kernel does not count.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct BlkioStats {
    /// Bytes.
    pub io_service_bytes_recursive: Option<Vec<BlkioEntry>>,
    /// Operations.
    pub io_serviced_recursive: Option<Vec<BlkioEntry>>,
    /// Queued.
    pub io_queue_recursive: Option<Vec<BlkioEntry>>,
    /// Time in service.
    pub io_service_time_recursive: Option<Vec<BlkioEntry>>,
    /// Time waiting.
    pub io_wait_time_recursive: Option<Vec<BlkioEntry>>,
    /// Merged.
    pub io_merged_recursive: Option<Vec<BlkioEntry>>,
    /// Time.
    pub io_time_recursive: Option<Vec<BlkioEntry>>,
    /// Sectors.
    pub sectors_recursive: Option<Vec<BlkioEntry>>,
}

/// One counter of one device.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct BlkioEntry {
    /// Major number.
    pub major: u64,
    /// Minor number.
    pub minor: u64,
    /// `read`, `write`, …
    pub op: String,
    /// Counter.
    pub value: u64,
}

/// Windows only.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct StorageStats {}

/// CPU time.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CpuStats {
    /// Of the container.
    pub cpu_usage: CpuUsage,
    /// Of the machine, nanoseconds.
    #[serde(skip_serializing_if = "is_default")]
    pub system_cpu_usage: u64,
    /// CPUs online.
    #[serde(skip_serializing_if = "is_default")]
    pub online_cpus: u32,
    /// CFS throttling.
    pub throttling_data: Throttling,
}

/// CPU time of the container, nanoseconds.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CpuUsage {
    /// All.
    pub total_usage: u64,
    /// Per CPU (cgroup v1).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu_usage: Vec<u64>,
    /// In the kernel.
    pub usage_in_kernelmode: u64,
    /// In user mode.
    pub usage_in_usermode: u64,
}

/// CFS throttling.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Throttling {
    /// Periods.
    pub periods: u64,
    /// Periods with throttling.
    pub throttled_periods: u64,
    /// Nanoseconds throttled.
    pub throttled_time: u64,
}

/// Memory in bytes.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct MemoryStats {
    /// In use.
    #[serde(skip_serializing_if = "is_default")]
    pub usage: u64,
    /// Most ever in use (cgroup v1).
    #[serde(skip_serializing_if = "is_default")]
    pub max_usage: u64,
    /// The kernel's `memory.stat`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub stats: BTreeMap<String, u64>,
    /// Times the limit was hit (cgroup v1).
    #[serde(skip_serializing_if = "is_default")]
    pub failcnt: u64,
    /// Limit; the machine's memory when there is none.
    #[serde(skip_serializing_if = "is_default")]
    pub limit: u64,
}

/// Counters of an interface.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkStats {
    /// Bytes received.
    pub rx_bytes: u64,
    /// Packets received.
    pub rx_packets: u64,
    /// Receive errors.
    pub rx_errors: u64,
    /// Received and dropped.
    pub rx_dropped: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Send errors.
    pub tx_errors: u64,
    /// Dropped when sending.
    pub tx_dropped: u64,
}
