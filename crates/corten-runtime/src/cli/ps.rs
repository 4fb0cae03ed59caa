//! `ps`: a container's processes, read from procfs: the columns of `ps -ef`, or of `ps x`.

use std::collections::HashMap;
use std::io;
use std::process::ExitCode;

use super::args::{Args, Order};
use super::report::{Format, format, print_json, table};
use super::state::Container;
use super::{CliError, Globals, time};

/// Clock ticks per second that procfs counts in; fixed for user space on every architecture we run on.
const TICKS: u64 = 100;

/// Which columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// `UID PID PPID C STIME TTY TIME CMD`
    Full,
    /// `PID TTY STAT TIME COMMAND`
    Plain,
}

/// Reads the options of `ps` that choose columns.
fn shape(options: &[String]) -> Result<Shape, CliError> {
    let mut shape = Shape::Full;
    for word in options {
        for letter in word.trim_start_matches('-').chars() {
            match letter {
                'f' | 'F' => shape = Shape::Full,
                'x' => shape = Shape::Plain,
                'e' | 'a' | 'A' | 'w' => {}
                _ => return Err(CliError::Usage(format!("ps: unsupported option {word:?}"))),
            }
        }
    }
    Ok(shape)
}

/// `ps [--format table|json] ID [OPTIONS…]`
pub(super) fn ps(globals: &Globals, args: Args) -> Result<ExitCode, CliError> {
    let mut args = args.in_order(Order::FlagsFirst);
    let mut as_json = Format::Table;
    while let Some(flag) = args.flag()? {
        match flag.as_str() {
            "-f" | "--format" => as_json = format(&mut args, &flag)?,
            other => return Err(args.unknown(other)),
        }
    }
    let container = Container::load(globals, &args.id()?)?;
    let shape = shape(&args.rest())?;
    let mut pids = match container.cgroup()? {
        Some(cgroup) => cgroup.pids()?,
        None => Vec::new(),
    };
    pids.sort_unstable();
    if as_json == Format::Json {
        return print_json(&pids).map(|()| ExitCode::SUCCESS);
    }
    let machine = Machine::read();
    let processes = pids.into_iter().filter_map(Process::read);
    let rows: Vec<Vec<String>> = match shape {
        Shape::Full => {
            let head =
                ["UID", "    PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"].map(String::from).to_vec();
            std::iter::once(head).chain(processes.map(|process| process.full(&machine))).collect()
        }
        Shape::Plain => {
            let head = ["    PID", "TTY", "STAT", "TIME", "COMMAND"].map(String::from).to_vec();
            std::iter::once(head).chain(processes.map(|process| process.plain())).collect()
        }
    };
    table(&mut io::stdout(), &rows).map_err(CliError::file("standard output"))?;
    Ok(ExitCode::SUCCESS)
}

/// What of the machine is needed to show a process.
struct Machine {
    users: HashMap<u32, String>,
    /// Seconds since 1970.
    booted: u64,
    now: u64,
}

impl Machine {
    fn read() -> Self {
        let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        let entry = |line: &str| {
            let mut fields = line.split(':');
            let name = fields.next()?.to_owned();
            Some((fields.nth(1)?.parse().ok()?, name))
        };
        let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
        let booted = stat.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok());
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Self {
            users: passwd.lines().filter_map(entry).collect(),
            booted: booted.unwrap_or(0),
            now: now.as_secs(),
        }
    }
}

/// One process.
struct Process {
    pid: i32,
    uid: u32,
    command: String,
    /// Fields of `stat` from the third on.
    fields: Vec<String>,
}

impl Process {
    fn read(pid: i32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name stands in parentheses and may hold anything, parentheses too.
        let (open, close) = (stat.find('(')?, stat.rfind(')')?);
        let fields = stat.get(close + 2..)?.split_whitespace().map(str::to_owned).collect();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let uid = status.lines().find_map(|line| line.strip_prefix("Uid:"));
        let uid = uid.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0);
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        let command = match command.trim_end() {
            "" => format!("[{}]", stat.get(open + 1..close)?),
            words => words.to_owned(),
        };
        Some(Self { pid, uid, command, fields })
    }

    /// Field `number` of `proc_pid_stat(5)`, counted from 1.
    fn field(&self, number: usize) -> u64 {
        self.fields.get(number - 3).and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    fn used(&self) -> u64 {
        (self.field(14) + self.field(15)) / TICKS
    }

    fn tty(&self) -> String {
        let device = self.field(7);
        let minor = (device & 0xff) | ((device >> 12) & 0xf_ff00);
        match (device >> 8) & 0xfff {
            0 => "?".into(),
            136..=143 => format!("pts/{minor}"),
            4 => format!("tty{minor}"),
            _ => "?".into(),
        }
    }

    fn clock(&self) -> String {
        let used = self.used();
        format!("{:02}:{:02}:{:02}", used / 3600, used / 60 % 60, used % 60)
    }

    fn full(&self, machine: &Machine) -> Vec<String> {
        let started = machine.booted + self.field(22) / TICKS;
        let lived = machine.now.saturating_sub(started).max(1);
        vec![
            machine.users.get(&self.uid).cloned().unwrap_or_else(|| self.uid.to_string()),
            format!("{:>7}", self.pid),
            self.field(4).to_string(),
            (self.used() * 100 / lived).min(99).to_string(),
            time::short(started, machine.now),
            self.tty(),
            self.clock(),
            self.command.clone(),
        ]
    }

    fn plain(&self) -> Vec<String> {
        let used = self.used();
        vec![
            format!("{:>7}", self.pid),
            self.tty(),
            self.fields.first().cloned().unwrap_or_default(),
            format!("{}:{:02}", used / 60, used % 60),
            self.command.clone(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_choose_the_columns() {
        let of = |words: &[&str]| shape(&words.iter().map(|&word| word.into()).collect::<Vec<_>>());
        assert_eq!(of(&[]).unwrap(), Shape::Full);
        assert_eq!(of(&["-ef"]).unwrap(), Shape::Full);
        assert_eq!(of(&["-e", "-x"]).unwrap(), Shape::Plain);
        assert!(of(&["-o"]).is_err());
    }
}
