//! The child's side of [`super::create`]: from a copy of the runtime to the user's program.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use corten_sys::namespace::{self, Kind};
use corten_sys::process::{ForkError, Forked, OneThread, exit_now, fork_sibling};
use corten_sys::{fds, keyring, seccomp, signals, terminal};
use rustix::fs::{FileType, Mode, OFlags, makedev};

use super::binds::Taken;
use super::channel::Channel;
use super::error::InitFailure;
use super::identity::{Attributes, Identity};
use super::namespaces::Namespaces;
use super::program::{Program, exec_failure};
use super::rootfs::{AttachedRoot, RootPlan, RootSource};
use super::sysctl::{self, Sysctl};
use super::{Stdio, hooks};
use crate::seccomp::Program as Filter;
use crate::spec::Hook;

/// Exit code of a process whose program the kernel refused to execute.
const EXEC_FAILED: i32 = 255;
/// `DEVPTS_SUPER_MAGIC`.
const DEVPTS_MAGIC: u64 = 0x1cd1;

/// What is decided about a process before it exists.
#[derive(Debug)]
pub(super) struct ProcessPlan {
    pub program: Program,
    pub identity: Identity,
    pub filter: Option<Filter>,
    pub keyring: Option<Keyring>,
    pub preserve_fds: u32,
    pub death_signal: Option<i32>,
    pub pid_entry: PidEntry,
}

/// How the process comes into its pid namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PidEntry {
    /// It is there from its birth.
    Born,
    /// It is a running container's, whose processes may trace whatever they see (with `CAP_SYS_PTRACE`, everything). So a copy
    /// is made there only when nothing is left that they do not have themselves: no namespace, no privilege, no file.
    AtLast,
}

/// The session keyring to join.
#[derive(Debug)]
pub(super) struct Keyring {
    /// Its name.
    pub name: std::ffi::CString,
    /// Permission bits that it gets in addition, when it is made.
    pub permissions: Option<u32>,
}

impl Keyring {
    /// The owner may search it.
    pub(super) const OWNER: u32 = 0x0008_0000;
    /// Its user, group and others may: in a user namespace the owner's id differs by the mapping.
    pub(super) const MAPPED_OWNER: u32 = 0x0008_0808;
}

/// What is decided about a container before it exists.
#[derive(Debug)]
pub(super) struct InitPlan {
    pub namespaces: Namespaces,
    pub root: Option<RootPlan>,
    pub hostname: String,
    pub domainname: String,
    pub sysctls: Vec<Sysctl>,
    pub process: ProcessPlan,
    pub container_hooks: Vec<Hook>,
    pub start_hooks: Vec<Hook>,
    pub runtime_hooks: bool,
    /// The state as hooks see it: while the container is made, and at its start.
    pub states: [String; 2],
}

/// What the child takes over from the parent.
#[derive(Debug)]
pub(super) struct Inheritance {
    pub root: RootSource,
    /// Sources of bind mounts that the parent has taken out of the host's tree.
    pub binds: Taken,
    pub stdio: Stdio,
    /// Namespaces to join that the parent has not joined for the child.
    pub joins: Vec<(Kind, OwnedFd)>,
    /// `tasks` files of cgroup v1 hierarchies.
    pub tasks: Vec<OwnedFd>,
    /// Where the start is asked for, when not by the parent.
    pub listener: Option<OwnedFd>,
}

/// What lies between the report that the process is ready and its program.
#[derive(Debug)]
pub(super) enum Gate<'a> {
    /// Nothing.
    None,
    /// A word to wait for, and hooks to run then.
    Before {
        /// A listening socket: whoever connects first gives the word. Without one, the parent does.
        listener: Option<OwnedFd>,
        /// Hooks inside the container.
        hooks: &'a [Hook],
        /// The state they are given.
        state: &'a str,
    },
}

/// Runs in the child until the user's program does. Whatever fails is reported, and the process ends.
pub(super) fn run(plan: InitPlan, inheritance: Inheritance, channel: &Channel) -> ! {
    let failure = match set_up(plan, inheritance, channel) {
        Ok(never) => match never {},
        Err(failure) => failure,
    };
    channel.failed(&failure);
    exit_now(EXEC_FAILED)
}

