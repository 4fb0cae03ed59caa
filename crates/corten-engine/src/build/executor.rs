//! corten-build's host: images from the store or a registry, commands in containers.

use std::sync::Arc;

use corten_api::container::{Config, HostConfig};
use corten_build::{Event, Executor, HostError, ImageSource, Output, RunStep, Stream};
use corten_dockerfile::NetworkMode;
use corten_store::{Image, ImageError, Store};
use corten_types::{ErrorKind, Platform, Reference};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::feed::Sender;
use crate::container::{Containers, StepContainer, StepOutput};
use crate::image::pull::{Credentials, Puller};

/// The host of one build.
pub(super) struct Host {
    pub store: Store,
    pub containers: Arc<Containers>,
    pub puller: Arc<Puller>,
    /// Network and limits of commands.
    pub host: HostConfig,
    /// Ask the registry even when the image is here.
    pub pull: bool,
    pub credentials: Credentials,
    pub output: Arc<Sender>,
}

impl Executor for Host {
    async fn run(
        &self,
        step: RunStep,
        output: &dyn Output,
        cancel: &CancellationToken,
    ) -> Result<i64, HostError> {
        let RunStep { id, rootfs, config, command, network } = step;
        let mut host = self.host.clone();
        match network {
            Some(NetworkMode::None) => host.network_mode = "none".into(),
            Some(NetworkMode::Host) => host.network_mode = "host".into(),
            Some(NetworkMode::Default) | None => {}
        }
        // The image's run configuration and the API's are the same JSON.
        let value = serde_json::to_value(&config).unwrap_or_default();
        let mut config: Config = serde_json::from_value(value).unwrap_or_default();
        config.entrypoint = None;
        config.cmd = Some(command);
        config.healthcheck = None;
        config.volumes = None;
        let (sender, mut pieces) = mpsc::channel(4);
        let step = StepContainer { id, rootfs, config, host };
        let run = self.containers.run_step(step, sender, cancel);
        let relay = async {
            while let Some(piece) = pieces.recv().await {
                self.output.room().await;
                match &piece {
                    StepOutput::Stdout(bytes) => output.event(Event::Output(Stream::Stdout, bytes)),
                    StepOutput::Stderr(bytes) => output.event(Event::Output(Stream::Stderr, bytes)),
                }
            }
        };
        let (code, ()) = tokio::join!(run, relay);
        code.map_err(|error| HostError::new(&error))
    }
}

impl ImageSource for Host {
    async fn image(
        &self,
        name: &str,
        platform: Option<&Platform>,
        _: &dyn Output,
    ) -> Result<Image, HostError> {
        let host_error = |error: &ImageError| HostError::new(error);
        if !self.pull {
            match self.store.images().resolve_for(name, platform) {
                Ok(image) => return self.unpacked(image).await,
                Err(error) if corten_types::Kind::kind(&error) == ErrorKind::NotFound => {}
                Err(error) => return Err(host_error(&error)),
            }
        }
        let reference: Reference = name.parse().map_err(|error: corten_types::ReferenceError| HostError {
            kind: ErrorKind::InvalidArgument,
            message: error.to_string(),
        })?;
        let reference = reference.or_latest();
        let output = self.output.clone();
        let tell = move |message| output.message(message);
        self.puller
            .pull(&reference, platform, &self.credentials, &tell)
            .await
            .map_err(|error| HostError::new(&error))?;
        let image = self.store.images().resolve_for(&reference.to_string(), platform);
        self.unpacked(image.map_err(|error| host_error(&error))?).await
    }
}

impl Host {
    /// The image with its layers unpacked.
    async fn unpacked(&self, image: Image) -> Result<Image, HostError> {
        let there = image.chain_id().is_none_or(|chain| self.store.snapshots().has_chain(&chain));
        if there {
            return Ok(image);
        }
        let (store, layers) = (self.store.clone(), image.layers.clone());
        let unpack = move || {
            let intake = store.intake();
            intake.unpack(&layers)?;
            intake.commit()
        };
        match tokio::task::spawn_blocking(unpack).await {
            Ok(Ok(())) => Ok(image),
            Ok(Err(error)) => Err(HostError::new(&error)),
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
}
