//! `events`: a container's figures, and that its memory ran out, one JSON object a line.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::Serialize;

use super::args::Args;
use super::state::{Container, Status};
use super::{CliError, Globals};
use crate::cgroup::{BlkioEntry, CgroupStats};

#[derive(Serialize)]
struct Event<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Figures>,
}

#[derive(Serialize)]
struct Figures {
    cpu: Cpu,
    memory: Memory,
    pids: Pids,
    blkio: Blkio,
    hugetlb: BTreeMap<String, u64>,
}

#[derive(Serialize)]
struct Cpu {
    usage: CpuUsage,
    throttling: Throttling,
}

#[derive(Serialize)]
struct CpuUsage {
    total: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    percpu: Vec<u64>,
    kernel: u64,
    user: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Throttling {
    periods: u64,
    throttled_periods: u64,
    throttled_time: u64,
}

#[derive(Serialize)]
struct Memory {
    cache: u64,
    usage: MemoryUsage,
    raw: BTreeMap<String, u64>,
}

#[derive(Serialize)]
struct MemoryUsage {
    limit: u64,
    usage: u64,
    max: u64,
    failcnt: u64,
}

#[derive(Serialize)]
struct Pids {
    current: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<u64>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Blkio {
    io_service_bytes_recursive: Vec<Entry>,
    io_serviced_recursive: Vec<Entry>,
}

#[derive(Serialize)]
struct Entry {
    major: u64,
    minor: u64,
    op: String,
    value: u64,
}

fn figures(stats: CgroupStats) -> Figures {
    let entries = |list: Vec<BlkioEntry>| {
        let entry = |e: BlkioEntry| Entry { major: e.major, minor: e.minor, op: e.operation, value: e.value };
        list.into_iter().map(entry).collect()
    };
    let cached = |name| stats.memory.details.get(name).copied();
    Figures {
        cpu: Cpu {
            usage: CpuUsage {
                total: stats.cpu.total,
                percpu: stats.cpu.per_cpu,
                kernel: stats.cpu.kernel,
                user: stats.cpu.user,
            },
            throttling: Throttling {
                periods: stats.cpu.throttling.periods,
                throttled_periods: stats.cpu.throttling.throttled_periods,
                throttled_time: stats.cpu.throttling.throttled_time,
            },
        },
        memory: Memory {
            cache: cached("cache").or_else(|| cached("file")).unwrap_or(0),
            usage: MemoryUsage {
                limit: stats.memory.limit.unwrap_or(u64::MAX),
                usage: stats.memory.usage,
                max: stats.memory.max_usage.unwrap_or(0),
                failcnt: stats.memory.failures.unwrap_or(0),
            },
            raw: stats.memory.details,
        },
        pids: Pids { current: stats.pids.current, limit: stats.pids.limit },
        blkio: Blkio {
            io_service_bytes_recursive: entries(stats.blkio.service_bytes),
            io_serviced_recursive: entries(stats.blkio.serviced),
        },
        hugetlb: BTreeMap::new(),
    }
}

/// `events [--interval TIME] [--stats] ID`
pub(super) fn events(globals: &Globals, mut args: Args) -> Result<ExitCode, CliError> {
    let (mut interval, mut once) = (Duration::from_secs(5), false);
    while let Some(flag) = args.flag()? {
        match flag.as_str() {
            "--interval" => {
                let text = args.value(&flag)?;
                interval = parse_duration(&text)
                    .ok_or_else(|| CliError::Usage(format!("invalid value {text:?} for flag {flag}")))?;
            }
            "--stats" => once = args.switch(),
            other => return Err(args.unknown(other)),
        }
    }
    let id = args.id()?;
    args.end()?;
    if interval.is_zero() {
        return Err(CliError::Usage("duration interval must be greater than 0".into()));
    }
    let container = Container::load(globals, &id)?;
    let (Some(process), Some(cgroup)) = (container.process(), container.cgroup()?) else {
        return Err(CliError::State(format!("container with id {id} is not running")));
    };
    if once {
        return tell("stats", &id, Some(figures(cgroup.stats()?))).map(|()| ExitCode::SUCCESS);
    }
    let memory = cgroup.oom_events()?;
    let mut kills = cgroup.oom_kills()?;
    let mut next = Instant::now() + interval;
    loop {
        let left = next.saturating_duration_since(Instant::now());
        let timeout = Timespec {
            tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        let mut fds =
            [PollFd::new(&process, PollFlags::IN), PollFd::new(&memory, PollFlags::IN | PollFlags::PRI)];
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(CliError::file("wait for events")(e.into())),
        }
        let (ended, pressed) = (!fds[0].revents().is_empty(), !fds[1].revents().is_empty());
        if pressed {
            let _ = rustix::io::read(&memory, &mut [0; 4096]);
        }
        let now = cgroup.oom_kills()?;
        for _ in kills..now {
            tell("oom", &id, None)?;
        }
        kills = kills.max(now);
        if ended || container.status() == Status::Stopped {
            return Ok(ExitCode::SUCCESS);
        }
        if Instant::now() >= next {
            tell("stats", &id, Some(figures(cgroup.stats()?)))?;
            next = Instant::now() + interval;
        }
    }
}

fn tell(kind: &'static str, id: &str, data: Option<Figures>) -> Result<(), CliError> {
    let line = serde_json::to_string(&Event { kind, id, data })
        .map_err(|source| CliError::Document { what: "event".into(), source })?;
    writeln!(io::stdout(), "{line}").map_err(CliError::file("standard output"))
}

/// Reads a time as Go writes it: `300ms`, `5s`, `1m30s`, `2h`.
fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut sum = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        sum += number
            * match &rest[..unit] {
                "ns" => 1e-9,
                "us" | "µs" => 1e-6,
                "ms" => 1e-3,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                _ => return None,
            };
        rest = &rest[unit..];
    }
    Duration::try_from_secs_f64(sum).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_go_writes_them() {
        assert_eq!(parse_duration("100ms"), Some(Duration::from_millis(100)));
        assert_eq!(parse_duration("1m30s"), Some(Duration::from_secs(90)));
        assert_eq!(parse_duration("1.5h"), Some(Duration::from_secs(5400)));
        for text in ["5", "s", "1x", "-1s", "1s2"] {
            assert_eq!(parse_duration(text), None, "{text:?}");
        }
    }

    #[test]
    fn an_event_has_its_type_first() {
        let event = Event { kind: "oom", id: "a", data: None };
        assert_eq!(serde_json::to_string(&event).unwrap(), r#"{"type":"oom","id":"a"}"#);
    }
}
