//! Builds: contexts taken in, Dockerfiles built by corten-build, commands run in containers of their own.
//!
//! ```text
//!  POST /build ─► context (unpacked below tmp/) ─► Builds::start ─► task: corten_build::Builder
//!                                                        │              │ RUN ─► Containers::run_step
//!                                    Feed ◀── messages ──┘              └ FROM ─► store, or a pull
//! ```
//!
//! A build is one task. It ends early when its client goes away: the token is cancelled, the command that runs is
//! killed, and what was built so far stays in the cache. Contexts are removed with the build; what a killed daemon left
//! of them is removed at the next start.

mod context;
mod executor;
mod feed;

use std::collections::BTreeMap;
use std::sync::Arc;

use corten_api::container::HostConfig;
use corten_api::progress::Message;
use corten_build::{BuildError, Builder, Removal, Request};
use corten_store::Store;
use corten_types::{Digest, ErrorKind, Kind, Platform, PlatformError, Reference, ReferenceError};
use tokio_util::sync::CancellationToken;

pub use context::{ContextArchiveError, UnpackedContext};
pub use feed::{Feed, Line};

use crate::config::Paths;
use crate::container::Containers;
use crate::events::Events;
use crate::image::pull::{Credentials, Puller};

/// The builds of this engine.
pub struct Builds {
    store: Store,
    paths: Arc<Paths>,
    containers: Arc<Containers>,
    puller: Arc<Puller>,
    events: Arc<Events>,
}

/// What a build is asked for, parsed.
#[derive(Debug, Default)]
pub struct BuildRequest {
    /// The Dockerfile's name in the context; empty for the default.
    pub dockerfile: String,
    /// Names for the image.
    pub names: Vec<Reference>,
    /// Build arguments; `None` names one without a value.
    pub args: BTreeMap<String, Option<String>>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Stage to build.
    pub target: Option<String>,
    /// Do not use the cache.
    pub no_cache: bool,
    /// Ask the registry for base images even when they are here.
    pub pull: bool,
    /// When a step says that its container is gone.
    pub removal: Removal,
    /// Platform of base images.
    pub platform: Option<Platform>,
    /// Network and limits of the commands.
    pub host: HostConfig,
    /// Credentials of registries.
    pub credentials: Credentials,
}

/// Why a build cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// A name is none.
    #[error(transparent)]
    Name(#[from] ReferenceError),
    /// A name says which content it wants.
    #[error("build tag cannot contain a digest")]
    DigestInName,
    /// No such platform.
    #[error(transparent)]
    Platform(#[from] PlatformError),
}

impl Kind for RequestError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::InvalidArgument
    }
}

/// Names as a client gives them: empty ones and doubles left out, `latest` where no tag stands.
pub fn parse_names<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Vec<Reference>, RequestError> {
    let mut names: Vec<Reference> = Vec::new();
    for text in texts.into_iter().filter(|text| !text.is_empty()) {
        let name: Reference = text.parse()?;
        if name.digest().is_some() {
            return Err(RequestError::DigestInName);
        }
        let name = name.or_latest();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Ok(names)
}

/// A build that runs.
pub struct RunningBuild {
    /// What it tells, to its end.
    pub feed: Feed,
    /// Ends it early.
    pub cancel: CancellationToken,
    /// Its outcome.
    pub outcome: tokio::task::JoinHandle<Result<Digest, BuildError>>,
}

impl Builds {
    /// Builds with these parts.
    pub fn new(
        store: Store,
        paths: Arc<Paths>,
        containers: Arc<Containers>,
        puller: Arc<Puller>,
        events: Arc<Events>,
    ) -> Self {
        context::remove_leftovers(&paths);
        Self { store, paths, containers, puller, events }
    }

    /// Takes a context in: a tar archive, compressed or not.
    pub async fn unpack(
        &self,
        archive: impl std::io::Read + Send + 'static,
    ) -> Result<UnpackedContext, ContextArchiveError> {
        context::unpack(&self.paths, archive).await
    }

    /// Starts a build.
    pub fn start(&self, request: BuildRequest, context: UnpackedContext) -> RunningBuild {
        let (output, feed) = feed::channel();
        let cancel = CancellationToken::new();
        let (store, containers, puller) = (self.store.clone(), self.containers.clone(), self.puller.clone());
        let events = self.events.clone();
        let token = cancel.clone();
        let outcome = tokio::spawn(async move {
            let files = context.files();
            let name = request.dockerfile.clone();
            let found = {
                let files = files.clone();
                tokio::task::spawn_blocking(move || files.dockerfile(&name)).await
            };
            let (dockerfile_name, dockerfile) = match found {
                Ok(found) => found?,
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            };
            let host = executor::Host {
                store: store.clone(),
                containers,
                puller,
                host: request.host,
                pull: request.pull,
                credentials: request.credentials,
                output: output.clone(),
            };
            let build = Request {
                context: Some(files),
                dockerfile,
                dockerfile_name,
                target: request.target,
                args: request.args,
                labels: request.labels,
                no_cache: request.no_cache,
                platform: request.platform,
                removal: request.removal,
                names: request.names,
            };
            let builder = Builder { store: &store, host: &host, output: &*output, cancel: &token };
            let built = builder.build(&build).await;
            if let Ok(id) = &built {
                for name in &build.names {
                    let attributes = BTreeMap::from([("name".to_owned(), name.familiar())]);
                    events.emit("image", "tag", &id.to_string(), attributes);
                }
            }
            built
        });
        RunningBuild { feed, cancel, outcome }
    }

    /// Forgets what builds made; gives what was forgotten.
    pub async fn prune(&self) -> Result<Vec<String>, corten_store::DatabaseError> {
        let keys = corten_build::cache::Cache::new(&self.store).clear().await?;
        let attributes = BTreeMap::from([("reclaimed".to_owned(), "0".to_owned())]);
        self.events.emit("builder", "prune", "", attributes);
        Ok(keys)
    }
}

/// The line that ends the stream of a build that failed.
pub fn failure(error: &BuildError) -> Message {
    Message::error(error.to_string(), error.code().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_whole_and_unique() {
        let names = parse_names(["", "a", "a:latest", "b:1"]).unwrap();
        assert_eq!(names.iter().map(Reference::familiar).collect::<Vec<_>>(), ["a:latest", "b:1"]);
        assert!(matches!(parse_names(["A"]), Err(RequestError::Name(_))));
        let digest = format!("a@{}", Digest::of(b""));
        assert!(matches!(parse_names([digest.as_str()]), Err(RequestError::DigestInName)));
    }
}
