//! Making processes: `clone3` without shared memory, `execve`, and what is asked about a process by descriptor.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::syscall::check;

const CLONE_PIDFD: u64 = 0x1000;
const CLONE_CLEAR_SIGHAND: u64 = 1 << 32;
const CLONE_INTO_CGROUP: u64 = 1 << 33;
/// Every namespace flag that `clone3` accepts.
const NAMESPACES: u64 = (libc::CLONE_NEWUSER
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWCGROUP) as u64
    | 0x80;

/// The kernel's `struct clone_args`, version 2.
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Which side of a [`fork`] the caller is on.
#[derive(Debug)]
pub enum Forked {
    /// The parent, and the descriptor and number of its new child.
    Parent {
        /// Number in the caller's pid namespace.
        pid: i32,
        /// Refers to the child even after its number is used again. Close-on-exec.
        pidfd: OwnedFd,
    },
    /// The child. It must end by [`Image::execute`] or [`exit_now`], never by returning from `main`.
    Child,
}

/// Why [`fork`] made no process.
#[derive(Debug, thiserror::Error)]
pub enum ForkError {
    /// The caller has more than one thread: a copy of it could wait for ever for a lock that nobody holds.
    #[error("a process with several threads cannot be copied")]
    Threads,
    /// The kernel refused.
    #[error("clone3")]
    Clone(#[source] io::Error),
}

/// Copies the calling process into new namespaces of the kinds `namespaces` (`CLONE_NEW*` bits) and, on cgroup v2,
/// into the cgroup whose directory `cgroup` is.
///
/// Memory is copied on write, never shared: a process in a container's namespaces that shares memory with its
/// creator would be a way out. Signal handlers are reset to defaults in the child. The caller must have one thread.
pub fn fork(namespaces: u64, cgroup: Option<BorrowedFd<'_>>) -> Result<Forked, ForkError> {
    if !single_threaded().map_err(ForkError::Clone)? {
        return Err(ForkError::Threads);
    }
    let mut pidfd: libc::c_int = -1;
    let mut args = CloneArgs {
        flags: (namespaces & NAMESPACES) | CLONE_PIDFD | CLONE_CLEAR_SIGHAND,
        pidfd: (&raw mut pidfd) as u64,
        exit_signal: libc::SIGCHLD as u64,
        ..CloneArgs::default()
    };
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: no CLONE_VM and no stack: the child is a copy that goes on from here on its own copy of this stack, as
    // with fork(2). The only thread was checked above, so no lock of the C library or of the allocator can be held
    // by a thread that does not exist in the child. `args` has the kernel's layout and size; `pidfd` outlives the
    // call and is written in the parent only.
    match check(unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<CloneArgs>()) }) {
        Ok(0) => Ok(Forked::Child),
        Ok(pid) => {
            // SAFETY: with CLONE_PIDFD the kernel stored a new descriptor that nobody else owns.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Forked::Parent { pid: pid as i32, pidfd })
        }
        Err(source) => Err(ForkError::Clone(source)),
    }
}

/// Proof that the process had one thread. It is given where that can still be asked (a filter of system calls or
/// another root may take that away) and used up by a copy; whoever holds it makes no thread meanwhile.
#[derive(Debug)]
pub struct OneThread(std::marker::PhantomData<*mut ()>);

impl OneThread {
    /// Asks the kernel, without procfs.
    pub fn prove() -> Result<Self, ForkError> {
        // SAFETY: CLONE_THREAD alone changes nothing: the kernel refuses it (EINVAL) where there are several threads.
        match check(unsafe { libc::syscall(libc::SYS_unshare, libc::CLONE_THREAD) }) {
            Ok(_) => Ok(Self(std::marker::PhantomData)),
            Err(e) if e.raw_os_error() == Some(libc::EINVAL) => Err(ForkError::Threads),
            Err(e) => Err(ForkError::Clone(e)),
        }
    }
}

