//! One client connection, from its first byte to its last.
//!
//! ```text
//!           first byte             head complete             body written
//!  Idle ──────────────▶ Head ─────────────────▶ Working ──▶ Streaming ──▶ Idle
//!   │ 5 min              │ 10 s                  │             │
//!   ▼                    ▼                       ▼ hijack      ▼ client gone
//!  closed              closed               raw connection    closed
//! ```
//!
//! A handler that wants the raw connection answers with a [`Hijack`]. hyper itself can only upgrade on a 101; so the service leaves the
//! wish in a slot and never resolves, and this loop takes the transport out of hyper, writes the head itself and runs the handler's task.
//!
//! hyper is told to accept half-closed clients, and therefore does not notice when one goes away in the middle of an answer; the loop
//! watches the socket beside it. What then happens to the handler is its route's [`Fate`].

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, HeaderValue, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, StatusCode};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::dispatch::Fate;
use super::head::Head;
use super::socket::{Departure, Socket};
use crate::ApiError;
use crate::http::{Body, Content, Hijack, Hijacked, Response, Transport};

/// How long a head may take from its first byte on.
const HEAD_DEADLINE: Duration = Duration::from_secs(10);
/// How long a connection may idle between requests.
const IDLE_DEADLINE: Duration = Duration::from_secs(300);
/// How long the stream behind a hijack's head waits for the client to have read that.
const HEAD_READ: Duration = Duration::from_millis(100);
/// How much of an unread body is thrown away so that the client can read the refusal.
const LINGER_BYTES: u64 = 1 << 20;
/// How long that may take.
const LINGER: Duration = Duration::from_secs(2);
/// The most a head may hold, and the size of the read buffer.
const HEAD_LIMIT: usize = 64 << 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Phase {
    Idle = 0,
    Head = 1,
    /// A handler runs that outlives its client.
    Working = 2,
    /// A handler runs that ends with its client.
    Waiting = 3,
    /// The answer's body is a stream.
    Streaming = 4,
}

#[derive(Default)]
struct Progress {
    phase: AtomicU8,
    /// What was seen of the head of the request that is being read.
    head: Mutex<Head>,
}

impl Progress {
    fn set(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    fn get(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::Idle,
            1 => Phase::Head,
            2 => Phase::Working,
            3 => Phase::Waiting,
            _ => Phase::Streaming,
        }
    }
}

/// Who answers the requests of a connection.
pub(crate) trait Answers: Send + Sync + 'static {
    /// Answers one request; `began` is told what becomes of the handler when the client goes away, before it runs.
    fn answer(
        self: &Arc<Self>,
        request: http::Request<hyper::body::Incoming>,
        check_host: bool,
        began: impl FnOnce(Fate) + Send,
    ) -> impl Future<Output = Response> + Send;
}

/// The handler's wish for the connection, and how the client asked.
struct Wish {
    hijack: Hijack,
    head: Vec<u8>,
}

/// Serves a connection until either side ends it. `io` is the socket, or TLS over it.
pub(crate) async fn serve_connection<T: Transport + 'static>(
    io: T,
    socket: Socket,
    server: Arc<impl Answers>,
    check_host: bool,
) {
    let progress = Arc::new(Progress::default());
    let peer = socket.peer();
    let slot: Arc<Mutex<Option<Wish>>> = Arc::default();
    let service = {
        let (progress, slot) = (progress.clone(), slot.clone());
        service_fn(move |mut request: http::Request<hyper::body::Incoming>| {
            let (server, progress, slot) = (server.clone(), progress.clone(), slot.clone());
            request.extensions_mut().insert(peer.clone());
            Box::pin(async move { respond(&server, request, check_host, &progress, &slot).await })
        })
    };
    let mut builder = http1::Builder::new();
    builder.half_close(true).max_buf_size(HEAD_LIMIT).title_case_headers(true).header_read_timeout(None);
    let io = Watched { io, progress: progress.clone() };
    let mut connection = builder.serve_connection(TokioIo::new(io), service);

    let end = {
        let mut deadline = pin!(Deadline::default());
        let mut departed = pin!(watch(&socket, &progress));
        poll_fn(|cx| {
            let polled = connection.poll_without_shutdown(cx);
            if let Some(wish) = slot.lock().take() {
                return Poll::Ready(End::Hijacked(wish));
            }
            // An error has been told to the client, where it can be told.
            if polled.is_ready() {
                return Poll::Ready(End::Finished);
            }
            if deadline.as_mut().poll(cx, progress.get()).is_ready() || departed.as_mut().poll(cx).is_ready()
            {
                return Poll::Ready(End::Abandoned);
            }
            Poll::Pending
        })
        .await
    };
    // A handler that gives the socket away must have the only one.
    drop(socket);

    match end {
        End::Abandoned => {}
        End::Hijacked(wish) => {
            let parts = connection.into_parts();
            let io = parts.io.into_inner().io;
            hand_over(io, parts.read_buf, wish).await;
        }
        End::Finished => {
            let mut io = connection.into_parts().io.into_inner().io;
            if io.shutdown().await.is_ok() {
                // Closing with unread bytes would reset the connection and take the answer from the client's hands. One that has closed
                // already ends this at once.
                let rest = (&mut io).take(LINGER_BYTES);
                let _ =
                    tokio::time::timeout(LINGER, tokio::io::copy(&mut pin!(rest), &mut tokio::io::sink()))
                        .await;
            }
        }
    }
}

enum End {
    Hijacked(Wish),
    Finished,
    Abandoned,
}

