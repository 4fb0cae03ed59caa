//! Making processes: the only place that calls the runtime, our own or another ([`foreign`]).

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use corten_runtime::cgroup::{Cgroup, CgroupError, Scope, is_unified};
use corten_runtime::spec::{self, NamespaceKind, Spec};
use corten_runtime::{
    CreateRequest, Created, ExecRequest, Execed, Filter, Pivot, Rootfs, StartError, StartGate, Stdio,
};

use super::filter;
use super::foreign::{self, Foreign};
use super::process::{Pipes, Wanted};
use crate::log::Stream;
use crate::protocol::{self, Failure, FailureClass, files};

/// What Docker says before a limit that cannot be set.
const LIMIT_REFUSED: &str = "OCI runtime create failed: runc create failed: unable to start container process: error during container init: error setting cgroup config for procHooks process: ";

/// What is kept of a container's description while it lives.
#[derive(Debug)]
pub(super) struct Settings {
    bundle: PathBuf,
    cgroup: Option<String>,
    /// What confines further processes; `None` where it is read from the bundle.
    confinement: Option<Box<Confinement>>,
    /// Whether init's pid namespace is somebody else's too, so that others outlive init.
    pub(super) shares_pids: bool,
    pub(super) stdin_once: bool,
    pub(super) tty: bool,
    pub(super) spool_dir: PathBuf,
    /// Who made the container, where that was not our own runtime.
    foreign: Option<Foreign>,
}

/// What holds a container's program back.
#[derive(Debug)]
pub(super) enum Gate {
    /// Of our own runtime.
    Own(StartGate),
    /// Another runtime's, which has it by the container's id.
    Foreign,
}

/// What further processes of the container have in common with the first.
#[derive(Debug)]
struct Confinement {
    /// The part of the specification that is about this: namespaces, users, personality, profile and label.
    spec: Spec,
    /// The compiled filter, if there is one.
    filter: Option<OwnedFd>,
}

impl Confinement {
    fn of(spec: Spec, filter: Option<OwnedFd>) -> Self {
        let process = spec.process.map(|process| spec::Process {
            apparmor_profile: process.apparmor_profile,
            selinux_label: process.selinux_label,
            ..spec::Process::default()
        });
        let linux = spec.linux.map(|linux| spec::Linux {
            namespaces: linux.namespaces,
            uid_mappings: linux.uid_mappings,
            personality: linux.personality,
            ..spec::Linux::default()
        });
        Self { spec: Spec { process, linux, ..Spec::default() }, filter }
    }
}

/// Our ends of a process's pipes: its input, and its outputs.
type OurEnds = (Option<OwnedFd>, Vec<(OwnedFd, Stream)>);

/// A new process and our ends of its streams.
pub(super) struct Launched {
    pub(super) pid: i32,
    pub(super) pidfd: OwnedFd,
    pub(super) console: Option<OwnedFd>,
    pub(super) input: Option<OwnedFd>,
    pub(super) outputs: Vec<(OwnedFd, Stream)>,
}

