use std::sync::Arc;

use super::owner::Owner;
use super::state::{Request, admit};
use super::validate::Invalid;
use super::{ContainerError, Containers, name};

impl Containers {
    /// Gives a container another name.
    pub async fn rename(&self, container: &str, new: &str) -> Result<(), ContainerError> {
        let container = self.find(container)?;
        if new.is_empty() {
            return Err(Invalid("Neither old nor new names may be empty".into()).into());
        }
        let slashed = format!("/{}", new.trim_start_matches('/'));
        let new = name::parse(&slashed)
            .map_err(|error| ContainerError::from(error).within("Error when allocating new name"))?
            .to_owned();
        container.ask(move |owner| Box::pin(owner.rename(new))).await?
    }
}

impl Owner {
    async fn rename(&mut self, new: String) -> Result<(), ContainerError> {
        admit(self.id(), &self.view.live.state, Request::Rename)?;
        let old = self.view.record.name.clone();
        if old == new {
            return Err(Invalid("Renaming a container with the same name as its current name".into()).into());
        }
        let id = self.id().to_owned();
        self.shared
            .reserve_name(&new, &id)
            .map_err(|error| error.within("Error when allocating new name"))?;
        Arc::make_mut(&mut self.view.record).name.clone_from(&new);
        if let Err(error) = self.persist_record().await {
            Arc::make_mut(&mut self.view.record).name.clone_from(&old);
            self.shared.release_name(&new, &id);
            return Err(error);
        }
        self.shared.release_name(&old, &id);
        self.publish();
        self.shared.networks.rename(&id, &new).await;
        self.emit("rename", &[("oldName", format!("/{old}"))]);
        Ok(())
    }
}
