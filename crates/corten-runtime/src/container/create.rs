//! The parent's side of making a container: plan, copy into new namespaces, answer, hold the gate.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use corten_sys::mount::Propagation;
use corten_sys::namespace::{Excursion, Kind};
use corten_sys::process::{ForkError, Forked, Wait, fork, send_signal, wait};

use super::Stdio;
use super::channel::{Channel, Report};
use super::error::{CreateError, StartError};
use super::identity::Identity;
use super::init::{Inheritance, InitPlan, Keyring, PidEntry, ProcessPlan};
use super::mount_plan::{clean, plan_mount, plan_root_propagation};
use super::namespaces::{Namespaces, id_map};
use super::program::Program;
use super::rootfs::{RootPlan, RootSource};
use super::{
    CreateRequest, Created, Filter, Made, Rootfs, StartGate, agent, binds, devices, hooks, init, sysctl,
};
use crate::cgroup::{Membership, View};
use crate::seccomp;
use crate::spec::{Hooks, IdMapping, Linux, Process, Spec};

/// Makes a container up to the point where only the user's program is missing.
///
/// The calling process must have one thread; it becomes the parent of the container's first process and must reap it.
pub fn create(request: CreateRequest<'_>) -> Result<Created, CreateError> {
    let (made, channel) = make(request, None)?;
    let Made { pid, pidfd, console } = made;
    Ok(Created { pid, pidfd, console, gate: StartGate { channel } })
}

/// Like [`create`], for a caller that ends before the container starts: the process waits for the first connection to
/// `listener` (a listening sequenced-packet socket), which [`StartGate::connect`] makes.
pub fn create_detached(request: CreateRequest<'_>, listener: OwnedFd) -> Result<Made, CreateError> {
    make(request, Some(listener)).map(|(made, _)| made)
}