/// The same for a container in a user namespace that exists: enters it, and leaves the rest to a sibling that is born
/// into the container's other namespaces there.
pub(super) fn run_within(users: &OwnedFd, plan: InitPlan, inheritance: Inheritance, channel: &Channel) -> ! {
    match enter_users(users, &plan, channel) {
        Ok(()) => run(plan, inheritance, channel),
        Err(failure) => {
            channel.failed(&failure);
            exit_now(EXEC_FAILED)
        }
    }
}

/// Returns in the sibling.
fn enter_users(users: &OwnedFd, plan: &InitPlan, channel: &Channel) -> Result<(), InitFailure> {
    prepare()?;
    namespace::join(users, Kind::User.flag()).map_err(|e| InitFailure::system("join user namespace", &e))?;
    become_root()?;
    let failed = |e: ForkError| InitFailure::system("make the container's namespaces", &io::Error::other(e));
    match fork_sibling(plan.namespaces.birth_flags(), OneThread::prove().map_err(failed)?).map_err(failed)? {
        Forked::Parent { pidfd, .. } => {
            // The sibling waits until the parent knows it.
            let _ = channel.moved(pidfd.as_fd());
            exit_now(0)
        }
        Forked::Child => channel.wait().map_err(|e| InitFailure::system("the runtime has gone away", &e)),
    }
}

fn set_up(
    mut plan: InitPlan,
    inheritance: Inheritance,
    channel: &Channel,
) -> Result<std::convert::Infallible, InitFailure> {
    let Inheritance { root: source, binds, stdio, joins, tasks, listener } = inheritance;
    let gone = |e: io::Error| InitFailure::system("the runtime has gone away", &e);
    prepare()?;
    if plan.namespaces.is_new(Kind::User) {
        channel.need_mapping().map_err(gone)?;
        become_root()?;
    }
    enter_cgroup_and_namespaces(&tasks, &joins)?;
    if plan.namespaces.is_new(Kind::Cgroup) {
        namespace::unshare(Kind::Cgroup.flag())
            .map_err(|e| InitFailure::system("unshare cgroup namespace", &e))?;
    }
    if let Some(keyring) = &plan.process.keyring {
        join_keyring(keyring)?;
    }
    // Everything that is written into procfs goes through the runtime's own, before it is out of reach.
    plan.process.identity.apply_oom_score()?;
    let attributes = plan.process.identity.open_attributes()?;
    sysctl::apply(&plan.sysctls)?;

    let mut console = None;
    if let Some(root_plan) = plan.root.take() {
        let root = AttachedRoot::attach(source, &root_plan)?;
        root.furnish(&root_plan, binds)?;
        // What a hook changes about the root is part of what is protected and entered.
        if plan.runtime_hooks {
            channel.need_hooks().map_err(gone)?;
        }
        if !plan.container_hooks.is_empty() {
            root.make_current()?;
            hooks::run_all(&plan.container_hooks, &plan.states[0], None)?;
        }
        if let Stdio::Terminal { size } = &stdio {
            let devpts = root
                .root()
                .locate_without_links("/dev/pts")
                .map_err(|e| InitFailure::system("open /dev/pts", &e))?;
            let pty = open_terminal(&devpts, *size)?;
            super::devices::mount_console(root.root(), pty.slave.as_fd())?;
            console = Some(pty);
        }
        root.protect(&root_plan)?;
        root.enter(&root_plan)?;
    } else if let Stdio::Terminal { size } = &stdio {
        console = Some(open_terminal(&host_devpts()?, *size)?);
    }
    if !plan.hostname.is_empty() {
        rustix::system::sethostname(plan.hostname.as_bytes())
            .map_err(|e| InitFailure::system("sethostname", &e.into()))?;
    }
    if !plan.domainname.is_empty() {
        rustix::system::setdomainname(plan.domainname.as_bytes())
            .map_err(|e| InitFailure::system("setdomainname", &e.into()))?;
    }
    let master = take_streams(stdio, console, plan.process.pid_entry)?;
    let gate = Gate::Before { listener, hooks: &plan.start_hooks, state: &plan.states[1] };
    finish(plan.process, attributes, channel, master, gate)
}

