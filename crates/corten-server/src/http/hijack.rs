//! Connections that stop being HTTP: attach, exec, session.
//!
//! Both of Docker's forms are served by the same code. A client that sends `Connection: Upgrade` gets `101 UPGRADED`; one that does not
//! gets `200 OK` without a length and without chunks, and after it the raw stream. Whatever the client sent early follows the request's
//! body and comes out of the stream first. When the client shuts its sending side down we see the end of input and can still write.

use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use corten_engine::events::{Requester, acting};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The type of a framed stream (stdout and stderr told apart).
pub const MULTIPLEXED: &str = "application/vnd.docker.multiplexed-stream";
/// The type of a raw stream (a terminal).
pub const RAW: &str = "application/vnd.docker.raw-stream";

type Task = Box<dyn FnOnce(Hijacked) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

/// A handler's wish for the raw connection.
pub struct Hijack {
    /// `None` where the protocol that is switched to has no use for one.
    pub(crate) content_type: Option<&'static str>,
    pub(crate) task: Task,
}

impl Hijack {
    /// Asks for the connection; `task` runs once the head of the answer has been written, and the connection closes when it is done.
    ///
    /// `content_type` is [`Hijack::MULTIPLEXED`] or [`Hijack::RAW`]; clients older than 1.42 always get the raw one.
    pub fn new<F>(content_type: &'static str, task: impl FnOnce(Hijacked) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self {
            content_type: Some(content_type),
            task: Box::new(move |connection| Box::pin(task(connection))),
        }
    }

    /// Asks for the connection of a client that switches to another protocol than Docker's own streams; what that protocol wants
    /// in the head are headers of the answer.
    pub fn switch<F>(task: impl FnOnce(Hijacked) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self { content_type: None, task: Box::new(move |connection| Box::pin(task(connection))) }
    }

    /// What the task does is done on this client's behalf.
    pub(crate) fn acting(self, requester: Requester) -> Self {
        let Self { content_type, task } = self;
        let task = |connection| Box::pin(acting(Some(requester), task(connection))) as _;
        Self { content_type, task: Box::new(task) }
    }

    /// The type of a framed stream.
    pub const MULTIPLEXED: &'static str = MULTIPLEXED;
    /// The type of a raw stream.
    pub const RAW: &'static str = RAW;
}

/// The transport under a connection.
pub(crate) trait Transport: AsyncRead + AsyncWrite + Send + Unpin {
    /// The socket itself, if nothing lies between it and the bytes (no TLS).
    fn into_socket(self: Box<Self>) -> Result<OwnedFd, Box<dyn Transport>>;

    /// Resolves when the client has read everything that was written, where the kernel can tell; at once where it cannot.
    fn poll_read_by_client(&self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }
}

/// A connection that is the handler's now.
///
/// Reads give what the client had sent early first. Shutting down the write side sends the end of output; dropping closes.
pub struct Hijacked {
    early: Bytes,
    transport: Box<dyn Transport>,
}

impl Hijacked {
    pub(crate) fn new(early: Bytes, transport: Box<dyn Transport>) -> Self {
        Self { early, transport }
    }

    /// The connection as one socket, to be handed to another process.
    ///
    /// A plain connection without early bytes is given as it is; otherwise (TLS, early bytes) it is one end of a socket pair that a task
    /// connects with the client, half-closes included. The descriptor is blocking.
    pub async fn into_socket(self) -> io::Result<OwnedFd> {
        let mut connection = self;
        if connection.early.is_empty() {
            match connection.transport.into_socket() {
                Ok(socket) => {
                    rustix::io::ioctl_fionbio(&socket, false)?;
                    return Ok(socket);
                }
                Err(transport) => connection.transport = transport,
            }
        }
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let mut ours = tokio::net::UnixStream::from_std(ours)?;
        tokio::spawn(async move {
            // Either side may close first; what is left of an ended connection has nobody to be reported to.
            let _ = tokio::io::copy_bidirectional(&mut connection, &mut ours).await;
        });
        Ok(theirs.into())
    }
}

impl AsyncRead for Hijacked {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.early.is_empty() {
            return Pin::new(&mut self.transport).poll_read(cx, buf);
        }
        let n = self.early.len().min(buf.remaining());
        buf.put_slice(&self.early[..n]);
        self.early.advance(n);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Hijacked {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.transport).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_shutdown(cx)
    }
}
