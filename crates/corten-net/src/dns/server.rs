use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hickory_proto::op::{Message, OpCode, ResponseCode};
use parking_lot::RwLock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::answer::{Answer, answer};
use super::directory::{Directory, View};
use super::upstream::Upstream;
use crate::sandbox::ResolverSockets;

/// Questions of one container that wait for an outside answer at the same time.
const WAITING: usize = 256;
/// TCP connections of one container at the same time.
const CONNECTIONS: usize = 64;
/// How long a TCP client may be silent.
const SILENCE: Duration = Duration::from_secs(10);

/// The resolver of one container; it ends, and its sockets close, when this is dropped.
#[derive(Debug)]
pub struct Server {
    shared: Arc<Shared>,
    tasks: [AbortHandle; 2],
}

#[derive(Debug)]
struct Shared {
    directory: Arc<Directory>,
    view: RwLock<View>,
    upstream: Vec<Upstream>,
    waiting: Arc<Semaphore>,
    connections: Arc<Semaphore>,
    turn: AtomicUsize,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

impl Server {
    /// Serves on sockets opened inside the container. Must be called within a tokio runtime.
    pub fn start(
        sockets: ResolverSockets,
        directory: Arc<Directory>,
        view: View,
        upstream: Vec<Upstream>,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            directory,
            view: RwLock::new(view),
            upstream,
            waiting: Arc::new(Semaphore::new(WAITING)),
            connections: Arc::new(Semaphore::new(CONNECTIONS)),
            turn: AtomicUsize::new(0),
        });
        let udp = Arc::new(UdpSocket::from_std(sockets.udp)?);
        let tcp = TcpListener::from_std(sockets.tcp)?;
        let tasks = [
            tokio::spawn(serve_datagrams(udp, shared.clone())).abort_handle(),
            tokio::spawn(serve_streams(tcp, shared.clone())).abort_handle(),
        ];
        Ok(Self { shared, tasks })
    }

    /// The container joined or left a network.
    pub fn set_view(&self, view: View) {
        *self.shared.view.write() = view;
    }
}

async fn serve_datagrams(socket: Arc<UdpSocket>, shared: Arc<Shared>) {
    let mut buffer = vec![0; 4096];
    loop {
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else { continue };
        let question = &buffer[..length];
        match shared.answer(question) {
            Answer::Ignore => {}
            Answer::Reply(reply) => {
                // A client that went away is no error of ours.
                if let Ok(bytes) = fit(&reply, question) {
                    let _ = socket.send_to(&bytes, from).await;
                }
            }
            Answer::Forward => forward_datagram(&socket, &shared, question.to_vec(), from),
        }
    }
}

fn forward_datagram(socket: &Arc<UdpSocket>, shared: &Arc<Shared>, question: Vec<u8>, from: SocketAddr) {
    let Ok(permit) = shared.waiting.clone().try_acquire_owned() else { return };
    let (socket, shared) = (socket.clone(), shared.clone());
    tokio::spawn(async move {
        let bytes = shared.ask_outside(&question, false).await;
        let _ = socket.send_to(&bytes, from).await;
        drop(permit);
    });
}

async fn serve_streams(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let Ok(permit) = shared.connections.clone().acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else { continue };
        let shared = shared.clone();
        tokio::spawn(async move {
            // A client that breaks off or sends nonsense ends its own connection only.
            let _ = serve_stream(stream, &shared).await;
            drop(permit);
        });
    }
}

async fn serve_stream(mut stream: TcpStream, shared: &Shared) -> io::Result<()> {
    loop {
        let length = timeout(SILENCE, stream.read_u16()).await??;
        let mut question = vec![0; length.into()];
        timeout(SILENCE, stream.read_exact(&mut question)).await??;
        let bytes = match shared.answer(&question) {
            Answer::Ignore => return Ok(()),
            Answer::Reply(reply) => reply.to_vec().map_err(io::Error::other)?,
            Answer::Forward => shared.ask_outside(&question, true).await,
        };
        let length = u16::try_from(bytes.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
        timeout(SILENCE, stream.write_all(&[&length.to_be_bytes()[..], &bytes].concat())).await??;
    }
}

impl Shared {
    fn answer(&self, question: &[u8]) -> Answer {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        answer(&self.directory, &self.view.read(), question, turn)
    }

    /// Asks the servers one after the other until one answers well; the last bad answer is better than none.
    async fn ask_outside(&self, question: &[u8], stream: bool) -> Vec<u8> {
        let mut last = None;
        for server in &self.upstream {
            let Ok(reply) = server.ask(question, stream).await else { continue };
            // SERVFAIL and REFUSED are about the server, not about the name.
            if !matches!(reply.get(3).map(|flags| flags & 0xf), Some(2 | 5)) {
                return reply;
            }
            last = Some(reply);
        }
        last.unwrap_or_else(|| failure(question))
    }
}

fn failure(question: &[u8]) -> Vec<u8> {
    let Ok(message) = Message::from_vec(question) else { return Vec::new() };
    let mut reply = Message::error_msg(message.metadata.id, OpCode::Query, ResponseCode::ServFail);
    reply.metadata.recursion_desired = message.metadata.recursion_desired;
    reply.metadata.recursion_available = true;
    reply.add_queries(message.queries);
    reply.to_vec().unwrap_or_default()
}

/// The answer in the size a datagram may have: what the client says it takes, or 512 bytes; else it is marked cut.
fn fit(reply: &Message, question: &[u8]) -> Result<Vec<u8>, hickory_proto::ProtoError> {
    let bytes = reply.to_vec()?;
    if bytes.len() <= 512 {
        return Ok(bytes);
    }
    let limit = Message::from_vec(question).map_or(512, |message| message.max_payload().max(512));
    if bytes.len() <= limit.into() { Ok(bytes) } else { reply.truncate().to_vec() }
}