/// What every child does first.
pub(super) fn prepare() -> Result<(), InitFailure> {
    signals::reset().map_err(|e| InitFailure::system("reset signals", &e))?;
    corten_sys::process::set_dumpable(false).map_err(|e| InitFailure::system("prctl(SET_DUMPABLE)", &e))?;
    rustix::process::umask(Mode::empty());
    Ok(())
}

/// Joins cgroup v1 hierarchies (this one process, by itself: no lock of the whole system is taken), then namespaces.
pub(super) fn enter_cgroup_and_namespaces(
    tasks: &[OwnedFd],
    joins: &[(Kind, OwnedFd)],
) -> Result<(), InitFailure> {
    for file in tasks {
        rustix::io::write(file, b"0").map_err(|e| InitFailure::system("join the cgroup", &e.into()))?;
    }
    for (kind, fd) in joins {
        namespace::join(fd, kind.flag())
            .map_err(|e| InitFailure::system(format_args!("join {} namespace", kind.file()), &e))?;
    }
    Ok(())
}

/// Takes the ids of the new user namespace's root.
fn become_root() -> Result<(), InitFailure> {
    let root = || -> Result<(), rustix::io::Errno> {
        let (uid, gid) = (rustix::thread::Uid::ROOT, rustix::thread::Gid::ROOT);
        rustix::thread::set_thread_res_gid(gid, gid, gid)?;
        rustix::thread::set_thread_res_uid(uid, uid, uid)?;
        rustix::thread::set_thread_groups(&[])
    };
    root().map_err(|e| InitFailure::system("become root of the user namespace", &e.into()))
}

pub(super) fn join_keyring(keyring: &Keyring) -> Result<(), InitFailure> {
    match (keyring::join_session(&keyring.name), keyring.permissions) {
        (Ok(serial), Some(added)) => keyring::adjust_permissions(serial, u32::MAX, added)
            .map_err(|e| InitFailure::system("unable to mod keyring permissions", &e)),
        (Ok(_), None) => Ok(()),
        // A kernel without keyrings has nothing to separate.
        (Err(e), _) if e.raw_os_error() == Some(libc::ENOSYS) => Ok(()),
        (Err(e), _) => Err(InitFailure::system("unable to join session keyring", &e)),
    }
}

/// Opens a new pair in `devpts`, which must be one.
pub(super) fn open_terminal(
    devpts: &OwnedFd,
    size: Option<(u16, u16)>,
) -> Result<terminal::Pty, InitFailure> {
    let open = || -> io::Result<terminal::Pty> {
        if rustix::fs::fstatfs(devpts)?.f_type as u64 != DEVPTS_MAGIC {
            return Err(io::Error::from_raw_os_error(libc::ENODEV));
        }
        let pty = terminal::open_in(devpts, "ptmx")?;
        let stat = rustix::fs::fstat(&pty.master)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::CharacterDevice || stat.st_rdev != makedev(5, 2)
        {
            return Err(io::Error::from_raw_os_error(libc::ENODEV));
        }
        if let Some((columns, rows)) = size {
            terminal::resize(&pty.master, columns, rows)?;
        }
        Ok(pty)
    };
    open().map_err(|e| InitFailure::system("open a pseudo-terminal", &e))
}

