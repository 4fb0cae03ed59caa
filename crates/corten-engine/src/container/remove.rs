//! Removal: the record goes first, then the data; what is left of a crash in between has no owner and is swept.

use corten_store::records::Change;
use corten_store::{Durability, SnapshotError};

use super::owner::Owner;
use super::record::{CONTAINER, STATE};
use super::source::Sources;
use super::state::{Request, State, admit};
use super::{ContainerError, Containers, Shared, kill};

/// How a container is removed.
#[derive(Debug, Clone, Copy, Default)]
pub struct RemoveOptions {
    /// Also when it runs: it is killed.
    pub force: bool,
    /// With its anonymous volumes.
    pub volumes: bool,
    /// Only the legacy link of this name.
    pub link: bool,
}

impl Containers {
    /// Removes a container.
    pub async fn remove(&self, name: &str, options: RemoveOptions) -> Result<(), ContainerError> {
        if options.link {
            return self.remove_link(name).await;
        }
        let container = self.find(name)?;
        let request = Request::Remove { force: options.force };
        container.admit(request).map_err(|reason| refused(name, reason))?;
        if options.force && container.view().live.state.is_active() {
            match kill::kill_and_wait(&container).await {
                // It removed itself.
                Err(ContainerError::Gone(_)) => return Ok(()),
                other => other?,
            }
        }
        let volumes = options.volumes;
        let name = name.to_owned();
        let removed = container.ask(move |owner| {
            Box::pin(async move {
                admit(owner.id(), &owner.view.live.state, request)
                    .map_err(|reason| refused(&name, reason))?;
                owner.remove(volumes).await
            })
        });
        match removed.await {
            Err(ContainerError::Gone(_)) => Ok(()),
            Ok(result) => result,
            Err(error) => Err(error),
        }
    }
}

/// Removes a container's writable layer, and lets go of the images it mounts.
pub(super) async fn snapshots(shared: &Shared, id: &str) {
    let snapshots = shared.store.snapshots();
    let own = |key: &String| key.split('.').next() == Some(id);
    for key in snapshots.keys().into_iter().filter(own) {
        match snapshots.remove(&key).await {
            Ok(()) | Err(SnapshotError::NotFound { .. }) => {}
            // Without a record it is nobody's: the sweeper takes it.
            Err(error) => tracing::warn!(container = id, %error, "snapshot not removed yet"),
        }
    }
}

fn refused(name: &str, reason: super::state::Refusal) -> ContainerError {
    match reason {
        reason @ super::state::Refusal::RemovalInProgress { .. } => reason.into(),
        reason => ContainerError::Remove { name: name.to_owned(), reason },
    }
}

impl Owner {
    /// Removes the container, which does not run.
    pub(super) async fn remove(&mut self, volumes: bool) -> Result<(), ContainerError> {
        if self.view.live.state.run().is_some() {
            // A forced removal raced with a start.
            self.stop_and_reap().await;
        }
        self.restart_at = None;
        self.live().state = State::Removing;
        self.publish();
        match self.erase(volumes).await {
            Ok(()) => Ok(()),
            Err(error) => {
                self.live().state = State::Dead;
                self.view.removal_error = error.to_string();
                self.publish();
                self.persist().await;
                Err(error)
            }
        }
    }

    async fn erase(&mut self, volumes: bool) -> Result<(), ContainerError> {
        let id = self.id().to_owned();
        let changes = [CONTAINER, STATE].map(|kind| Change::Delete { kind, id: id.clone() }).to_vec();
        let durability = if self.view.record.host.auto_remove { Durability::None } else { Durability::Full };
        self.shared.store.records().batch_with(durability, changes).await?;
        snapshots(&self.shared, &id).await;
        Sources::at(self.shared.paths.mounts(&id)).release_all();
        self.shared.shipping.finish(&id).await;
        self.shared.packing.finish(&id);
        let _ = std::fs::remove_dir_all(self.shared.paths.container(&id));
        let _ = std::fs::remove_dir_all(self.shared.paths.container_exec(&id));
        super::start::delete_cgroup(&super::start::cgroup_path(&self.shared, &self.view.record));
        let anonymous = self.view.record.anonymous_volumes.clone();
        self.shared.volumes.release(&id, if volumes { &anonymous } else { &[] }).await;
        {
            let mut registry = self.shared.registry.write();
            registry.by_id.remove(&id);
            if registry.names.get(&self.view.record.name).is_some_and(|owner| *owner == id) {
                registry.names.remove(&self.view.record.name);
            }
        }
        self.view.removed = true;
        self.publish();
        self.emit("destroy", &[]);
        Ok(())
    }

    /// Kills what runs and takes its end into account, inside of the owner.
    async fn stop_and_reap(&mut self) {
        let Some(shim) = self.shim.clone() else { return };
        let _ = shim.shutdown().await;
        while let Some(news) = &mut self.news {
            match news.recv().await {
                Some(crate::shim::ShimEvent::Exited(exit)) => {
                    self.live().stopped_by_user = true;
                    self.keep_on_exit(true);
                    Box::pin(self.exited(exit)).await;
                }
                Some(_) => {}
                None => self.news = None,
            }
        }
    }

    /// Whether the container stays at its next exit although it would remove itself.
    pub(super) fn keep_on_exit(&mut self, keep: bool) {
        self.keep = keep;
    }
}
