//! `exec`.

use std::path::PathBuf;
use std::process::ExitCode;

use std::os::fd::AsFd as _;

use super::args::{Args, Order};
use super::create::{inherited_streams, send_console, write_pid};
use super::foreground::{attend, exit_code};
use super::state::{Container, Status};
use super::{CliError, Globals};
use crate::spec::{Capabilities, Process, User};
use crate::{ExecRequest, Filter, Stdio};

/// What `exec` is asked.
#[derive(Debug, Default)]
struct Options {
    console_socket: Option<PathBuf>,
    pid_file: Option<PathBuf>,
    process_file: Option<PathBuf>,
    detach: bool,
    tty: bool,
    preserve_fds: u32,
    ignore_paused: bool,
    cwd: Option<String>,
    env: Vec<String>,
    user: Option<User>,
    groups: Vec<u32>,
    no_new_privileges: bool,
    apparmor: Option<String>,
    label: Option<String>,
    capabilities: Vec<String>,
    cgroups: Vec<String>,
}

/// `exec [flags] ID COMMAND…` or `exec -p PROCESS-FILE ID`
pub(super) fn exec(globals: &Globals, args: Args) -> Result<ExitCode, CliError> {
    let mut args = args.in_order(Order::FlagsFirst);
    let mut options = Options::default();
    while let Some(flag) = args.flag()? {
        match flag.as_str() {
            "--console-socket" => options.console_socket = Some(args.value(&flag)?.into()),
            "--pid-file" => options.pid_file = Some(args.value(&flag)?.into()),
            "-p" | "--process" => options.process_file = Some(args.value(&flag)?.into()),
            "-d" | "--detach" => options.detach = args.switch(),
            "-t" | "--tty" => options.tty = args.switch(),
            "--preserve-fds" => options.preserve_fds = args.number(&flag)?,
            "--ignore-paused" => options.ignore_paused = args.switch(),
            "--cwd" => options.cwd = Some(args.value(&flag)?),
            "-e" | "--env" => options.env.push(args.value(&flag)?),
            "-u" | "--user" => options.user = Some(parse_user(&args.value(&flag)?)?),
            "-g" | "--additional-gids" => options.groups.push(args.number(&flag)?),
            "--no-new-privs" => options.no_new_privileges = args.switch(),
            "--apparmor" => options.apparmor = Some(args.value(&flag)?),
            "--process-label" => options.label = Some(args.value(&flag)?),
            "--cgroup" => options.cgroups.push(args.value(&flag)?),
            "-c" | "--cap" => options.capabilities.push(args.value(&flag)?),
            other => return Err(args.unknown(other)),
        }
    }
    let id = args.id()?;
    run(globals, &id, &options, args.rest()).map_err(|error| CliError::ExecFailed(Box::new(error)))
}

