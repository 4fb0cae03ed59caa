use super::Mount;
use crate::wire::{List, Map, is_default, is_none_or_empty};

/// Published ports by `port/protocol`; `null` for a port that is exposed only.
pub type PortMap = std::collections::BTreeMap<String, Option<Vec<PortBinding>>>;

wire! {
    /// What of a container depends on its host.
    pub struct HostConfig {
        /// Bind mounts and volumes, `source:target[:options]`.
        pub binds: List<String>,
        /// Where the client wrote the id.
        #[serde(rename = "ContainerIDFile")]
        pub container_id_file: String,
        /// Log driver.
        pub log_config: LogConfig,
        /// `bridge`, `host`, `none`, `container:<id>` or a network.
        pub network_mode: String,
        /// Ports to publish.
        pub port_bindings: Option<PortMap>,
        /// What happens after an exit.
        pub restart_policy: RestartPolicy,
        /// Remove the container when it exits.
        pub auto_remove: bool,
        /// Driver of volumes named in [`Self::binds`].
        pub volume_driver: String,
        /// Containers whose mounts are taken over, `name[:ro|rw]`.
        pub volumes_from: List<String>,
        /// Height and width of the terminal at the start.
        pub console_size: [u16; 2],
        /// Annotations for the runtime.
        #[serde(skip_serializing_if = "is_none_or_empty")]
        pub annotations: Map<String>,
        /// Capabilities added.
        pub cap_add: List<String> as list,
        /// Capabilities dropped.
        pub cap_drop: List<String> as list,
        /// `host` or `private`.
        pub cgroupns_mode: String,
        /// Name servers.
        pub dns: List<String>,
        /// Resolver options.
        pub dns_options: List<String>,
        /// Search domains.
        pub dns_search: List<String>,
        /// Lines of `/etc/hosts`, `name:address`.
        pub extra_hosts: List<String>,
        /// Additional groups.
        pub group_add: List<String>,
        /// `private`, `shareable`, `host`, `none` or `container:<id>`.
        pub ipc_mode: String,
        /// Cgroup to join (`container:<id>`).
        pub cgroup: String,
        /// Legacy links.
        pub links: List<String>,
        /// -1000 … 1000.
        pub oom_score_adj: i64,
        /// ``, `host` or `container:<id>`.
        pub pid_mode: String,
        /// All capabilities, all devices, nothing masked.
        pub privileged: bool,
        /// Publish every exposed port at a free one.
        pub publish_all_ports: bool,
        /// Read-only root.
        pub readonly_rootfs: bool,
        /// seccomp, apparmor, label, no-new-privileges, systempaths.
        pub security_opt: List<String>,
        /// Options of the storage driver.
        #[serde(skip_serializing_if = "is_none_or_empty")]
        pub storage_opt: Map<String>,
        /// tmpfs mounts: target to options.
        #[serde(skip_serializing_if = "is_none_or_empty")]
        pub tmpfs: Map<String>,
        /// `` or `host`.
        #[serde(rename = "UTSMode")]
        pub uts_mode: String,
        /// `` or `host`.
        pub userns_mode: String,
        /// Bytes of `/dev/shm`; 0 on input means the default.
        pub shm_size: i64,
        /// Namespaced sysctls.
        #[serde(skip_serializing_if = "is_none_or_empty")]
        pub sysctls: Map<String>,
        /// OCI runtime; empty on input means the default.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub runtime: String,
        /// Windows only.
        pub isolation: String,
        /// Limits; their members stand at this level.
        pub resources: Resources as flat,
        /// Mounts in the long form.
        #[serde(skip_serializing_if = "is_none_or_empty")]
        pub mounts: List<Mount>,
        /// Paths hidden from the container; `null` on input means the default list.
        pub masked_paths: List<String>,
        /// Paths that are read-only in the container; `null` on input means the default list.
        pub readonly_paths: List<String>,
        /// Run an init that reaps; `None` means the daemon's default.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub init: Option<bool>,
    }

    /// Limits of a container (cgroup, devices, rlimits).
    pub struct Resources {
        /// Relative weight, 0 none.
        pub cpu_shares: i64,
        /// Bytes, 0 none.
        pub memory: i64,
        /// CPUs in 1e-9.
        pub nano_cpus: i64,
        /// Parent of the container's cgroup.
        pub cgroup_parent: String,
        /// 10 … 1000, 0 none.
        pub blkio_weight: u16,
        /// Weight per device.
        pub blkio_weight_device: List<WeightDevice>,
        /// Bytes per second read.
        pub blkio_device_read_bps: List<ThrottleDevice>,
        /// Bytes per second written.
        pub blkio_device_write_bps: List<ThrottleDevice>,
        /// Reads per second.
        #[serde(rename = "BlkioDeviceReadIOps")]
        pub blkio_device_read_iops: List<ThrottleDevice>,
        /// Writes per second.
        #[serde(rename = "BlkioDeviceWriteIOps")]
        pub blkio_device_write_iops: List<ThrottleDevice>,
        /// CFS period in microseconds.
        pub cpu_period: i64,
        /// CFS quota in microseconds per period.
        pub cpu_quota: i64,
        /// Real-time period in microseconds.
        pub cpu_realtime_period: i64,
        /// Real-time runtime in microseconds.
        pub cpu_realtime_runtime: i64,
        /// CPUs by list, `0-2,4`.
        pub cpuset_cpus: String,
        /// Memory nodes by list.
        pub cpuset_mems: String,
        /// Devices of the host.
        pub devices: List<DeviceMapping>,
        /// Device rules, `c 42:* rmw`.
        pub device_cgroup_rules: List<String>,
        /// Devices by capability (GPU, CDI).
        pub device_requests: List<DeviceRequest>,
        /// Obsolete, refused by the kernel.
        #[serde(skip_serializing_if = "is_default")]
        pub kernel_memory: i64,
        /// Bytes of kernel TCP buffers.
        #[serde(rename = "KernelMemoryTCP", skip_serializing_if = "is_default")]
        pub kernel_memory_tcp: i64,
        /// Soft memory limit in bytes.
        pub memory_reservation: i64,
        /// Memory and swap in bytes, -1 unlimited swap.
        pub memory_swap: i64,
        /// 0 … 100.
        pub memory_swappiness: Option<i64>,
        /// Never kill when memory runs out.
        pub oom_kill_disable: Option<bool>,
        /// Processes and threads; 0 or -1 unlimited.
        pub pids_limit: Option<i64>,
        /// rlimits.
        pub ulimits: List<Ulimit>,
        /// Windows only.
        pub cpu_count: i64,
        /// Windows only.
        pub cpu_percent: i64,
        /// Windows only.
        #[serde(rename = "IOMaximumIOps")]
        pub io_maximum_iops: u64,
        /// Windows only.
        #[serde(rename = "IOMaximumBandwidth")]
        pub io_maximum_bandwidth: u64,
    }

    /// Log driver and its options.
    pub struct LogConfig {
        /// `json-file`, `none`, …; empty means the daemon's default.
        pub r#type: String,
        /// Options.
        pub config: Map<String>,
    }

    /// Where a port is published.
    pub struct PortBinding {
        /// Address of the host; empty means all.
        #[serde(rename = "HostIp")]
        pub host_ip: String,
        /// Port of the host, a range `a-b`, or empty for any free one.
        pub host_port: String,
    }

    /// What happens after an exit.
    pub struct RestartPolicy {
        /// ``, `no`, `always`, `unless-stopped`, `on-failure`.
        pub name: String,
        /// Of `on-failure`; 0 is without end.
        pub maximum_retry_count: i64,
    }

    /// A device of the host in the container.
    pub struct DeviceMapping {
        /// Path on the host.
        pub path_on_host: String,
        /// Path in the container.
        pub path_in_container: String,
        /// Of `r`, `w`, `m`.
        pub cgroup_permissions: String,
    }

    /// A request to a device driver.
    pub struct DeviceRequest {
        /// Driver name.
        pub driver: String,
        /// How many, -1 all.
        pub count: i64,
        /// Which.
        #[serde(rename = "DeviceIDs")]
        pub device_ids: List<String>,
        /// A list of alternatives, each a list of capabilities.
        pub capabilities: List<Vec<String>>,
        /// Options of the driver.
        pub options: Map<String>,
    }

    /// An rlimit.
    pub struct Ulimit {
        /// `nofile`, `core`, …
        pub name: String,
        /// Hard limit.
        pub hard: i64,
        /// Soft limit.
        pub soft: i64,
    }

    /// A weight for one device.
    pub struct WeightDevice {
        /// Path of the device.
        pub path: String,
        /// 10 … 1000.
        pub weight: u16,
    }

    /// A rate for one device.
    pub struct ThrottleDevice {
        /// Path of the device.
        pub path: String,
        /// Bytes or operations per second.
        pub rate: u64,
    }
}
