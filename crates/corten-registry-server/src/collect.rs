//! Collections while the registry serves: uploads end that nobody goes on with, repositories lose what their rules do
//! not keep, and the store what no repository holds.
//!
//! A repository is collected with nobody else changing it, between two pushes to it; readers are never kept waiting,
//! and a blob that is being sent stays readable.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use corten_store::Durability;

use crate::catalog::Change;
use crate::error::Refusal;
use crate::name::RepositoryName;
use crate::retention::{Rule, plan};
use crate::server::Server;
use crate::time::now;

/// When what goes.
#[derive(Debug, Clone)]
pub struct Collection {
    /// How often.
    pub every: Duration,
    /// How long an upload may rest.
    pub upload_expiry: Duration,
    /// How long a blob stays that no manifest needs.
    pub grace: Duration,
    /// What is kept in which repositories.
    pub rules: Vec<Rule>,
}

/// What a collection did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Collected {
    /// Tags that went.
    pub tags: usize,
    /// Manifests that went.
    pub manifests: usize,
    /// Blobs, manifests included, that went from the disk.
    pub blobs: usize,
    /// Bytes that went from the disk.
    pub bytes: u64,
}

/// Collects once.
pub async fn collect(server: &Arc<Server>, settings: &Collection) -> Result<Collected, Refusal> {
    let mut collected = Collected::default();
    server.uploads.expire(settings.upload_expiry.as_secs());
    let names: Vec<RepositoryName> =
        server.storage.look(|catalog| catalog.repositories("").map(|(name, _)| name.clone()).collect());
    for name in names {
        let (repository, grace) = (name.clone(), settings.grace.as_secs());
        let fits = |rule: &&Rule| rule.repositories.iter().any(|pattern| pattern.matches(name.as_str()));
        let rule = settings.rules.iter().find(fits).cloned();
        let (tags, manifests) = server
            .storage
            .change(&name, Durability::Full, Vec::new(), move |catalog| {
                let Some(there) = catalog.repository(&repository) else { return Ok((Vec::new(), (0, 0))) };
                let changes = plan(&repository, there, rule.as_ref(), grace, now());
                let count = |kind: fn(&Change) -> bool| changes.iter().filter(|change| kind(change)).count();
                let tags = count(|change| matches!(change, Change::DeleteTag(..)));
                let manifests = count(|change| matches!(change, Change::DeleteManifest(..)));
                Ok((changes, (tags, manifests)))
            })
            .await?;
        collected.tags += tags;
        collected.manifests += manifests;
    }
    remember_use(server).await;
    (collected.blobs, collected.bytes) = server.storage.collect().await?;
    server.metrics.collections.fetch_add(1, Ordering::Relaxed);
    server.metrics.collected_bytes.fetch_add(collected.bytes, Ordering::Relaxed);
    Ok(collected)
}

/// Writes down when manifests were last pulled, as far as that changed: the rules ask for it after a restart too.
pub async fn remember_use(server: &Arc<Server>) {
    let since = server.uses_written.swap(now(), Ordering::Relaxed);
    let names: Vec<RepositoryName> =
        server.storage.look(|catalog| catalog.repositories("").map(|(name, _)| name.clone()).collect());
    for name in names {
        let repository = name.clone();
        let written = server.storage.change(&name, Durability::None, Vec::new(), move |catalog| {
            let used = catalog.repository(&repository).into_iter().flat_map(|there| {
                there.manifests.iter().filter(|(_, manifest)| manifest.used.get() >= since)
            });
            let changes = used.map(|(digest, manifest)| {
                Change::PutManifest(repository.clone(), digest.clone(), manifest.clone())
            });
            Ok((changes.collect(), ()))
        });
        if let Err(error) = written.await {
            tracing::warn!(%error, repository = %name, "the time of use could not be written");
        }
    }
}

/// Collects for ever.
pub async fn keep_collecting(server: Arc<Server>, settings: Collection) {
    loop {
        tokio::time::sleep(settings.every).await;
        match collect(&server, &settings).await {
            Ok(collected) if collected == Collected::default() => {}
            Ok(Collected { tags, manifests, blobs, bytes }) => {
                tracing::info!(tags, manifests, blobs, bytes, "collected");
            }
            Err(error) => tracing::error!(%error, "the collection failed; it is tried again"),
        }
    }
}
