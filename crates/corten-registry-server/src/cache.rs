//! Repositories that are a cache of another registry: what is asked for and not here is fetched, kept, and passed on.
//!
//! ```text
//!  tag      fresh here ──▶ answered · else asked upstream ──▶ the same: fresh again · another: fetched
//!                                        └─ cannot be asked ──▶ the one here, if any
//!  digest   here ──▶ answered · else fetched
//! ```
//!
//! Invariants: nothing is kept that lacks the digest asked for, and nobody gets the last byte of what lacks it; what
//! many ask for at once is fetched once. Nothing is pushed to an upstream.

use std::collections::HashMap;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use corten_registry::{Auth, Client, Proxies, RegistryError, Settings};
use corten_store::{BlobWriter, Durability, Intake};
use corten_types::{Digest, Reference};
use parking_lot::Mutex;
use tokio::sync::{OwnedMutexGuard, mpsc};

use crate::api::manifests::store_in;
use crate::catalog::{Blob, Change, Manifest, Moment, Tagged};
use crate::digest::ContentDigest;
use crate::document::Document;
use crate::error::Refusal;
use crate::http::Target;
use crate::metrics::Metrics;
use crate::name::{RepositoryName, Tag};
use crate::storage::{Storage, run};
use crate::time::now;

/// How often a broken download goes on.
const RESUMES: u32 = 5;
/// Where authorities of registries lie, in a directory for each.
const CERTIFICATES: [&str; 2] = ["/etc/corten/certs.d", "/etc/docker/certs.d"];

/// A registry whose repositories are cached.
#[derive(Debug, Clone)]
pub struct Upstream {
    /// What its repositories' names begin with here; empty where all repositories are its.
    pub prefix: String,
    /// Its domain, `host[:port]`.
    pub registry: String,
    /// Whether it may be spoken to without TLS.
    pub insecure: bool,
    /// User and password there.
    pub credentials: Option<(String, String)>,
    /// How long a tag is good for without being asked for again.
    pub fresh: Duration,
}

/// The upstreams, and what is being fetched.
pub struct Cache {
    upstreams: Vec<Upstream>,
    client: Arc<Client>,
    storage: Arc<Storage>,
    metrics: Arc<Metrics>,
    flights: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

/// A blob of an upstream.
pub enum Fetched {
    /// It is here now.
    Stored(Arc<Blob>),
    /// It is coming, and passes through.
    Passing {
        /// Its size in bytes.
        size: u64,
        /// Its pieces.
        pieces: mpsc::Receiver<std::io::Result<Bytes>>,
    },
}

impl Cache {
    /// A cache of these upstreams; the one with the longest prefix that fits has a repository.
    pub fn new(mut upstreams: Vec<Upstream>, storage: Arc<Storage>, metrics: Arc<Metrics>) -> Self {
        upstreams.sort_by_key(|upstream| std::cmp::Reverse(upstream.prefix.len()));
        let insecure = upstreams.iter().filter(|upstream| upstream.insecure);
        let settings = Settings {
            insecure: insecure.map(|upstream| upstream.registry.clone()).collect(),
            certificates: CERTIFICATES.map(Into::into).to_vec(),
            // One that is none is as good as none: the way to the registry then says what is wrong.
            proxies: Proxies::from_environment().unwrap_or_default(),
            ..Settings::default()
        };
        let agent = concat!("corten-registry/", env!("CARGO_PKG_VERSION"));
        let client = Arc::new(Client::new(agent, settings));
        Self { upstreams, client, storage, metrics, flights: Mutex::default() }
    }

    /// The upstream that a repository is a cache of, and the repository there.
    pub fn upstream_of(&self, name: &RepositoryName) -> Option<(&Upstream, Reference)> {
        let name = name.as_str();
        self.upstreams.iter().find_map(|upstream| {
            let rest = match upstream.prefix.as_str() {
                "" => name,
                prefix => name.strip_prefix(prefix)?.strip_prefix('/')?,
            };
            let reference = format!("{}/{rest}", upstream.registry).parse().ok()?;
            Some((upstream, reference))
        })
    }

    /// Counts something that was answered without the upstream.
    pub fn hit(&self) {
        self.metrics.cache_hits.fetch_add(1, Ordering::Relaxed);
    }

    /// A manifest of a cached repository; `None` where the repository is no cache, or the manifest not there.
    pub async fn manifest(
        &self,
        name: &RepositoryName,
        target: &Target,
    ) -> Result<Option<(ContentDigest, Arc<Manifest>)>, Refusal> {
        let Some((upstream, reference)) = self.upstream_of(name) else { return Ok(None) };
        let _flight = self.flight(&format!("{name} {target:?}")).await;
        match target {
            Target::Digest(digest) => {
                if let Some(manifest) = self.storage.manifest(name, digest) {
                    self.hit();
                    return Ok(Some((digest.clone(), manifest)));
                }
                let fetched = self.fetch(name, upstream, &reference, &digest.to_string(), None).await;
                fetched.or_else(absent)
            }
            Target::Tag(tag) => self.tag(name, upstream, &reference, tag).await,
        }
    }

