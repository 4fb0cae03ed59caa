use std::path::PathBuf;
use std::sync::Arc;

use super::{Batches, Framing, LogRequest, LogsError};
use crate::Engine;
use crate::container::state::State;
use crate::container::{Container, ContainerError};
use corten_types::{ErrorKind, Kind};

/// The log of one container.
pub struct ContainerLog {
    engine: Arc<Engine>,
    container: Arc<Container>,
    path: PathBuf,
}

/// Why a container's log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenLogError {
    /// There is no such container.
    #[error(transparent)]
    Container(#[from] ContainerError),
    /// There is nothing to read.
    #[error(transparent)]
    Logs(#[from] LogsError),
}

impl Kind for OpenLogError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Container(error) => error.kind(),
            Self::Logs(error) => error.kind(),
        }
    }
}

impl Engine {
    /// Finds a container's log.
    pub fn open_log(self: &Arc<Self>, name: &str) -> Result<ContainerLog, OpenLogError> {
        let container = self.containers.find(name)?;
        let view = container.view();
        if matches!(view.live.state, State::Removing | State::Dead) {
            return Err(LogsError::Removed.into());
        }
        if !view.has_readable_log() {
            return Err(LogsError::NotReadable.into());
        }
        let path = self.paths.json_log(container.id());
        Ok(ContainerLog { engine: self.clone(), container, path })
    }
}

impl ContainerLog {
    /// Whether the container has a terminal, so that there is one stream only.
    pub fn tty(&self) -> bool {
        self.container.view().record.config.tty
    }

    /// Reads it. Following ends with the container's run; what does not run is not followed.
    pub fn read(self, request: LogRequest, framing: Framing) -> Batches {
        let mut views = self.container.watch();
        let (exits, runs) = {
            let view = views.borrow();
            (view.exits, view.live.state.is_active() || view.live.state == State::Starting)
        };
        let request = LogRequest { follow: request.follow && runs, ..request };
        self.engine.logs.read(self.path, request, framing, async move {
            // An error: the container is gone, which is an end too.
            let _ = views.wait_for(|view| view.exits != exits || view.removed).await;
        })
    }
}