/// Copies the calling process once more, as a child of the caller's own parent, which must reap it. It is born into the
/// pid namespace that `setns(2)` has chosen for children.
///
/// By `clone(2)`: filters of system calls look at its flags and let it pass, where they refuse `clone3`.
///
/// `namespaces` are the kinds (`CLONE_NEW*` bits) that it is born into.
pub fn fork_sibling(namespaces: u64, _alone: OneThread) -> Result<Forked, ForkError> {
    let mut pidfd: libc::c_int = -1;
    let flags = FORK_SIBLING_FLAGS | (namespaces & NAMESPACES);
    // SAFETY: as in `fork`: no CLONE_VM and no stack, and the caller has proved that it is alone; `pidfd`, the third
    // argument on every architecture that is built for, outlives the call and is written in the parent only.
    let cloned = unsafe { libc::syscall(libc::SYS_clone, flags, 0usize, &raw mut pidfd, 0usize, 0usize) };
    match check(cloned) {
        Ok(0) => Ok(Forked::Child),
        Ok(pid) => {
            // SAFETY: with CLONE_PIDFD the kernel stored a new descriptor that nobody else owns.
            Ok(Forked::Parent { pid: pid as i32, pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) } })
        }
        Err(source) => Err(ForkError::Clone(source)),
    }
}

/// What [`fork_sibling`] asks `clone(2)` for.
pub const FORK_SIBLING_FLAGS: u64 = CLONE_PIDFD | libc::CLONE_PARENT as u64;

/// A process that does nothing but hold the namespaces it was born into. It ends with this value.
#[derive(Debug)]
pub(crate) struct Holder {
    pid: i32,
    pidfd: OwnedFd,
}

/// Seconds after which a holder ends by itself, if whoever made it has died.
const HOLDER_LIFE: u32 = 10;

impl Holder {
    /// Born into new namespaces of these kinds (`CLONE_NEW*` bits).
    pub(crate) fn born_into(namespaces: u64) -> io::Result<Self> {
        let mut pidfd: libc::c_int = -1;
        let mut args = CloneArgs {
            flags: (namespaces & NAMESPACES) | CLONE_PIDFD | CLONE_CLEAR_SIGHAND,
            pidfd: (&raw mut pidfd) as u64,
            exit_signal: libc::SIGCHLD as u64,
            ..CloneArgs::default()
        };
        // SAFETY: no CLONE_VM and no stack: the child is a copy, as with fork(2). Other threads of the caller may have
        // held locks at that moment, so the child calls nothing but alarm(2) and pause(2), which take none, and never
        // returns. `args` has the kernel's layout and size; `pidfd` outlives the call and is written in the parent only.
        match check(unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<CloneArgs>()) })? {
            0 => {
                // SAFETY: neither touches memory, and both may be called in the copy of a process with threads.
                unsafe {
                    libc::alarm(HOLDER_LIFE);
                    loop {
                        libc::pause();
                    }
                }
            }
            pid => {
                // SAFETY: with CLONE_PIDFD the kernel stored a new descriptor that nobody else owns.
                let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
                Ok(Self { pid: pid as i32, pidfd })
            }
        }
    }

    /// Its number.
    pub(crate) fn pid(&self) -> i32 {
        self.pid
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = send_signal(&self.pidfd, libc::SIGKILL);
        let _ = wait(&self.pidfd, Wait::Block);
    }
}

/// Has the calling thread create files for, and look at them as, this user and group; it keeps its capabilities.
pub fn act_on_files_as(uid: u32, gid: u32) -> io::Result<()> {
    let held = rustix::thread::capabilities(None)?;
    // SAFETY: setfsuid(2) and setfsgid(2) take integers, change the calling thread alone, and touch no memory.
    unsafe {
        libc::syscall(libc::SYS_setfsgid, gid);
        libc::syscall(libc::SYS_setfsuid, uid);
    }
    // Some were taken out of the effective ones, because root was left.
    Ok(rustix::thread::set_capabilities(None, held)?)
}

