//! HTTP/1.1 over a unix socket, written out: the tests must not share a client with what they test.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;

/// How long any single answer may take.
const DEADLINE: Duration = Duration::from_secs(60);

/// A whole answer.
#[derive(Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, with its framing removed.
    pub body: Vec<u8>,
}

impl Response {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as one JSON document.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.body).with_context(|| format!("not JSON: {:?}", self.text()))
    }

    /// The body as JSON documents one after another.
    pub fn json_lines(&self) -> Result<Vec<Value>> {
        serde_json::Deserializer::from_slice(&self.body)
            .into_iter()
            .collect::<Result<_, _>>()
            .with_context(|| format!("not a JSON stream: {:?}", self.text()))
    }

    /// The text of an error body.
    pub fn message(&self) -> String {
        self.json().ok().and_then(|v| v["message"].as_str().map(str::to_owned)).unwrap_or_else(|| self.text())
    }

    /// Fails unless the status is `wanted`.
    pub fn expect(self, wanted: u16) -> Result<Self> {
        if self.status == wanted {
            Ok(self)
        } else {
            bail!("status {} instead of {wanted}: {}", self.status, self.text())
        }
    }

    /// Fails unless the status is `wanted` and the error's text contains `part`.
    pub fn refuses(self, wanted: u16, part: &str) -> Result<()> {
        let this = self.expect(wanted)?;
        let message = this.message();
        if message.contains(part) { Ok(()) } else { bail!("message {message:?} lacks {part:?}") }
    }
}

/// A body and its media type.
pub enum Body<'a> {
    /// No body.
    None,
    /// `application/json`.
    Json(Value),
    /// Bytes of a given type.
    Bytes(&'a str, &'a [u8]),
}

/// Sends one request and reads the whole answer.
pub fn request(socket: &Path, method: &str, path: &str, body: Body<'_>) -> Result<Response> {
    let mut reader = BufReader::new(send(socket, method, path, &[("Connection", "close")], body)?);
    let (status, headers) = read_head(&mut reader)?;
    let header =
        |name: &str| headers.iter().find(|(n, _): &&(String, String)| n == name).map(|(_, v)| v.as_str());
    let mut bytes = Vec::new();
    if method == "HEAD" || status == 204 || status == 304 {
        // no body
    } else if header("transfer-encoding").is_some_and(|v| v.contains("chunked")) {
        read_chunks(&mut reader, &mut bytes)?;
    } else if let Some(length) = header("content-length") {
        bytes.resize(length.parse()?, 0);
        reader.read_exact(&mut bytes)?;
    } else {
        reader.read_to_end(&mut bytes)?;
    }
    Ok(Response { status, headers, body: bytes })
}

/// A connection that left HTTP behind.
pub struct Hijacked {
    /// 101 or 200.
    pub status: u16,
    /// The headers of the answer, names in lower case.
    pub headers: Vec<(String, String)>,
    reader: BufReader<UnixStream>,
}

impl Hijacked {
    /// Sends input.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.reader.get_mut().write_all(bytes)?)
    }

    /// Ends the input; output still comes.
    pub fn close_input(&mut self) -> Result<()> {
        Ok(self.reader.get_ref().shutdown(Shutdown::Write)?)
    }

    /// Everything until the other side ends.
    pub fn read_to_end(&mut self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.reader.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Reads until `wanted` has been seen.
    pub fn read_until(&mut self, wanted: &str) -> Result<String> {
        let mut seen = Vec::new();
        let mut byte = [0];
        while !String::from_utf8_lossy(&seen).contains(wanted) {
            if self.reader.read(&mut byte)? == 0 {
                bail!("ended before {wanted:?}: {:?}", String::from_utf8_lossy(&seen));
            }
            seen.push(byte[0]);
        }
        Ok(String::from_utf8_lossy(&seen).into_owned())
    }
}

/// Asks for an upgraded stream, as docker's clients do.
pub fn hijack(socket: &Path, path: &str, body: Body<'_>, upgrade: bool) -> Result<Hijacked> {
    let headers: &[(&str, &str)] =
        if upgrade { &[("Connection", "Upgrade"), ("Upgrade", "tcp")] } else { &[] };
    let mut reader = BufReader::new(send(socket, "POST", path, headers, body)?);
    let (status, headers) = read_head(&mut reader)?;
    Ok(Hijacked { status, headers, reader })
}

/// Splits a stream of stdcopy frames into stdout and stderr.
pub fn demultiplex(mut bytes: &[u8]) -> Result<(Vec<u8>, Vec<u8>)> {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    while !bytes.is_empty() {
        let head = bytes.get(..8).ok_or_else(|| anyhow!("a frame's head is cut short: {bytes:?}"))?;
        let length = u32::from_be_bytes([head[4], head[5], head[6], head[7]]) as usize;
        let payload = bytes.get(8..8 + length).ok_or_else(|| anyhow!("a frame's payload is cut short"))?;
        match head[..4] {
            [1, 0, 0, 0] => out.extend_from_slice(payload),
            [2, 0, 0, 0] => err.extend_from_slice(payload),
            _ => bail!("not a frame: {head:?}"),
        }
        bytes = &bytes[8 + length..];
    }
    Ok((out, err))
}

fn send(
    socket: &Path,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Body<'_>,
) -> Result<UnixStream> {
    let mut stream = UnixStream::connect(socket).with_context(|| format!("connect {}", socket.display()))?;
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.set_write_timeout(Some(DEADLINE))?;
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: docker\r\n");
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    let payload = match body {
        Body::None => Vec::new(),
        Body::Json(value) => {
            head += "Content-Type: application/json\r\n";
            value.to_string().into_bytes()
        }
        Body::Bytes(media_type, bytes) => {
            head += &format!("Content-Type: {media_type}\r\n");
            bytes.to_vec()
        }
    };
    head += &format!("Content-Length: {}\r\n\r\n", payload.len());
    stream.write_all(head.as_bytes())?;
    stream.write_all(&payload)?;
    Ok(stream)
}

type Head = (u16, Vec<(String, String)>);

fn read_head(reader: &mut impl BufRead) -> Result<Head> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let status = line.split(' ').nth(1).ok_or_else(|| anyhow!("no status line: {line:?}"))?.parse()?;
    let mut headers = Vec::new();
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        match line.trim_end().split_once(':') {
            Some((name, value)) => headers.push((name.to_ascii_lowercase(), value.trim().to_owned())),
            None => return Ok((status, headers)),
        }
    }
}

fn read_chunks(reader: &mut impl BufRead, into: &mut Vec<u8>) -> Result<()> {
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let length =
            usize::from_str_radix(line.trim(), 16).with_context(|| format!("chunk size {line:?}"))?;
        let mut chunk = vec![0; length + 2];
        reader.read_exact(&mut chunk)?;
        if length == 0 {
            return Ok(());
        }
        into.extend_from_slice(&chunk[..length]);
    }
}
