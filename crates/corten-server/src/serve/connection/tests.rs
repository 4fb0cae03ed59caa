//! Connections over real socket pairs: both hijack forms, early bytes, half-closes, and clients that leave.

use std::sync::atomic::AtomicBool;

use tokio::net::UnixStream;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::*;
use crate::http::{Body, RequestBody};

const DEADLINE: Duration = Duration::from_secs(10);

/// Answers by path: `/echo` hijacks and echoes behind a `>`, `/socket` does so on the socket itself, `/wait` and `/stream` never end,
/// everything else is 200.
#[derive(Default)]
struct Sample {
    left: Arc<Notify>,
    dropped: Arc<AtomicBool>,
}

/// Tells when a handler's future or body is dropped.
struct Guard(Arc<Notify>, Arc<AtomicBool>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.1.store(true, Ordering::SeqCst);
        self.0.notify_one();
    }
}

async fn echo(mut connection: impl AsyncRead + AsyncWrite + Unpin) {
    let mut input = Vec::new();
    connection.read_to_end(&mut input).await.unwrap();
    connection.write_all(b">").await.unwrap();
    connection.write_all(&input).await.unwrap();
    connection.shutdown().await.unwrap();
}

impl Answers for Sample {
    async fn answer(
        self: &Arc<Self>,
        request: http::Request<hyper::body::Incoming>,
        _: bool,
        began: impl FnOnce(Fate) + Send,
    ) -> Response {
        began(Fate::EndsWithClient);
        let (parts, body) = request.into_parts();
        RequestBody::new(body).0.collect(1 << 20).await.unwrap();
        match parts.uri.path() {
            "/echo" => Response::hijack(Hijack::new(Hijack::RAW, echo)),
            "/socket" => Response::hijack(Hijack::new(Hijack::MULTIPLEXED, |connection| async move {
                let socket = connection.into_socket().await.unwrap();
                let socket = std::os::unix::net::UnixStream::from(socket);
                socket.set_nonblocking(true).unwrap();
                echo(UnixStream::from_std(socket).unwrap()).await;
            })),
            "/wait" => {
                let _guard = Guard(self.left.clone(), self.dropped.clone());
                std::future::pending().await
            }
            "/stream" => {
                let guard = Guard(self.left.clone(), self.dropped.clone());
                let (mut writer, body) = Body::channel();
                tokio::spawn(async move {
                    writer.send("first\n").await.unwrap();
                    writer.closed().await;
                    drop(guard);
                });
                Response::new(StatusCode::OK, body)
            }
            _ => Response::text(StatusCode::OK, "fine"),
        }
    }
}

/// A client of a fresh connection, and what its handlers report.
fn connect() -> (UnixStream, Arc<Sample>) {
    let (client, server) = UnixStream::pair().unwrap();
    let socket = Socket::Unix(Arc::new(server));
    let sample = Arc::new(Sample::default());
    tokio::spawn(serve_connection(socket.clone(), socket, sample.clone(), false));
    (client, sample)
}

async fn read_all(client: &mut UnixStream) -> String {
    let mut answer = Vec::new();
    timeout(DEADLINE, client.read_to_end(&mut answer)).await.unwrap().unwrap();
    String::from_utf8(answer).unwrap()
}

async fn read_until(client: &mut UnixStream, end: &str) -> String {
    let mut answer = String::new();
    while !answer.ends_with(end) {
        let mut byte = [0];
        timeout(DEADLINE, client.read_exact(&mut byte)).await.unwrap().unwrap();
        answer.push(byte[0] as char);
    }
    answer
}

#[tokio::test]
async fn an_upgrade_is_answered_with_101_and_survives_the_clients_half_close() {
    let (mut client, _) = connect();
    client.write_all(b"POST /echo HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\n").await.unwrap();
    let head = read_until(&mut client, "\r\n\r\n").await;
    assert_eq!(
        head,
        "HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
    );
    client.write_all(b"hello").await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(read_all(&mut client).await, ">hello");
}

