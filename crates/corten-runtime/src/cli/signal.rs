//! `kill`, `delete`, `pause` and `resume`.

use std::process::ExitCode;

use corten_sys::process::send_signal;

use super::args::Args;
use super::state::{Container, Status};
use super::{CliError, Globals};
use crate::container::hooks;

/// Signal names by number, from 1.
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// Reads `9`, `KILL` or `SIGKILL`.
fn parse_signal(text: &str) -> Result<i32, CliError> {
    let unknown = || CliError::Usage(format!("unknown signal {text:?}"));
    if let Ok(number) = text.parse::<i32>() {
        // 0 only asks whether a signal could be sent.
        return if (0..=64).contains(&number) { Ok(number) } else { Err(unknown()) };
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    NAMES.iter().position(|known| *known == name).map(|at| at as i32 + 1).ok_or_else(unknown)
}

/// `kill [--all] ID [SIGNAL]`
pub(super) fn kill(globals: &Globals, mut args: Args) -> Result<ExitCode, CliError> {
    let mut all = false;
    while let Some(flag) = args.flag()? {
        match flag.as_str() {
            "-a" | "--all" => all = args.switch(),
            other => return Err(args.unknown(other)),
        }
    }
    let id = args.id()?;
    let signal = parse_signal(&args.word().unwrap_or_else(|| "SIGTERM".into()))?;
    args.end()?;
    let container = Container::load(globals, &id)?;
    let process = container.process();
    if all || (process.is_none() && signal == libc::SIGKILL) {
        // What shares another's pid namespace outlives the first process.
        if let Some(cgroup) = container.cgroup()? {
            if signal == libc::SIGKILL {
                cgroup.kill_all()?;
            } else {
                for pid in cgroup.pids()?.into_iter().filter_map(rustix::process::Pid::from_raw) {
                    if let Ok(pidfd) = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())
                    {
                        let _ = send_signal(&pidfd, signal);
                    }
                }
            }
        }
        if all {
            return Ok(ExitCode::SUCCESS);
        }
    }
    let process = process.ok_or_else(|| CliError::State("container not running".into()))?;
    send_signal(&process, signal).map_err(CliError::file("unable to signal init"))?;
    Ok(ExitCode::SUCCESS)
}

/// `delete [--force] ID`
pub(super) fn delete(globals: &Globals, mut args: Args) -> Result<ExitCode, CliError> {
    let mut force = false;
    while let Some(flag) = args.flag()? {
        match flag.as_str() {
            "-f" | "--force" => force = args.switch(),
            other => return Err(args.unknown(other)),
        }
    }
    let id = args.id()?;
    args.end()?;
    let container = match Container::load(globals, &id) {
        Err(CliError::NotFound) if force => {
            // A create that was cut off leaves a directory without a record.
            let _ = std::fs::remove_dir_all(Container::directory(globals, &id));
            return Ok(ExitCode::SUCCESS);
        }
        other => other?,
    };
    match container.status() {
        Status::Stopped => {}
        // What only waits is as good as stopped.
        Status::Created => end(&container)?,
        _ if force => end(&container)?,
        status => {
            return Err(CliError::State(format!(
                "cannot delete container {id} that is not stopped: {}",
                status.name()
            )));
        }
    }
    remove(&container)?;
    Ok(ExitCode::SUCCESS)
}

/// Kills everything in the container and waits for the first process's end.
fn end(container: &Container) -> Result<(), CliError> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let process = container.process();
    if let Some(cgroup) = container.cgroup()? {
        cgroup.kill_all()?;
    }
    if let Some(process) = process {
        let _ = send_signal(&process, libc::SIGKILL);
        let patience = Timespec { tv_sec: 10, tv_nsec: 0 };
        if let Ok(0) = poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&patience)) {
            return Err(CliError::State("container init still running".into()));
        }
    }
    Ok(())
}

/// Removes what is left of a stopped container.
pub(super) fn remove(container: &Container) -> Result<(), CliError> {
    if let Some(cgroup) = container.cgroup()? {
        cgroup.kill_all()?;
        cgroup.delete()?;
    }
    if let Some(scope) = container.record.scope() {
        scope.stop()?;
    }
    let spec = container.spec();
    std::fs::remove_dir_all(&container.directory)
        .map_err(CliError::file(container.directory.display().to_string()))?;
    if let Ok(spec) = spec
        && let Some(list) = spec.hooks.as_ref().map(|hooks| &hooks.poststop)
    {
        let record = &container.record;
        let state = crate::container::hook_state(&record.id, "stopped", 0, &record.bundle, &spec);
        for hook in list {
            // The container is gone: a hook's failure is told and stops nothing.
            if let Err(e) = hooks::run_all(std::slice::from_ref(hook), &state, None) {
                eprintln!("{e}");
            }
        }
    }
    Ok(())
}

/// `pause ID`
pub(super) fn pause(globals: &Globals, mut args: Args) -> Result<ExitCode, CliError> {
    args.no_flags()?;
    let container = Container::load(globals, &args.id()?)?;
    args.end()?;
    match (container.status(), container.cgroup()?) {
        (Status::Running | Status::Created, Some(cgroup)) => cgroup.freeze()?,
        _ => return Err(CliError::State("container not running or created".into())),
    }
    Ok(ExitCode::SUCCESS)
}

/// `resume ID`
pub(super) fn resume(globals: &Globals, mut args: Args) -> Result<ExitCode, CliError> {
    args.no_flags()?;
    let container = Container::load(globals, &args.id()?)?;
    args.end()?;
    match (container.status(), container.cgroup()?) {
        (Status::Paused, Some(cgroup)) => cgroup.thaw()?,
        _ => return Err(CliError::State("container not paused".into())),
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_read_by_number_and_name() {
        assert_eq!(parse_signal("9").unwrap(), 9);
        assert_eq!(parse_signal("KILL").unwrap(), 9);
        assert_eq!(parse_signal("sigterm").unwrap(), 15);
        assert_eq!(parse_signal("SIGSYS").unwrap(), 31);
        assert!(
            parse_signal("SIGFUN").is_err() && parse_signal("-1").is_err() && parse_signal("65").is_err()
        );
    }
}