/// Makes the container up to its start gate.
pub(super) fn create(
    id: &str,
    request: &protocol::Create,
    rootfs: Option<OwnedFd>,
    kept_filter: Option<OwnedFd>,
) -> Result<(Launched, Gate, Settings), Failure> {
    if let Some(runtime) = &request.runtime {
        let foreign = Foreign::new(runtime.clone(), id, &request.bundle);
        return create_with(foreign, id, request, &read_spec(&request.bundle)?);
    }
    let (mut spec, ready, filter) = match (&request.spec, kept_filter.as_ref().map(filter::read)) {
        (Some(text), None) => (parse_spec(text.get().as_bytes(), &request.bundle)?, true, Filter::Rules),
        (Some(text), Some(Ok(program))) => {
            (parse_spec(text.get().as_bytes(), &request.bundle)?, true, Filter::Ready(program))
        }
        // A daemon that says less, or whose filter is of a form that this monitor does not know.
        (None, _) | (Some(_), Some(Err(_))) => (read_spec(&request.bundle)?, false, Filter::Rules),
    };
    if let Some(process) = &mut spec.process {
        process.terminal = request.tty;
    }
    let rootfs = match (rootfs, &spec.root) {
        (Some(mount), _) => Rootfs::Mount(mount),
        (None, Some(root)) => Rootfs::Path(request.bundle.join(&root.path)),
        (None, None) => return Err(failure(FailureClass::Invalid, "the specification has no root".into())),
    };
    let linux = spec.linux.as_ref();
    let path = linux.map(|l| l.cgroups_path.clone()).filter(|path| !path.is_empty());
    let no_limits = spec::LinuxResources::default();
    let limits = linux.and_then(|l| l.resources.as_ref()).unwrap_or(&no_limits);
    let refused = |error: CgroupError| {
        let text = match &error {
            // What a client can mend is told in the words that it knows.
            CgroupError::Limit(_) | CgroupError::Refused { .. } => {
                format!("{LIMIT_REFUSED}{}", chain(&error))
            }
            _ => chain(&error),
        };
        failure(FailureClass::Runtime, text)
    };
    // What systemd makes lives from a process to the next: the placeholder is there until init is.
    let (path, placeholder) = match path {
        Some(path) if Scope::is_named_by(&path) => {
            let scope = Scope::parse(&path, "docker", id).map_err(refused)?;
            let placeholder = scope.start(limits, is_unified()).map_err(refused)?;
            (Some(scope.path()), Some(placeholder))
        }
        path => (path, None),
    };
    let cgroup = path.as_deref().map(|path| Cgroup::create(path, limits)).transpose().map_err(refused)?;
    let shares_pids = shares_pids(&spec);
    let (stdio, pipes) = stdio(request.tty, request.size, wanted_of(request))?;
    let result = corten_runtime::create(CreateRequest {
        id,
        spec: &spec,
        bundle: &request.bundle,
        rootfs,
        filter,
        stdio,
        cgroup: cgroup.as_ref(),
        preserve_fds: 0,
        parent_death_signal: Some(libc::SIGKILL),
        new_keyring: true,
        pivot: Pivot::Root,
    });
    let confinement = ready.then(|| Box::new(Confinement::of(spec, kept_filter)));
    drop(placeholder);
    let Created { pid, pidfd, console, gate } = match result {
        Ok(created) => created,
        Err(error) => {
            if let Some(cgroup) = &cgroup {
                cgroup.delete().ok();
            }
            return Err(failure(class(error.exit_code()), chain(&error)));
        }
    };
    let settings = Settings { confinement, ..Settings::of(request, path, shares_pids, None) };
    Ok((launched(pid, pidfd, console, pipes)?, Gate::Own(gate), settings))
}

/// The same by another runtime, which makes the cgroup too.
fn create_with(
    foreign: Foreign,
    id: &str,
    request: &protocol::Create,
    spec: &Spec,
) -> Result<(Launched, Gate, Settings), Failure> {
    let cgroup = spec.linux.as_ref().map(|l| l.cgroups_path.clone()).filter(|path| !path.is_empty());
    let cgroup = match cgroup {
        Some(path) if Scope::is_named_by(&path) => {
            let scope = Scope::parse(&path, "docker", id)
                .map_err(|error| failure(FailureClass::Runtime, chain(&error)))?;
            Some(scope.path())
        }
        path => path,
    };
    let (stdio, pipes) = stdio(request.tty, request.size, wanted_of(request))?;
    let foreign::Made { pid, pidfd, console } = foreign.create(streams(stdio))?;
    if let (Some(console), Some(size)) = (&console, request.size) {
        corten_sys::terminal::resize(console, size.width, size.height).map_err(internal)?;
    }
    let settings = Settings::of(request, cgroup, shares_pids(spec), Some(foreign));
    Ok((launched(pid, pidfd, console, pipes)?, Gate::Foreign, settings))
}

