//! Each driver against a small receiver of the test's own.

use std::collections::BTreeMap;
use std::io::Write as _;

use rmp::decode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket, UnixDatagram};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::*;
use crate::logs::driver::LogDriver;
use crate::logs::info::LogInfo;
use crate::logs::remote::{Address, Remote};

const DEADLINE: Duration = Duration::from_secs(20);

/// A log on disk and what ships it.
struct Log {
    dir: tempfile::TempDir,
    shipping: Arc<Shipping>,
    end: Option<oneshot::Sender<()>>,
}

impl Log {
    fn new() -> Self {
        let shipping = Arc::new(Shipping::new(Arc::new(Watcher::new())));
        Self { dir: tempfile::tempdir().unwrap(), shipping, end: None }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    fn write(&self, stream: &str, text: &str) {
        let mut file = std::fs::File::options().append(true).create(true).open(self.path()).unwrap();
        let line = serde_json::json!({ "log": text, "stream": stream, "time": "2026-11-24T13:05:09.25Z" });
        file.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    fn ship(&mut self, driver: &str, options: &[(&str, &str)]) {
        let options: BTreeMap<_, _> =
            options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let driver = LogDriver::parse(driver, &options).unwrap().unwrap();
        self.ship_to(driver.remote.unwrap(), &driver.attribution);
    }

    fn ship_to(&mut self, remote: Remote, attribution: &crate::logs::info::Attribution) {
        let info = LogInfo { id: "0123456789abcdef".into(), name: "web".into(), ..LogInfo::default() };
        let (end, ended) = oneshot::channel();
        self.end = Some(end);
        let sender = Sender::new(remote, info, attribution);
        self.shipping.start("id", self.path(), sender, async move {
            let _ = ended.await;
        });
    }

    /// The container ends; all is shipped.
    async fn end(&mut self) {
        drop(self.end.take());
        let task = self.shipping.tasks.lock().remove("id").unwrap();
        timeout(DEADLINE, task.handle).await.unwrap().unwrap();
    }
}

async fn datagram(socket: &UdpSocket) -> Vec<u8> {
    let mut buffer = vec![0; 65_536];
    let length = timeout(DEADLINE, socket.recv(&mut buffer)).await.unwrap().unwrap();
    buffer.truncate(length);
    buffer
}

async fn accept(listener: &TcpListener) -> TcpStream {
    timeout(DEADLINE, listener.accept()).await.unwrap().unwrap().0
}

#[tokio::test(flavor = "multi_thread")]
async fn syslog_over_udp() {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = format!("udp://{}", socket.local_addr().unwrap());
    let mut log = Log::new();
    log.write("stdout", "before\n");
    log.ship("syslog", &[("syslog-address", &address), ("syslog-format", "rfc5424"), ("tag", "{{.Name}}")]);
    let first = String::from_utf8(datagram(&socket).await).unwrap();
    assert!(
        first.starts_with("<30>1 2026-11-24T13:05:09Z ") && first.ends_with(" web - before\n"),
        "{first}"
    );
    log.write("stderr", "later\n");
    let second = String::from_utf8(datagram(&socket).await).unwrap();
    assert!(second.starts_with("<27>1 ") && second.ends_with(" web - later\n"), "{second}");
    log.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_opened_again_and_goes_on_where_it_was() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("tcp://{}", listener.local_addr().unwrap());
    let options = [("syslog-address", address.as_str())];
    let mut log = Log::new();
    log.write("stdout", "1\n");
    log.ship("syslog", &options);
    let mut stream = accept(&listener).await;
    let mut text = [0; 256];
    let length = timeout(DEADLINE, stream.read(&mut text)).await.unwrap().unwrap();
    assert!(text[..length].ends_with(b": 1\n"));
    log.end().await;
    drop(stream);
    // A daemon that starts anew knows what was shipped.
    log.write("stdout", "2\n");
    log.ship("syslog", &options);
    let mut stream = accept(&listener).await;
    let length = timeout(DEADLINE, stream.read(&mut text)).await.unwrap().unwrap();
    assert!(text[..length].ends_with(b": 2\n"), "{:?}", String::from_utf8_lossy(&text[..length]));
    // The receiver goes away in the middle and comes back.
    drop(stream);
    log.write("stdout", "3\n");
    let mut stream = accept(&listener).await;
    let length = timeout(DEADLINE, stream.read(&mut text)).await.unwrap().unwrap();
    assert!(text[..length].ends_with(b": 3\n"));
    log.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn gelf_in_chunks_over_udp() {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = format!("udp://{}", socket.local_addr().unwrap());
    let mut log = Log::new();
    let long: String = (0..4000).map(|n| char::from(b'a' + (n % 23) as u8)).collect();
    log.write("stdout", &format!("{long}\n"));
    log.write("stderr", "short\n");
    log.ship("gelf", &[("gelf-address", &address), ("gelf-compression-type", "none")]);
    let mut whole = Vec::new();
    for number in 0.. {
        let chunk = datagram(&socket).await;
        assert_eq!((&chunk[..2], chunk[10]), (&[0x1e, 0x0f][..], number));
        whole.extend_from_slice(&chunk[12..]);
        if number + 1 == chunk[11] {
            break;
        }
    }
    let message: serde_json::Value = serde_json::from_slice(&whole).unwrap();
    assert_eq!(message["short_message"], long);
    let message: serde_json::Value = serde_json::from_slice(&datagram(&socket).await).unwrap();
    assert_eq!((&message["short_message"], &message["level"]), (&"short".into(), &3.into()));
    log.end().await;
}

/// Reads one forward message: tag, record and the chunk to acknowledge.
async fn forwarded(stream: &mut TcpStream) -> (String, BTreeMap<String, String>, Option<String>) {
    let mut bytes = Vec::new();
    loop {
        let mut buffer = [0; 4096];
        let length = timeout(DEADLINE, stream.read(&mut buffer)).await.unwrap().unwrap();
        assert!(length > 0, "closed");
        bytes.extend_from_slice(&buffer[..length]);
        if let Some(message) = parse_forwarded(&bytes) {
            return message;
        }
    }
}

fn parse_forwarded(mut bytes: &[u8]) -> Option<(String, BTreeMap<String, String>, Option<String>)> {
    fn text(bytes: &mut &[u8]) -> Option<String> {
        let length = decode::read_str_len(bytes).ok()? as usize;
        let (text, rest) = bytes.split_at_checked(length)?;
        *bytes = rest;
        Some(String::from_utf8(text.to_vec()).unwrap())
    }
    fn map(bytes: &mut &[u8]) -> Option<BTreeMap<String, String>> {
        let length = decode::read_map_len(bytes).ok()?;
        (0..length).map(|_| Some((text(bytes)?, text(bytes)?))).collect()
    }
    let members = decode::read_array_len(&mut bytes).ok()?;
    let tag = text(&mut bytes)?;
    let _time: i64 = decode::read_int(&mut bytes).ok()?;
    let record = map(&mut bytes)?;
    let chunk = if members == 4 { Some(map(&mut bytes)?.remove("chunk")?) } else { None };
    Some((tag, record, chunk))
}

#[tokio::test(flavor = "multi_thread")]
async fn fluentd_with_acknowledgements() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut log = Log::new();
    log.write("stdout", "the beginning of ");
    log.write("stdout", "a line\n");
    log.ship("fluentd", &[("fluentd-address", &address), ("fluentd-request-ack", "true")]);
    let mut stream = accept(&listener).await;
    let (_, unacknowledged, chunk) = forwarded(&mut stream).await;
    assert!(chunk.is_some());
    // What is not acknowledged comes again.
    drop(stream);
    let mut stream = accept(&listener).await;
    for (expected, last) in [("the beginning of ", "false"), ("a line", "true")] {
        let (tag, record, chunk) = forwarded(&mut stream).await;
        assert_eq!((tag.as_str(), record["log"].as_str()), ("0123456789ab", expected));
        assert_eq!(record["partial_last"], last);
        assert_eq!(record["container_name"], unacknowledged["container_name"]);
        let chunk = chunk.unwrap();
        let mut answer = vec![0x81, 0xa3];
        answer.extend(b"ack");
        answer.extend([0xd9, u8::try_from(chunk.len()).unwrap()]);
        answer.extend(chunk.as_bytes());
        stream.write_all(&answer).await.unwrap();
    }
    log.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_journal() {
    let mut log = Log::new();
    let path = log.dir.path().join("journal");
    let socket = UnixDatagram::bind(&path).unwrap();
    log.write("stderr", "an entry\n");
    log.ship_to(Remote::Journald(Address::Unixgram(path)), &crate::logs::info::Attribution::default());
    let mut buffer = [0; 4096];
    let length = timeout(DEADLINE, socket.recv(&mut buffer)).await.unwrap().unwrap();
    let entry = String::from_utf8_lossy(&buffer[..length]).into_owned();
    assert!(entry.starts_with("MESSAGE=an entry\nPRIORITY=3\n"), "{entry}");
    assert!(
        entry.contains("\nCONTAINER_NAME=web\n") && entry.contains("\nCONTAINER_LOG_ORDINAL=1\n"),
        "{entry}"
    );
    log.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_container_does_not_wait_for_a_receiver_that_is_away() {
    let mut log = Log::new();
    log.write("stdout", "lost\n");
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = nobody.local_addr().unwrap().to_string();
    drop(nobody);
    log.ship("fluentd", &[("fluentd-address", &address)]);
    timeout(FAREWELL * 2, log.shipping.finish("id")).await.unwrap();
}