fn make(mut request: CreateRequest<'_>, listener: Option<OwnedFd>) -> Result<(Made, Channel), CreateError> {
    let filter = std::mem::take(&mut request.filter);
    let plan = plan(&request, filter)?;
    let membership = match request.cgroup {
        Some(cgroup) => cgroup.membership().map_err(|e| system("join the cgroup", io::Error::other(e)))?,
        None => Membership::default(),
    };
    let joined = plan
        .namespaces
        .open()
        .map_err(|(path, source)| system(format!("open namespace {}", path.display()), source))?;
    let namespaces = plan.namespaces.clone();
    let empty = Hooks::default();
    let hooks = request.spec.hooks.as_ref().unwrap_or(&empty);
    let own_users = namespaces.is_new(Kind::User);
    let joins_users = joined.iter().any(|(kind, _)| *kind == Kind::User);
    let (shared, propagation) = match plan.root.as_ref().map(|root| root.propagation.0) {
        // Sources stay what they are for the host, which the tree they are taken from does not.
        Some(Propagation::Shared) => (true, None),
        Some(Propagation::Private | Propagation::Unbindable) => (false, Some(Propagation::Private)),
        Some(Propagation::Slave) | None => (false, Some(Propagation::Slave)),
    };
    let root = match request.rootfs {
        Rootfs::Path(path) => RootSource::Path(request.bundle.join(path)),
        Rootfs::Mount(fd) => RootSource::Mount(fd),
    };
    let mounts = plan.root.as_ref().map_or(&[][..], |root| &root.mounts);
    let binds = binds::take_out(mounts, own_users || joins_users || shared, propagation)
        .map_err(|(what, e)| system(what, e))?;
    if let (Some(linux), Some(process)) = (&request.spec.linux, &request.spec.process) {
        give_streams(&request.stdio, linux, process)
            .map_err(|e| system("give the standard streams away", e))?;
    }
    let asked = plan.process.filter.as_ref().and_then(|filter| filter.agent.clone());
    let (child_end, parent_end) = Channel::pair().map_err(|e| system("make a socket pair", e))?;

    // What only children get, and what a new user namespace could no longer join, is joined by the parent for the
    // moment of the copy.
    let for_parent =
        |kind: Kind| matches!(kind, Kind::Pid | Kind::Time) || (own_users && kind != Kind::Mount);
    let (by_parent, mut by_child): (Vec<_>, Vec<_>) =
        joined.into_iter().partition(|(kind, _)| for_parent(*kind));
    let place = by_child.iter().position(|(kind, _)| *kind == Kind::User);
    let joined_users = place.map(|place| by_child.swap_remove(place).1);
    let targets = by_parent.iter().map(|(kind, fd)| (*kind, fd));
    let mut excursion = Excursion::enter(targets).map_err(|e| system("join namespaces", e))?;
    if namespaces.is_new(Kind::Time) {
        excursion
            .enter_new_time(namespaces.time_offsets.as_deref().unwrap_or_default())
            .map_err(|e| system("make a time namespace", e))?;
    }
    let inheritance =
        Inheritance { root, binds, stdio: request.stdio, joins: by_child, tasks: membership.tasks, listener };
    let directory = membership.directory.as_ref().map(AsFd::as_fd);
    // Namespaces belong to the user namespace in which they are made: a joined one is entered before, by a copy that
    // leaves the work to another, born there.
    let birth = if joined_users.is_some() { 0 } else { namespaces.birth_flags() };
    let forked = fork(birth, directory);
    let (pid, pidfd) = match forked {
        Ok(Forked::Child) => {
            drop(parent_end);
            // The way home is the parent's business: the child stays.
            excursion.stay();
            match joined_users {
                None => init::run(plan, inheritance, &child_end),
                Some(users) => init::run_within(&users, plan, inheritance, &child_end),
            }
        }
        Ok(Forked::Parent { pid, pidfd }) => (pid, pidfd),
        Err(ForkError::Threads) => return Err(system("clone3", io::Error::other(ForkError::Threads))),
        Err(ForkError::Clone(source)) => return Err(system("clone3", source)),
    };
    drop((child_end, inheritance));
    let (mut pid, mut process) = (pid, Unfinished { pidfd: Some(pidfd) });
    excursion.leave().map_err(|e| system("leave joined namespaces", e))?;

    let state = |status: &str, pid: i32| hook_state(request.id, status, pid, request.bundle, request.spec);
    loop {
        match parent_end.report().map_err(|e| system("hear from the container", e))? {
            Report::Mapping => {
                write_maps(pid, &namespaces.users, &namespaces.groups)
                    .map_err(|(file, e)| system(format!("write {file}"), e))?;
            }
            Report::Hooks => {
                let state = state("creating", pid);
                for list in [&hooks.prestart, &hooks.create_runtime] {
                    hooks::run_all(list, &state, None).map_err(CreateError::Init)?;
                }
            }
            Report::Listener(listener) => {
                if let Some(agent) = &asked {
                    let text = format!("hand the filter to the agent at {}", agent.path);
                    agent::hand_over(agent, &listener, pid, &state("creating", pid))
                        .map_err(|e| system(text, e))?;
                }
            }
            Report::Ready { console } => {
                let pidfd = process.finish();
                return Ok((Made { pid, pidfd, console }, parent_end));
            }
            Report::Failed(failure) => return Err(CreateError::Init(failure)),
            Report::End => return Err(CreateError::Died(process.reap())),
            Report::Moved(sibling) => {
                pid = process.replace(sibling).map_err(|e| system("take over the container", e))?;
            }
        }
        parent_end.go().map_err(|e| system("answer the container", e))?;
    }
}

impl StartGate {
    /// The gate of a container that [`create_detached`] made with a listener at this path.
    pub fn connect(path: &Path) -> io::Result<Self> {
        Ok(Self { channel: Channel::connect(path)? })
    }

    /// Lets the program run, and returns once it has been executed or could not be.
    pub fn start(self) -> Result<(), StartError> {
        self.channel.go().map_err(|_| StartError::Gone)?;
        match self.channel.report() {
            Ok(Report::End) => Ok(()),
            Ok(Report::Failed(failure)) if failure.program.is_some() => Err(StartError::Exec(failure)),
            Ok(Report::Failed(failure)) => Err(StartError::Init(failure)),
            Ok(_) | Err(_) => Err(StartError::Gone),
        }
    }
}