impl Settings {
    fn of(
        request: &protocol::Create,
        cgroup: Option<String>,
        shares_pids: bool,
        foreign: Option<Foreign>,
    ) -> Self {
        Self {
            bundle: request.bundle.clone(),
            cgroup,
            shares_pids,
            stdin_once: request.stdin_once,
            tty: request.tty,
            spool_dir: request.spool_dir.clone(),
            foreign,
            confinement: None,
        }
    }
}

fn wanted_of(request: &protocol::Create) -> Wanted {
    Wanted { stdin: request.open_stdin, stdout: true, stderr: true, big: true }
}

/// Whether init's pid namespace is not its own alone.
fn shares_pids(spec: &Spec) -> bool {
    let own =
        |l: &spec::Linux| l.namespaces.iter().any(|n| n.kind == NamespaceKind::Pid && n.path.is_empty());
    !spec.linux.as_ref().is_some_and(own)
}

fn streams(stdio: Stdio) -> foreign::Streams {
    match stdio {
        Stdio::Pipes { stdin, stdout, stderr } => foreign::Streams::Pipes([stdin, stdout, stderr]),
        Stdio::Terminal { .. } => foreign::Streams::Terminal,
    }
}

/// Sends init a signal by the runtime that made it; `None` where that is our own, whose processes are signalled directly.
pub(super) fn kill(settings: &Settings, signal: i32) -> Option<Result<(), Failure>> {
    settings.foreign.as_ref().map(|foreign| foreign.kill(signal))
}

/// Has a runtime that is not ours forget a container whose init is gone.
pub(super) fn forget(settings: &Settings) {
    if let Some(foreign) = &settings.foreign {
        foreign.delete();
    }
}

/// Removes the cgroup of a container whose init is gone.
pub(super) fn delete_cgroup(settings: &Settings) {
    forget(settings);
    if let Some(cgroup) = open_cgroup(settings) {
        cgroup.delete().ok();
    }
}

/// Opens the start gate. A program that the kernel refuses to execute counts as started: it ended with the error as
/// its output, as Docker's users know it.
pub(super) fn start(gate: Gate, settings: Option<&Settings>) -> Result<(), Failure> {
    let gate = match (gate, settings.and_then(|settings| settings.foreign.as_ref())) {
        (Gate::Own(gate), _) => gate,
        (Gate::Foreign, Some(foreign)) => return foreign.start(),
        (Gate::Foreign, None) => return Err(internal(io::ErrorKind::NotFound.into())),
    };
    match gate.start() {
        Ok(()) | Err(StartError::Exec(_)) => Ok(()),
        Err(error @ StartError::Init(_)) => Err(failure(FailureClass::Runtime, chain(&error))),
        Err(error @ StartError::Gone) => Err(failure(FailureClass::Conflict, chain(&error))),
    }
}

/// Runs one more process.
pub(super) fn exec(
    id: &str,
    settings: &Settings,
    init: BorrowedFd<'_>,
    request: &protocol::Exec,
) -> Result<Launched, Failure> {
    let mut process: spec::Process = serde_json::from_str(request.process.get())
        .map_err(|error| failure(FailureClass::Invalid, format!("process: {error}")))?;
    process.terminal = request.tty;
    let wanted = match &request.attach {
        Some(streams) => {
            Wanted { stdin: streams.stdin, stdout: streams.stdout, stderr: streams.stderr, big: false }
        }
        None => Wanted { stdin: false, stdout: false, stderr: false, big: false },
    };
    let (stdio, pipes) = stdio(request.tty, request.size, wanted)?;
    if let Some(foreign) = &settings.foreign {
        let text = serde_json::to_string(&process).map_err(|error| internal(error.into()))?;
        let foreign::Made { pid, pidfd, console } = foreign.exec(&request.exec_id, &text, streams(stdio))?;
        if let (Some(console), Some(size)) = (&console, request.size) {
            corten_sys::terminal::resize(console, size.width, size.height).map_err(internal)?;
        }
        return launched(pid, pidfd, console, pipes);
    }
    let from_bundle;
    let (spec, filter) = match &settings.confinement {
        Some(confinement) => {
            let ready = confinement.filter.as_ref().map(filter::read).transpose().map_err(internal)?;
            (&confinement.spec, ready.map_or(Filter::Rules, Filter::Ready))
        }
        None => {
            from_bundle = read_spec(&settings.bundle)?;
            (&from_bundle, Filter::Rules)
        }
    };
    let cgroup = open_cgroup(settings);
    let result = corten_runtime::exec(ExecRequest {
        id,
        init: init.as_fd(),
        process: &process,
        spec,
        filter,
        stdio,
        bundle: &settings.bundle,
        cgroup: cgroup.as_ref(),
        follow_init: true,
        preserve_fds: 0,
        parent_death_signal: Some(libc::SIGKILL),
        new_keyring: true,
    });
    let Execed { pid, pidfd, console } =
        result.map_err(|error| failure(class(error.exit_code()), chain(&error)))?;
    launched(pid, pidfd, console, pipes)
}

