//! Limits of a container as the OCI spec writes them.

use std::io;

use corten_api::container::Resources;
use corten_runtime::spec::{
    BlockIoLimits, CpuLimits, LinuxResources, MemoryLimits, PidLimits, ThrottleDevice, WeightDevice,
};

/// Numbers of the devices that block I/O limits name by path.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct BlockDevices {
    /// Weights.
    pub weight: Vec<WeightDevice>,
    /// Bytes per second read, written; operations per second read, written.
    pub throttle: [Vec<ThrottleDevice>; 4],
}

/// Resolves the paths of block I/O limits; `number` gives major and minor of a path.
pub fn resolve_block_devices(
    limits: &Resources,
    number: impl Fn(&str) -> io::Result<(i64, i64)>,
) -> io::Result<BlockDevices> {
    let mut devices = BlockDevices::default();
    for device in limits.blkio_weight_device.iter().flatten() {
        let (major, minor) = number(&device.path)?;
        devices.weight.push(WeightDevice { major, minor, weight: Some(device.weight), leaf_weight: None });
    }
    let lists = [
        &limits.blkio_device_read_bps,
        &limits.blkio_device_write_bps,
        &limits.blkio_device_read_iops,
        &limits.blkio_device_write_iops,
    ];
    for (list, into) in lists.into_iter().zip(&mut devices.throttle) {
        for device in list.iter().flatten() {
            let (major, minor) = number(&device.path)?;
            into.push(ThrottleDevice { major, minor, rate: device.rate });
        }
    }
    Ok(devices)
}

fn positive(value: i64) -> Option<i64> {
    (value > 0).then_some(value)
}

fn unsigned(value: i64) -> Option<u64> {
    u64::try_from(value).ok().filter(|value| *value > 0)
}

/// The limits, without device rules.
pub fn resources(limits: &Resources, devices: &BlockDevices) -> LinuxResources {
    let memory = MemoryLimits {
        limit: positive(limits.memory),
        reservation: positive(limits.memory_reservation),
        // Unlimited swap is no limit at all.
        swap: positive(limits.memory_swap),
        kernel_tcp: positive(limits.kernel_memory_tcp),
        swappiness: limits.memory_swappiness.and_then(|value| u64::try_from(value).ok()),
        disable_oom_killer: limits.oom_kill_disable,
        ..MemoryLimits::default()
    };
    let mut cpu = CpuLimits {
        shares: unsigned(limits.cpu_shares),
        quota: (limits.cpu_quota != 0).then_some(limits.cpu_quota),
        period: unsigned(limits.cpu_period),
        realtime_runtime: positive(limits.cpu_realtime_runtime),
        realtime_period: unsigned(limits.cpu_realtime_period),
        cpus: limits.cpuset_cpus.clone(),
        mems: limits.cpuset_mems.clone(),
        ..CpuLimits::default()
    };
    if limits.nano_cpus > 0 {
        cpu.period = Some(100_000);
        cpu.quota = Some(limits.nano_cpus / 10_000);
    }
    let [read_bps, write_bps, read_iops, write_iops] = devices.throttle.clone();
    let block_io = BlockIoLimits {
        weight: (limits.blkio_weight > 0).then_some(limits.blkio_weight),
        weight_device: devices.weight.clone(),
        throttle_read_bps_device: read_bps,
        throttle_write_bps_device: write_bps,
        throttle_read_iops_device: read_iops,
        throttle_write_iops_device: write_iops,
        ..BlockIoLimits::default()
    };
    LinuxResources {
        memory: (memory != MemoryLimits::default()).then_some(memory),
        cpu: (cpu != CpuLimits::default()).then_some(cpu),
        block_io: (block_io != BlockIoLimits::default()).then_some(block_io),
        pids: limits.pids_limit.map(|limit| PidLimits { limit: if limit > 0 { limit } else { -1 } }),
        ..LinuxResources::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpus_become_quota_and_period() {
        let limits = Resources { nano_cpus: 1_500_000_000, ..Resources::default() };
        let cpu = resources(&limits, &BlockDevices::default()).cpu.unwrap();
        assert_eq!((cpu.quota, cpu.period), (Some(150_000), Some(100_000)));
    }

    #[test]
    fn nothing_asked_is_nothing_limited() {
        assert_eq!(resources(&Resources::default(), &BlockDevices::default()), LinuxResources::default());
        let unlimited = Resources { memory_swap: -1, pids_limit: Some(0), ..Resources::default() };
        let limits = resources(&unlimited, &BlockDevices::default());
        assert_eq!((limits.memory, limits.pids), (None, Some(PidLimits { limit: -1 })));
    }
}
