//! The reaping init of containers that want one (`--init`): process 1 of the container.
//!
//! ```text
//!  docker-init -- program args…      signals ──▶ init ──▶ program
//!                                    orphans ──▶ reaped
//! ```
//!
//! It is this program under another name, mounted read-only into the container. It starts the program in a process
//! group of its own, hands every signal on, reaps whatever is left to it, and ends as the program ended.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use corten_sys::signals::SignalFd;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process};

/// The name under which a container finds it.
pub const NAME: &str = "docker-init";

/// Signals that init must not take: of its own faults, and those that nobody can take.
const OWN: [i32; 9] = [
    libc::SIGFPE,
    libc::SIGILL,
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGABRT,
    libc::SIGTRAP,
    libc::SIGSYS,
    libc::SIGKILL,
    libc::SIGSTOP,
];

/// Runs as init; `arguments` are those after the name.
pub fn run(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let mut words = arguments.skip_while(|word| word == "--");
    let Some(program) = words.next() else {
        eprintln!("{NAME}: no program was given");
        return ExitCode::from(2);
    };
    match supervise(Command::new(&program).args(words).process_group(0)) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("{NAME}: exec {} failed: {error}", program.to_string_lossy());
            ExitCode::from(if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 })
        }
    }
}

fn supervise(command: &mut Command) -> io::Result<u8> {
    // Taken before the program exists, so that none is lost in between. The program itself starts with none blocked.
    let taken: Vec<i32> = (1..32).filter(|signal| !OWN.contains(signal)).collect();
    let signals = SignalFd::new(&taken)?;
    let child = command.spawn()?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidData)?;
    give_terminal(pid);
    loop {
        let mut ready = [PollFd::new(&signals, PollFlags::IN)];
        match poll(&mut ready, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        while let Some(number) = signals.take()? {
            if number == libc::SIGCHLD {
                if let Some(status) = reap(pid) {
                    return Ok(code(status));
                }
            } else if let Some(signal) = Signal::from_named_raw(number) {
                // The program may have ended already; its end is on the way.
                kill_process(pid, signal).ok();
            }
        }
    }
}

/// Makes the program's group the foreground of the terminal, if there is one.
fn give_terminal(pid: Pid) {
    if rustix::termios::tcsetpgrp(rustix::stdio::stdin(), pid).is_ok() {
        // It may have been stopped for reading before it was in the foreground.
        kill_process(pid, Signal::CONT).ok();
    }
}

/// Reaps everybody who has ended; the program's status if it is among them.
fn reap(program: Pid) -> Option<WaitStatus> {
    let mut ended = None;
    while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
        if pid == program {
            ended = Some(status);
        }
    }
    ended
}

/// An exit code as a shell gives it.
fn code(status: WaitStatus) -> u8 {
    let code = status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code & 0xff).ok()).unwrap_or(u8::MAX)
}