/// Runs `body` on a thread of its own that creates files for, and looks at them as, this user and group.
pub fn with_files_of<T: Send>(
    uid: u32,
    gid: u32,
    body: impl FnOnce() -> io::Result<T> + Send,
) -> io::Result<T> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(move || {
            act_on_files_as(uid, gid)?;
            body()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Whether the calling process has exactly one thread.
pub fn single_threaded() -> io::Result<bool> {
    // A directory's link count is 2 and one for each folder inside: here one folder per thread.
    Ok(rustix::fs::stat("/proc/self/task")?.st_nlink == 3)
}

/// Ends the process at once: no destructors, no exit handlers, no flushing.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit(2) has no preconditions and does not return.
    unsafe { libc::_exit(code) }
}

/// A program with its arguments and environment, ready for `execve`.
#[derive(Debug, Clone)]
pub struct Image {
    path: CString,
    argv: Vec<CString>,
    envp: Vec<CString>,
}

impl Image {
    /// Prepares `path`, called with `argv` and `envp` (`NAME=value`). A NUL byte inside is `EINVAL`.
    pub fn new<S: AsRef<str>>(path: &str, argv: &[S], envp: &[S]) -> io::Result<Self> {
        let text = |s: &str| CString::new(s).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL));
        let all = |list: &[S]| list.iter().map(|s| text(s.as_ref())).collect::<io::Result<Vec<_>>>();
        Ok(Self { path: text(path)?, argv: all(argv)?, envp: all(envp)? })
    }

    /// Replaces the calling process's program. Returns only when it fails.
    pub fn execute(&self) -> io::Error {
        let argv = pointers(&self.argv);
        let envp = pointers(&self.envp);
        // SAFETY: `path` and every element are NUL-terminated, both arrays end with a null pointer, and all of it is
        // borrowed from `self` for the whole call.
        unsafe { libc::execve(self.path.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
        io::Error::last_os_error()
    }

    /// The program's path.
    pub fn path(&self) -> &CStr {
        &self.path
    }
}

fn pointers(list: &[CString]) -> Vec<*const libc::c_char> {
    list.iter().map(|s| s.as_ptr()).chain(std::iter::once(std::ptr::null())).collect()
}

/// Sends the signal with this number to the process of `pidfd`. `ESRCH` when it has been reaped.
///
/// Number 0 only asks whether it could be sent. Realtime signals are allowed, which `rustix` does not type.
pub fn send_signal(pidfd: impl AsFd, signal: i32) -> io::Result<()> {
    // SAFETY: pidfd_send_signal(2) with a null info pointer touches no memory.
    check(unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_fd().as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    })?;
    Ok(())
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It returned or called `exit` with this code.
    Code(i32),
    /// The signal with this number ended it.
    Signal(i32),
}

impl Exit {
    /// The number that shells and Docker show: the code, or 128 plus the signal's number.
    pub const fn code(self) -> i32 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128 + signal,
        }
    }

    /// Reads a status of `wait(2)`.
    pub const fn from_wait_status(status: i32) -> Self {
        let signal = status & 0x7f;
        if signal == 0 { Self::Code((status >> 8) & 0xff) } else { Self::Signal(signal) }
    }
}

/// Whether [`wait`] waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Until the child has ended.
    Block,
    /// Look only.
    Poll,
}

/// Collects the end of the child of `pidfd`; `None` when it still runs and `wait` is [`Wait::Poll`].
pub fn wait(pidfd: impl AsFd, wait: Wait) -> io::Result<Option<Exit>> {
    use rustix::process::{WaitId, WaitIdOptions, waitid};
    let mut options = WaitIdOptions::EXITED;
    if wait == Wait::Poll {
        options |= WaitIdOptions::NOHANG;
    }
    loop {
        match waitid(WaitId::PidFd(pidfd.as_fd()), options) {
            Ok(None) => return Ok(None),
            Ok(Some(status)) => {
                return Ok(Some(match (status.exit_status(), status.terminating_signal()) {
                    (Some(code), _) => Exit::Code(code),
                    (None, Some(signal)) => Exit::Signal(signal),
                    (None, None) => Exit::Signal(libc::SIGKILL),
                }));
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Asks that this process gets signal number `signal` when its parent ends.
///
/// A change of credentials clears it, so it is set after them.
pub fn set_parent_death_signal(signal: i32) -> io::Result<()> {
    // SAFETY: prctl(PR_SET_PDEATHSIG) takes an integer and touches no memory.
    check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, signal as libc::c_ulong, 0, 0, 0) }.into())?;
    Ok(())
}

/// Whether others with our user id may trace this process, and whether its `/proc` entries are theirs.
pub fn set_dumpable(dumpable: bool) -> io::Result<()> {
    // SAFETY: prctl(PR_SET_DUMPABLE) takes an integer and touches no memory.
    check(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, libc::c_ulong::from(dumpable), 0, 0, 0) }.into())?;
    Ok(())
}