fn host_devpts() -> Result<OwnedFd, InitFailure> {
    rustix::fs::open("/dev/pts", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .map_err(|e| InitFailure::system("open /dev/pts", &e.into()))
}

/// Makes the standard streams what was asked for, in a new session where the process stays what it is. Returns the
/// master of a terminal.
pub(super) fn take_streams(
    stdio: Stdio,
    console: Option<terminal::Pty>,
    entry: PidEntry,
) -> Result<Option<OwnedFd>, InitFailure> {
    let streams = |e: io::Error| InitFailure::system("set up standard streams", &e);
    let master = match (stdio, console) {
        (Stdio::Pipes { stdin, stdout, stderr }, _) => {
            fds::set_stdio(&stdin, &stdout, &stderr).map_err(streams)?;
            None
        }
        (Stdio::Terminal { .. }, Some(terminal::Pty { master, slave })) => {
            fds::set_stdio(&slave, &slave, &slave).map_err(streams)?;
            Some(master)
        }
        (Stdio::Terminal { .. }, None) => return Err(InitFailure::invalid("no terminal was made")),
    };
    if entry == PidEntry::Born {
        lead_session(master.is_some())?;
    }
    Ok(master)
}

/// Begins a session, whose terminal is standard input when there is one.
fn lead_session(terminal: bool) -> Result<(), InitFailure> {
    if terminal {
        terminal::become_session_leader(rustix::stdio::stdin())
            .map_err(|e| InitFailure::system("ioctl(setctty)", &e))
    } else {
        rustix::process::setsid().map(drop).map_err(|e| InitFailure::system("setsid", &e.into()))
    }
}

/// Gives the standard streams to the user, so that programs can open them again by name (`/dev/stdout`).
///
/// Nobody owns the host's null device but root. Streams that cannot be given away stay whose they are: the user is not
/// mapped to their filesystem's ids, or it is read-only.
fn own_streams(uid: u32) -> Result<(), InitFailure> {
    let fail = |e: rustix::io::Errno| InitFailure::system("set the owner of standard streams", &e.into());
    for stream in [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()] {
        let stat = rustix::fs::fstat(stream).map_err(fail)?;
        let is_null = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
            && stat.st_rdev == makedev(1, 3);
        if stat.st_uid == uid || is_null {
            continue;
        }
        match rustix::fs::fchown(stream, Some(rustix::fs::Uid::from_raw(uid)), None) {
            Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::PERM | rustix::io::Errno::ROFS) => {}
            Err(e) => return Err(fail(e)),
        }
    }
    Ok(())
}

/// The last part, the same for a container's first process and for one that joins it: identity, gate, filter, program.
pub(super) fn finish(
    plan: ProcessPlan,
    attributes: Attributes,
    channel: &Channel,
    console: Option<OwnedFd>,
    gate: Gate<'_>,
) -> Result<std::convert::Infallible, InitFailure> {
    let ProcessPlan { program, identity, filter, preserve_fds, death_signal, keyring: _, pid_entry } = plan;
    identity.apply_limits()?;
    let alone = match pid_entry {
        PidEntry::Born => None,
        PidEntry::AtLast => Some(
            OneThread::prove()
                .map_err(|e| InitFailure::system("join the pid namespace", &io::Error::other(e)))?,
        ),
    };
    own_streams(identity.uid())?;
    let environment = if matches!(gate, Gate::Before { hooks: [_, ..], .. }) {
        program.environment().to_vec()
    } else {
        Vec::new()
    };
    let cwd = program.cwd.clone();
    // A directory that only the user may enter is tried again as the user.
    let entered = match enter_directory(&cwd) {
        Err(e) if matches!(e.raw_os_error(), Some(libc::EACCES | libc::EPERM)) => false,
        other => other.map(|()| true).map_err(|e| cwd_failure(&cwd, &e))?,
    };
    identity.become_user()?;
    if !entered {
        enter_directory(&cwd).map_err(|e| cwd_failure(&cwd, &e))?;
    }
    if !corten_sys::path::current_directory_is_inside_root().unwrap_or(false) {
        return Err(InitFailure::invalid(
            "current working directory is outside of container mount namespace root -- possible container breakout detected",
        ));
    }
    Identity::apply_death_signal(death_signal)?;
    let image = program.find(identity.uid())?;
    attributes.apply()?;
    fds::cloexec_from(3 + preserve_fds).map_err(|e| InitFailure::system("close_range", &e))?;
    let gone = |e: io::Error| InitFailure::system("the runtime has gone away", &e);
    // Capabilities go at once, unless a filter is still to be loaded that only the privileged may load.
    if filter.is_none() || identity.no_new_privileges() {
        identity.apply_capabilities()?;
    }
    // A filter that asks an agent is loaded while somebody is there to bring the two together; any other one last, so
    // that it need not allow what happens at the gate.
    let (early, late_filter) = match filter {
        Some(filter) if filter.agent.is_some() => (Some(filter), None),
        other => (None, other),
    };
    if let Some(filter) = &early
        && let Some(listener) = confine(&identity, filter)?
    {
        channel.need_agent(listener.as_fd()).map_err(gone)?;
    }
    let mut late_filter = late_filter;
    if let Some(alone) = alone {
        let listener = match &gate {
            Gate::Before { listener, .. } => listener.as_ref(),
            Gate::None => None,
        };
        let keep: Vec<_> = console.iter().chain(listener).map(AsFd::as_fd).chain([channel.as_fd()]).collect();
        fds::close_all_but(3 + preserve_fds, &keep, &alone)
            .map_err(|e| InitFailure::system("close_range", &e))?;
        if let Some(filter) = late_filter.take_if(|filter| lets_move(filter)) {
            confine(&identity, &filter)?;
        }
        move_into_pid_namespace(alone, channel)?;
        lead_session(console.is_some())?;
        Identity::apply_death_signal(death_signal)?;
    }
    channel.ready(console.as_ref().map(AsFd::as_fd)).map_err(gone)?;
    drop(console);
    let mut late = None;
    let (hooks, state) = match gate {
        Gate::None => (&[][..], ""),
        Gate::Before { listener, hooks, state } => {
            let starter = match listener {
                Some(listener) => late.insert(Channel::accept(listener).map_err(gone)?),
                None => channel,
            };
            starter.wait().map_err(gone)?;
            (hooks, state)
        }
    };
    let prepared = late_filter.map_or(Ok(()), |filter| confine(&identity, &filter).map(drop));
    if let Err(failure) = prepared.and_then(|()| hooks::run_all(hooks, state, Some(&environment))) {
        if let Some(starter) = &late {
            starter.failed(&failure);
        }
        return Err(failure);
    }
    let error = image.execute();
    let failure = exec_failure(&image, &error);
    let _ = rustix::io::write(rustix::stdio::stderr(), format!("{failure}\n").as_bytes());
    if let Some(starter) = &late {
        starter.failed(&failure);
    }
    Err(failure)
}

