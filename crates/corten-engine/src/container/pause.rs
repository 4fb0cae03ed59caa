//! Freezing and thawing.

use corten_runtime::cgroup::Cgroup;

use super::owner::Owner;
use super::start::cgroup_path;
use super::state::{Request, State, admit};
use super::{ContainerError, Containers};

impl Containers {
    /// Freezes every process of the container.
    pub async fn pause(&self, container: &str) -> Result<(), ContainerError> {
        let container = self.find(container)?;
        container.admit(Request::Pause)?;
        container.ask(|owner| Box::pin(owner.pause())).await?
    }

    /// Thaws them.
    pub async fn unpause(&self, container: &str) -> Result<(), ContainerError> {
        let container = self.find(container)?;
        container.admit(Request::Unpause)?;
        container.ask(|owner| Box::pin(owner.unpause())).await?
    }
}

impl Owner {
    fn cgroup(&self) -> Result<Cgroup, ContainerError> {
        Ok(Cgroup::open(&cgroup_path(&self.shared, &self.view.record))?)
    }

    async fn pause(&mut self) -> Result<(), ContainerError> {
        admit(self.id(), &self.view.live.state, Request::Pause)?;
        let State::Running(run) = self.view.live.state.clone() else { return Ok(()) };
        let container = self.container.clone();
        let _nothing_made = container.nothing_made().await;
        self.cgroup()?.freeze()?;
        self.live().state = State::Paused(run);
        // Shown before anything can be made again.
        self.publish();
        self.persist().await;
        self.emit("pause", &[]);
        Ok(())
    }

    async fn unpause(&mut self) -> Result<(), ContainerError> {
        admit(self.id(), &self.view.live.state, Request::Unpause)?;
        self.thaw()?;
        self.persist().await;
        Ok(())
    }

    /// Thaws what is frozen, and shows it.
    pub(super) fn thaw(&mut self) -> Result<(), ContainerError> {
        let State::Paused(run) = self.view.live.state.clone() else { return Ok(()) };
        self.cgroup()?.thaw()?;
        self.live().state = State::Running(run);
        self.publish();
        self.emit("unpause", &[]);
        Ok(())
    }
}