/// Sets the execution domain (`personality(2)`).
pub fn set_personality(persona: u64) -> io::Result<()> {
    // SAFETY: personality(2) takes an integer and touches no memory of ours.
    check(unsafe { libc::syscall(libc::SYS_personality, persona) })?;
    Ok(())
}

/// Sets the I/O priority of the calling thread to `class` (1 realtime, 2 best effort, 3 idle) and `level` (0..8).
pub fn set_io_priority(class: u32, level: u32) -> io::Result<()> {
    const IOPRIO_WHO_PROCESS: libc::c_int = 1;
    // SAFETY: ioprio_set(2) takes integers and touches no memory.
    check(unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, (class << 13) | level) })?;
    Ok(())
}

/// How a thread is scheduled; see `sched_setattr(2)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scheduling {
    /// `SCHED_*` policy.
    pub policy: u32,
    /// `SCHED_FLAG_*` bits.
    pub flags: u64,
    /// For the ordinary policies.
    pub nice: i32,
    /// For `SCHED_FIFO` and `SCHED_RR`.
    pub priority: u32,
    /// `SCHED_DEADLINE`: time per period, nanoseconds.
    pub runtime: u64,
    /// `SCHED_DEADLINE`: nanoseconds.
    pub deadline: u64,
    /// `SCHED_DEADLINE`: nanoseconds.
    pub period: u64,
}

/// The kernel's `struct sched_attr`, first version.
#[repr(C)]
struct SchedAttr {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

/// Sets the scheduling of the calling thread.
pub fn set_scheduling(scheduling: &Scheduling) -> io::Result<()> {
    let Scheduling { policy, flags, nice, priority, runtime, deadline, period } = *scheduling;
    let size = size_of::<SchedAttr>() as u32;
    let mut attr = SchedAttr { size, policy, flags, nice, priority, runtime, deadline, period };
    // SAFETY: the kernel reads the structure, whose size is its first field, and writes at most that field.
    check(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw mut attr, 0) })?;
    Ok(())
}

/// Gives the calling thread a root, a current directory and a umask of its own.
pub(crate) fn unshare_directory() -> io::Result<()> {
    // SAFETY: CLONE_FS copies these three for the calling thread; no memory and no descriptor is affected.
    check(unsafe { libc::syscall(libc::SYS_unshare, libc::CLONE_FS) })?;
    Ok(())
}

/// Runs `body` on a thread of its own whose current directory is `directory`; the process's stays what it is.
pub fn within_directory<T: Send>(
    directory: BorrowedFd<'_>,
    body: impl FnOnce() -> io::Result<T> + Send,
) -> io::Result<T> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(move || {
            unshare_directory()?;
            rustix::process::fchdir(directory)?;
            body()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wait_statuses_read_as_codes_and_signals() {
        assert_eq!(Exit::from_wait_status(0x2a00), Exit::Code(42));
        assert_eq!(Exit::from_wait_status(9), Exit::Signal(9));
        assert_eq!(Exit::from_wait_status(0x80 | 11), Exit::Signal(11));
        assert_eq!(Exit::Signal(9).code(), 137);
    }

    #[test]
    fn a_process_with_threads_is_not_copied() {
        // The test harness itself has several threads.
        let (done, wait) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || wait.recv());
        assert!(matches!(fork(0, None), Err(ForkError::Threads)));
        assert!(matches!(OneThread::prove(), Err(ForkError::Threads)));
        drop(done);
        let _ = thread.join().unwrap();
    }

    #[test]
    fn a_thread_has_a_directory_of_its_own() {
        let before = std::env::current_dir().unwrap();
        let root = std::fs::File::open("/proc").unwrap();
        let inside = within_directory(root.as_fd(), std::env::current_dir).unwrap();
        assert_eq!(inside, std::path::Path::new("/proc"));
        assert_eq!(std::env::current_dir().unwrap(), before);
    }

    #[test]
    fn an_argument_with_a_nul_is_refused() {
        assert_eq!(Image::new("/a", &["b\0"], &[]).unwrap_err().raw_os_error(), Some(libc::EINVAL));
    }
}
