//! The daemon's side: starts a worker per layer and waits for it.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use corten_archive::{Applied, ApplyError, Limits};
use corten_store::{Source, Unpack};
use corten_sys::scm;
use corten_types::Digest;

use crate::protocol::{GROWN, OUTCOME_MAX, Outcome, Request};

/// Unpacks layers in processes of their own.
#[derive(Debug, Clone)]
pub struct Workers {
    program: PathBuf,
}

impl Workers {
    /// Workers that are the program at `path`.
    pub fn of(path: impl Into<PathBuf>) -> Self {
        Self { program: path.into() }
    }

    fn run(
        &self,
        tree: OwnedFd,
        source: Source,
        blob: Option<Digest>,
        limits: Limits,
    ) -> io::Result<Result<(Applied, Digest), ApplyError>> {
        let (ours, theirs) = UnixStream::pair()?;
        let mut child = Command::new(&self.program)
            .arg0(crate::NAME)
            .env_clear()
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .spawn()?;
        let talked = talk(ours, &tree, source, blob, limits);
        if talked.is_err() {
            // It ends by itself when its socket is closed; not so where it is stuck.
            let _ = child.kill();
        }
        let status = child.wait()?;
        let bytes = talked?;
        if bytes.is_empty() {
            return Err(io::Error::other(format!("the unpacking process ended early: {status}")));
        }
        Ok(serde_json::from_slice::<Outcome>(&bytes).map_err(io::Error::other)?.into())
    }
}

impl Unpack for Workers {
    fn unpack(
        &self,
        tree: OwnedFd,
        source: Source,
        blob: Option<Digest>,
        limits: Limits,
    ) -> Result<(Applied, Digest), ApplyError> {
        self.run(tree, source, blob, limits).unwrap_or_else(|source| {
            Err(ApplyError::Io { path: ".".into(), operation: "unpack".into(), source })
        })
    }
}

/// Sends the request and everything about the blob, and gives the answer.
fn talk(
    mut socket: UnixStream,
    tree: &OwnedFd,
    source: Source,
    digest: Option<Digest>,
    limits: Limits,
) -> io::Result<Vec<u8>> {
    let (blob, growing): (File, _) = match source {
        Source::Whole(blob) => (blob, None),
        Source::Growing(blob, growth) => (blob, Some(growth)),
    };
    let request = Request { limits, whole: growing.is_none(), blob: digest };
    scm::send(&socket, &request.encode(), &[tree.as_fd(), blob.as_fd()])?;
    drop(blob);
    if let Some(growth) = growing {
        loop {
            let (bytes, last) = match growth.next() {
                Some(there) => (there, false),
                None if growth.is_whole() => (GROWN, true),
                None => return Err(io::Error::other("the download ended early")),
            };
            // A worker that has ended has said why.
            if socket.write_all(&bytes.to_le_bytes()).is_err() || last {
                break;
            }
        }
    }
    let mut bytes = Vec::new();
    match (&mut socket).take(OUTCOME_MAX).read_to_end(&mut bytes) {
        Ok(_) => Ok(bytes),
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(bytes),
        Err(error) => Err(error),
    }
}
