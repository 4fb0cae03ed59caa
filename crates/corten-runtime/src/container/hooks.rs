//! Hooks: the only programs besides the user's that the runtime executes.

use std::io::{self, Write as _};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use corten_sys::process::{Exit, Wait, wait};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::error::InitFailure;
use crate::spec::{Hook, Hooks};

/// Checks that every hook can be run at all.
pub(super) fn check(hooks: &Hooks) -> Result<(), String> {
    let all = [
        &hooks.prestart,
        &hooks.create_runtime,
        &hooks.create_container,
        &hooks.start_container,
        &hooks.poststart,
        &hooks.poststop,
    ];
    for hook in all.into_iter().flatten() {
        if !hook.path.starts_with('/') {
            return Err(format!("hook path {:?} is not absolute", hook.path));
        }
        if hook.timeout.is_some_and(|seconds| seconds <= 0) {
            return Err(format!("hook {:?}: timeout must be positive", hook.path));
        }
    }
    Ok(())
}

/// Runs `hooks` one after the other, each with the container's state on its standard input.
///
/// A hook without an environment of its own gets `environment` (`NAME=value`), or the caller's.
pub(crate) fn run_all(
    hooks: &[Hook],
    state: &str,
    environment: Option<&[String]>,
) -> Result<(), InitFailure> {
    for (at, hook) in hooks.iter().enumerate() {
        run(at, hook, state, environment)?;
    }
    Ok(())
}

fn run(at: usize, hook: &Hook, state: &str, environment: Option<&[String]>) -> Result<(), InitFailure> {
    use std::os::unix::process::CommandExt as _;
    let fail =
        |e: &io::Error| InitFailure::system(format_args!("error running hook #{at} {:?}", hook.path), e);
    let mut command = Command::new(&hook.path);
    if let Some((name, args)) = hook.args.split_first() {
        command.arg0(name).args(args);
    }
    let own = Some(hook.env.as_slice()).filter(|own| !own.is_empty());
    if let Some(environment) = own.or(environment) {
        command.env_clear().envs(environment.iter().filter_map(|entry| entry.split_once('=')));
    }
    let mut child = command.stdin(Stdio::piped()).spawn().map_err(|e| fail(&e))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A hook that does not read its state is none of our business.
        let _ = stdin.write_all(state.as_bytes());
    }
    let pid = rustix::process::Pid::from_child(&child);
    let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())
        .map_err(|e| fail(&e.into()))?;
    let deadline = hook.timeout.map(|seconds| Instant::now() + Duration::from_secs(seconds.unsigned_abs()));
    loop {
        let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        let timeout = left.map(|left| Timespec {
            tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        });
        match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], timeout.as_ref()) {
            Ok(0) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(InitFailure::invalid(format!("hook {:?} ran past specified timeout", hook.path)));
            }
            Ok(_) => break,
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(fail(&e.into())),
        }
    }
    match wait(&pidfd, Wait::Block).map_err(|e| fail(&e))? {
        Some(exit) if exit.code() == 0 => Ok(()),
        exit => {
            let end = match exit {
                Some(Exit::Code(code)) => format!("exit status {code}"),
                Some(Exit::Signal(signal)) => format!("signal: {}", signal_text(signal)),
                None => "no exit status".into(),
            };
            Err(InitFailure::invalid(format!("error running hook #{at} {:?}: {end}", hook.path)))
        }
    }
}

/// A signal in the words of Go's programs.
fn signal_text(number: i32) -> String {
    match number {
        libc::SIGABRT => "aborted".into(),
        libc::SIGBUS => "bus error".into(),
        libc::SIGFPE => "floating point exception".into(),
        libc::SIGILL => "illegal instruction".into(),
        libc::SIGKILL => "killed".into(),
        libc::SIGSEGV => "segmentation fault".into(),
        libc::SIGSYS => "bad system call".into(),
        libc::SIGTERM => "terminated".into(),
        other => format!("signal {other}"),
    }
}
