//! A repository and its mirrors as one: whoever can answer does, in order.

use std::sync::atomic::{AtomicUsize, Ordering};

use corten_types::Digest;

use crate::blob::Blob;
use crate::error::RegistryError;
use crate::repository::{Document, Repository, Resolved};

/// The places a repository can be read from, the registry itself last. A mirror that cannot be reached is not asked
/// again; one that lacks something is asked for the next thing.
pub struct Sources<'a> {
    all: Vec<Repository<'a>>,
    /// The first that is still asked.
    first: AtomicUsize,
}

impl<'a> Sources<'a> {
    /// At least one.
    pub(crate) fn new(all: Vec<Repository<'a>>) -> Self {
        Self { all, first: AtomicUsize::new(0) }
    }

    /// The registry itself.
    pub fn origin(&self) -> &Repository<'a> {
        &self.all[self.all.len() - 1]
    }

    /// [`Repository::resolve`].
    pub async fn resolve(&self, reference: &str) -> Result<Resolved, RegistryError> {
        let mut turn = self.begin();
        loop {
            match turn.source().resolve(reference).await {
                Err(error) if turn.passes(&error) => {}
                answer => return answer,
            }
        }
    }

    /// [`Repository::manifest`].
    pub async fn manifest(&self, reference: &str) -> Result<Document, RegistryError> {
        let mut turn = self.begin();
        loop {
            match turn.source().manifest(reference).await {
                Err(error) if turn.passes(&error) => {}
                answer => return answer,
            }
        }
    }

    /// [`Repository::blob`].
    pub async fn blob(&self, digest: &Digest, offset: u64) -> Result<Blob, RegistryError> {
        let mut turn = self.begin();
        loop {
            match turn.source().blob(digest, offset).await {
                Err(error) if turn.passes(&error) => {}
                answer => return answer,
            }
        }
    }

    fn begin(&self) -> Turn<'a, '_> {
        let at = self.first.load(Ordering::Relaxed).min(self.all.len() - 1);
        Turn { sources: self, at }
    }
}

/// Whose turn it is to answer.
struct Turn<'a, 's> {
    sources: &'s Sources<'a>,
    at: usize,
}

impl<'a, 's> Turn<'a, 's> {
    fn source(&self) -> &'s Repository<'a> {
        &self.sources.all[self.at]
    }

    /// Whether somebody else can be asked.
    fn passes(&mut self, error: &RegistryError) -> bool {
        if self.at + 1 == self.sources.all.len() {
            return false;
        }
        tracing::warn!(mirror = %self.source().endpoint().url(), %error, "a mirror did not answer as it should");
        self.at += 1;
        if matches!(error, RegistryError::Connect { .. }) {
            self.sources.first.fetch_max(self.at, Ordering::Relaxed);
        }
        true
    }
}
