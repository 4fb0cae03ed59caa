//! A client of WebSockets (RFC 6455) on a unix socket, as much as the tests need.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

/// How long one frame may take to come.
const DEADLINE: Duration = Duration::from_secs(60);

/// One message from the other end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// A text or binary message.
    Data {
        /// Whether it is a binary one.
        binary: bool,
        /// Its content.
        bytes: Vec<u8>,
    },
    /// The other end closes.
    Close,
}

/// An open connection.
pub struct WebSocket(UnixStream);

impl WebSocket {
    /// Opens `path`; anything but 101 is an error with the answer's text.
    pub fn open(socket: &Path, path: &str) -> Result<Self> {
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nOrigin: http://d\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).context("the head of the answer")?;
            head.push(byte[0]);
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        ensure!(head.starts_with("HTTP/1.1 101 "), "{head}");
        // The answer that the standard gives to this key.
        ensure!(head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
        Ok(Self(stream))
    }

    /// Sends a text message.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.frame(1, bytes)
    }

    /// Closes this end.
    pub fn close(&mut self) -> Result<()> {
        self.frame(8, &[])
    }

    fn frame(&mut self, kind: u8, bytes: &[u8]) -> Result<()> {
        let length = u8::try_from(bytes.len()).ok().filter(|n| *n < 126).context("a short message")?;
        // Masked with zeros, which is a mask too.
        let mut frame = vec![0x80 | kind, 0x80 | length, 0, 0, 0, 0];
        frame.extend_from_slice(bytes);
        Ok(self.0.write_all(&frame)?)
    }

    /// The next message; the end of the connection is a close.
    pub fn receive(&mut self) -> Result<Message> {
        let mut head = [0; 2];
        match self.0.read_exact(&mut head) {
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(Message::Close),
            read => read?,
        }
        let length = match head[1] {
            126 => {
                let mut long = [0; 2];
                self.0.read_exact(&mut long)?;
                u16::from_be_bytes(long).into()
            }
            short if short < 126 => usize::from(short),
            _ => bail!("a frame that is longer than these tests expect"),
        };
        let mut bytes = vec![0; length];
        self.0.read_exact(&mut bytes)?;
        match head[0] & 0x0f {
            kind @ (1 | 2) => Ok(Message::Data { binary: kind == 2, bytes }),
            8 => Ok(Message::Close),
            other => bail!("frame of kind {other}"),
        }
    }

    /// The data of the next messages, until it contains `wanted`.
    pub fn read_until(&mut self, wanted: &str) -> Result<String> {
        let mut text = String::new();
        while !text.contains(wanted) {
            match self.receive()? {
                Message::Data { bytes, .. } => text.push_str(&String::from_utf8_lossy(&bytes)),
                Message::Close => bail!("closed after {text:?}"),
            }
        }
        Ok(text)
    }
}