/// Whether a filter lets the process do what is left to do once it is loaded. One that does not is loaded at the end, by
/// a process that can be seen before: what it is about to lose could then be taken from it by others with
/// `CAP_SYS_PTRACE`.
fn lets_move(filter: &Filter) -> bool {
    let clone = [corten_sys::process::FORK_SIBLING_FLAGS, 0, 0, 0, 0, 0];
    let rest = ["sendmsg", "recvmsg", "exit_group", "setsid", "ioctl", "prctl", "close", "accept4", "execve"];
    filter.allows("clone", clone) && rest.iter().all(|name| filter.allows(name, [0; 6]))
}

/// Goes on as a copy inside the pid namespace that was chosen for children; the process itself ends.
fn move_into_pid_namespace(alone: OneThread, channel: &Channel) -> Result<(), InitFailure> {
    let failed = |e: io::Error| InitFailure::system("join the pid namespace", &e);
    match fork_sibling(0, alone) {
        // The parent takes notice of the copy before the copy speaks.
        Ok(Forked::Child) => channel.wait().map_err(failed),
        Ok(Forked::Parent { pidfd, .. }) => {
            channel.moved(pidfd.as_fd()).map_err(failed)?;
            exit_now(0)
        }
        Err(ForkError::Clone(e)) => Err(failed(e)),
        Err(e @ ForkError::Threads) => Err(failed(io::Error::other(e))),
    }
}

fn enter_directory(path: &str) -> io::Result<()> {
    Ok(rustix::process::chdir(path)?)
}

fn cwd_failure(path: &str, error: &io::Error) -> InitFailure {
    InitFailure::system(format_args!("chdir to cwd ({path:?}) set in config.json failed"), error)
}

/// Loads the filter; where that needs a privilege, the capabilities that were asked for are taken afterwards. Returns
/// what an agent needs.
fn confine(identity: &Identity, filter: &Filter) -> Result<Option<OwnedFd>, InitFailure> {
    if identity.no_new_privileges() {
        return load(filter);
    }
    identity.wake_capabilities()?;
    let listener = load(filter)?;
    identity.apply_capabilities()?;
    Ok(listener)
}

fn load(filter: &Filter) -> Result<Option<OwnedFd>, InitFailure> {
    seccomp::install(&filter.instructions, filter.flags)
        .map_err(|e| InitFailure::system("unable to init seccomp", &e))
}
