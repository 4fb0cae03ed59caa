//! `update`.

use std::io::Read as _;
use std::process::ExitCode;

use super::args::Args;
use super::state::{Container, Status};
use super::{CliError, Globals};
use crate::cgroup::is_unified;
use crate::spec::{BlockIoLimits, CpuLimits, LinuxResources, MemoryLimits, PidLimits};

/// `update [flags] ID`
pub(super) fn update(globals: &Globals, mut args: Args) -> Result<ExitCode, CliError> {
    let mut limits = LinuxResources::default();
    while let Some(flag) = args.flag()? {
        if matches!(flag.as_str(), "-r" | "--resources") {
            limits = read_limits(&args.value(&flag)?)?;
        } else {
            take(&flag, &mut args, &mut limits)?;
        }
    }
    let container = Container::load(globals, &args.id()?)?;
    args.end()?;
    match (container.status(), container.cgroup()?) {
        (Status::Stopped, _) | (_, None) => Err(CliError::State("container not running".into())),
        (_, Some(cgroup)) => {
            let mut spec = container.spec()?;
            let now = spec.linux.get_or_insert_default().resources.get_or_insert_default();
            complete(&mut limits, now);
            if let Some(scope) = container.record.scope() {
                scope.update(&limits, is_unified())?;
            }
            cgroup.apply(&limits)?;
            remember(now, limits);
            container.save_spec(&spec)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Adds what the kernel or systemd wants to know together with a limit that changes: cgroup v2 has a quota and its
/// period in one file, and counts swap without memory.
fn complete(limits: &mut LinuxResources, now: &LinuxResources) {
    if let (Some(cpu), Some(now)) = (&mut limits.cpu, &now.cpu)
        && (cpu.quota.is_some() || cpu.period.is_some())
    {
        cpu.quota = cpu.quota.or(now.quota);
        cpu.period = cpu.period.or(now.period);
    }
    if let (Some(memory), Some(now)) = (&mut limits.memory, &now.memory)
        && memory.limit.is_none()
        && memory.swap.is_some_and(|swap| swap > 0)
    {
        memory.limit = now.limit;
    }
}

/// Takes changed limits over into those that are recorded.
fn remember(now: &mut LinuxResources, changed: LinuxResources) {
    fn take<T>(now: &mut Option<T>, changed: Option<T>) {
        if changed.is_some() {
            *now = changed;
        }
    }
    if let Some(changed) = changed.memory {
        let now = now.memory.get_or_insert_default();
        take(&mut now.limit, changed.limit);
        take(&mut now.reservation, changed.reservation);
        take(&mut now.swap, changed.swap);
    }
    if let Some(changed) = changed.cpu {
        let now = now.cpu.get_or_insert_default();
        take(&mut now.shares, changed.shares);
        take(&mut now.quota, changed.quota);
        take(&mut now.period, changed.period);
        take(&mut now.burst, changed.burst);
        take(&mut now.idle, changed.idle);
        take(&mut now.realtime_period, changed.realtime_period);
        take(&mut now.realtime_runtime, changed.realtime_runtime);
        for (now, changed) in [(&mut now.cpus, changed.cpus), (&mut now.mems, changed.mems)] {
            if !changed.is_empty() {
                *now = changed;
            }
        }
    }
    take(&mut now.pids, changed.pids);
    take(&mut now.block_io, changed.block_io);
    now.unified.extend(changed.unified);
}

fn take(flag: &str, args: &mut Args, limits: &mut LinuxResources) -> Result<(), CliError> {
    let memory = |limits: &mut LinuxResources, set: fn(&mut MemoryLimits, i64), value: i64| {
        set(limits.memory.get_or_insert_with(MemoryLimits::default), value);
    };
    match flag {
        "--memory" => memory(limits, |memory, value| memory.limit = Some(value), bytes(args, flag)?),
        "--memory-reservation" => {
            memory(limits, |memory, value| memory.reservation = Some(value), bytes(args, flag)?);
        }
        "--memory-swap" => memory(limits, |memory, value| memory.swap = Some(value), bytes(args, flag)?),
        "--pids-limit" => limits.pids = Some(PidLimits { limit: args.number(flag)? }),
        "--blkio-weight" => {
            limits.block_io.get_or_insert_with(BlockIoLimits::default).weight = Some(args.number(flag)?);
        }
        _ => {
            let cpu = limits.cpu.get_or_insert_with(CpuLimits::default);
            match flag {
                "--cpu-period" => cpu.period = Some(args.number(flag)?),
                "--cpu-quota" => cpu.quota = Some(args.number(flag)?),
                "--cpu-burst" => cpu.burst = Some(args.number(flag)?),
                "--cpu-share" => cpu.shares = Some(args.number(flag)?),
                "--cpu-rt-period" => cpu.realtime_period = Some(args.number(flag)?),
                "--cpu-rt-runtime" => cpu.realtime_runtime = Some(args.number(flag)?),
                "--cpu-idle" => cpu.idle = Some(args.number(flag)?),
                "--cpuset-cpus" => cpu.cpus = args.value(flag)?,
                "--cpuset-mems" => cpu.mems = args.value(flag)?,
                other => return Err(args.unknown(other)),
            }
        }
    }
    Ok(())
}

/// Reads limits from a file, or from standard input for `-`.
fn read_limits(path: &str) -> Result<LinuxResources, CliError> {
    let mut text = Vec::new();
    let read = if path == "-" {
        std::io::stdin().read_to_end(&mut text).map(drop)
    } else {
        std::fs::read(path).map(|read| text = read)
    };
    read.map_err(CliError::file(path))?;
    serde_json::from_slice(&text).map_err(|source| CliError::Document { what: path.into(), source })
}

/// A number of bytes: `-1`, `1048576`, `512k`, `1g`.
fn bytes(args: &mut Args, flag: &str) -> Result<i64, CliError> {
    let text = args.value(flag)?;
    parse_bytes(&text).ok_or_else(|| CliError::Usage(format!("invalid value for {flag}: {text:?}")))
}

fn parse_bytes(text: &str) -> Option<i64> {
    let lower = text.to_ascii_lowercase();
    let lower = lower.strip_suffix('b').unwrap_or(&lower);
    let lower = lower.strip_suffix('i').unwrap_or(lower);
    let (number, shift) = match lower.as_bytes().last()? {
        b'k' => (&lower[..lower.len() - 1], 10),
        b'm' => (&lower[..lower.len() - 1], 20),
        b'g' => (&lower[..lower.len() - 1], 30),
        b't' => (&lower[..lower.len() - 1], 40),
        _ => (lower, 0),
    };
    number.parse::<i64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_alone_keeps_the_quota_and_swap_alone_the_limit_of_memory() {
        let now = LinuxResources {
            cpu: Some(CpuLimits { quota: Some(500), period: Some(1000), ..CpuLimits::default() }),
            memory: Some(MemoryLimits { limit: Some(64), ..MemoryLimits::default() }),
            ..LinuxResources::default()
        };
        let mut change = LinuxResources {
            cpu: Some(CpuLimits { period: Some(900), ..CpuLimits::default() }),
            memory: Some(MemoryLimits { swap: Some(96), ..MemoryLimits::default() }),
            ..LinuxResources::default()
        };
        complete(&mut change, &now);
        let cpu = change.cpu.as_ref().unwrap();
        assert_eq!((cpu.quota, cpu.period), (Some(500), Some(900)));
        assert_eq!(change.memory.as_ref().unwrap().limit, Some(64));
        let mut remembered = now.clone();
        remember(&mut remembered, change);
        assert_eq!(remembered.cpu.unwrap().period, Some(900));
        assert_eq!(remembered.memory.unwrap().swap, Some(96));
    }

    #[test]
    fn amounts_have_units() {
        assert_eq!(parse_bytes("-1"), Some(-1));
        assert_eq!(parse_bytes("512k"), Some(524_288));
        assert_eq!(parse_bytes("1GiB"), Some(1 << 30));
        assert_eq!(parse_bytes("x"), None);
        assert_eq!(parse_bytes("9999999999t"), None);
    }
}
