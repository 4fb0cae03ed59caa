//! `top`: the container's processes in the shape of `ps`, read from procfs from outside; nothing is executed.

use std::collections::HashMap;
use std::fs;

use corten_api::container::TopResponse;
use corten_runtime::cgroup::Cgroup;
use jiff::{Timestamp, tz::TimeZone};

use super::start::cgroup_path;
use super::state::{Refusal, State};
use super::validate::{Invalid, invalid};
use super::{ContainerError, Containers};

/// Clock ticks per second that procfs counts in; fixed for user space on every architecture we run on.
const TICKS: u64 = 100;
/// Bytes of a page in kibibytes.
const PAGE_KIB: u64 = 4;

impl Containers {
    /// The processes of a running container; `ps_args` as of `ps` (`-ef`, `aux`, `-o columns`).
    pub fn top(&self, container: &str, ps_args: &str) -> Result<TopResponse, ContainerError> {
        let container = self.find(container)?;
        let view = container.view();
        let id = || container.id().to_owned();
        match view.live.state {
            State::Running(_) | State::Paused(_) => {}
            State::Restarting => return Err(Refusal::Restarting { id: id() }.into()),
            _ => return Err(Refusal::NotRunning { id: id() }.into()),
        }
        let columns = columns(ps_args)?;
        // A run that has just ended takes its cgroup along before anybody is told.
        let Ok(cgroup) = Cgroup::open(&cgroup_path(&self.shared, &view.record)) else {
            return Err(Refusal::NotRunning { id: id() }.into());
        };
        let mut pids = cgroup.pids()?;
        pids.sort_unstable();
        let machine = Machine::read();
        let rows = pids.into_iter().filter_map(Process::read);
        let rows =
            rows.map(|process| columns.iter().map(|column| column.kind.show(&process, &machine)).collect());
        Ok(TopResponse {
            processes: rows.collect(),
            titles: columns.iter().map(|column| column.title.clone()).collect(),
        })
    }
}

/// A column of `ps`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    User,
    Uid,
    Group,
    Gid,
    Pid,
    Ppid,
    Pgid,
    Sid,
    CpuWhole,
    Cpu,
    Memory,
    Vsz,
    Rss,
    Tty,
    Stat,
    State,
    StartShort,
    Elapsed,
    Time,
    Nice,
    Threads,
    Name,
    Command,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Column {
    kind: Kind,
    title: String,
}

/// Columns by their `-o` names.
const NAMES: [(&str, Kind, &str); 35] = [
    ("user", Kind::User, "USER"),
    ("euser", Kind::User, "EUSER"),
    ("ruser", Kind::User, "RUSER"),
    ("uname", Kind::User, "USER"),
    ("uid", Kind::Uid, "UID"),
    ("euid", Kind::Uid, "EUID"),
    ("group", Kind::Group, "GROUP"),
    ("egroup", Kind::Group, "EGROUP"),
    ("gid", Kind::Gid, "GID"),
    ("egid", Kind::Gid, "EGID"),
    ("pid", Kind::Pid, "PID"),
    ("tgid", Kind::Pid, "TGID"),
    ("ppid", Kind::Ppid, "PPID"),
    ("pgid", Kind::Pgid, "PGID"),
    ("pgrp", Kind::Pgid, "PGRP"),
    ("sid", Kind::Sid, "SID"),
    ("sess", Kind::Sid, "SESS"),
    ("c", Kind::CpuWhole, "C"),
    ("pcpu", Kind::Cpu, "%CPU"),
    ("%cpu", Kind::Cpu, "%CPU"),
    ("pmem", Kind::Memory, "%MEM"),
    ("%mem", Kind::Memory, "%MEM"),
    ("vsz", Kind::Vsz, "VSZ"),
    ("rss", Kind::Rss, "RSS"),
    ("tty", Kind::Tty, "TT"),
    ("tname", Kind::Tty, "TTY"),
    ("stat", Kind::Stat, "STAT"),
    ("s", Kind::State, "S"),
    ("stime", Kind::StartShort, "STIME"),
    ("etime", Kind::Elapsed, "ELAPSED"),
    ("time", Kind::Time, "TIME"),
    ("ni", Kind::Nice, "NI"),
    ("nlwp", Kind::Threads, "NLWP"),
    ("comm", Kind::Name, "COMMAND"),
    ("cmd", Kind::Command, "CMD"),
];

