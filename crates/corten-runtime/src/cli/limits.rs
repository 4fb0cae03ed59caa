//! `update`.

use std::io::Read as _;
use std::process::ExitCode;

use super::args::Args;
use super::state::{Container, Status};
use super::{CliError, Globals};
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
            cgroup.apply(&limits)?;
            Ok(ExitCode::SUCCESS)
        }
    }
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
    fn amounts_have_units() {
        assert_eq!(parse_bytes("-1"), Some(-1));
        assert_eq!(parse_bytes("512k"), Some(524_288));
        assert_eq!(parse_bytes("1GiB"), Some(1 << 30));
        assert_eq!(parse_bytes("x"), None);
        assert_eq!(parse_bytes("9999999999t"), None);
    }
}