    async fn tag(
        &self,
        name: &RepositoryName,
        upstream: &Upstream,
        reference: &Reference,
        tag: &Tag,
    ) -> Result<Option<(ContentDigest, Arc<Manifest>)>, Refusal> {
        let here = self.storage.repository(name, |repository| {
            let tagged = repository.tags.get(tag)?.clone();
            let manifest = repository.manifests.get(&tagged.digest)?.clone();
            Some((tagged, manifest))
        });
        let here = here.flatten();
        if let Some((tagged, manifest)) = &here
            && tagged.checked.is_some_and(|checked| checked + upstream.fresh.as_secs() > now())
        {
            self.hit();
            return Ok(Some((tagged.digest.clone(), manifest.clone())));
        }
        let remote = remote(&self.client, upstream, reference).await;
        let resolved = remote.resolve(tag.as_str()).await;
        match (resolved, here) {
            (Ok(resolved), Some((tagged, manifest)))
                if tagged.digest == ContentDigest::from(resolved.digest) =>
            {
                self.hit();
                let tagged = Tagged { checked: Some(now()), ..tagged };
                let digest = tagged.digest.clone();
                self.put_tag(name, tag, tagged).await?;
                Ok(Some((digest, manifest)))
            }
            (Ok(resolved), _) => {
                let digest = resolved.digest.to_string();
                self.fetch(name, upstream, reference, &digest, Some(tag)).await.or_else(absent)
            }
            (Err(RegistryError::NotFound { .. }), Some(_)) => {
                let (repository, tag) = (name.clone(), tag.clone());
                let change = move |_: &_| Ok((vec![Change::DeleteTag(repository, tag)], ()));
                self.storage.change(name, Durability::None, Vec::new(), change).await?;
                Ok(None)
            }
            (Err(RegistryError::NotFound { .. }), None) => Ok(None),
            (Err(error), Some((tagged, manifest))) => {
                tracing::warn!(%error, repository = %name, %tag, "the upstream cannot be asked; answering from the cache");
                self.hit();
                Ok(Some((tagged.digest, manifest)))
            }
            (Err(error), None) => absent(refusal(&error)),
        }
    }

    async fn put_tag(&self, name: &RepositoryName, tag: &Tag, tagged: Tagged) -> Result<(), Refusal> {
        let (repository, tag) = (name.clone(), tag.clone());
        let change = move |_: &_| Ok((vec![Change::PutTag(repository, tag, tagged)], ()));
        self.storage.change(name, Durability::None, Vec::new(), change).await
    }

    async fn fetch(
        &self,
        name: &RepositoryName,
        upstream: &Upstream,
        reference: &Reference,
        digest: &str,
        tag: Option<&Tag>,
    ) -> Result<Option<(ContentDigest, Arc<Manifest>)>, Refusal> {
        self.metrics.cache_misses.fetch_add(1, Ordering::Relaxed);
        let remote = remote(&self.client, upstream, reference).await;
        let found = remote.manifest(digest).await.map_err(|error| refusal(&error))?;
        let wrong = |error| Refusal::Upstream(format!("{digest} is no manifest: {error}"));
        let document = Document::parse(&found.media_type, &found.bytes).map_err(wrong)?;
        let digest = ContentDigest::from(found.digest);
        let tags = tag.cloned().into_iter().collect();
        let manifest =
            store_in(&self.storage, name, digest.clone(), document, found.bytes, tags, Some(now())).await?;
        Ok(Some((digest, manifest)))
    }

    /// A blob of a cached repository; `None` where the repository is no cache, or the blob not there.
    pub async fn blob(
        &self,
        name: &RepositoryName,
        digest: &ContentDigest,
        head: bool,
    ) -> Result<Option<Fetched>, Refusal> {
        let Some((upstream, reference)) = self.upstream_of(name) else { return Ok(None) };
        let ContentDigest::Sha256(wanted) = *digest else { return Ok(None) };
        let flight = self.flight(&format!("{name} {digest}")).await;
        if let Some(blob) = self.storage.blob(name, digest) {
            self.hit();
            return Ok(Some(Fetched::Stored(blob)));
        }
        self.metrics.cache_misses.fetch_add(1, Ordering::Relaxed);
        let source = Source {
            client: self.client.clone(),
            storage: self.storage.clone(),
            upstream: upstream.clone(),
            reference,
            name: name.clone(),
            digest: wanted,
        };
        let (sender, pieces) = mpsc::channel(4);
        let (said, size) = tokio::sync::oneshot::channel();
        let done = tokio::spawn(source.pass(flight, sender, said));
        match size.await {
            Ok(Some(size)) => {
                if head {
                    return Ok(Some(Fetched::Passing { size, pieces: mpsc::channel(1).1 }));
                }
                Ok(Some(Fetched::Passing { size, pieces }))
            }
            // Without a size it is fetched whole first; without a blob the task says why.
            Ok(None) | Err(_) => {
                drop(pieces);
                match done.await {
                    Ok(Ok(())) => Ok(self.storage.blob(name, digest).map(Fetched::Stored)),
                    Ok(Err(refusal)) => absent(refusal),
                    Err(panic) => Err(Refusal::Failed(format!("a download failed: {panic}"))),
                }
            }
        }
    }

