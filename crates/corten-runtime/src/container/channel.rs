//! What the parent and the process being set up say to each other, over one sequenced-packet socket pair.
//!
//! ```text
//!   child                                parent
//!     Mapping ─────────────────────────▶   writes the user namespace's id maps
//!     ◀───────────────────────────── Go
//!     Hooks ───────────────────────────▶   runs the hooks of the runtime's namespaces
//!     ◀───────────────────────────── Go
//!     Listener (+ descriptor) ─────────▶   hands it to the agent of system calls
//!     ◀───────────────────────────── Go
//!     Moved (+ its sibling) ───────────▶   the sibling goes on, in the pid namespace of others
//!     ◀───────────────────────────── Go
//!     Ready (+ terminal) ──────────────▶   the container is created
//!     ◀───────────────────────────── Go    start
//!     end of file: the program runs        Failed at any point: it does not, and the process ends
//! ```
//!
//! The socket is close-on-exec: the execution of the program is the end of file.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use corten_sys::scm;
use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::error::InitFailure;

/// Longest message. A failure's text is cut to fit.
const MESSAGE_MAX: usize = 8 * 1024;
/// Longest text of a failure.
const TEXT_MAX: usize = 2 * 1024;

/// What the child says.
#[derive(Debug)]
pub(super) enum Report {
    /// It is in its new user namespace and needs the id maps.
    Mapping,
    /// Its namespaces exist: it is time for the hooks outside.
    Hooks,
    /// Its filter is loaded, and asks an agent: this is what that needs.
    Listener(OwnedFd),
    /// It has copied itself into a pid namespace that others live in, and ends; this is the copy.
    Moved(OwnedFd),
    /// Only the user's program is missing.
    Ready {
        /// The master of the terminal, when one was made.
        console: Option<OwnedFd>,
    },
    /// It cannot go on.
    Failed(InitFailure),
    /// The socket was closed: the program was executed, or the process is dead.
    End,
}

