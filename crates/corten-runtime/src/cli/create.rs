//! `create` and `start`.

use std::io::{self, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::args::Args;
use super::log::Log;
use super::state::{Container, Record, SCOPE_PREFIX, look, read_spec};
use super::{CliError, Globals, time};
use crate::capability::Capability;
use crate::cgroup::{Cgroup, Scope, is_unified};
use crate::container::{hooks, listen};
use crate::spec::{LinuxResources, Process, Spec};
use crate::{CreateRequest, Filter, Pivot, Rootfs, StartGate, Stdio, create_detached};

/// What `create` and `run` are asked.
#[derive(Debug, Default)]
pub(super) struct Options {
    pub bundle: Option<PathBuf>,
    pub console_socket: Option<PathBuf>,
    pub pid_file: Option<PathBuf>,
    pub preserve_fds: u32,
    pub no_new_keyring: bool,
    pub no_pivot: bool,
}

impl Options {
    /// Takes `flag` when it is one of these.
    pub(super) fn take(&mut self, flag: &str, args: &mut Args) -> Result<bool, CliError> {
        match flag {
            "-b" | "--bundle" => self.bundle = Some(args.value(flag)?.into()),
            "--console-socket" => self.console_socket = Some(args.value(flag)?.into()),
            "--pid-file" => self.pid_file = Some(args.value(flag)?.into()),
            "--preserve-fds" => self.preserve_fds = args.number(flag)?,
            "--no-new-keyring" => self.no_new_keyring = args.switch(),
            "--no-pivot" => self.no_pivot = args.switch(),
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// `create [flags] ID`
pub(super) fn create(globals: &Globals, mut args: Args) -> Result<ExitCode, CliError> {
    let mut options = Options::default();
    while let Some(flag) = args.flag()? {
        if !options.take(&flag, &mut args)? {
            return Err(args.unknown(&flag));
        }
    }
    let id = args.id()?;
    args.end()?;
    make(globals, &id, &options, ConsoleTarget::Socket).map(|_| ExitCode::SUCCESS)
}

/// Who gets the master of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ConsoleTarget {
    /// Whoever listens on `--console-socket`.
    Socket,
    /// The caller.
    Caller,
}

/// A container that was created.
#[derive(Debug)]
pub(super) struct MadeContainer {
    pub container: Container,
    pub pidfd: OwnedFd,
    pub console: Option<OwnedFd>,
}

/// Makes the container `id` and records it. When it fails, nothing of it is left.
pub(super) fn make(
    globals: &Globals,
    id: &str,
    options: &Options,
    target: ConsoleTarget,
) -> Result<MadeContainer, CliError> {
    corten_sys::fds::close_inherited_from(3 + options.preserve_fds.cast_signed())
        .map_err(CliError::file("close inherited descriptors"))?;
    let streams = inherited_streams().map_err(CliError::file("standard streams"))?;
    let bundle = options.bundle.clone().unwrap_or_else(|| ".".into());
    let bundle = bundle.canonicalize().map_err(CliError::file(bundle.display().to_string()))?;
    let spec = read_spec(&bundle.join("config.json"))?;
    if !crate::spec::is_spoken(&spec.oci_version) {
        return Err(CliError::Usage(format!(
            "config.json: ociVersion {:?} is not supported",
            spec.oci_version
        )));
    }
    let root = spec.root.as_ref().ok_or_else(|| CliError::Usage("config.json has no root".into()))?;
    let rootfs = bundle.join(&root.path);
    let rootfs = rootfs.canonicalize().map_err(CliError::file(rootfs.display().to_string()))?;
    let terminal = spec.process.as_ref().is_some_and(|process| process.terminal);
    match (terminal, target, &options.console_socket) {
        (true, ConsoleTarget::Socket, None) => {
            return Err(CliError::Usage(
                "cannot allocate tty if runc will detach without setting console socket".into(),
            ));
        }
        (false, _, Some(_)) => {
            return Err(CliError::Usage(
                "cannot use console socket if runc will not detach or allocate tty".into(),
            ));
        }
        _ => {}
    }
    let directory = Container::directory(globals, id);
    std::fs::create_dir_all(&globals.root).map_err(CliError::file(globals.root.display().to_string()))?;
    match std::fs::create_dir(&directory) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            return Err(CliError::State("container with given ID already exists".into()));
        }
        other => other.map_err(CliError::file(directory.display().to_string()))?,
    }
    let request = Request {
        log: &globals.log,
        systemd: globals.systemd,
        id,
        options,
        spec: &spec,
        bundle,
        rootfs,
        terminal,
        streams,
        target,
    };
    let mut cgroup = None;
    make_in(&directory, request, &mut cgroup).inspect_err(|_| {
        if let Some(cgroup) = &cgroup {
            let _ = cgroup.kill_all();
            let _ = cgroup.delete();
        }
        let _ = std::fs::remove_dir_all(&directory);
    })
}

struct Request<'a> {
    log: &'a Log,
    systemd: bool,
    id: &'a str,
    options: &'a Options,
    spec: &'a Spec,
    bundle: PathBuf,
    rootfs: PathBuf,
    terminal: bool,
    streams: Stdio,
    target: ConsoleTarget,
}

