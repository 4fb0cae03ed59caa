//! Listening and connected sockets, unix or TCP.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use crate::http::Transport;

/// A socket that accepts connections. It must be non-blocking.
pub enum Listener {
    /// A path.
    Unix(UnixListener),
    /// An address.
    Tcp(TcpListener),
}

impl Listener {
    /// The next connection.
    pub async fn accept(&self) -> io::Result<Socket> {
        match self {
            Self::Unix(listener) => Ok(Socket::Unix(Arc::new(listener.accept().await?.0))),
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                // Answers are small and waited for.
                stream.set_nodelay(true)?;
                Ok(Socket::Tcp(Arc::new(stream)))
            }
        }
    }
}

/// A connected socket. Clones are the same connection: one reads and writes, another may watch for its end.
#[derive(Clone)]
pub enum Socket {
    /// From a unix listener.
    Unix(Arc<UnixStream>),
    /// From a TCP listener.
    Tcp(Arc<TcpStream>),
}

/// Who is at the other end of a connection: user and process on this machine, or an address.
#[derive(Debug, Clone, Default)]
pub(crate) struct Peer {
    pub(crate) uid: Option<u32>,
    pub(crate) pid: Option<i32>,
    pub(crate) address: Option<String>,
}

/// How often a client that has shut down its sending side only is looked at again.
const HALF_CLOSED_INTERVAL: Duration = Duration::from_millis(500);

/// What is known about a client that stopped sending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Departure {
    /// Both directions are closed: nobody reads an answer.
    Gone,
    /// It will send nothing more; over TCP one cannot tell whether it still reads.
    StoppedSending,
}

impl Socket {
    /// Who is at the other end.
    pub(crate) fn peer(&self) -> Peer {
        match self {
            Self::Unix(stream) => {
                let credentials = stream.peer_cred().ok();
                Peer {
                    uid: credentials.map(|credentials| credentials.uid()),
                    pid: credentials.and_then(|credentials| credentials.pid()),
                    address: None,
                }
            }
            Self::Tcp(stream) => {
                let address = stream.peer_addr().ok().map(|address| address.to_string());
                Peer { address, ..Peer::default() }
            }
        }
    }

    /// Whether this came over TCP.
    pub(crate) fn is_tcp(&self) -> bool {
        matches!(self, Self::Tcp(_))
    }

    /// Resolves when the client has stopped sending; never consumes data.
    pub(crate) async fn departed(&self) -> Departure {
        // On Linux this interest is exactly "priority data or read side closed".
        let closed = match self {
            Self::Unix(stream) => stream.ready(Interest::PRIORITY).await.map(|_| ()),
            Self::Tcp(stream) => stream.ready(Interest::PRIORITY).await.map(|_| ()),
        };
        if closed.is_err() || self.is_hung_up() { Departure::Gone } else { Departure::StoppedSending }
    }

    /// Resolves when both directions are closed, for a client that has already stopped sending.
    pub(crate) async fn hung_up(&self) {
        while !self.is_hung_up() {
            tokio::time::sleep(HALF_CLOSED_INTERVAL).await;
        }
    }

    fn is_hung_up(&self) -> bool {
        let fd = self.as_fd();
        let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::empty())];
        match rustix::event::poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) {
            Ok(_) => fds[0].revents().intersects(PollFlags::HUP | PollFlags::ERR),
            Err(_) => false,
        }
    }

    fn as_fd(&self) -> rustix::fd::BorrowedFd<'_> {
        match self {
            Self::Unix(stream) => stream.as_fd(),
            Self::Tcp(stream) => stream.as_fd(),
        }
    }

    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Unix(stream) => stream.poll_write_ready(cx),
            Self::Tcp(stream) => stream.poll_write_ready(cx),
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(match &*self {
                Self::Unix(stream) => stream.poll_read_ready(cx),
                Self::Tcp(stream) => stream.poll_read_ready(cx),
            })?;
            let result = match &*self {
                Self::Unix(stream) => stream.try_read(buf.initialize_unfilled()),
                Self::Tcp(stream) => stream.try_read(buf.initialize_unfilled()),
            };
            match result {
                Ok(n) => {
                    buf.advance(n);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.poll_write_ready(cx))?;
            let result = match &*self {
                Self::Unix(stream) => stream.try_write(buf),
                Self::Tcp(stream) => stream.try_write(buf),
            };
            match result {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.poll_write_ready(cx))?;
            let result = match &*self {
                Self::Unix(stream) => stream.try_write_vectored(bufs),
                Self::Tcp(stream) => stream.try_write_vectored(bufs),
            };
            match result {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match rustix::net::shutdown(self.as_fd(), rustix::net::Shutdown::Write) {
            Ok(()) | Err(rustix::io::Errno::NOTCONN) => Poll::Ready(Ok(())),
            Err(error) => Poll::Ready(Err(error.into())),
        }
    }
}

impl Transport for Socket {
    fn into_socket(self: Box<Self>) -> Result<OwnedFd, Box<dyn Transport>> {
        // The last clone gives the socket itself away, so that nothing of the daemon's keeps it open; beside another it is duplicated.
        let socket = match *self {
            Self::Unix(stream) => match Arc::try_unwrap(stream) {
                Ok(stream) => stream.into_std().map(OwnedFd::from).map_err(|_| None),
                Err(stream) => Err(Some(Self::Unix(stream))),
            },
            Self::Tcp(stream) => match Arc::try_unwrap(stream) {
                Ok(stream) => stream.into_std().map(OwnedFd::from).map_err(|_| None),
                Err(stream) => Err(Some(Self::Tcp(stream))),
            },
        };
        match socket {
            Ok(socket) => Ok(socket),
            Err(Some(shared)) => Err(Box::new(shared)),
            // Taking the socket from the runtime failed and closed it: the caller reads the end of an empty stream.
            Err(None) => Err(Box::new(tokio::io::empty())),
        }
    }

    fn poll_read_by_client(&self, cx: &mut Context<'_>) -> Poll<()> {
        let Self::Unix(stream) = self else { return Poll::Ready(()) };
        loop {
            // Each read of the other end makes room, which is an edge of writability.
            if stream.poll_write_ready(cx).is_pending() {
                return Poll::Pending;
            }
            let all_read = || match corten_sys::socket::unread(stream) {
                Ok(0) | Err(_) => Ok(()),
                Ok(_) => Err(io::ErrorKind::WouldBlock.into()),
            };
            if stream.try_io(Interest::WRITABLE, all_read).is_ok() {
                return Poll::Ready(());
            }
        }
    }
}

impl Transport for tokio::io::Empty {
    fn into_socket(self: Box<Self>) -> Result<OwnedFd, Box<dyn Transport>> {
        Err(self)
    }
}

impl Transport for tokio_rustls::server::TlsStream<Socket> {
    fn into_socket(self: Box<Self>) -> Result<OwnedFd, Box<dyn Transport>> {
        Err(self)
    }
}