/// A child that is ended and reaped unless it came as far as it should.
#[derive(Debug)]
pub(super) struct Unfinished {
    pub pidfd: Option<OwnedFd>,
}

impl Unfinished {
    /// The child is as it should be.
    pub(super) fn finish(&mut self) -> OwnedFd {
        match self.pidfd.take() {
            Some(pidfd) => pidfd,
            None => unreachable!("a process is finished once"),
        }
    }

    /// The child has made another in its place and ends: it is reaped. The number of the new one.
    pub(super) fn replace(&mut self, sibling: OwnedFd) -> io::Result<i32> {
        self.reap();
        let pid = corten_sys::pidfd::number(&sibling);
        self.pidfd = Some(sibling);
        pid
    }

    /// Ends and reaps the child; its exit code.
    pub(super) fn reap(&mut self) -> i32 {
        let Some(pidfd) = self.pidfd.take() else { return 0 };
        let _ = send_signal(&pidfd, libc::SIGKILL);
        wait(&pidfd, Wait::Block).ok().flatten().map_or(-1, |exit| exit.code())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        self.reap();
    }
}

fn system(operation: impl Into<String>, source: io::Error) -> CreateError {
    CreateError::System { operation: operation.into(), source }
}

/// Everything that is decided before a process exists.
fn plan(request: &CreateRequest<'_>, filter: Filter) -> Result<InitPlan, CreateError> {
    let spec = request.spec;
    let bad = CreateError::Spec;
    let empty = Linux::default();
    let linux = spec.linux.as_ref().unwrap_or(&empty);
    let process = spec.process.as_ref().ok_or_else(|| bad("no process".into()))?;
    let namespaces = Namespaces::plan(linux).map_err(bad)?;
    let own_uts = namespaces.is_separate(crate::spec::NamespaceKind::Uts);
    let names_itself = !spec.hostname.is_empty() || !spec.domainname.is_empty();
    if names_itself && !own_uts {
        return Err(bad("unable to set hostname without a private UTS namespace".into()));
    }
    let empty_hooks = Hooks::default();
    let hooks = spec.hooks.as_ref().unwrap_or(&empty_hooks);
    hooks::check(hooks).map_err(bad)?;
    let root = if namespaces.is_new(Kind::Mount) {
        let ids = (linux.uid_mappings.as_slice(), linux.gid_mappings.as_slice());
        let mounts = spec.mounts.iter().map(|mount| plan_mount(mount, request.bundle, ids));
        let paths =
            |list: &[String]| -> Vec<PathBuf> { list.iter().map(|path| clean(Path::new(path))).collect() };
        Some(RootPlan {
            mounts: mounts.collect::<Result<_, _>>().map_err(bad)?,
            nodes: devices::plan_nodes(&linux.devices).map_err(bad)?,
            masked: paths(&linux.masked_paths),
            readonly: paths(&linux.readonly_paths),
            root_readonly: spec.root.as_ref().is_some_and(|root| root.readonly),
            propagation: plan_root_propagation(&linux.rootfs_propagation).map_err(bad)?,
            propagation_is_asked: !linux.rootfs_propagation.is_empty(),
            working_directory: clean(Path::new(&process.cwd)),
            pivot: request.pivot,
            cgroup_view: match request.cgroup {
                Some(cgroup) => cgroup.view(namespaces.is_new(Kind::Cgroup)),
                None => View::default(),
            },
        })
    } else {
        return Err(bad("a container needs a mount namespace of its own".into()));
    };
    Ok(InitPlan {
        sysctls: sysctl::plan(&linux.sysctl, &namespaces).map_err(bad)?,
        process: plan_process(process, linux, filter, &ProcessOptions::of_create(request, &namespaces))
            .map_err(bad)?,
        root,
        hostname: spec.hostname.clone(),
        domainname: spec.domainname.clone(),
        container_hooks: hooks.create_container.clone(),
        start_hooks: hooks.start_container.clone(),
        runtime_hooks: !hooks.prestart.is_empty() || !hooks.create_runtime.is_empty(),
        states: if hooks.create_container.is_empty() && hooks.start_container.is_empty() {
            [String::new(), String::new()]
        } else {
            ["creating", "created"].map(|status| hook_state(request.id, status, 1, request.bundle, spec))
        },
        namespaces,
    })
}

