//! Running a further program inside a running container.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use corten_sys::namespace::{self, Kind};
use corten_sys::path::Root;
use corten_sys::process::{ForkError, Forked, exit_now, fork};
use rustix::fs::{Mode, OFlags};
use rustix::thread::CpuSet;

use super::affinity::{Affinity, AffinityStay};
use super::agent;
use super::channel::{Channel, Report};
use super::create::{ProcessOptions, Unfinished, give_streams, hook_state, plan_process};
use super::error::{ExecError, InitFailure};
use super::init::{self, PidEntry, ProcessPlan};
use super::{ExecRequest, Execed, Stdio};
use crate::cgroup::Membership;
use crate::spec::{Linux, NamespaceKind, Process};

/// Namespaces that a joining process takes over from the first process; the pid namespace only for its children.
const JOINED: [Kind; 8] = Kind::ALL;

/// Runs a further program inside a running container, and returns once it has been executed.
///
/// The calling process must have one thread; it becomes the parent of the new process and must reap it whenever it
/// ends: the first process of a pid namespace is not gone before every other process inside was reaped.
pub fn exec(request: ExecRequest<'_>) -> Result<Execed, ExecError> {
    let empty = Linux::default();
    let linux = request.spec.linux.as_ref().unwrap_or(&empty);
    let has = |kind| linux.namespaces.iter().any(|namespace| namespace.kind == kind);
    let options = ProcessOptions {
        id: request.id,
        new_keyring: request.new_keyring,
        // It is the first process's, who has made it.
        keyring_permissions: None,
        preserve_fds: request.preserve_fds,
        death_signal: request.parent_death_signal,
        pid_entry: if has(NamespaceKind::Pid) { PidEntry::AtLast } else { PidEntry::Born },
    };
    let process = confined(request.process, request.spec.process.as_ref());
    let plan = plan_process(&process, linux, request.filter, &options).map_err(ExecError::Spec)?;
    give_streams(&request.stdio, linux, &process).map_err(|e| system("give the standard streams away", e))?;
    let asked = plan.filter.as_ref().and_then(|filter| filter.agent.clone());
    let membership = match request.cgroup {
        Some(cgroup) => cgroup.membership().map_err(|e| system("join the cgroup", io::Error::other(e)))?,
        None => Membership::default(),
    };
    let (child_end, parent_end) = Channel::pair().map_err(|e| system("make a socket pair", e))?;
    let init = request.init.try_clone_to_owned().map_err(|e| system("take the container's process", e))?;

    // Where the process runs before it has joined the cgroup; the caller goes back to where it was.
    let affinity = Affinity::plan(request.process.exec_cpu_affinity.as_ref()).map_err(ExecError::Spec)?;
    let stay =
        affinity.initial.map(AffinityStay::enter).transpose().map_err(|e| system("set CPU affinity", e))?;
    let mut forked = fork(0, membership.directory.as_ref().map(AsFd::as_fd));
    if matches!(&forked, Err(ForkError::Clone(e)) if e.raw_os_error() == Some(libc::EBUSY)) {
        // Processes live in child cgroups with controllers of their own: there the container's takes none.
        let theirs = if request.follow_init { crate::cgroup::of_process(&init) } else { None };
        forked = match theirs {
            Some(directory) => fork(0, Some(directory.as_fd())),
            None => {
                let path = request.cgroup.map_or("", crate::cgroup::Cgroup::path);
                let operation = format!("error adding pid of the process to cgroups: {path}/cgroup.procs");
                return Err(ExecError::System {
                    operation,
                    source: io::Error::from_raw_os_error(libc::EBUSY),
                });
            }
        };
    }
    let (pid, pidfd) = match forked {
        Ok(Forked::Child) => {
            drop(parent_end);
            let kinds = JOINED.iter().copied().filter(|kind| spec_has(linux, *kind));
            std::mem::forget(stay);
            let flags = kinds.fold(0, |flags, kind| flags | kind.flag());
            let joining = Joining { init, flags, membership, affinity: affinity.last };
            let failure = match set_up(plan, joining, request.stdio, &child_end) {
                Ok(never) => match never {},
                Err(failure) => failure,
            };
            child_end.failed(&failure);
            exit_now(255)
        }
        Ok(Forked::Parent { pid, pidfd }) => (pid, pidfd),
        Err(ForkError::Threads) => return Err(system("clone3", io::Error::other(ForkError::Threads))),
        Err(ForkError::Clone(source)) => return Err(system("clone3", source)),
    };
    drop((child_end, request.stdio, membership, stay));
    let mut process = Unfinished { pidfd: Some(pidfd) };
    let mut pid = pid;

    let mut master = None;
    loop {
        match parent_end.report().map_err(|e| system("hear from the process", e))? {
            Report::Ready { console } => master = Some(console),
            Report::Listener(listener) => {
                if let Some(agent) = &asked {
                    let state = hook_state(request.id, "running", pid, request.bundle, request.spec);
                    agent::hand_over(agent, &listener, pid, &state)
                        .map_err(|e| system("hand the filter to the agent", e))?;
                }
                parent_end.go().map_err(|e| system("answer the process", e))?;
            }
            Report::Moved(sibling) => {
                pid = process.replace(sibling).map_err(|e| system("take over the process", e))?;
                parent_end.go().map_err(|e| system("answer the process", e))?;
            }
            // The first process has ended meanwhile, and its pid namespace takes nobody any more.
            Report::Failed(failure)
                if failure.program.is_none() && matches!(failure.errno, libc::ESRCH | libc::ENOMEM) =>
            {
                return Err(ExecError::Stopped);
            }
            Report::Failed(failure) => return Err(ExecError::Init(failure)),
            Report::End => break,
            Report::Mapping | Report::Hooks => {
                return Err(system("hear from the process", io::Error::from_raw_os_error(libc::EBADMSG)));
            }
        }
    }
    match master {
        Some(console) => Ok(Execed { pid, pidfd: process.finish(), console }),
        None => Err(ExecError::Died(process.reap())),
    }
}

