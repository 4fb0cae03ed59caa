use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::pipe::PipeFlags;

use super::poller::Token;
use crate::log::Stream;
use crate::protocol::{Exit, Size, Target};

/// How long after a process ended its output is waited for, when somebody else still holds it open.
pub(super) const DRAIN: Duration = Duration::from_secs(2);
/// How much input waits for a process that does not read.
const INPUT: usize = 64 << 10;
/// Size of init's output pipes: a burst is taken by the kernel while the monitor sleeps.
const OUTPUT_PIPE: usize = 1 << 20;

/// A child of the monitor.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) target: Target,
    pub(super) pid: i32,
    pub(super) pidfd: OwnedFd,
    pub(super) stdio: Stdio,
    pub(super) end: End,
}

/// How far the end of a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// It lives.
    No,
    /// It was reaped; its last output is awaited until then.
    Draining(Exit, Instant),
    /// It was told.
    Told(Exit),
}

/// The monitor's ends of a process's standard streams.
#[derive(Debug, Default)]
pub(super) struct Stdio {
    pub(super) input: Option<Input>,
    pub(super) outputs: Vec<Output>,
    /// The terminal's master, for its size.
    pub(super) console: Option<OwnedFd>,
}

/// What a process writes.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) token: Token,
    pub(super) fd: OwnedFd,
    pub(super) stream: Stream,
}

/// What a process reads.
#[derive(Debug)]
pub(super) struct Input {
    pub(super) token: Token,
    pub(super) fd: OwnedFd,
    queue: VecDeque<u8>,
    /// Whether it ends once the queue is empty.
    ends: bool,
}

/// The child's ends of its standard streams, and ours.
pub(super) struct Pipes {
    pub(super) theirs: [OwnedFd; 3],
    pub(super) input: Option<OwnedFd>,
    pub(super) outputs: Vec<(OwnedFd, Stream)>,
}

/// Which streams of a new process are pipes; the others are `/dev/null`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    pub(super) stdin: bool,
    pub(super) stdout: bool,
    pub(super) stderr: bool,
    pub(super) big: bool,
}

impl Pipes {
    pub(super) fn new(wanted: Wanted) -> io::Result<Self> {
        let mut ours = Vec::new();
        let (stdin, input) = if wanted.stdin {
            let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
            (read, Some(write))
        } else {
            (null()?, None)
        };
        let mut output = |wanted: bool, big: bool, stream| -> io::Result<OwnedFd> {
            if !wanted {
                return null();
            }
            let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
            if big {
                // Only a wish: an unprivileged user may have used up his pages.
                rustix::pipe::fcntl_setpipe_size(&write, OUTPUT_PIPE).ok();
            }
            ours.push((read, stream));
            Ok(write)
        };
        let stdout = output(wanted.stdout, wanted.big, Stream::Stdout)?;
        let stderr = output(wanted.stderr, wanted.big, Stream::Stderr)?;
        Ok(Self { theirs: [stdin, stdout, stderr], input, outputs: ours })
    }
}

fn null() -> io::Result<OwnedFd> {
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC;
    Ok(rustix::fs::open("/dev/null", flags, rustix::fs::Mode::empty())?)
}

impl Stdio {
    pub(super) fn resize(&self, size: Size) -> io::Result<bool> {
        let Some(console) = &self.console else { return Ok(false) };
        corten_sys::terminal::resize(console, size.width, size.height)?;
        Ok(true)
    }
}

impl Input {
    pub(super) fn new(token: Token, fd: OwnedFd) -> Self {
        Self { token, fd, queue: VecDeque::new(), ends: false }
    }

    /// How many bytes may be pushed.
    pub(super) fn room(&self) -> usize {
        if self.ends { 0 } else { INPUT.saturating_sub(self.queue.len()) }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Takes input, writes as much as the process reads now.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Written {
        self.queue.extend(bytes);
        self.flush()
    }

    /// Ends the input after what waits.
    pub(super) fn end(&mut self) -> Written {
        self.ends = true;
        self.flush()
    }

    pub(super) fn flush(&mut self) -> Written {
        while !self.queue.is_empty() {
            match rustix::io::write(&self.fd, self.queue.as_slices().0) {
                Ok(count) => drop(self.queue.drain(..count)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Written::More,
                // Nobody reads it any more.
                Err(_) => return Written::Finished,
            }
        }
        self.queue = VecDeque::new();
        if self.ends { Written::Finished } else { Written::More }
    }
}

/// What came of writing input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    /// The input stays open.
    More,
    /// It is over: its descriptor is to be closed.
    Finished,
}