fn make_in(
    directory: &Path,
    request: Request<'_>,
    cgroup: &mut Option<Cgroup>,
) -> Result<MadeContainer, CliError> {
    let Request { log, systemd, id, options, spec, bundle, rootfs, terminal, streams, target } = request;
    let config = directory.join("config.json");
    std::fs::copy(bundle.join("config.json"), &config)
        .map_err(CliError::file(config.display().to_string()))?;
    let linux = spec.linux.as_ref();
    let named = linux.map(|linux| linux.cgroups_path.as_str()).filter(|path| !path.is_empty());
    let scope = systemd.then(|| Scope::parse(named.unwrap_or_default(), SCOPE_PREFIX, id)).transpose()?;
    let path = match (&scope, named) {
        (Some(scope), _) => scope.path(),
        (None, Some(path)) => path.into(),
        (None, None) => format!("/{id}"),
    };
    let none = LinuxResources::default();
    let limits = linux.and_then(|linux| linux.resources.as_ref()).unwrap_or(&none);
    if let Ok(there) = Cgroup::open(&path) {
        if there.is_frozen() {
            return Err(CliError::State("container's cgroup unexpectedly frozen".into()));
        }
        if !there.pids()?.is_empty() {
            log.warn("container's cgroup is not empty");
        }
    }
    // It keeps the scope until the container's own first process is in it.
    let placeholder = scope.as_ref().map(|scope| scope.start(limits, is_unified())).transpose()?;
    let cgroup = cgroup.insert(Cgroup::create_everywhere(&path, limits)?);
    let unknown = spec.process.as_ref().map(unknown_capabilities).unwrap_or_default();
    if !unknown.is_empty() {
        log.warn(&format!("ignoring unknown or unavailable capabilities: [{}]", unknown.join(" ")));
    }
    let socket = directory.join("start.sock");
    let listener = listen(&socket).map_err(CliError::file(socket.display().to_string()))?;
    let size = spec.process.as_ref().and_then(|process| process.console_size);
    let stdio = if terminal {
        // What the container does not take over it must not hold open either.
        drop(streams);
        Stdio::Terminal { size: size.map(|size| (size.width as u16, size.height as u16)) }
    } else {
        streams
    };
    log.debug("nsexec container setup");
    let made = create_detached(
        CreateRequest {
            id,
            spec,
            filter: Filter::Rules,
            bundle: &bundle,
            rootfs: Rootfs::Path(rootfs.clone()),
            stdio,
            cgroup: Some(cgroup),
            preserve_fds: options.preserve_fds,
            parent_death_signal: None,
            new_keyring: !options.no_new_keyring,
            pivot: if options.no_pivot { Pivot::Move } else { Pivot::Root },
        },
        listener,
    )?;
    drop(placeholder);
    log.debug("child process in init()");
    log.debug("init: closing the pipe to signal completion");
    let start_time = look(made.pid).map(|(_, start)| start).unwrap_or_default();
    let record = Record {
        id: id.into(),
        pid: made.pid,
        start_time,
        bundle,
        rootfs,
        created: time::now(),
        cgroup: path,
        scope: scope.is_some().then(|| named.unwrap_or_default().to_owned()),
    };
    let container = Container { directory: directory.into(), record };
    container.save()?;
    let console = match (made.console, &options.console_socket, target) {
        (Some(master), Some(socket), ConsoleTarget::Socket) => {
            send_console(socket, &master).map_err(CliError::file(socket.display().to_string()))?;
            None
        }
        (console, _, _) => console,
    };
    if let Some(file) = &options.pid_file {
        write_pid(file, made.pid)?;
    }
    Ok(MadeContainer { container, pidfd: made.pidfd, console })
}