/// `process` with the profile and label of the container's own where it names none: whoever joins is confined alike.
fn confined(process: &Process, first: Option<&Process>) -> Process {
    let mut process = process.clone();
    if let Some(first) = first {
        if process.apparmor_profile.is_empty() {
            process.apparmor_profile.clone_from(&first.apparmor_profile);
        }
        if process.selinux_label.is_empty() {
            process.selinux_label.clone_from(&first.selinux_label);
        }
    }
    process
}

/// What the child needs to join the container.
#[derive(Debug)]
struct Joining {
    init: OwnedFd,
    flags: u64,
    membership: Membership,
    affinity: Option<CpuSet>,
}

fn spec_has(linux: &Linux, kind: Kind) -> bool {
    let named = match kind {
        Kind::User => NamespaceKind::User,
        Kind::Mount => NamespaceKind::Mount,
        Kind::Uts => NamespaceKind::Uts,
        Kind::Ipc => NamespaceKind::Ipc,
        Kind::Net => NamespaceKind::Network,
        Kind::Pid => NamespaceKind::Pid,
        Kind::Cgroup => NamespaceKind::Cgroup,
        Kind::Time => NamespaceKind::Time,
    };
    linux.namespaces.iter().any(|namespace| namespace.kind == named)
}

fn set_up(
    plan: ProcessPlan,
    joining: Joining,
    stdio: Stdio,
    channel: &Channel,
) -> Result<std::convert::Infallible, InitFailure> {
    init::prepare()?;
    init::enter_cgroup_and_namespaces(&joining.membership.tasks, &[])?;
    if let Some(cpus) = &joining.affinity {
        rustix::thread::sched_setaffinity(None, cpus)
            .map_err(|e| InitFailure::system("set CPU affinity", &e.into()))?;
    }
    plan.identity.apply_oom_score()?;
    let attributes = plan.identity.open_attributes()?;
    namespace::join(&joining.init, joining.flags)
        .map_err(|e| InitFailure::system("join the container's namespaces", &e))?;
    drop(joining);
    if let Some(keyring) = &plan.keyring {
        init::join_keyring(keyring)?;
    }
    let console = match &stdio {
        Stdio::Terminal { size } => {
            let root = rustix::fs::open("/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
                .map_err(|e| InitFailure::system("open the container's root", &e.into()))?;
            let devpts = Root::new(root.as_fd())
                .locate_without_links("/dev/pts")
                .map_err(|e| InitFailure::system("open /dev/pts", &e))?;
            Some(init::open_terminal(&devpts, *size)?)
        }
        Stdio::Pipes { .. } => None,
    };
    let master = init::take_streams(stdio, console, plan.pid_entry)?;
    init::finish(plan, attributes, channel, master, init::Gate::None)
}

fn system(operation: &str, source: io::Error) -> ExecError {
    ExecError::System { operation: operation.into(), source }
}
