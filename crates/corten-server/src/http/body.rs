//! Response bodies: nothing, bytes at hand, or a stream with back pressure.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use http_body::{Body as HttpBody, Frame, SizeHint};
use serde::Serialize;
use tokio::sync::mpsc;

/// How many pieces a stream holds before its producer waits for the client.
const STREAM_DEPTH: usize = 16;

/// What follows the headers of a response.
pub struct Body {
    inner: Inner,
}

enum Inner {
    Empty,
    Full(Bytes),
    Stream(Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>),
    Channel(mpsc::Receiver<io::Result<Bytes>>),
}

impl Body {
    /// No body.
    pub fn empty() -> Self {
        Self { inner: Inner::Empty }
    }

    /// A body that is complete.
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        Self { inner: Inner::Full(bytes.into()) }
    }

    /// A body that comes piece by piece. An error cuts the connection, so that the client cannot take a part for the whole.
    pub fn stream(stream: impl Stream<Item = io::Result<Bytes>> + Send + 'static) -> Self {
        Self { inner: Inner::Stream(Box::pin(stream)) }
    }

    /// A body written by a task or thread through the returned writer; dropping the writer ends it.
    pub fn channel() -> (BodyWriter, Self) {
        let (sender, receiver) = mpsc::channel(STREAM_DEPTH);
        (BodyWriter { sender, buffer: BytesMut::new() }, Self { inner: Inner::Channel(receiver) })
    }

    /// Whether the end of this body is not known yet.
    pub(crate) fn is_stream(&self) -> bool {
        matches!(self.inner, Inner::Stream(_) | Inner::Channel(_))
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let piece = match &mut self.inner {
            Inner::Empty => None,
            Inner::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                self.inner = Inner::Empty;
                (!bytes.is_empty()).then_some(Ok(bytes))
            }
            Inner::Stream(stream) => ready!(stream.as_mut().poll_next(cx)),
            Inner::Channel(receiver) => ready!(receiver.poll_recv(cx)),
        };
        Poll::Ready(piece.map(|p| p.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        match &self.inner {
            Inner::Empty => true,
            Inner::Full(bytes) => bytes.is_empty(),
            Inner::Stream(_) | Inner::Channel(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            Inner::Empty => SizeHint::with_exact(0),
            Inner::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Inner::Stream(_) | Inner::Channel(_) => SizeHint::default(),
        }
    }
}

/// The writing end of a streamed body.
///
/// Asynchronous code uses [`BodyWriter::send`]. A blocking thread uses it as [`std::io::Write`], which gathers 64 KiB before it sends;
/// it must `flush` at the end. Either fails with `BrokenPipe` once the client is gone.
pub struct BodyWriter {
    sender: mpsc::Sender<io::Result<Bytes>>,
    buffer: BytesMut,
}

/// What a blocking writer gathers before it sends.
const WRITE_BLOCK: usize = 64 << 10;

impl BodyWriter {
    /// Sends a piece as soon as the client has taken what came before.
    pub async fn send(&mut self, bytes: impl Into<Bytes>) -> io::Result<()> {
        self.sender.send(Ok(bytes.into())).await.map_err(|_| gone())
    }

    /// [`BodyWriter::send`] for a thread outside the runtime.
    pub fn blocking_send(&mut self, bytes: impl Into<Bytes>) -> io::Result<()> {
        self.sender.blocking_send(Ok(bytes.into())).map_err(|_| gone())
    }

    /// Cuts the connection, so that the client sees that the body is incomplete.
    pub async fn fail(self, error: io::Error) {
        let _ = self.sender.send(Err(error)).await;
    }

    /// [`BodyWriter::fail`] for a thread outside the runtime.
    pub fn blocking_fail(self, error: io::Error) {
        let _ = self.sender.blocking_send(Err(error));
    }

    /// Resolves when the client is gone.
    pub async fn closed(&self) {
        self.sender.closed().await;
    }

    /// Whether the client is gone.
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// A writer of JSON values over this body.
    pub fn json_lines(self, separator: &'static str) -> JsonLines {
        JsonLines { writer: self, separator }
    }
}

impl io::Write for BodyWriter {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(buf);
        if self.buffer.len() >= WRITE_BLOCK {
            self.flush()?;
        }
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let piece = self.buffer.split().freeze();
        self.blocking_send(piece)
    }
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the client is gone")
}

/// A stream of JSON values, one after another.
///
/// Docker ends a value with `\r\n` in progress streams (pull, push, build, load) and with `\n` elsewhere (events, stats).
pub struct JsonLines {
    writer: BodyWriter,
    separator: &'static str,
}

impl JsonLines {
    /// Sends one value.
    pub async fn send<T: Serialize + ?Sized>(&mut self, value: &T) -> io::Result<()> {
        let line = self.line(value)?;
        self.writer.send(line).await
    }

    /// [`JsonLines::send`] for a thread outside the runtime.
    pub fn blocking_send<T: Serialize + ?Sized>(&mut self, value: &T) -> io::Result<()> {
        let line = self.line(value)?;
        self.writer.blocking_send(line)
    }

    /// Resolves when the client is gone.
    pub async fn closed(&self) {
        self.writer.closed().await;
    }

    /// Whether the client is gone.
    pub fn is_closed(&self) -> bool {
        self.writer.is_closed()
    }

    fn line<T: Serialize + ?Sized>(&self, value: &T) -> io::Result<Vec<u8>> {
        let mut line = serde_json::to_vec(value)?;
        line.extend_from_slice(self.separator.as_bytes());
        Ok(line)
    }
}