/// The columns that arguments of `ps` ask for.
fn columns(ps_args: &str) -> Result<Vec<Column>, Invalid> {
    let fixed = |list: &[(Kind, &str)]| {
        list.iter().map(|&(kind, title)| Column { kind, title: title.into() }).collect::<Vec<_>>()
    };
    let mut chosen = Vec::new();
    let mut words = ps_args.split_whitespace();
    let mut full = ps_args.trim().is_empty();
    let mut user_oriented = false;
    while let Some(word) = words.next() {
        let letters = word.strip_prefix('-').unwrap_or(word);
        let (flags, list) = match letters.find('o') {
            Some(at) => (&letters[..at], Some(&letters[at + 1..])),
            None => (letters, None),
        };
        for flag in flags.chars() {
            match flag {
                'f' | 'F' => full = true,
                'u' => user_oriented = true,
                'e' | 'a' | 'A' | 'x' | 'w' | 'g' => {}
                _ => return invalid(format!("ps: unsupported option {word:?}")),
            }
        }
        match list {
            None => {}
            Some("") => match words.next() {
                Some(list) => chosen.extend(named(list)?),
                None => return invalid("ps: -o needs a list of columns"),
            },
            Some(list) => chosen.extend(named(list)?),
        }
    }
    if !chosen.is_empty() {
        if !chosen.iter().any(|column| column.kind == Kind::Pid) {
            // Docker finds the container's processes by this column.
            return invalid("Couldn't find PID field in ps output");
        }
        return Ok(chosen);
    }
    Ok(match () {
        () if user_oriented => fixed(&[
            (Kind::User, "USER"),
            (Kind::Pid, "PID"),
            (Kind::Cpu, "%CPU"),
            (Kind::Memory, "%MEM"),
            (Kind::Vsz, "VSZ"),
            (Kind::Rss, "RSS"),
            (Kind::Tty, "TTY"),
            (Kind::Stat, "STAT"),
            (Kind::StartShort, "START"),
            (Kind::Time, "TIME"),
            (Kind::Command, "COMMAND"),
        ]),
        () if full => fixed(&[
            (Kind::User, "UID"),
            (Kind::Pid, "PID"),
            (Kind::Ppid, "PPID"),
            (Kind::CpuWhole, "C"),
            (Kind::StartShort, "STIME"),
            (Kind::Tty, "TTY"),
            (Kind::Time, "TIME"),
            (Kind::Command, "CMD"),
        ]),
        () => fixed(&[(Kind::Pid, "PID"), (Kind::Tty, "TTY"), (Kind::Time, "TIME"), (Kind::Name, "CMD")]),
    })
}

/// `pid,comm` or `pid,args=WHAT`.
fn named(list: &str) -> Result<Vec<Column>, Invalid> {
    let mut columns = Vec::new();
    for word in list.split(',').filter(|word| !word.is_empty()) {
        let (name, title) = match word.split_once('=') {
            Some((name, title)) => (name, Some(title)),
            None => (word, None),
        };
        let name = match name {
            "args" | "command" => "cmd",
            "ucmd" | "ucomm" => "comm",
            "state" => "s",
            "start_time" | "start" | "lstart" | "bsdstart" => "stime",
            "cputime" => "time",
            "nice" => "ni",
            "thcount" => "nlwp",
            "vsize" => "vsz",
            "tt" => "tty",
            name => name,
        };
        let Some((_, kind, default)) = NAMES.iter().find(|(known, _, _)| *known == name) else {
            return invalid(format!("ps: unknown column {word:?}"));
        };
        let default = match word {
            "args" | "command" => "COMMAND",
            _ => default,
        };
        columns.push(Column { kind: *kind, title: title.unwrap_or(default).to_owned() });
    }
    Ok(columns)
}