    async fn flight(&self, key: &str) -> OwnedMutexGuard<()> {
        let lock = {
            let mut flights = self.flights.lock();
            // Those that nobody waits for any more.
            flights.retain(|_, lock| Arc::strong_count(lock) > 1);
            flights.entry(key.to_owned()).or_default().clone()
        };
        lock.lock_owned().await
    }
}

async fn remote<'a>(
    client: &'a Client,
    upstream: &Upstream,
    reference: &Reference,
) -> corten_registry::Repository<'a> {
    let auth = upstream.credentials.clone().map(|(username, password)| Auth {
        username,
        password,
        ..Auth::default()
    });
    client.repository(reference, auth).await
}

fn refusal(error: &RegistryError) -> Refusal {
    match error {
        RegistryError::NotFound { what } => Refusal::NoSuchManifest(what.clone()),
        error => Refusal::Upstream(error.to_string()),
    }
}

/// What the upstream does not have is not there; everything else is an error.
fn absent<T>(refusal: Refusal) -> Result<Option<T>, Refusal> {
    match refusal {
        Refusal::NoSuchManifest(_) => Ok(None),
        other => Err(other),
    }
}

/// A blob on its way from an upstream.
struct Source {
    client: Arc<Client>,
    storage: Arc<Storage>,
    upstream: Upstream,
    reference: Reference,
    name: RepositoryName,
    digest: Digest,
}

impl Source {
    /// Fetches the blob, passes it to `client` as long as it takes it, and keeps it.
    async fn pass(
        self,
        _flight: OwnedMutexGuard<()>,
        client: mpsc::Sender<std::io::Result<Bytes>>,
        said: tokio::sync::oneshot::Sender<Option<u64>>,
    ) -> Result<(), Refusal> {
        let done = self.receive(&client, said).await;
        if let Err(refusal) = &done {
            tracing::warn!(reason = %refusal, digest = %self.digest, "a blob of an upstream could not be fetched");
            // A client that is told the length must not take what came for the whole.
            let _ = client.send(Err(std::io::Error::other("the upstream failed"))).await;
        }
        done
    }

    async fn receive(
        &self,
        client: &mpsc::Sender<std::io::Result<Bytes>>,
        said: tokio::sync::oneshot::Sender<Option<u64>>,
    ) -> Result<(), Refusal> {
        let remote = remote(&self.client, &self.upstream, &self.reference).await;
        let mut blob = remote.blob(&self.digest, 0).await.map_err(|error| refusal(&error))?;
        // Nobody waits for it where the client has gone.
        let _ = said.send(blob.size());
        let mut writer = Arc::new(self.storage.intake()).shared_writer()?;
        let mut held: Option<Bytes> = None;
        let mut resumes = 0;
        loop {
            match blob.next().await {
                Some(Ok(piece)) => {
                    if let Some(before) = held.replace(piece.clone()) {
                        // Kept all the same when nobody takes it.
                        let _ = client.send(Ok(before)).await;
                    }
                    writer = write(writer, piece).await?;
                }
                Some(Err(error)) => {
                    resumes += 1;
                    if resumes > RESUMES {
                        return Err(Refusal::Upstream(error.to_string()));
                    }
                    tokio::time::sleep(Duration::from_millis(200) * resumes).await;
                    let resumed = remote.blob(&self.digest, writer.len()).await;
                    blob = resumed.map_err(|error| refusal(&error))?;
                }
                None => break,
            }
        }
        let wanted = self.digest;
        let (intake, content, size) = run(move || {
            let intake = writer.intake().clone();
            let (content, size) = writer.finish(Some(&wanted), None)?;
            let intake =
                Arc::into_inner(intake).ok_or_else(|| Refusal::Failed("an intake is shared".into()))?;
            Ok((intake, content, size))
        })
        .await?;
        let lease = self.storage.commit_content(intake).await?;
        let name = self.name.clone();
        self.storage
            .change(&self.name, Durability::None, vec![lease], move |_| {
                let blob = Arc::new(Blob { content, size, used: Moment::at(now()) });
                Ok((vec![Change::PutBlob(name, content.into(), blob)], ()))
            })
            .await?;
        if let Some(last) = held {
            let _ = client.send(Ok(last)).await;
        }
        Ok(())
    }
}

async fn write(
    mut writer: BlobWriter<Arc<Intake>>,
    piece: Bytes,
) -> Result<BlobWriter<Arc<Intake>>, Refusal> {
    run(move || {
        writer.write_all(&piece).map_err(|error| Refusal::io("could not write a blob", &error))?;
        Ok(writer)
    })
    .await
}
