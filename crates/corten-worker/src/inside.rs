//! The worker: takes its one request, confines itself, and does it.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use corten_archive::{ApplyError, ApplyOptions, apply_layer};
use corten_sys::scm;

use crate::confine::{confine, die_with_parent};
use crate::protocol::{GROWN, Outcome, REQUEST, Request};

/// Runs this process as a worker whose standard input is the socket to the daemon.
pub fn main() -> ExitCode {
    match work() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: {error}", crate::NAME);
            ExitCode::FAILURE
        }
    }
}

fn work() -> io::Result<()> {
    die_with_parent()?;
    // The kernel has named it after the link it was executed by.
    rustix::thread::set_name(c"corten-worker")?;
    let socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut bytes = [0; REQUEST];
    let message = scm::recv(&socket, &mut bytes)?;
    let (Some(request), Ok([tree, blob])) =
        (Request::decode(&bytes[..message.len]), <[OwnedFd; 2]>::try_from(message.fds))
    else {
        return Err(io::Error::other("this is no request"));
    };
    confine(&tree)?;
    let options = ApplyOptions { umask: Some(0), ..ApplyOptions::layer(request.limits) };
    let blob = File::from(blob);
    let result = if request.whole {
        apply_layer(&tree, blob, request.blob, &options)
    } else {
        let growing = Growing { blob, socket: &socket, at: 0, there: 0, whole: false };
        apply_layer(&tree, growing, request.blob, &options)
    };
    if let Err(ApplyError::Read { source }) = &result
        && source.kind() == io::ErrorKind::ConnectionAborted
    {
        // Nobody waits for an answer any more.
        return Ok(());
    }
    let outcome = serde_json::to_vec(&Outcome::from(result))?;
    (&socket).write_all(&outcome)?;
    socket.shutdown(std::net::Shutdown::Write)
}

/// A blob that somebody else is still writing.
struct Growing<'a> {
    blob: File,
    socket: &'a UnixStream,
    at: u64,
    there: u64,
    whole: bool,
}

impl Read for Growing<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.there && !self.whole {
            let mut grown = [0; 8];
            if let Err(error) = self.socket.read_exact(&mut grown) {
                return Err(match error.kind() {
                    io::ErrorKind::UnexpectedEof => io::ErrorKind::ConnectionAborted.into(),
                    _ => error,
                });
            }
            match u64::from_le_bytes(grown) {
                GROWN => self.whole = true,
                there => self.there = there,
            }
        }
        if self.whole {
            return self.blob.read(buffer);
        }
        let most = usize::try_from(self.there - self.at).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.blob.read(&mut buffer[..most])?;
        self.at += read as u64;
        Ok(read)
    }
}