/// Kills what init left behind in a shared pid namespace.
pub(super) fn kill_rest(settings: &Settings) {
    if let Some(cgroup) = open_cgroup(settings) {
        cgroup.kill_all().ok();
    }
}

/// Whether the kernel has killed anything of the container for want of memory.
pub(super) fn oom_killed(settings: &Settings) -> bool {
    open_cgroup(settings).and_then(|cgroup| cgroup.oom_kills().ok()).is_some_and(|kills| kills > 0)
}

/// What becomes readable (or exceptional) when memory ran out.
pub(super) fn memory_events(settings: &Settings) -> Option<OwnedFd> {
    open_cgroup(settings)?.oom_events().ok()
}

fn open_cgroup(settings: &Settings) -> Option<Cgroup> {
    Cgroup::open(settings.cgroup.as_deref()?).ok()
}

fn read_spec(bundle: &Path) -> Result<Spec, Failure> {
    let path = bundle.join(files::CONFIG);
    let text = std::fs::read(&path)
        .map_err(|error| failure(FailureClass::Invalid, format!("{}: {error}", path.display())))?;
    parse_spec(&text, bundle)
}

fn parse_spec(text: &[u8], bundle: &Path) -> Result<Spec, Failure> {
    serde_json::from_slice(text).map_err(|error| {
        let path = bundle.join(files::CONFIG);
        failure(FailureClass::Invalid, format!("{}: {error}", path.display()))
    })
}

fn stdio(
    tty: bool,
    size: Option<protocol::Size>,
    wanted: Wanted,
) -> Result<(Stdio, Option<OurEnds>), Failure> {
    if tty {
        return Ok((Stdio::Terminal { size: size.map(|s| (s.width, s.height)) }, None));
    }
    let Pipes { theirs: [stdin, stdout, stderr], input, outputs } = Pipes::new(wanted).map_err(internal)?;
    Ok((Stdio::Pipes { stdin, stdout, stderr }, Some((input, outputs))))
}

fn launched(
    pid: i32,
    pidfd: OwnedFd,
    console: Option<OwnedFd>,
    pipes: Option<OurEnds>,
) -> Result<Launched, Failure> {
    let (input, outputs) = match (&console, pipes) {
        (Some(master), _) => {
            let clone = || master.try_clone().map_err(internal);
            (Some(clone()?), vec![(clone()?, Stream::Stdout)])
        }
        (None, Some(pipes)) => pipes,
        (None, None) => return Err(internal(io::Error::other("no terminal"))),
    };
    for fd in input.iter().chain(outputs.iter().map(|(fd, _)| fd)) {
        rustix::io::ioctl_fionbio(fd, true).map_err(|e| internal(e.into()))?;
    }
    Ok(Launched { pid, pidfd, console, input, outputs })
}

fn class(exit_code: i32) -> FailureClass {
    match exit_code {
        127 => FailureClass::ProgramNotFound,
        126 => FailureClass::ProgramNotExecutable,
        _ => FailureClass::Runtime,
    }
}

pub(super) fn failure(class: FailureClass, message: String) -> Failure {
    Failure { class, message }
}

pub(super) fn internal(error: io::Error) -> Failure {
    failure(FailureClass::Internal, error.to_string())
}

/// An error and its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