/// What of the machine is needed to show a process.
struct Machine {
    users: HashMap<u32, String>,
    groups: HashMap<u32, String>,
    booted: i64,
    uptime: f64,
    memory_kib: u64,
    now: Timestamp,
    zone: TimeZone,
}

impl Machine {
    fn read() -> Self {
        let names = |path: &str| {
            let text = fs::read_to_string(path).unwrap_or_default();
            let entry = |line: &str| {
                let mut fields = line.split(':');
                let name = fields.next()?.to_owned();
                Some((fields.nth(1)?.parse().ok()?, name))
            };
            text.lines().filter_map(entry).collect::<HashMap<u32, String>>()
        };
        let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
        let booted = stat.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok());
        let uptime = fs::read_to_string("/proc/uptime").unwrap_or_default();
        let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let memory = memory
            .lines()
            .find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse().ok());
        Self {
            users: names("/etc/passwd"),
            groups: names("/etc/group"),
            booted: booted.unwrap_or(0),
            uptime: uptime.split(' ').next().and_then(|text| text.parse().ok()).unwrap_or(0.0),
            memory_kib: memory.unwrap_or(1),
            now: Timestamp::now(),
            zone: TimeZone::system(),
        }
    }
}

/// One process, from procfs.
#[derive(Debug, Default)]
struct Process {
    pid: i32,
    uid: u32,
    gid: u32,
    name: String,
    command: String,
    /// Fields of `stat` from the third on.
    fields: Vec<String>,
}

impl Process {
    fn read(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name stands in parentheses and may hold anything, parentheses too.
        let (open, close) = (stat.find('(')?, stat.rfind(')')?);
        let name = stat.get(open + 1..close)?.to_owned();
        let fields = stat.get(close + 2..)?.split_whitespace().map(str::to_owned).collect();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let id = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key));
            line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0)
        };
        let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words: Vec<_> =
            bytes.split(|b| *b == 0).filter(|word| !word.is_empty()).map(String::from_utf8_lossy).collect();
        let command = if words.is_empty() { format!("[{name}]") } else { words.join(" ") };
        Some(Self { pid, uid: id("Uid:"), gid: id("Gid:"), name, command, fields })
    }

    /// Field `number` of `proc_pid_stat(5)`, counted from 1.
    fn field(&self, number: usize) -> i64 {
        self.fields.get(number - 3).and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    fn ticks(&self) -> u64 {
        u64::try_from(self.field(14) + self.field(15)).unwrap_or(0)
    }

    fn started(&self) -> u64 {
        u64::try_from(self.field(22)).unwrap_or(0) / TICKS
    }
}

impl Kind {
    #[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
    fn show(self, process: &Process, machine: &Machine) -> String {
        let lived = (machine.uptime - process.started() as f64).max(0.0);
        let cpu = if lived > 0.0 { process.ticks() as f64 / TICKS as f64 * 100.0 / lived } else { 0.0 };
        let rss = u64::try_from(process.field(24)).unwrap_or(0) * PAGE_KIB;
        let name = |names: &HashMap<u32, String>, id: u32| short_name(names.get(&id), id);
        match self {
            Self::User => name(&machine.users, process.uid),
            Self::Uid => process.uid.to_string(),
            Self::Group => name(&machine.groups, process.gid),
            Self::Gid => process.gid.to_string(),
            Self::Pid => process.pid.to_string(),
            Self::Ppid => process.field(4).to_string(),
            Self::Pgid => process.field(5).to_string(),
            Self::Sid => process.field(6).to_string(),
            Self::CpuWhole => format!("{:.0}", cpu.floor().min(99.0)),
            Self::Cpu => format!("{cpu:.1}"),
            Self::Memory => format!("{:.1}", rss as f64 * 100.0 / machine.memory_kib as f64),
            Self::Vsz => (process.field(23) / 1024).to_string(),
            Self::Rss => rss.to_string(),
            Self::Tty => tty(process.field(7)),
            Self::State => process.fields.first().cloned().unwrap_or_default(),
            Self::Stat => stat(process),
            Self::StartShort => start(process, machine),
            Self::Elapsed => elapsed(lived as u64),
            Self::Time => clock(process.ticks() / TICKS),
            Self::Nice => process.field(19).to_string(),
            Self::Threads => process.field(20).to_string(),
            Self::Name => process.name.clone(),
            Self::Command => process.command.clone(),
        }
    }
}