fn run(globals: &Globals, id: &str, options: &Options, words: Vec<String>) -> Result<ExitCode, CliError> {
    let container = Container::load(globals, id)?;
    match container.status() {
        // A created one has its namespaces, with nothing of the user in them yet.
        Status::Created | Status::Running => {}
        Status::Paused if options.ignore_paused => {}
        Status::Paused => return Err(CliError::State("cannot exec in a paused container".into())),
        Status::Stopped => {
            return Err(CliError::State("cannot exec in a stopped container".into()));
        }
    }
    let spec = container.spec()?;
    let process = match &options.process_file {
        Some(path) => {
            let what = path.display().to_string();
            let text = std::fs::read(path).map_err(CliError::file(what.clone()))?;
            serde_json::from_slice(&text).map_err(|source| CliError::Document { what, source })?
        }
        None => build(spec.process.clone().unwrap_or_default(), options, words),
    };
    let init =
        container.process().ok_or_else(|| CliError::State("cannot exec in a stopped container".into()))?;
    let stdio = if process.terminal {
        Stdio::Terminal { size: process.console_size.map(|size| (size.width as u16, size.height as u16)) }
    } else {
        inherited_streams().map_err(CliError::file("standard streams"))?
    };
    if process.terminal && options.detach && options.console_socket.is_none() {
        return Err(CliError::Usage(
            "cannot allocate tty if runc will detach without setting console socket".into(),
        ));
    }
    let mut cgroup = container.cgroup()?;
    if let Some(cgroup) = &mut cgroup {
        for place in &options.cgroups {
            cgroup.descend(place)?;
        }
    }
    corten_sys::fds::close_inherited_from(3 + options.preserve_fds.cast_signed())
        .map_err(CliError::file("close inherited descriptors"))?;
    globals.log.debug("nsexec container setup");
    let execed = crate::exec(ExecRequest {
        id: &container.record.id,
        init: init.as_fd(),
        process: &process,
        spec: &spec,
        filter: Filter::Rules,
        stdio,
        bundle: &container.record.bundle,
        cgroup: cgroup.as_ref(),
        follow_init: options.cgroups.is_empty(),
        preserve_fds: options.preserve_fds,
        parent_death_signal: None,
        new_keyring: true,
    })?;
    if let Some(affinity) = process.exec_cpu_affinity.as_ref().filter(|affinity| !affinity.initial.is_empty())
    {
        globals.log.debug(&format!("affinity: {}", crate::container::affinity_mask(&affinity.initial)));
    }
    globals.log.debug("child process in init()");
    globals.log.debug("setns_init: about to exec");
    let console = match (execed.console, &options.console_socket) {
        (Some(master), Some(socket)) => {
            send_console(socket, &master).map_err(CliError::file(socket.display().to_string()))?;
            None
        }
        (console, _) => console,
    };
    if let Some(file) = &options.pid_file {
        write_pid(file, execed.pid)?;
    }
    if options.detach {
        return Ok(ExitCode::SUCCESS);
    }
    let exit = attend(&execed.pidfd, console.as_ref()).map_err(CliError::file("wait for the process"))?;
    Ok(exit_code(exit))
}

/// The container's own process, changed as the flags say.
fn build(mut process: Process, options: &Options, words: Vec<String>) -> Process {
    process.args = words;
    process.terminal = options.tty;
    process.env.extend(options.env.iter().cloned());
    if let Some(cwd) = &options.cwd {
        process.cwd.clone_from(cwd);
    }
    if let Some(user) = &options.user {
        process.user = user.clone();
    }
    process.user.additional_gids.extend(&options.groups);
    process.no_new_privileges |= options.no_new_privileges;
    if let Some(profile) = &options.apparmor {
        process.apparmor_profile.clone_from(profile);
    }
    if let Some(label) = &options.label {
        process.selinux_label.clone_from(label);
    }
    if !options.capabilities.is_empty() {
        let sets = process.capabilities.get_or_insert_with(Capabilities::default);
        for set in [&mut sets.bounding, &mut sets.effective, &mut sets.permitted] {
            set.extend(options.capabilities.iter().cloned());
        }
    }
    process
}

/// Reads `UID[:GID]`; both are numbers.
fn parse_user(text: &str) -> Result<User, CliError> {
    let (uid, gid) = text.split_once(':').unwrap_or((text, "0"));
    let id = |text: &str| {
        text.parse::<u32>().map_err(|_| CliError::Usage(format!("{text:?} is not a user or group number")))
    };
    Ok(User { uid: id(uid)?, gid: id(gid)?, ..User::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_numbers() {
        assert_eq!(parse_user("1000:5").unwrap(), User { uid: 1000, gid: 5, ..User::default() });
        assert_eq!(parse_user("1").unwrap(), User { uid: 1, gid: 0, ..User::default() });
        for text in ["root", "-1", "1:", "4294967296", "", "1:x"] {
            assert!(parse_user(text).is_err(), "{text:?}");
        }
    }
}
