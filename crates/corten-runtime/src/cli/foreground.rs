//! `run`, and staying with a process until it ends: its terminal, its signals, its exit code.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;

use corten_sys::process::{Exit, Wait, send_signal, wait};
use corten_sys::signals::SignalFd;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};

use super::args::Args;
use super::create::{ConsoleTarget, Options, make, start_container};
use super::signal::remove;
use super::{CliError, Globals};

/// Signals that are passed on to the process.
const FORWARDED: [i32; 7] =
    [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM, libc::SIGUSR1, libc::SIGUSR2, libc::SIGWINCH];

/// `run [flags] ID`
pub(super) fn run(globals: &Globals, mut args: Args) -> Result<ExitCode, CliError> {
    let mut options = Options::default();
    let (mut detach, mut keep) = (false, false);
    while let Some(flag) = args.flag()? {
        match flag.as_str() {
            "-d" | "--detach" => detach = args.switch(),
            "--keep" => keep = args.switch(),
            "--no-subreaper" => drop(args.switch()),
            other if options.take(other, &mut args)? => {}
            other => return Err(args.unknown(other)),
        }
    }
    let id = args.id()?;
    args.end()?;
    let target = if detach { ConsoleTarget::Socket } else { ConsoleTarget::Caller };
    let made = make(globals, &id, &options, target)?;
    let started = start_container(&made.container);
    if detach {
        return started.map(|()| ExitCode::SUCCESS);
    }
    let exit = started.and_then(|()| {
        attend(&made.pidfd, made.console.as_ref()).map_err(CliError::file("wait for the container"))
    });
    if exit.is_err() {
        let _ = send_signal(&made.pidfd, libc::SIGKILL);
        let _ = wait(&made.pidfd, Wait::Block);
    }
    if !keep {
        remove(&made.container)?;
    }
    exit.map(exit_code)
}

/// The exit code that shells show for this end.
pub(super) fn exit_code(exit: Exit) -> ExitCode {
    ExitCode::from(u8::try_from(exit.code()).unwrap_or(255))
}

/// Our own terminal in raw mode, given back at the end.
struct RawTerminal(Termios);

impl RawTerminal {
    fn take() -> Option<Self> {
        let stdin = rustix::stdio::stdin();
        let before = tcgetattr(stdin).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(stdin, OptionalActions::Now, &raw).ok()?;
        Some(Self(before))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &self.0);
    }
}

/// Stays with a child until it has ended, copying between its terminal and our streams.
pub(super) fn attend(process: &OwnedFd, console: Option<&OwnedFd>) -> io::Result<Exit> {
    let signals = SignalFd::new(&FORWARDED)?;
    let raw = console.and_then(|_| RawTerminal::take());
    let resize = |console: &OwnedFd| {
        if let Ok(size) = tcgetwinsize(rustix::stdio::stdin()) {
            let _ = tcsetwinsize(console, size);
        }
    };
    if let Some(console) = console {
        resize(console);
    }
    let (mut input_open, mut output_open) = (console.is_some(), console.is_some());
    let mut ended = false;
    // What the process wrote last is still in the terminal when it has ended.
    while !ended || output_open {
        let stdin = rustix::stdio::stdin();
        let mut fds = vec![PollFd::new(&signals, PollFlags::IN)];
        fds.push(PollFd::from_borrowed_fd(
            process.as_fd(),
            if ended { PollFlags::empty() } else { PollFlags::IN },
        ));
        if let Some(console) = console {
            let wanted = |open: bool| if open { PollFlags::IN } else { PollFlags::empty() };
            fds.push(PollFd::from_borrowed_fd(console.as_fd(), wanted(output_open)));
            if input_open {
                fds.push(PollFd::from_borrowed_fd(stdin, PollFlags::IN));
            }
        }
        match poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        drop(fds);
        while let Some(signal) = signals.take()? {
            match (signal, console) {
                (libc::SIGWINCH, Some(console)) => resize(console),
                (libc::SIGWINCH, None) => {}
                (signal, _) => drop(send_signal(process, signal)),
            }
        }
        ended |= ready[1];
        if let Some(console) = console {
            if output_open && ready[2] {
                output_open = copy(console.as_fd(), rustix::stdio::stdout())?;
            }
            if input_open && ready.get(3) == Some(&true) {
                input_open = copy(stdin, console.as_fd())?;
            }
        }
    }
    drop(raw);
    match wait(process, Wait::Block)? {
        Some(exit) => Ok(exit),
        None => Err(io::Error::from_raw_os_error(libc::ECHILD)),
    }
}

/// Copies what is there; `false` at the end.
fn copy(from: impl AsFd, to: impl AsFd) -> io::Result<bool> {
    let mut buffer = [0; 16 * 1024];
    let n = match rustix::io::read(from, &mut buffer) {
        // The other end of a terminal is closed.
        Ok(0) | Err(rustix::io::Errno::IO) => return Ok(false),
        Ok(n) => n,
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return Ok(true),
        Err(e) => return Err(e.into()),
    };
    let mut rest = &buffer[..n];
    while !rest.is_empty() {
        match rustix::io::write(&to, rest) {
            Ok(written) => rest = &rest[written..],
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(true)
}
