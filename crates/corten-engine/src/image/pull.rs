//! Pulling images: resolve, fetch what is missing, unpack, name.

use std::collections::BTreeMap;
use std::sync::Arc;

use corten_api::progress::Message;
use corten_store::Store;
use corten_types::{ErrorKind, Kind, Platform, Reference};

use crate::events::Events;

/// Credentials by registry, as clients send them.
pub type Credentials = BTreeMap<String, Auth>;

/// Who somebody is at a registry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Auth {}

/// Takes the lines of a progress stream.
pub type Tell<'a> = &'a (dyn Fn(Message) + Send + Sync);

/// Brings images from registries.
pub struct Puller {
    store: Store,
    events: Arc<Events>,
}

/// Why an image could not be pulled.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// Not there yet.
    #[error("pull of {0} is not implemented")]
    NotImplemented(String),
}

impl Kind for PullError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::NotImplemented
    }
}

impl Puller {
    /// Pulls into `store`.
    pub fn new(store: Store, events: Arc<Events>) -> Self {
        Self { store, events }
    }

    /// Pulls an image.
    pub async fn pull(
        &self,
        reference: &Reference,
        _platform: Option<&Platform>,
        _credentials: &Credentials,
        _tell: Tell<'_>,
    ) -> Result<(), PullError> {
        let _ = (&self.store, &self.events);
        Err(PullError::NotImplemented(reference.familiar()))
    }
}

/// The header `X-Registry-Config`: base64 of a JSON object from registry to credentials. What cannot be read is no
/// credentials.
pub fn credentials_by_registry(_header: &str) -> Credentials {
    Credentials::new()
}
