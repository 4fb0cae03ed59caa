//! One client connection, from its first byte to its last.
//!
//! ```text
//!  hyper ──request──▶ Answers ──▶ answer in memory, or over TLS ──▶ hyper
//!    ▲                   └──────▶ bytes of a file, plain socket ──▶ head by us, file by sendfile ──┐
//!    └──────────────────────────────────── the connection goes on ◀────────────────────────────────┘
//! ```
//!
//! For a file the service leaves its answer in a slot and never resolves; this loop takes the transport out of hyper
//! once everything hyper had to write is written, sends head and file, and gives the connection to a new hyper.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, DATE};
use http::{HeaderValue, Request, Response, Version};
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use rustix::net::SendFlags;
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::body::AnswerBody;
use super::reply::{FilePart, Payload, Reply};
use super::transport::{Guarded, STALL, Transport};
use crate::access_log::Exchange;
use crate::time::http_date;

/// How long a head may take, and a connection may idle.
const HEAD_DEADLINE: Duration = Duration::from_secs(60);
/// The most a head may hold.
const HEAD_LIMIT: usize = 64 << 10;
/// Files below this are not worth taking the connection out of hyper.
const FILE_MIN: u64 = 16 << 10;
/// What the kernel is asked to send at once, so that connections share a thread fairly.
const SEND_MAX: u64 = 1 << 20;

/// Who answers the requests of a connection.
pub trait Answers: Send + Sync + 'static {
    /// Answers one request.
    fn answer(
        self: &Arc<Self>,
        request: Request<Incoming>,
        remote: SocketAddr,
    ) -> impl Future<Output = (Reply, Exchange)> + Send;
}

struct Handover {
    head: Vec<u8>,
    part: FilePart,
    keep: bool,
    exchange: Exchange,
}

type Slot = Arc<Mutex<Option<Handover>>>;

/// Serves a connection until either side ends it, or `stop` turns true and its request is answered.
pub async fn serve<T: Transport>(
    mut io: T,
    remote: SocketAddr,
    answers: Arc<impl Answers>,
    mut stop: watch::Receiver<bool>,
) {
    let mut early = Bytes::new();
    loop {
        let slot = Slot::default();
        let flushed = Arc::new(AtomicBool::new(false));
        let plain = io.plain().is_some();
        let service = {
            let (answers, slot, flushed) = (answers.clone(), slot.clone(), flushed.clone());
            service_fn(move |request| {
                let (answers, slot, flushed) = (answers.clone(), slot.clone(), flushed.clone());
                Box::pin(async move {
                    respond(&answers, request, remote, plain.then_some((&slot, &flushed))).await
                })
            })
        };
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(HEAD_DEADLINE).max_buf_size(HEAD_LIMIT);
        let guarded = Guarded::new(io, early, flushed.clone());
        let mut connection = builder.serve_connection(TokioIo::new(guarded), service);
        let handover = {
            let mut stopping = pin!(stop.wait_for(|stop| *stop));
            let mut stopped = false;
            poll_fn(|context| {
                if !stopped && stopping.as_mut().poll(context).is_ready() {
                    stopped = true;
                    Pin::new(&mut connection).graceful_shutdown();
                }
                let polled = connection.poll_without_shutdown(context);
                if flushed.load(Ordering::Acquire)
                    && let Some(handover) = slot.lock().take()
                {
                    return Poll::Ready(Some(handover));
                }
                if polled.is_ready() { Poll::Ready(None) } else { Poll::Pending }
            })
            .await
        };
        let parts = connection.into_parts();
        let guarded = parts.io.into_inner();
        io = guarded.io;
        let Some(mut handover) = handover else {
            // A client that has gone already needs no farewell.
            let _ = io.shutdown().await;
            return;
        };
        let Some(socket) = io.plain() else { return };
        let sent = send_file(socket, &handover.head, &handover.part, &mut handover.exchange).await;
        let keep = handover.keep && sent.is_ok() && !*stop.borrow();
        drop(handover);
        if !keep {
            let _ = io.shutdown().await;
            return;
        }
        early = match (parts.read_buf.is_empty(), guarded.early.is_empty()) {
            (_, true) => parts.read_buf,
            (true, false) => guarded.early,
            (false, false) => [parts.read_buf, guarded.early].concat().into(),
        };
    }
}

