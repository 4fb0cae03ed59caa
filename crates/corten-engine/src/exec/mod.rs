//! Processes executed in running containers.
//!
//! ```text
//!  create ──▶ Created ── start ──▶ Starting ──▶ Running ──▶ Ended(code)
//!                                     └─ could not be executed ─▲
//! ```
//!
//! An exec is known from its creation until some minutes after its end (or until its container is gone). Invariants:
//! * an exec runs at most once;
//! * how it ended is here, on record, before its client's connection closes: the monitor keeps the client until we
//!   acknowledge. So an exit code outlives a daemon that is killed at any moment.
//!
//! The client's own socket goes to the monitor; the daemon copies no byte of it.

mod error;
mod process;
mod record;
mod start;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use corten_api::exec::{ExecCreated, ExecInspect, ExecOptions, ProcessConfig};
use corten_store::Records;
use corten_types::ExecId;
use parking_lot::Mutex;
use tokio::sync::watch;

pub use error::ExecError;
pub use record::Remembered;
pub use start::{Client, as_size};

use crate::attach::keys;
use crate::config::Paths;
use crate::container::state::{Refusal, Request};
use crate::container::{Container, Containers};
use crate::events::Events;

/// How long an exec that ended can be inspected.
const MEMORY: Duration = Duration::from_secs(600);

/// The exec instances of this engine.
pub struct Execs {
    containers: Arc<Containers>,
    events: Arc<Events>,
    paths: Arc<Paths>,
    runtime: Records,
    known: Mutex<HashMap<String, Arc<Exec>>>,
}

/// One exec.
struct Exec {
    id: String,
    container: String,
    options: ExecOptions,
    /// The program; there is one.
    program: String,
    arguments: Vec<String>,
    detach_keys: Vec<u8>,
    progress: watch::Sender<Progress>,
}

/// How far an exec is.
#[derive(Debug, Clone, Copy)]
enum Progress {
    Created,
    Starting,
    Running { pid: i32 },
    Ended { pid: i32, code: i32, at: Instant },
}

impl Execs {
    /// None yet; `runtime` holds what survives the daemon ([`Execs::restore`]).
    pub fn new(
        containers: Arc<Containers>,
        events: Arc<Events>,
        paths: Arc<Paths>,
        runtime: Records,
    ) -> Self {
        Self { containers, events, paths, runtime, known: Mutex::default() }
    }

    /// Registers an exec in a running container.
    pub async fn create(&self, name: &str, options: ExecOptions) -> Result<ExecCreated, ExecError> {
        let mut command = options.cmd.clone().unwrap_or_default().into_iter();
        let program = command.next().ok_or(ExecError::NoCommand)?;
        let container = self.containers.find(name)?;
        container.admit(Request::Exec).map_err(|refusal| match refusal {
            // Here Docker names it as the client did.
            Refusal::ExecPaused { .. } => ExecError::Paused(name.to_owned()),
            other => other.into(),
        })?;
        if !options.user.is_empty() {
            // Looked up again at the start; here so that a wrong name is refused early.
            process::user(&container, &options.user)?;
        }
        let detach_keys = if options.detach_keys.is_empty() {
            Vec::new()
        } else {
            keys::parse(&options.detach_keys).ok_or_else(|| ExecError::Keys(options.detach_keys.clone()))?
        };
        let exec = Arc::new(Exec {
            id: ExecId::random().as_str().to_owned(),
            container: container.id().to_owned(),
            program,
            arguments: command.collect(),
            detach_keys,
            options,
            progress: watch::Sender::new(Progress::Created),
        });
        let forgotten: Vec<String> = {
            let mut known = self.known.lock();
            let forgotten = known.extract_if(|_, exec| !self.is_remembered(exec)).map(|(id, _)| id).collect();
            known.insert(exec.id.clone(), exec.clone());
            forgotten
        };
        for id in forgotten {
            self.forget_record(&id).await;
        }
        self.record(&exec, None).await;
        self.emit(&container, &format!("exec_create: {}", exec.command()), &exec.id, None);
        Ok(ExecCreated { id: exec.id.clone() })
    }

    /// What is known of an exec.
    pub fn inspect(&self, id: &str) -> Result<ExecInspect, ExecError> {
        let exec = self.find(id)?;
        let user = match &exec.options.user {
            user if user.is_empty() => {
                self.containers.find(&exec.container)?.view().record.config.user.clone()
            }
            user => user.clone(),
        };
        let (running, pid, exit_code) = match *exec.progress.borrow() {
            Progress::Created => (false, 0, None),
            Progress::Starting => (true, 0, None),
            Progress::Running { pid } => (true, pid, None),
            Progress::Ended { pid, code, .. } => (false, pid, Some(code)),
        };
        Ok(ExecInspect {
            id: exec.id.clone(),
            running,
            exit_code,
            process_config: ProcessConfig {
                tty: exec.options.tty,
                entrypoint: exec.program.clone(),
                arguments: exec.arguments.clone(),
                privileged: exec.options.privileged,
                user,
            },
            open_stdin: exec.options.attach_stdin,
            open_stderr: exec.options.attach_stderr,
            open_stdout: exec.options.attach_stdout,
            can_remove: false,
            container_id: exec.container.clone(),
            detach_keys: data_encoding::BASE64.encode(&exec.detach_keys),
            pid,
        })
    }

    /// The exec, whose container still exists.
    fn find(&self, id: &str) -> Result<Arc<Exec>, ExecError> {
        let unknown = || ExecError::NotFound(id.to_owned());
        let exec = self.known.lock().get(id).cloned().ok_or_else(unknown)?;
        self.containers.find(&exec.container).map_err(|_| unknown())?;
        Ok(exec)
    }

    /// The exec and its container, which runs.
    fn active(&self, id: &str) -> Result<(Arc<Exec>, Arc<Container>), ExecError> {
        let exec = self.known.lock().get(id).cloned().ok_or_else(|| ExecError::NotFound(id.to_owned()))?;
        let container =
            self.containers.find(&exec.container).map_err(|_| ExecError::NoContainer(id.to_owned()))?;
        container.admit(Request::Exec)?;
        Ok((exec, container))
    }

    fn is_remembered(&self, exec: &Exec) -> bool {
        let container = self.containers.find(&exec.container);
        match *exec.progress.borrow() {
            Progress::Created => {
                container.is_ok_and(|c| !matches!(c.admit(Request::Exec), Err(Refusal::NotRunning { .. })))
            }
            Progress::Starting | Progress::Running { .. } => container.is_ok(),
            Progress::Ended { at, .. } => container.is_ok() && at.elapsed() < MEMORY,
        }
    }

    fn emit(&self, container: &Container, action: &str, exec_id: &str, exit_code: Option<i32>) {
        let mut attributes = container.view().attributes();
        attributes.insert("execID".into(), exec_id.to_owned());
        if let Some(code) = exit_code {
            attributes.insert("exitCode".into(), code.to_string());
        }
        self.events.emit("container", action, container.id(), attributes);
    }
}

impl Exec {
    fn command(&self) -> String {
        format!("{} {}", self.program, self.arguments.join(" "))
    }
}