/// Resolves when nobody will read what the connection still has to say.
async fn watch(socket: &Socket, progress: &Progress) {
    if socket.departed().await == Departure::Gone {
        return;
    }
    if !socket.is_tcp() {
        return socket.hung_up().await;
    }
    // A TCP client that only stopped sending may still read one answer, but is not trusted to read for ever.
    while matches!(progress.get(), Phase::Working | Phase::Idle | Phase::Head) {
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

async fn respond(
    server: &Arc<impl Answers>,
    request: http::Request<hyper::body::Incoming>,
    check_host: bool,
    progress: &Arc<Progress>,
    slot: &Mutex<Option<Wish>>,
) -> Result<http::Response<Tracked>, std::convert::Infallible> {
    progress.set(Phase::Working);
    let head = std::mem::take(&mut *progress.head.lock());
    // One that came on the heels of another was not seen: then nothing is read after it.
    let mut is_last = request.headers().contains_key(TRANSFER_ENCODING) && !head.is_whole();
    let upgrade = asks_upgrade(request.headers());
    let response = if head.is_ambiguous() {
        is_last = true;
        Response::error(&ApiError::invalid(
            "a request must not have both a Content-Length and a Transfer-Encoding",
        ))
    } else {
        let began = |fate| {
            progress.set(match fate {
                Fate::EndsWithClient => Phase::Waiting,
                Fate::RunsOn => Phase::Working,
            });
        };
        server.answer(request, check_host, began).await
    };
    match response.content {
        Content::Body(body) => {
            if body.is_stream() {
                progress.set(Phase::Streaming);
            }
            let mut answer = http::Response::new(Tracked { body, progress: progress.clone() });
            *answer.status_mut() = response.status;
            *answer.headers_mut() = response.headers;
            if is_last {
                answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok(answer)
        }
        Content::Hijack(hijack) => {
            let head = hijack_head(upgrade.as_deref(), hijack.content_type, &response.headers);
            *slot.lock() = Some(Wish { hijack, head });
            std::future::pending().await
        }
    }
}

/// The protocol the client wants to switch to, if it does.
fn asks_upgrade(headers: &HeaderMap) -> Option<String> {
    let wants = headers.get_all(CONNECTION).iter().filter_map(|v| v.to_str().ok());
    let wants = wants.flat_map(|v| v.split(',')).any(|token| token.trim().eq_ignore_ascii_case("upgrade"));
    let protocol = headers.get(UPGRADE)?.to_str().ok()?;
    let clean = !protocol.is_empty() && protocol.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
    (wants && clean).then(|| protocol.to_owned())
}

/// The head of an answer whose body is the raw connection.
fn hijack_head(upgrade: Option<&str>, content_type: Option<&str>, headers: &HeaderMap) -> Vec<u8> {
    let content_type = content_type.map(|kind| format!("Content-Type: {kind}\r\n")).unwrap_or_default();
    let mut head = match upgrade {
        Some(protocol) => {
            format!("HTTP/1.1 101 UPGRADED\r\n{content_type}Connection: Upgrade\r\nUpgrade: {protocol}\r\n")
        }
        None => format!("HTTP/1.1 {}\r\n{content_type}", StatusCode::OK),
    }
    .into_bytes();
    for (name, value) in headers {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            head.extend_from_slice(part);
        }
    }
    head.extend_from_slice(b"\r\n");
    head
}

async fn hand_over<T: Transport + 'static>(mut io: T, early: Bytes, wish: Wish) {
    // A client that is gone already is found by the task when it reads.
    let _ = io.write_all(&wish.head).await;
    let _ = io.flush().await;
    // Clients that read the head through a buffer and the stream beside it (docker-py) lose what arrives together with the head.
    let _ = tokio::time::timeout(HEAD_READ, poll_fn(|cx| io.poll_read_by_client(cx))).await;
    (wish.hijack.task)(Hijacked::new(early, Box::new(io))).await;
}

/// The deadline of the phase a connection is in; none while it works.
#[derive(Default)]
struct Deadline {
    phase: Option<Phase>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Deadline {
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>, phase: Phase) -> Poll<()> {
        let this = self.get_mut();
        let limit = match phase {
            Phase::Idle => IDLE_DEADLINE,
            Phase::Head => HEAD_DEADLINE,
            Phase::Working | Phase::Waiting | Phase::Streaming => {
                this.phase = Some(phase);
                return Poll::Pending;
            }
        };
        let timer = this.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        if this.phase != Some(phase) {
            this.phase = Some(phase);
            timer.as_mut().reset(Instant::now() + limit);
        }
        timer.as_mut().poll(cx)
    }
}

/// A transport that notes when a request begins to arrive.
struct Watched<T> {
    io: T,
    progress: Arc<Progress>,
}

impl<T: AsyncRead + Unpin> AsyncRead for Watched<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.io).poll_read(cx, buf);
        if buf.filled().len() > before {
            if self.progress.get() == Phase::Idle {
                self.progress.set(Phase::Head);
                *self.progress.head.lock() = Head::default();
            }
            if self.progress.get() == Phase::Head {
                self.progress.head.lock().take(&buf.filled()[before..]);
            }
        }
        polled
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Watched<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// A body whose end makes the connection idle again.
struct Tracked {
    body: Body,
    progress: Arc<Progress>,
}

impl Drop for Tracked {
    fn drop(&mut self) {
        self.progress.set(Phase::Idle);
    }
}

impl http_body::Body for Tracked {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<http_body::Frame<Bytes>>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests;