async fn respond(
    answers: &Arc<impl Answers>,
    request: Request<Incoming>,
    remote: SocketAddr,
    plain: Option<(&Slot, &Arc<AtomicBool>)>,
) -> Result<Response<AnswerBody>, Infallible> {
    let bodyless = request.body().is_end_stream();
    let keep = keeps_alive(&request);
    let (reply, exchange) = answers.answer(request, remote).await;
    let Reply { status, headers, payload } = reply;
    match (plain, payload) {
        (Some((slot, flushed)), Payload::File(part))
            if bodyless && part.range.end - part.range.start >= FILE_MIN =>
        {
            let mut head = format!("HTTP/1.1 {status}\r\n").into_bytes();
            let mut line = |name: &str, value: &[u8]| {
                for piece in [name.as_bytes(), b": ", value, b"\r\n"] {
                    head.extend_from_slice(piece);
                }
            };
            for (name, value) in &headers {
                line(name.as_str(), value.as_bytes());
            }
            line(DATE.as_str(), http_date().as_bytes());
            if !keep {
                line(CONNECTION.as_str(), b"close");
            }
            head.extend_from_slice(b"\r\n");
            flushed.store(false, Ordering::Release);
            *slot.lock() = Some(Handover { head, part, keep, exchange });
            std::future::pending().await
        }
        (_, payload) => {
            let mut response = Response::new(AnswerBody::new(payload, exchange));
            *response.status_mut() = status;
            *response.headers_mut() = headers;
            Ok(response)
        }
    }
}

/// Whether the client expects the connection to go on (RFC 9112, 9.3).
fn keeps_alive(request: &Request<Incoming>) -> bool {
    let named = |token: &str| {
        let values =
            request.headers().get_all(CONNECTION).iter().filter_map(|v: &HeaderValue| v.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|word| word.trim().eq_ignore_ascii_case(token))
    };
    match request.version() {
        Version::HTTP_11 => !named("close"),
        _ => false,
    }
}

/// Sends a head and a part of a file; a client that takes nothing for [`STALL`] is left.
async fn send_file(
    socket: &TcpStream,
    mut head: &[u8],
    part: &FilePart,
    exchange: &mut Exchange,
) -> io::Result<()> {
    while !head.is_empty() {
        let flags = SendFlags::MORE | SendFlags::NOSIGNAL;
        let sent = when_writable(socket, || Ok(rustix::net::send(socket, head, flags)?)).await?;
        head = &head[sent..];
    }
    let mut offset = part.range.start;
    // A hint; the file is sent all the same without it.
    let _ = rustix::fs::fadvise(&part.file, offset, None, rustix::fs::Advice::Sequential);
    while offset < part.range.end {
        let count = usize::try_from((part.range.end - offset).min(SEND_MAX)).unwrap_or(1);
        let send = || {
            let mut at = offset;
            Ok(rustix::fs::sendfile(socket, &part.file, Some(&mut at), count)?)
        };
        let sent = when_writable(socket, send).await?;
        if sent == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        offset += sent as u64;
        exchange.sent(sent as u64);
    }
    Ok(())
}

async fn when_writable(socket: &TcpStream, mut send: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match socket.try_io(Interest::WRITABLE, &mut send) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                tokio::time::timeout(STALL, socket.writable())
                    .await
                    .map_err(|_| io::ErrorKind::TimedOut)??;
            }
            done => {
                tokio::task::consume_budget().await;
                return done;
            }
        }
    }
}
