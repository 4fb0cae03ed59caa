//! Signals: kill, stop and restart. What is waited for is waited for outside of the owner.

use std::time::Duration;

use super::owner::Owner;
use super::state::{Request, State, admit};
use super::{Container, ContainerError, Containers, signal};
use crate::shim::Target;

/// What a container gets to stop in, where nobody says otherwise.
const STOP_TIMEOUT: i64 = 10;
const SIGKILL: i32 = 9;
const SIGTERM: i32 = 15;
/// How long the kernel is given to end what was killed.
const PATIENCE: Duration = Duration::from_secs(10);

impl Containers {
    /// Sends a signal (`""` is KILL, which is waited for).
    pub async fn kill(&self, container: &str, signal: &str) -> Result<(), ContainerError> {
        self.send(container, signal)
            .await
            .map_err(|error| error.within(format!("cannot kill container: {container}")))
    }

    async fn send(&self, container: &str, signal: &str) -> Result<(), ContainerError> {
        let number = if signal.is_empty() { SIGKILL } else { signal::parse(signal)? };
        let container = self.find(container)?;
        container.admit(Request::Kill)?;
        if number == SIGKILL {
            return kill_and_wait(&container).await;
        }
        container.ask(move |owner| Box::pin(owner.signal(number))).await?
    }

    /// Asks the container to stop and kills it after `timeout` seconds (`None`: its own; negative: never).
    pub async fn stop(
        &self,
        container: &str,
        signal: Option<&str>,
        timeout: Option<i64>,
    ) -> Result<(), ContainerError> {
        let container = self.find(container)?;
        container.admit(Request::Stop)?;
        stop(&container, signal, timeout).await
    }

    /// Stops the container if it runs, and starts it.
    pub async fn restart(
        &self,
        name: &str,
        signal: Option<&str>,
        timeout: Option<i64>,
    ) -> Result<(), ContainerError> {
        let container = self.find(name)?;
        container.admit(Request::Restart)?;
        if let Some(signal) = signal.filter(|text| !text.is_empty()) {
            signal::parse(signal)?;
        }
        if container.view().live.state.is_active() {
            // It is not gone between stop and start, even if it would remove itself.
            container.ask(|owner| Box::pin(async move { owner.keep_on_exit(true) })).await?;
            let stopped = stop(&container, signal, timeout).await;
            container.ask(|owner| Box::pin(async move { owner.keep_on_exit(false) })).await?;
            stopped?;
        }
        let restarted = container.ask(|owner| Box::pin(owner.restart())).await?;
        restarted.map_err(|error| error.within(format!("Cannot restart container {name}")))
    }
}

/// Stops a container that may be running.
pub(super) async fn stop(
    container: &Container,
    signal: Option<&str>,
    timeout: Option<i64>,
) -> Result<(), ContainerError> {
    let record = container.view().record.clone();
    let wanted = signal.filter(|text| !text.is_empty()).unwrap_or(&record.config.stop_signal);
    let number = if wanted.is_empty() { SIGTERM } else { signal::parse(wanted)? };
    let seconds = timeout.or(record.config.stop_timeout).unwrap_or(STOP_TIMEOUT);
    match container.ask(move |owner| Box::pin(owner.signal(number))).await? {
        Ok(()) => {}
        // It ended by itself in the meantime, or is between two runs.
        Err(ContainerError::Refused(_)) => return Ok(()),
        Err(error) => tracing::warn!(container = container.id(), %error, "stop signal not sent"),
    }
    let ended = ended(container);
    let in_time = match u64::try_from(seconds) {
        Ok(seconds) => tokio::time::timeout(Duration::from_secs(seconds), ended).await.is_ok(),
        Err(_) => {
            ended.await;
            true
        }
    };
    if !in_time {
        kill_and_wait(container).await?;
    }
    let emitted = container.ask(|owner| {
        Box::pin(async move {
            owner.emit("stop", &[]);
        })
    });
    match emitted.await {
        // A container that removes itself is gone by now.
        Ok(()) | Err(ContainerError::Gone(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Kills a container and returns when it has ended.
pub(super) async fn kill_and_wait(container: &Container) -> Result<(), ContainerError> {
    match container.ask(|owner| Box::pin(owner.signal(SIGKILL))).await? {
        Ok(()) => {}
        // It ended between the look and the signal.
        Err(ContainerError::Refused(_)) if !container.view().live.state.is_active() => return Ok(()),
        Err(error) => return Err(error),
    }
    if tokio::time::timeout(PATIENCE, ended(container)).await.is_ok() {
        return Ok(());
    }
    let error = std::io::Error::other("tried to kill container, but did not receive an exit event");
    Err(ContainerError::io(format!("kill container {}", container.id()), error))
}

/// Returns when the container neither runs nor waits for a restart.
pub(super) async fn ended(container: &Container) {
    let mut views = container.watch();
    // The sender is dropped with a removed container, which has ended.
    let _ = views.wait_for(|view| view.removed || !is_alive(&view.live.state)).await;
}

fn is_alive(state: &State) -> bool {
    matches!(state, State::Starting) || state.is_active()
}

impl Owner {
    /// Sends a signal to init on somebody's behalf. What may be meant to end it keeps it from being started again.
    pub(super) async fn signal(&mut self, number: i32) -> Result<(), ContainerError> {
        admit(self.id(), &self.view.live.state, Request::Kill)?;
        let own = &self.view.record.config.stop_signal;
        let ends = number == SIGKILL || own.is_empty() || signal::parse(own).ok() == Some(number);
        self.live().stopped_by_user = true;
        self.persist().await;
        if self.view.live.state == State::Restarting {
            self.give_up_restart().await;
        } else if let Some(shim) = self.shim.clone() {
            if let Err(error) = shim.signal(Target::Init, number).await {
                use corten_types::{ErrorKind, Kind as _};
                let ended = matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Conflict);
                // What has ended already needs no signal; its end is on the way.
                if !ended && !matches!(error, crate::shim::ShimError::Gone { .. }) {
                    return Err(error.into());
                }
            }
            if ends && matches!(self.view.live.state, State::Paused(_)) {
                // A frozen process takes no signal before it is thawed.
                self.thaw()?;
            }
        }
        self.emit("kill", &[("signal", number.to_string())]);
        Ok(())
    }

    async fn restart(&mut self) -> Result<(), ContainerError> {
        if matches!(self.view.live.state, State::Running(_) | State::Paused(_) | State::Starting) {
            // Its policy, or somebody else, was faster.
            return Ok(());
        }
        self.start().await?;
        self.emit("restart", &[]);
        Ok(())
    }
}