/// One end of the conversation.
#[derive(Debug)]
pub(super) struct Channel(OwnedFd);

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Channel {
    /// Both ends.
    pub(super) fn pair() -> io::Result<(Self, Self)> {
        let (a, b) = scm::pair()?;
        Ok((Self(a), Self(b)))
    }

    /// Child: takes the first connection to a listening socket, and closes that.
    pub(super) fn accept(listener: OwnedFd) -> io::Result<Self> {
        loop {
            match rustix::net::accept_with(&listener, SocketFlags::CLOEXEC) {
                Ok(fd) => return Ok(Self(fd)),
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }

    /// Starter: connects to the socket that a created container listens on.
    pub(super) fn connect(path: &Path) -> io::Result<Self> {
        let (socket, address, _directory) = socket_at(path)?;
        rustix::net::connect(&socket, &address)?;
        Ok(Self(socket))
    }

    /// Child: says that id maps are needed, and waits for them.
    pub(super) fn need_mapping(&self) -> io::Result<()> {
        scm::send(&self.0, b"m", &[])?;
        self.wait()
    }

    /// Child: says that the namespaces exist, and waits for the hooks.
    pub(super) fn need_hooks(&self) -> io::Result<()> {
        scm::send(&self.0, b"h", &[])?;
        self.wait()
    }

    /// Child: hands out what the agent needs, and waits until the agent has it.
    pub(super) fn need_agent(&self, listener: BorrowedFd<'_>) -> io::Result<()> {
        scm::send(&self.0, b"l", &[listener])?;
        self.wait()
    }

    /// Child: says who goes on in its place.
    pub(super) fn moved(&self, sibling: BorrowedFd<'_>) -> io::Result<()> {
        scm::send(&self.0, b"p", &[sibling])
    }

    /// Child: says that the set-up is complete.
    pub(super) fn ready(&self, console: Option<BorrowedFd<'_>>) -> io::Result<()> {
        scm::send(&self.0, b"r", console.as_slice())
    }

    /// Child: says why it cannot go on. A parent that is gone is not told.
    pub(super) fn failed(&self, failure: &InitFailure) {
        let mut failure = failure.clone();
        let mut end = failure.message.len().min(TEXT_MAX);
        while !failure.message.is_char_boundary(end) {
            end -= 1;
        }
        failure.message.truncate(end);
        let mut message = vec![b'f'];
        if serde_json::to_writer(&mut message, &failure).is_ok() {
            let _ = scm::send(&self.0, &message, &[]);
        }
    }

    /// Child: waits for [`Channel::go`]. A parent that is gone is `ECONNRESET`.
    pub(super) fn wait(&self) -> io::Result<()> {
        match scm::recv(&self.0, &mut [0; 8])?.len {
            0 => Err(io::Error::from_raw_os_error(libc::ECONNRESET)),
            _ => Ok(()),
        }
    }

    /// Parent: lets the child go on.
    pub(super) fn go(&self) -> io::Result<()> {
        scm::send(&self.0, b"g", &[])
    }

    /// Parent: the child's next report.
    pub(super) fn report(&self) -> io::Result<Report> {
        let mut buffer = [0; MESSAGE_MAX];
        let message = match scm::recv(self.0.as_fd(), &mut buffer) {
            // A dead child whose own input was not read.
            Err(e) if e.raw_os_error() == Some(libc::ECONNRESET) => return Ok(Report::End),
            other => other?,
        };
        Ok(match buffer[..message.len].split_first() {
            None => Report::End,
            Some((b'm', _)) => Report::Mapping,
            Some((b'h', _)) => Report::Hooks,
            Some((b'p', _)) => match message.fds.into_iter().next() {
                Some(sibling) => Report::Moved(sibling),
                None => return Err(io::Error::from_raw_os_error(libc::EBADMSG)),
            },
            Some((b'l', _)) => match message.fds.into_iter().next() {
                Some(listener) => Report::Listener(listener),
                None => return Err(io::Error::from_raw_os_error(libc::EBADMSG)),
            },
            Some((b'r', _)) => Report::Ready { console: message.fds.into_iter().next() },
            Some((b'f', text)) => Report::Failed(serde_json::from_slice(text).map_err(io::Error::other)?),
            Some(_) => return Err(io::Error::from_raw_os_error(libc::EBADMSG)),
        })
    }
}

/// Makes a socket at `path` that [`Channel::accept`] can take a connection from.
pub(crate) fn listen(path: &Path) -> io::Result<OwnedFd> {
    let (socket, address, _directory) = socket_at(path)?;
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, 1)?;
    Ok(socket)
}

/// A socket and the address of `path`, which holds as long as the directory's descriptor does: a socket's name has at
/// most 108 bytes, and the caller's directories may be longer.
fn socket_at(path: &Path) -> io::Result<(OwnedFd, SocketAddrUnix, OwnedFd)> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let directory = rustix::fs::open(parent, flags, Mode::empty())?;
    let name = path.file_name().unwrap_or_default();
    let short = Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name);
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    Ok((socket, SocketAddrUnix::new(short)?, directory))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_failure_arrives_cut_at_a_letter() {
        let (child, parent) = Channel::pair().unwrap();
        child.failed(&InitFailure::invalid("ä".repeat(10_000)));
        match parent.report().unwrap() {
            Report::Failed(failure) => assert_eq!(failure.message.len(), TEXT_MAX),
            other => panic!("{other:?}"),
        }
        drop(child);
        assert!(matches!(parent.report().unwrap(), Report::End));
    }

    #[test]
    fn a_socket_may_lie_in_a_long_path() {
        let base = std::env::temp_dir().join(format!("corten-channel-{}", std::process::id()));
        let directory = base.join("d".repeat(120));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("start.sock");
        let listener = listen(&path).unwrap();
        let starter = Channel::connect(&path).unwrap();
        let waiting = Channel::accept(listener).unwrap();
        starter.go().unwrap();
        waiting.wait().unwrap();
        std::fs::remove_dir_all(&base).unwrap();
    }
}
