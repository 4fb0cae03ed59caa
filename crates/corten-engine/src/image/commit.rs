//! An image from what a container has changed.

use std::collections::BTreeMap;
use std::sync::Arc;

use corten_build::commit::{ChangeError, change};
use corten_build::draft::{Draft, NewLayer};
use corten_store::oci::{RunConfig, media};
use corten_store::{ImageError, IntakeError, Name, SnapshotError, Upper};
use corten_types::{Digest, ErrorKind, Kind, Platform, Reference};

use super::Images;
use crate::container::{ContainerError, Containers};

/// What is committed, and how.
#[derive(Debug, Clone, Default)]
pub struct CommitRequest {
    /// Name or id of the container.
    pub container: String,
    /// Name for the image.
    pub name: Option<Reference>,
    /// Why, for the history.
    pub comment: String,
    /// Who.
    pub author: String,
    /// Dockerfile instructions for the config.
    pub changes: Vec<String>,
    /// The config to begin with; the container's own where there is none.
    pub config: Option<RunConfig>,
    /// Pause the container meanwhile, if it runs.
    pub pause: bool,
}

/// Why a container could not be committed.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The container cannot be found, or not be paused.
    #[error(transparent)]
    Container(#[from] ContainerError),
    /// A change cannot be meant.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// The container's image is gone.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The layer or the image could not be stored.
    #[error(transparent)]
    Intake(#[from] IntakeError),
    /// The container's tree could not be read.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
}

impl Kind for CommitError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Container(error) => error.kind(),
            Self::Change(error) => error.kind(),
            Self::Image(error) => error.kind(),
            Self::Intake(error) => error.kind(),
            Self::Snapshot(error) => error.kind(),
        }
    }
}

impl Images {
    /// Makes an image of a container; gives its id.
    pub async fn commit(
        &self,
        containers: &Arc<Containers>,
        request: CommitRequest,
    ) -> Result<Digest, CommitError> {
        let container = containers.find(&request.container)?;
        let view = container.view();
        let record = &view.record;
        // The container's config and the image's are the same JSON.
        let own: RunConfig =
            serde_json::to_value(&record.config).and_then(serde_json::from_value).unwrap_or_default();
        let config = change(&request.config.unwrap_or_else(|| own.clone()), &request.changes)?;
        let mut draft = match record.image.as_str() {
            "" => Draft::scratch(&Platform::host()),
            image => Draft::from_image(&self.store.images().resolve_for(image, Some(&record.platform))?),
        };
        draft.config.config = fill(config, own);
        if !request.author.is_empty() {
            draft.config.author.clone_from(&request.author);
        }
        let running = matches!(view.live.state, crate::container::state::State::Running(_));
        let paused = request.pause && running;
        if paused {
            containers.pause(container.id()).await?;
        }
        let made = self.commit_layer(container.id().to_owned()).await;
        if paused {
            // A container that ended meanwhile needs no waking.
            let _ = containers.unpause(container.id()).await;
        }
        let (intake, layer) = match made {
            // Removed while it was read: that is why.
            Err(_) if container.view().is_leaving() => {
                return Err(ContainerError::NotFound(request.container).into());
            }
            made => made?,
        };
        let command = std::iter::once(&record.path).chain(&record.args).map(String::as_str);
        let command = command.collect::<Vec<_>>().join(" ");
        let created = jiff::Timestamp::now().to_string();
        draft.commit(&created, command, &request.comment, layer);
        let documents = draft.documents();
        let id = documents.descriptor.digest;
        let name = match &request.name {
            Some(name) => Name::Reference(name.clone()),
            None => Name::Dangling(id),
        };
        let parent = Some(record.image.clone()).filter(|image| !image.is_empty());
        let labels: BTreeMap<String, String> =
            parent.map(|image| (super::PARENT_LABEL.to_owned(), image)).into_iter().collect();
        let work = move || {
            intake.bytes(media::CONFIG, &documents.config)?;
            intake.bytes(media::MANIFEST, &documents.manifest)?;
            intake.name(name, documents.descriptor, labels);
            intake.commit()
        };
        super::blocking(work).await?;
        let mut attributes = view.attributes();
        attributes.insert("comment".into(), request.comment);
        self.events.emit("container", "commit", container.id(), attributes);
        if let Some(name) = &request.name {
            self.tell("tag", &id, &name.familiar());
        }
        Ok(id)
    }

    /// The container's changes as a layer, in an intake that is still open.
    async fn commit_layer(
        &self,
        id: String,
    ) -> Result<(corten_store::Intake, Option<NewLayer>), CommitError> {
        let store = self.store.clone();
        super::blocking(move || {
            let intake = store.intake();
            let made = intake.commit_snapshot(&id, Upper::Stays)?;
            let layer = made.map(|made| NewLayer { descriptor: made.descriptor, diff_id: made.diff_id });
            Ok((intake, layer))
        })
        .await
    }
}

/// Settings that a given config leaves out are the container's.
fn fill(given: RunConfig, own: RunConfig) -> RunConfig {
    let text = |given: String, own: String| if given.is_empty() { own } else { given };
    let mut env = given.env.unwrap_or_default();
    for entry in own.env.unwrap_or_default() {
        let name = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
        if !env.iter().any(|known| name(known) == name(&entry)) {
            env.push(entry);
        }
    }
    let mut labels = own.labels.unwrap_or_default();
    labels.extend(given.labels.unwrap_or_default());
    let mut exposed_ports = own.exposed_ports;
    exposed_ports.extend(given.exposed_ports);
    let mut volumes = own.volumes;
    volumes.extend(given.volumes);
    let has_entrypoint = given.entrypoint.is_some();
    RunConfig {
        user: text(given.user, own.user),
        exposed_ports,
        env: Some(env),
        cmd: match given.cmd {
            Some(cmd) => Some(cmd),
            // A new entrypoint does not get the old one's arguments.
            None if has_entrypoint => None,
            None => own.cmd,
        },
        entrypoint: given.entrypoint.or(own.entrypoint),
        volumes,
        working_dir: text(given.working_dir, own.working_dir),
        labels: Some(labels),
        stop_signal: text(given.stop_signal, own.stop_signal),
        healthcheck: given.healthcheck.or(own.healthcheck),
        on_build: given.on_build.or(own.on_build),
        shell: given.shell.or(own.shell),
        args_escaped: given.args_escaped,
    }
}