fn short_name(name: Option<&String>, id: u32) -> String {
    match name {
        None => id.to_string(),
        Some(name) if name.len() > 8 => format!("{}+", &name.chars().take(7).collect::<String>()),
        Some(name) => name.clone(),
    }
}

fn tty(device: i64) -> String {
    let (major, minor) = ((device >> 8) & 0xfff, (device & 0xff) | ((device >> 12) & 0xfff00));
    match major {
        136..=143 => format!("pts/{}", (major - 136) * 256 + minor),
        4 if minor < 64 => format!("tty{minor}"),
        4 => format!("ttyS{}", minor - 64),
        _ => "?".into(),
    }
}

fn stat(process: &Process) -> String {
    let mut text = process.fields.first().cloned().unwrap_or_default();
    match process.field(19) {
        nice if nice < 0 => text.push('<'),
        nice if nice > 0 => text.push('N'),
        _ => {}
    }
    if process.field(6) == i64::from(process.pid) {
        text.push('s');
    }
    if process.field(20) > 1 {
        text.push('l');
    }
    if process.field(8) > 0 && process.field(8) == process.field(5) {
        text.push('+');
    }
    text
}

/// The hour of today, or the day.
fn start(process: &Process, machine: &Machine) -> String {
    let seconds = machine.booted + i64::try_from(process.started()).unwrap_or(0);
    let at = Timestamp::from_second(seconds).unwrap_or_default().to_zoned(machine.zone.clone());
    let now = machine.now.to_zoned(machine.zone.clone());
    let format = match () {
        () if at.date() == now.date() => "%H:%M",
        () if at.year() == now.year() => "%b%d",
        () => "%Y",
    };
    at.strftime(format).to_string()
}

fn clock(seconds: u64) -> String {
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

fn elapsed(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86400, seconds / 3600 % 24, seconds / 60 % 60);
    match () {
        () if days > 0 => format!("{days}-{hours:02}:{minutes:02}:{:02}", seconds % 60),
        () if hours > 0 => format!("{hours:02}:{minutes:02}:{:02}", seconds % 60),
        () => format!("{minutes:02}:{:02}", seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn titles(ps_args: &str) -> String {
        match columns(ps_args) {
            Ok(columns) => columns.iter().map(|c| c.title.as_str()).collect::<Vec<_>>().join(" "),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn arguments_of_ps() {
        assert_eq!(titles(""), "UID PID PPID C STIME TTY TIME CMD");
        assert_eq!(titles("-ef"), titles(""));
        assert_eq!(titles("aux"), "USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND");
        assert_eq!(titles("-o pid,comm"), "PID COMMAND");
        assert_eq!(titles("-eo pid,args=WHAT"), "PID WHAT");
        assert_eq!(titles("-o comm"), "Couldn't find PID field in ps output");
        assert!(titles("-o odd").contains("unknown column"));
        assert!(titles("--help").contains("unsupported"));
    }

    #[test]
    fn this_process_can_be_shown() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let process = Process::read(pid).unwrap();
        let machine = Machine::read();
        assert_eq!(Kind::Pid.show(&process, &machine), pid.to_string());
        for (_, kind, _) in NAMES {
            assert!(!kind.show(&process, &machine).is_empty(), "{kind:?}");
        }
    }

    #[test]
    fn terminals_and_times() {
        assert_eq!((tty(0).as_str(), tty(136 << 8 | 3).as_str()), ("?", "pts/3"));
        assert_eq!((clock(3661).as_str(), elapsed(90061).as_str()), ("01:01:01", "1-01:01:01"));
    }
}
