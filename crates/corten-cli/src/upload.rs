//! Bodies read from files and pipes, by a thread of their own.

use std::io::Read;

use bytes::Bytes;
use corten_client::Body;

use crate::download::words;
use crate::error::{Failure, Outcome};

/// A file's bytes.
pub fn file(path: &str) -> Outcome<Body> {
    let file =
        std::fs::File::open(path).map_err(|error| Failure::new(format!("open {path}: {}", words(&error))))?;
    if file.metadata()?.is_dir() {
        return Err(Failure::new(format!("read {path}: is a directory")));
    }
    Ok(reader(file))
}

/// What a reader gives, as it comes.
pub fn reader(mut source: impl Read + Send + 'static) -> Body {
    let (sender, body) = Body::channel();
    std::thread::spawn(move || {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match source.read(&mut buffer) {
                Ok(0) => return,
                Ok(read) => {
                    if !sender.blocking_send(Bytes::copy_from_slice(&buffer[..read])) {
                        return;
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return sender.blocking_fail(error),
            }
        }
    });
    body
}

/// A writer whose bytes become a body: for what makes archives as it goes.
pub struct Pipe {
    sender: corten_client::BodySender,
    buffer: Vec<u8>,
}

impl Pipe {
    /// The writer and the body.
    pub fn new() -> (Self, Body) {
        let (sender, body) = Body::channel();
        (Self { sender, buffer: Vec::with_capacity(CHUNK) }, body)
    }

    /// Breaks the body off.
    pub fn fail(&mut self, error: std::io::Error) {
        self.buffer.clear();
        self.sender.blocking_fail(error);
    }
}

const CHUNK: usize = 64 * 1024;

impl std::io::Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= CHUNK {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        if !self.buffer.is_empty() {
            let chunk = std::mem::replace(&mut self.buffer, Vec::with_capacity(CHUNK));
            if !self.sender.blocking_send(chunk.into()) {
                return Err(std::io::ErrorKind::BrokenPipe.into());
            }
        }
        Ok(())
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        let _ = std::io::Write::flush(self);
    }
}