/// What [`plan_process`] needs besides the specification.
#[derive(Debug)]
pub(super) struct ProcessOptions<'a> {
    pub id: &'a str,
    pub new_keyring: bool,
    /// What is added to the permissions of a new keyring.
    pub keyring_permissions: Option<u32>,
    pub preserve_fds: u32,
    pub death_signal: Option<i32>,
    pub pid_entry: PidEntry,
}

impl<'a> ProcessOptions<'a> {
    fn of_create(request: &CreateRequest<'a>, namespaces: &Namespaces) -> Self {
        Self {
            id: request.id,
            new_keyring: request.new_keyring,
            keyring_permissions: Some(match namespaces.is_separate(crate::spec::NamespaceKind::User) {
                true => Keyring::MAPPED_OWNER,
                false => Keyring::OWNER,
            }),
            preserve_fds: request.preserve_fds,
            death_signal: request.parent_death_signal,
            // What it mounts as procfs shows the namespace that it is in: it must be there before.
            pid_entry: PidEntry::Born,
        }
    }
}

pub(super) fn plan_process(
    process: &Process,
    linux: &Linux,
    filter: Filter,
    options: &ProcessOptions<'_>,
) -> Result<ProcessPlan, String> {
    let filter = match (filter, &linux.seccomp) {
        (Filter::Ready(program), _) => Some(program),
        (Filter::Rules, Some(rules)) => seccomp::compile(rules).map(Some).map_err(|e| e.to_string())?,
        (Filter::Rules, None) => None,
    };
    let keyring = if options.new_keyring {
        let name = std::ffi::CString::new(format!("_ses.{}", options.id)).map_err(|e| e.to_string())?;
        Some(Keyring { name, permissions: options.keyring_permissions })
    } else {
        None
    };
    Ok(ProcessPlan {
        program: Program::plan(process)?,
        identity: Identity::plan(process, linux.personality.as_ref())?,
        filter,
        keyring,
        preserve_fds: options.preserve_fds,
        death_signal: options.death_signal,
        pid_entry: options.pid_entry,
    })
}

/// Gives pipes to the container's user, who cannot take them: they belong to nobody inside a user namespace.
pub(super) fn give_streams(stdio: &Stdio, linux: &Linux, process: &Process) -> io::Result<()> {
    let Stdio::Pipes { stdin, stdout, stderr } = stdio else { return Ok(()) };
    let Some(owner) = host_id(&linux.uid_mappings, process.user.uid) else { return Ok(()) };
    for stream in [stdin, stdout, stderr] {
        let kind = rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(stream)?.st_mode);
        // Whatever else there is (the null device, a file of somebody's) is not for the container to own.
        if kind == rustix::fs::FileType::Fifo {
            rustix::fs::fchown(stream, Some(rustix::fs::Uid::from_raw(owner)), None)?;
        }
    }
    Ok(())
}

/// What an id of the container is on the host.
fn host_id(mappings: &[IdMapping], id: u32) -> Option<u32> {
    let within = |m: &&IdMapping| id >= m.container_id && id - m.container_id < m.size;
    mappings.iter().find(within).map(|m| m.host_id + (id - m.container_id))
}

/// Writes the id maps of a child's new user namespace.
pub(super) fn write_maps(
    pid: i32,
    users: &[IdMapping],
    groups: &[IdMapping],
) -> Result<(), (String, io::Error)> {
    for (file, mappings) in [("uid_map", users), ("gid_map", groups)] {
        let path = format!("/proc/{pid}/{file}");
        std::fs::write(&path, id_map(mappings)).map_err(|e| (path, e))?;
    }
    Ok(())
}

/// The container's state as the specification gives it to hooks.
pub(crate) fn hook_state(id: &str, status: &str, pid: i32, bundle: &Path, spec: &Spec) -> String {
    serde_json::json!({
        "ociVersion": crate::spec::VERSION,
        "id": id,
        "status": status,
        "pid": pid,
        "bundle": bundle,
        "annotations": spec.annotations,
    })
    .to_string()
}
