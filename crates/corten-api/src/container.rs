//! Containers: create requests, inspect, list, stats and the smaller answers.

mod config;
mod host_config;
mod inspect;
mod mount;
mod report;
mod stats;

pub use config::{Config, CreateRequest, CreateResponse, HealthConfig, UpdateConfig, UpdateResponse};
pub use host_config::{
    DeviceMapping, DeviceRequest, HostConfig, LogConfig, PortBinding, PortMap, Resources, RestartPolicy,
    ThrottleDevice, Ulimit, WeightDevice,
};
pub use inspect::{
    Address, GraphDriver, Health, HealthLog, Inspect, MountPoint, NetworkSettings, State, Summary,
    SummaryHostConfig, SummaryNetworkSettings, SummaryPort,
};
pub use mount::{BindOptions, ImageOptions, Mount, TmpfsOptions, VolumeDriverConfig, VolumeOptions};
pub use report::{Change, PathStat, PruneReport, TopResponse, WaitError, WaitResponse};
pub use stats::{
    BlkioEntry, BlkioStats, CpuStats, CpuUsage, MemoryStats, NetworkStats, PidsStats, Stats, StorageStats,
    Throttling,
};
