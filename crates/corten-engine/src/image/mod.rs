//! Images: list, inspect, load, save, import, tag, remove, history, prune, pull, push, search, and copies from daemon to daemon.
//!
//! Everything here answers as dockerd 28.5 does with its containerd image store: an image's id is the digest of what
//! its name points at, and one image may hold manifests for several platforms. Names and content live in
//! `corten-store`; which containers use an image is asked of whoever was given to [`Images::ask_users`].

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use corten_store::{ContentError, DatabaseError, ImageError, IntakeError, SnapshotError, Store};
use corten_types::{Digest, ErrorKind, Kind, ReferenceError};

use crate::events::Events;
use crate::time::TimeError;

mod commit;
mod filter;
mod history;
mod import;
mod inspect;
mod layout;
mod list;
mod load;
mod prune;
pub mod pull;
mod push;
mod remove;
mod save;
mod search;
mod summary;
mod tag;
pub mod transfer;
mod usage;

pub use commit::{CommitError, CommitRequest};
pub use import::ImportRequest;
pub use inspect::InspectRequest;
pub use list::ListRequest;
pub use load::Loaded;
pub use push::PushError;
pub use remove::RemoveRequest;
pub use save::SavePlan;
pub use search::SearchError;
pub use usage::{ImageUse, State};

pub use corten_build::PARENT_LABEL;

/// The images of this engine.
pub struct Images {
    store: Store,
    events: Arc<Events>,
    users: OnceLock<Users>,
    pruning: tokio::sync::Mutex<()>,
}

/// Gives what every container uses.
pub type Users = Box<dyn Fn() -> Vec<ImageUse> + Send + Sync>;

/// Why something could not be done to an image. The texts are Docker's.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It could not be found or read.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// A document of it could not be read.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// Something new could not be stored.
    #[error(transparent)]
    Intake(#[from] IntakeError),
    /// A tree could not be handled.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// A name is out of grammar.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// A filter cannot be meant.
    #[error(transparent)]
    Filter(#[from] corten_api::filters::FilterError),
    /// A filter's time cannot be meant.
    #[error(transparent)]
    Time(#[from] TimeError),
    /// Something uses it.
    #[error("conflict: unable to delete {reference} ({force}) - {reason}")]
    InUse {
        /// The image as it was named, or its short id.
        reference: String,
        /// Whether force would help, in words.
        force: &'static str,
        /// What uses it.
        reason: String,
    },
    /// A prune goes on already.
    #[error("a prune operation is already running")]
    PruneRunning,
    /// A name that would read as an id.
    #[error("refusing to create an ambiguous tag using digest algorithm as name")]
    AmbiguousTag,
    /// Platforms are removed by force only.
    #[error(
        "Content will be removed from all images referencing this variant. Use —-force to force delete.: invalid argument"
    )]
    PlatformsNeedForce,
    /// Changes of a config cannot be meant.
    #[error(transparent)]
    Change(#[from] corten_build::commit::ChangeError),
    /// An archive is not what it should be.
    #[error("{0}")]
    Archive(String),
    /// A stream broke off.
    #[error("could not {operation}: {source}")]
    Stream {
        /// What was tried.
        operation: &'static str,
        /// What the other side said.
        source: std::io::Error,
    },
    /// Something that is not there yet.
    #[error("{0} is not implemented")]
    NotImplemented(&'static str),
}

impl Kind for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Image(error) => error.kind(),
            Self::Content(error) => error.kind(),
            Self::Intake(error) => error.kind(),
            Self::Snapshot(error) => error.kind(),
            Self::Database(error) => error.kind(),
            Self::Filter(error) => error.kind(),
            Self::Time(error) => error.kind(),
            Self::Change(error) => error.kind(),
            Self::InUse { .. } | Self::PruneRunning => ErrorKind::Conflict,
            Self::Reference(_) | Self::AmbiguousTag | Self::PlatformsNeedForce | Self::Archive(_) => {
                ErrorKind::InvalidArgument
            }
            Self::Stream { .. } => ErrorKind::Cancelled,
            Self::NotImplemented(_) => ErrorKind::NotImplemented,
        }
    }
}

impl Images {
    /// The images of a store.
    pub fn new(store: Store, events: Arc<Events>) -> Self {
        Self { store, events, users: OnceLock::new(), pruning: tokio::sync::Mutex::new(()) }
    }

    /// Tells where to ask which containers use images. Once, when the engine is put together.
    pub fn ask_users(&self, users: Users) {
        // A second answer would be a defect of the wiring; the first one stands.
        let _ = self.users.set(users);
    }

    /// The store beneath.
    pub fn store(&self) -> &Store {
        &self.store
    }

    fn uses(&self) -> Vec<ImageUse> {
        self.users.get().map(|users| users()).unwrap_or_default()
    }

    /// Tells of something that happened to an image, with the labels of its config.
    fn tell(&self, action: &str, id: &Digest, name: &str) {
        let id = id.to_string();
        let mut attributes: BTreeMap<String, String> = match self.store.images().resolve(&id) {
            Ok(image) => image.config.config.labels.clone().unwrap_or_default(),
            // What was deleted has no labels any more.
            Err(_) => BTreeMap::new(),
        };
        attributes.insert("name".into(), name.into());
        self.events.emit("image", action, &id, attributes);
    }

    /// Tells of something that happened to a name.
    fn tell_name(&self, action: &str, id: &Digest, name: &str) {
        let attributes = BTreeMap::from([("name".to_owned(), name.to_owned())]);
        self.events.emit("image", action, &id.to_string(), attributes);
    }
}

/// The descriptor as the API shows it.
fn shown(descriptor: &corten_store::oci::Descriptor) -> corten_api::descriptor::Descriptor {
    corten_api::descriptor::Descriptor {
        media_type: descriptor.media_type.clone(),
        digest: descriptor.digest,
        size: descriptor.size,
        urls: descriptor.urls.clone(),
        annotations: descriptor.annotations.clone(),
        platform: descriptor.platform.clone(),
    }
}

/// Seconds since 1970 of an RFC 3339 time; zero where there is none.
fn seconds(time: Option<&str>) -> i64 {
    time.and_then(|time| time.parse::<jiff::Timestamp>().ok()).map_or(0, jiff::Timestamp::as_second)
}

/// The short form of an id, without the algorithm.
fn short(id: &Digest) -> String {
    id.hex()[..12].to_owned()
}

fn signed(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

/// Runs something that blocks.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}
