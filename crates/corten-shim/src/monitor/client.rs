use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

use super::escape::{Escape, Typed};
use super::queue::Queue;
use crate::log::Stream;
use crate::protocol::Streams;

/// How long a client whose queue is full may read nothing before it is cut.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// A socket that carries the stdio of a process to and from somebody.
///
/// ```text
///  Open ── peer closed, or failed ──────────────▶ Gone
///   └── process ended, or its input's end ──▶ Closing ── queue empty ──▶ Gone
/// ```
#[derive(Debug)]
pub(super) struct Client {
    socket: OwnedFd,
    streams: Streams,
    framing: Framing,
    queue: Queue,
    state: State,
    /// Whether the peer may still send input.
    input_open: bool,
    escape: Escape,
    /// When the peer last took something.
    progress: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Closing,
    Gone,
}

/// How output is written to a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// As it comes (a terminal's).
    Raw,
    /// With `stdcopy` headers.
    Multiplexed,
}

/// What came of reading from a client.
pub(super) enum Input {
    /// These bytes.
    Bytes(Vec<u8>),
    /// These bytes, and then its wish to detach.
    Detach(Vec<u8>),
    /// Nothing now.
    Nothing,
    /// It has ended its input.
    End,
}

impl Client {
    /// A client on a socket; with a spool directory it may fall far behind without holding up the process.
    pub(super) fn new(socket: OwnedFd, streams: Streams, framing: Framing, spool: Option<PathBuf>) -> Self {
        let keys = if framing == Framing::Raw { streams.detach_keys.clone() } else { Vec::new() };
        Self {
            socket,
            framing,
            queue: Queue::new(spool),
            state: State::Open,
            input_open: streams.stdin,
            escape: Escape::new(keys),
            streams,
            progress: Instant::now(),
        }
    }

    /// Hands output on: at once if the peer takes it, else later.
    pub(super) fn offer(&mut self, stream: Stream, data: &[u8]) {
        let wanted = match stream {
            Stream::Stdout => self.streams.stdout,
            Stream::Stderr => self.streams.stderr,
        };
        if !wanted || self.state != State::Open || data.is_empty() {
            return;
        }
        let header = self.header(stream, data.len());
        let header: &[u8] = header.as_ref().map_or(&[], |header| header);
        let sent = if self.queue.is_empty() { self.send_now(header, data) } else { Ok(0) };
        let rest = sent.and_then(|sent| {
            if sent < header.len() {
                self.queue.push(&header[sent..])?;
            }
            self.queue.push(&data[sent.saturating_sub(header.len())..])
        });
        if rest.is_err() {
            self.state = State::Gone;
        }
    }

    fn header(&self, stream: Stream, length: usize) -> Option<[u8; 8]> {
        (self.framing == Framing::Multiplexed).then(|| {
            let mut header = [0; 8];
            header[0] = stream.number();
            header[4..].copy_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
            header
        })
    }

    fn send_now(&mut self, header: &[u8], data: &[u8]) -> io::Result<usize> {
        let parts = [io::IoSlice::new(header), io::IoSlice::new(data)];
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        match rustix::net::sendmsg(&self.socket, &parts, &mut Default::default(), flags) {
            Ok(sent) => {
                self.progress = Instant::now();
                Ok(sent)
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes what waits, as far as the peer takes it.
    pub(super) fn flush(&mut self) {
        while self.state != State::Gone {
            let Ok(piece) = self.queue.front() else {
                self.state = State::Gone;
                break;
            };
            if piece.is_empty() {
                break;
            }
            match rustix::net::send(&self.socket, piece, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                Ok(sent) => {
                    self.queue.consume(sent);
                    self.progress = Instant::now();
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(_) => self.state = State::Gone,
            }
        }
        if self.state == State::Closing && self.queue.is_empty() {
            self.state = State::Gone;
        }
    }

    /// Reads input into `buffer`, which is not empty.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Input {
        match rustix::net::recv(&self.socket, &mut *buffer, RecvFlags::DONTWAIT) {
            Ok((0, _)) => self.input_ended(),
            Ok((count, _)) => match self.escape.filter(&buffer[..count]) {
                Typed::Input(bytes) => Input::Bytes(bytes),
                Typed::Detach(bytes) => {
                    self.close();
                    Input::Detach(bytes)
                }
            },
            Err(Errno::AGAIN | Errno::INTR) => Input::Nothing,
            Err(_) => {
                self.state = State::Gone;
                self.input_ended()
            }
        }
    }

    fn input_ended(&mut self) -> Input {
        self.input_open = false;
        Input::End
    }

    /// The peer hung up: output has nowhere to go any more.
    pub(super) fn hang_up(&mut self) {
        self.queue = Queue::new(None);
        if self.input_open {
            self.streams.stdout = false;
            self.streams.stderr = false;
        } else {
            self.state = State::Gone;
        }
    }

    /// No more output will come: what waits is still written, then the client is let go.
    pub(super) fn close(&mut self) {
        if self.state == State::Open {
            self.state = State::Closing;
            self.input_open = false;
            self.flush();
        }
    }

    /// Whether it is to be forgotten.
    pub(super) fn is_gone(&self) -> bool {
        self.state == State::Gone
    }

    /// Whether its process must wait for it.
    pub(super) fn holds_up(&self) -> bool {
        self.state == State::Open && self.queue.is_full()
    }

    /// Cuts a client that holds its process up and does not read.
    pub(super) fn cut_if_stuck(&mut self, now: Instant) {
        if self.holds_up() && now.duration_since(self.progress) >= PATIENCE {
            self.state = State::Gone;
        }
    }

    /// Whether input is expected from it.
    pub(super) fn has_input(&self) -> bool {
        self.input_open && self.state == State::Open
    }

    /// What to wait for. A hang-up is always told.
    pub(super) fn interest(&self, input_has_room: bool) -> EventFlags {
        let mut flags = EventFlags::empty();
        flags.set(EventFlags::IN, self.has_input() && input_has_room);
        flags.set(EventFlags::OUT, !self.queue.is_empty());
        flags
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
