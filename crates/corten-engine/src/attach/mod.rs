//! Attachments: a client on the streams of a container.
//!
//! ```text
//!  Engine::attach ──▶ Attachment ── history (what the log holds) ──▶ connect(socket)
//!                                                                     │ runs: to the monitor
//!                                                                     └ not yet: Waiting, until its start
//! ```
//!
//! The client's own socket goes to the monitor; the daemon copies no byte of it, and may die while clients are attached.

pub mod keys;

mod waiting;

use std::os::fd::OwnedFd;
use std::sync::Arc;

use corten_types::{ErrorKind, Kind};

pub use waiting::Waiting;

use crate::Engine;
use crate::container::state::{Refusal, Request};
use crate::container::{Container, ContainerError};
use crate::logs::{Batches, Framing, LogRequest};
use crate::shim::{Attach, ShimError, Size, Streams, Target};

/// What a client wants of a container's streams.
#[derive(Debug, Clone, Default)]
pub struct AttachRequest {
    /// Its input becomes the container's.
    pub stdin: bool,
    /// It gets the output.
    pub stdout: bool,
    /// It gets the errors.
    pub stderr: bool,
    /// It first gets what was written before.
    pub logs: bool,
    /// It stays.
    pub stream: bool,
    /// The keys that detach it, as text; empty for the default ones.
    pub detach_keys: String,
}

/// Why a client cannot be attached.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// The keys are none.
    #[error("Invalid detach keys ({0}) provided")]
    Keys(String),
    /// There is no such container.
    #[error(transparent)]
    Container(#[from] ContainerError),
    /// Its state forbids it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Its monitor did not take the client.
    #[error(transparent)]
    Shim(#[from] ShimError),
}

impl Kind for AttachError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Keys(_) => ErrorKind::InvalidArgument,
            Self::Container(error) => error.kind(),
            Self::Refused(error) => error.kind(),
            Self::Shim(error) => error.kind(),
        }
    }
}

/// A client that was admitted.
pub struct Attachment {
    engine: Arc<Engine>,
    container: Arc<Container>,
    request: AttachRequest,
    keys: Vec<u8>,
}

impl Engine {
    /// Admits a client to a container's streams.
    pub fn attach(self: &Arc<Self>, name: &str, request: AttachRequest) -> Result<Attachment, AttachError> {
        let keys = keys::parse(&request.detach_keys);
        let keys = keys.ok_or_else(|| AttachError::Keys(request.detach_keys.clone()))?;
        let container = self.containers.find(name)?;
        container.admit(Request::Attach)?;
        Ok(Attachment { engine: self.clone(), container, request, keys })
    }

    /// Sets the size of a container's terminal. What has no terminal takes it without a complaint, as in Docker.
    pub async fn resize(&self, name: &str, size: Size) -> Result<(), AttachError> {
        let container = self.containers.find(name)?;
        container.admit(Request::Resize)?;
        let not_running = || Refusal::NotRunning { id: container.id().to_owned() };
        let shim = container.shim().ok_or_else(not_running)?;
        shim.resize(Target::Init, size).await?;
        let mut attributes = container.view().attributes();
        attributes.insert("height".into(), size.height.to_string());
        attributes.insert("width".into(), size.width.to_string());
        self.events.emit("container", "resize", container.id(), attributes);
        Ok(())
    }
}

impl Attachment {
    /// Whether the container has a terminal, so that the client gets a raw stream.
    pub fn tty(&self) -> bool {
        self.container.view().record.config.tty
    }

    /// What was written before, if the client asked for it and the log holds it.
    pub fn history(&self, framing: Framing) -> Option<Batches> {
        if !self.request.logs || !self.container.view().has_readable_log() {
            return None;
        }
        let request =
            LogRequest { stdout: self.request.stdout, stderr: self.request.stderr, ..LogRequest::default() };
        let path = self.engine.paths.json_log(self.container.id());
        Some(self.engine.logs.read(path, request, framing, std::future::pending()))
    }

    /// Hands the client's socket over, or closes it if it did not want to stay.
    pub async fn connect(self, client: OwnedFd) -> Result<(), AttachError> {
        let view = self.container.view();
        self.engine.events.emit("container", "attach", self.container.id(), view.attributes());
        if !self.request.stream {
            return Ok(());
        }
        let streams = Streams {
            stdin: self.request.stdin && view.record.config.open_stdin,
            stdout: self.request.stdout,
            stderr: self.request.stderr,
            detach_keys: self.keys,
        };
        if let Some(shim) = self.container.shim() {
            shim.attach(Attach { streams }, client).await?;
            return Ok(());
        }
        let waiting = self.container.waiting();
        waiting.add(streams, client);
        // It may have been started between the two.
        if let Some(shim) = self.container.shim() {
            waiting.deliver(&shim).await;
        }
        Ok(())
    }
}
