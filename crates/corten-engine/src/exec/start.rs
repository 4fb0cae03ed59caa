use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::error::start_error;
use super::{Exec, ExecError, Execs, Progress, process};
use crate::attach::keys;
use crate::container::Container;
use crate::container::state::Refusal;
use crate::shim::{self, Exit, Shim, Size, Streams, Target};
use tokio::sync::oneshot;

/// How long a resize waits for the process to be there.
const PATIENCE: Duration = Duration::from_secs(10);

/// Who started an exec and stays for its streams.
#[derive(Debug)]
pub struct Client {
    /// Its connection.
    pub socket: OwnedFd,
    /// It takes the output as it is. Docker leaves that to the request that starts the exec, whatever the exec is.
    pub raw: bool,
}

impl Execs {
    /// Whether an exec exists and its container runs: what is refused before a connection is taken over.
    pub fn admit(&self, id: &str) -> Result<(), ExecError> {
        self.active(id).map(drop)
    }

    /// Starts an exec. With a client it returns when the client is connected, else when the program runs. `size` is the
    /// terminal's first one; without it the one of the creation is taken.
    pub async fn start(
        self: &Arc<Self>,
        id: &str,
        client: Option<Client>,
        size: Option<Size>,
    ) -> Result<(), ExecError> {
        let (exec, container) = self.active(id)?;
        exec.begin()?;
        self.emit(&container, &format!("exec_start: {}", exec.command()), id, None);
        // Registered first: its end may come before the answer to its start.
        let end = container.expect_exec(id);
        match self.launch(&exec, &container, client, size).await {
            Ok((shim, pid)) => {
                exec.progress.send_replace(Progress::Running { pid });
                self.follow(exec, container, shim, pid, end);
                Ok(())
            }
            Err(error) => {
                container.forget_exec(id);
                exec.end(0, error.exit_code());
                self.record(&exec, Some((0, error.exit_code()))).await;
                Err(error)
            }
        }
    }

    /// Waits for the end of an exec that runs.
    pub(super) fn follow(
        self: &Arc<Self>,
        exec: Arc<Exec>,
        container: Arc<Container>,
        shim: Shim,
        pid: i32,
        end: oneshot::Receiver<Exit>,
    ) {
        let execs = self.clone();
        tokio::spawn(async move {
            // No word: the container ended and took it along.
            let code = end.await.map_or(137, |exit| exit.code);
            execs.ended(&exec, &container, &shim, pid, code).await;
        });
    }

    /// Records the end of an exec; then its client may go.
    pub(super) async fn ended(&self, exec: &Exec, container: &Container, shim: &Shim, pid: i32, code: i32) {
        exec.end(pid, code);
        self.record(exec, Some((pid, code))).await;
        self.emit(container, "exec_die", &exec.id, Some(code));
        // Gone with its container: then nothing waits for it.
        let _ = shim.ack(&exec.id).await;
    }

    async fn launch(
        &self,
        exec: &Exec,
        container: &Container,
        client: Option<Client>,
        size: Option<Size>,
    ) -> Result<(Shim, i32), ExecError> {
        let options = &exec.options;
        let config = self.paths.container_exec(container.id()).join("config.json");
        let links = self.containers.link_environment(container);
        let process = process::plan(container, exec, &config, &links)?;
        let shim = container.shim().ok_or_else(|| Refusal::NotRunning { id: container.id().to_owned() })?;
        let process = serde_json::value::to_raw_value(&process).map_err(|source| ExecError::Io {
            container: container.id().to_owned(),
            operation: "describe a process",
            source: source.into(),
        })?;
        let detach_keys =
            if exec.detach_keys.is_empty() { keys::DEFAULT.to_vec() } else { exec.detach_keys.clone() };
        let streams = Streams {
            stdin: options.attach_stdin,
            stdout: options.attach_stdout,
            stderr: options.attach_stderr,
            detach_keys,
        };
        let made_with = options.console_size.and_then(|[height, width]| as_size(height, width));
        let request = shim::Exec {
            exec_id: exec.id.clone(),
            process,
            tty: options.tty,
            size: size.or(made_with),
            attach: client.is_some().then_some(streams),
            raw: client.as_ref().map(|client| client.raw),
        };
        let _thawed = container.thawed().await?;
        let process = shim.exec(request, client.map(|client| client.socket)).await.map_err(start_error)?;
        Ok((shim, process.pid))
    }

    /// Sets the size of an exec's terminal, once it runs.
    pub async fn resize(&self, id: &str, size: Size) -> Result<(), ExecError> {
        let (exec, container) = self.active(id)?;
        let mut progress = exec.progress.subscribe();
        let started = progress.wait_for(|p| matches!(p, Progress::Running { .. } | Progress::Ended { .. }));
        match tokio::time::timeout(PATIENCE, started).await {
            Ok(Ok(now)) if matches!(*now, Progress::Running { .. }) => {}
            Ok(_) => return Err(ExecError::NotStarted),
            Err(_) => return Err(ExecError::NotReady),
        }
        let shim = container.shim().ok_or_else(|| Refusal::NotRunning { id: container.id().to_owned() })?;
        shim.resize(Target::Exec(id.to_owned()), size).await.map_err(start_error)
    }
}

/// A terminal's size from the API's numbers; 0 is none, and what no terminal has is cut.
pub fn as_size(height: u32, width: u32) -> Option<Size> {
    let cut = |n: u32| u16::try_from(n).unwrap_or(u16::MAX);
    (height > 0 && width > 0).then(|| Size { width: cut(width), height: cut(height) })
}

impl Exec {
    /// Takes the one start that an exec has.
    fn begin(&self) -> Result<(), ExecError> {
        let mut refusal = None;
        self.progress.send_if_modified(|progress| {
            refusal = match progress {
                Progress::Created => None,
                Progress::Starting | Progress::Running { .. } => Some(ExecError::Running(self.id.clone())),
                Progress::Ended { .. } => Some(ExecError::HasRun(self.id.clone())),
            };
            if refusal.is_none() {
                *progress = Progress::Starting;
            }
            refusal.is_none()
        });
        refusal.map_or(Ok(()), Err)
    }

    fn end(&self, pid: i32, code: i32) {
        self.progress.send_replace(Progress::Ended { pid, code, at: Instant::now() });
    }
}