#[tokio::test]
async fn without_an_upgrade_the_answer_is_200_without_length_and_chunks() {
    let (mut client, _) = connect();
    client.write_all(b"POST /echo HTTP/1.1\r\nHost: d\r\nContent-Length: 2\r\n\r\n{}").await.unwrap();
    let head = read_until(&mut client, "\r\n\r\n").await;
    assert_eq!(head, "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\n");
    client.write_all(b"raw").await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(read_all(&mut client).await, ">raw");
}

#[tokio::test]
async fn bytes_sent_before_the_answer_come_first() {
    for path in ["/echo", "/socket"] {
        let (mut client, _) = connect();
        let request = format!("POST {path} HTTP/1.1\r\nHost: d\r\nContent-Length: 2\r\n\r\n{{}}early");
        client.write_all(request.as_bytes()).await.unwrap();
        read_until(&mut client, "\r\n\r\n").await;
        client.write_all(b" late").await.unwrap();
        client.shutdown().await.unwrap();
        assert_eq!(read_all(&mut client).await, ">early late", "{path}");
    }
}

#[tokio::test]
async fn a_client_that_says_everything_at_once_is_answered() {
    let (mut client, _) = connect();
    client.write_all(b"POST /socket HTTP/1.1\r\nHost: d\r\nContent-Length: 0\r\n\r\nall").await.unwrap();
    client.shutdown().await.unwrap();
    assert!(read_all(&mut client).await.ends_with("\r\n\r\n>all"));
}

#[tokio::test]
async fn the_socket_itself_is_handed_over() {
    let (mut client, _) = connect();
    client.write_all(b"POST /socket HTTP/1.1\r\nHost: d\r\nContent-Length: 0\r\n\r\n").await.unwrap();
    let head = read_until(&mut client, "\r\n\r\n").await;
    assert!(head.contains("application/vnd.docker.multiplexed-stream"), "{head}");
    client.write_all(b"x").await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(read_all(&mut client).await, ">x");
}

#[tokio::test]
async fn handlers_and_streams_end_with_a_client_that_leaves() {
    for path in ["/wait", "/stream"] {
        let (mut client, sample) = connect();
        client.write_all(format!("GET {path} HTTP/1.1\r\nHost: d\r\n\r\n").as_bytes()).await.unwrap();
        if path == "/stream" {
            read_until(&mut client, "first\n\r\n").await;
        }
        drop(client);
        timeout(DEADLINE, sample.left.notified()).await.unwrap();
        assert!(sample.dropped.load(Ordering::SeqCst), "{path}");
    }
}

#[tokio::test]
async fn requests_follow_each_other_on_one_connection() {
    let (mut client, _) = connect();
    let one = b"GET /a HTTP/1.1\r\nHost: d\r\n\r\n";
    client.write_all(&[&one[..], one].concat()).await.unwrap();
    read_until(&mut client, "fine").await;
    read_until(&mut client, "fine").await;
    client.write_all(b"GET /a HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n").await.unwrap();
    assert!(read_all(&mut client).await.ends_with("fine"));
}

#[tokio::test]
async fn a_head_without_end_is_refused() {
    let (mut client, _) = connect();
    let line = format!("GET /{} HTTP/1.1\r\n", "a".repeat(HEAD_LIMIT));
    // The server may stop reading, and closes, before everything is written.
    let _ = client.write_all(line.as_bytes()).await;
    let answer = read_all(&mut client).await;
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn a_head_that_does_not_come_is_not_waited_for() {
    let (mut client, _) = connect();
    client.write_all(b"GET / HT").await.unwrap();
    let started = tokio::time::Instant::now();
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).await.unwrap();
    assert!(started.elapsed() >= HEAD_DEADLINE && started.elapsed() < IDLE_DEADLINE);
}