/// Names of capabilities that are none.
fn unknown_capabilities(process: &Process) -> Vec<String> {
    let sets = process.capabilities.clone().unwrap_or_default();
    let names = [sets.bounding, sets.effective, sets.permitted, sets.inheritable, sets.ambient].concat();
    let known = |name: &str| Capability::all().any(|capability| capability.name() == name);
    let mut unknown: Vec<String> = names.into_iter().filter(|name| !known(name)).collect();
    unknown.sort();
    unknown.dedup();
    unknown
}

/// Our own standard streams, for the container to take over.
pub(super) fn inherited_streams() -> io::Result<Stdio> {
    Ok(Stdio::Pipes {
        stdin: rustix::stdio::stdin().try_clone_to_owned()?,
        stdout: rustix::stdio::stdout().try_clone_to_owned()?,
        stderr: rustix::stdio::stderr().try_clone_to_owned()?,
    })
}

/// Sends the master of a terminal to whoever listens on `path`.
pub(super) fn send_console(path: &Path, master: &OwnedFd) -> io::Result<()> {
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    corten_sys::scm::send(&socket, b"/dev/ptmx", &[master.as_fd()])
}

/// Writes a process number where the caller looks for it, all at once.
pub(super) fn write_pid(path: &Path, pid: i32) -> Result<(), CliError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let draft = path.with_file_name(format!(".{name}"));
    let write = || -> io::Result<()> {
        let mut file = std::fs::File::create(&draft)?;
        write!(file, "{pid}")?;
        std::fs::rename(&draft, path)
    };
    write().map_err(CliError::file(path.display().to_string()))
}

/// `start ID`
pub(super) fn start(globals: &Globals, mut args: Args) -> Result<ExitCode, CliError> {
    args.no_flags()?;
    let id = args.id()?;
    args.end()?;
    let container = Container::load(globals, &id)?;
    start_container(&container)?;
    Ok(ExitCode::SUCCESS)
}

/// Runs the program of a created container, and the hooks that follow it.
pub(super) fn start_container(container: &Container) -> Result<(), CliError> {
    let status = container.status();
    if status != super::state::Status::Created {
        let text = match status {
            super::state::Status::Stopped => "cannot start a container that has stopped",
            _ => "cannot start an already running container",
        };
        return Err(CliError::State(text.into()));
    }
    let socket = container.socket();
    let gate = StartGate::connect(&socket).map_err(CliError::file(socket.display().to_string()))?;
    // It listens no more, whether its program runs or not.
    let started = gate.start();
    std::fs::remove_file(&socket).map_err(CliError::file(socket.display().to_string()))?;
    match started {
        // It has said so on its own standard error, and ends with exit code 255: what its parent sees.
        Ok(()) | Err(crate::StartError::Exec(_)) => {}
        Err(e) => return Err(e.into()),
    }
    let spec = container.spec()?;
    let record = &container.record;
    if let Some(list) = spec.hooks.as_ref().map(|hooks| &hooks.poststart).filter(|list| !list.is_empty()) {
        let state = crate::container::hook_state(&record.id, "running", record.pid, &record.bundle, &spec);
        hooks::run_all(list, &state, None).map_err(|e| CliError::State(e.to_string()))?;
    }
    Ok(())
}
