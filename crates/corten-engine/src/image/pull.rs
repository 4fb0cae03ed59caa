//! Pulling images: resolve, fetch what is missing, unpack, name.
//!
//! Everything goes into one intake: the name appears with the last layer, or nothing does. A download that breaks off
//! goes on where it stopped.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use corten_api::progress::{Message, Progress};
use corten_registry::{Auth, Client, RegistryError, Repository};
use corten_store::oci::{CONFIG_LIMIT, Descriptor, MANIFEST_LIMIT, Manifest, media};
use corten_store::{
    ContentError, Intake, IntakeError, Layer, Name, Store, parse_config, parse_index, parse_manifest,
};
use corten_types::{Digest, ErrorKind, Kind, Platform, Reference};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::{Semaphore, mpsc};

use crate::events::Events;

/// How many blobs are downloaded at once.
const DOWNLOADS: usize = 3;
/// How often a download that broke off is taken up again.
const RETRIES: u32 = 5;
/// How often the progress of a layer is told.
const TELL_EACH: Duration = Duration::from_millis(100);
/// How deep indexes may nest.
const INDEX_DEPTH: usize = 3;

/// Credentials by registry, as clients send them.
pub type Credentials = BTreeMap<String, Auth>;

/// Takes the lines of a progress stream.
pub type Tell<'a> = &'a (dyn Fn(Message) + Send + Sync);

/// Why an image could not be pulled or pushed. The texts are Docker's.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// The registry hides it, or does not have it.
    #[error("pull access denied for {name}, repository does not exist or may require 'docker login'")]
    Denied {
        /// The repository in its short form.
        name: String,
    },
    /// The registry does not have it.
    #[error("failed to resolve reference \"{reference}\": {reference}: not found")]
    NotFound {
        /// The whole reference.
        reference: Reference,
    },
    /// It could not be resolved.
    #[error("failed to resolve reference \"{reference}\": {source}")]
    Resolve {
        /// The whole reference.
        reference: Reference,
        /// Why.
        source: RegistryError,
    },
    /// It is not there for the platform.
    #[error(
        "no matching manifest for {platform} in the manifest list entries: no match for platform in manifest: not found"
    )]
    Platform {
        /// What was asked for.
        platform: Platform,
    },
    /// The manifest is of a kind that is no image.
    #[error("unsupported manifest media type: {media_type}")]
    MediaType {
        /// The type.
        media_type: String,
    },
    /// The config does not fit the manifest.
    #[error("mismatched image rootfs and manifest layers")]
    Layers,
    /// A blob could not be fetched.
    #[error("failed to copy: {0}")]
    Fetch(#[from] RegistryError),
    /// A connection broke too often.
    #[error("failed to copy: {digest}: {reason}")]
    Broken {
        /// The blob.
        digest: Digest,
        /// What happened last.
        reason: String,
    },
    /// What came could not be stored.
    #[error(transparent)]
    Intake(#[from] IntakeError),
    /// What came makes no sense.
    #[error(transparent)]
    Content(#[from] ContentError),
}

impl Kind for PullError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Denied { .. } | Self::NotFound { .. } | Self::Platform { .. } => ErrorKind::NotFound,
            Self::Resolve { source, .. } | Self::Fetch(source) => source.kind(),
            Self::MediaType { .. } | Self::Layers => ErrorKind::InvalidArgument,
            Self::Broken { .. } => ErrorKind::Unavailable,
            Self::Intake(error) => error.kind(),
            Self::Content(error) => error.kind(),
        }
    }
}

/// Brings images from registries, and takes them there.
pub struct Puller {
    pub(super) store: Store,
    pub(super) events: Arc<Events>,
    pub(super) client: Client,
    pub(super) insecure: Vec<String>,
    downloads: Semaphore,
}

/// What a pull has decided to fetch.
struct Plan {
    target: Descriptor,
    manifest: Manifest,
}

impl Puller {
    /// Pulls into `store`; `insecure` are registries without TLS.
    pub fn new(store: Store, events: Arc<Events>, insecure: Vec<String>) -> Self {
        let client = Client::new(concat!("corten/", env!("CARGO_PKG_VERSION")));
        Self { store, events, client, insecure, downloads: Semaphore::new(DOWNLOADS) }
    }

    /// Pulls an image, or all tags of a repository where the reference has neither tag nor digest.
    pub async fn pull(
        &self,
        reference: &Reference,
        platform: Option<&Platform>,
        credentials: &Credentials,
        tell: Tell<'_>,
    ) -> Result<(), PullError> {
        let auth = auth_for(reference, credentials);
        let repository = self.client.repository(reference, &self.insecure, auth);
        if reference.tag().is_some() || reference.digest().is_some() {
            return self.pull_one(&repository, reference, platform, tell).await;
        }
        let tags = repository.tags().await.map_err(|error| refused(reference, error))?;
        for tag in tags {
            // A registry may hold names that are none here.
            if let Ok(reference) = reference.with_tag(&tag) {
                self.pull_one(&repository, &reference, platform, tell).await?;
            }
        }
        Ok(())
    }

    async fn pull_one(
        &self,
        repository: &Repository<'_>,
        reference: &Reference,
        platform: Option<&Platform>,
        tell: Tell<'_>,
    ) -> Result<(), PullError> {
        let wanted = reference.digest().map(ToString::to_string);
        let wanted = wanted.as_deref().or(reference.tag()).unwrap_or("latest");
        let resolved = repository.resolve(wanted).await.map_err(|error| refused(reference, error))?;
        let target = Descriptor::new(&resolved.media_type, resolved.digest, resolved.size);
        let name = Name::Reference(reference.clone());
        let old = self.store.images().get(&name).map(|named| named.target.digest);

        let intake = Arc::new(self.store.intake());
        let plan = self.plan(repository, &intake, target, platform).await?;
        tell(Message::status(
            reference.tag().map_or_else(|| reference.to_string(), str::to_owned),
            format!("Pulling from {}", reference.path()),
        ));
        let layers = self.fetch(repository, &intake, &plan, tell).await?;
        let newer = old != Some(plan.target.digest);
        let target = plan.target;
        let digest = target.digest;
        let told: BTreeSet<String> =
            layers.iter().filter(|layer| layer.1).map(|layer| short(&layer.0.descriptor.digest)).collect();
        let work = move || {
            let layers: Vec<Layer> = layers.into_iter().map(|layer| layer.0).collect();
            intake.unpack(&layers)?;
            intake.name(name, target, BTreeMap::new());
            match Arc::into_inner(intake) {
                Some(intake) => intake.commit(),
                // Every download has ended; nobody else holds it.
                None => Ok(()),
            }
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(done) => done?,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
        let hidden = Progress { hide_counts: true, ..Progress::default() };
        for id in told {
            tell(Message::progress(id, "Pull complete", hidden.clone()));
        }
        tell(Message::status("", format!("Digest: {digest}")));
        let status = if newer { "Downloaded newer image" } else { "Image is up to date" };
        tell(Message::status("", format!("Status: {status} for {}", reference.familiar())));
        let attributes = BTreeMap::from([("name".to_owned(), reference.familiar_name())]);
        self.events.emit("image", "pull", &reference.familiar(), attributes);
        Ok(())
    }

    /// Fetches indexes and the manifest for the platform.
    async fn plan(
        &self,
        repository: &Repository<'_>,
        intake: &Intake,
        target: Descriptor,
        platform: Option<&Platform>,
    ) -> Result<Plan, PullError> {
        let host = Platform::host();
        let wanted = platform.unwrap_or(&host);
        let mut current = target.clone();
        for _ in 0..=INDEX_DEPTH {
            let bytes = self.document(repository, intake, &current).await?;
            if media::is_manifest(&current.media_type) {
                let manifest = parse_manifest(current.digest, &bytes)?;
                return Ok(Plan { target, manifest });
            }
            if !media::is_index(&current.media_type) {
                break;
            }
            let index = parse_index(current.digest, &bytes)?;
            let fits = |entry: &&Descriptor| {
                entry.platform.as_ref().is_some_and(|platform| platform.satisfies(wanted))
            };
            let chosen = index.manifests.iter().find(fits);
            // An index of one image that names no platform is that image.
            let only = index.manifests.iter().find(|entry| entry.platform.is_none());
            current =
                chosen.or(only).cloned().ok_or_else(|| PullError::Platform { platform: wanted.clone() })?;
        }
        Err(PullError::MediaType { media_type: current.media_type })
    }

    /// A manifest or index, from the store where it has it.
    async fn document(
        &self,
        repository: &Repository<'_>,
        intake: &Intake,
        descriptor: &Descriptor,
    ) -> Result<Vec<u8>, PullError> {
        if intake.has_blob(&descriptor.digest) {
            return Ok(intake.read(&descriptor.digest, MANIFEST_LIMIT)?);
        }
        let document = repository.manifest(&descriptor.digest.to_string()).await?;
        intake.bytes(&descriptor.media_type, &document.bytes)?;
        Ok(document.bytes.to_vec())
    }

    /// Fetches config and layers; gives the layers, each with whether it was fetched now.
    async fn fetch(
        &self,
        repository: &Repository<'_>,
        intake: &Arc<Intake>,
        plan: &Plan,
        tell: Tell<'_>,
    ) -> Result<Vec<(Layer, bool)>, PullError> {
        let manifest = &plan.manifest;
        let blobs = std::iter::once(&manifest.config).chain(&manifest.layers);
        let missing: BTreeSet<Digest> =
            blobs.clone().map(|blob| blob.digest).filter(|digest| !intake.has_blob(digest)).collect();
        if !missing.is_empty() {
            for layer in &manifest.layers {
                let id = short(&layer.digest);
                tell(Message::progress(id, "Pulling fs layer", Progress::default()));
            }
        }
        let mut under_way = FuturesUnordered::new();
        let mut begun = BTreeSet::new();
        for blob in blobs {
            let is_layer = blob.digest != manifest.config.digest;
            if !missing.contains(&blob.digest) {
                if is_layer && !missing.is_empty() {
                    let hidden = Progress { hide_counts: true, ..Progress::default() };
                    tell(Message::progress(short(&blob.digest), "Already exists", hidden));
                }
            } else if begun.insert(blob.digest) {
                under_way.push(self.download(repository, intake, blob, is_layer.then_some(tell)));
            }
        }
        while let Some(done) = under_way.next().await {
            done?;
        }
        let config =
            parse_config(manifest.config.digest, &intake.read(&manifest.config.digest, CONFIG_LIMIT)?)?;
        let chains = config.chain_ids();
        if chains.len() != manifest.layers.len() {
            return Err(PullError::Layers);
        }
        let layers = manifest.layers.iter().zip(&config.rootfs.diff_ids).zip(chains);
        Ok(layers
            .map(|((descriptor, diff_id), chain_id)| {
                let layer = Layer { descriptor: descriptor.clone(), diff_id: *diff_id, chain_id };
                (layer, missing.contains(&descriptor.digest))
            })
            .collect())
    }

    /// Downloads one blob; what arrives is hashed and written on another thread.
    async fn download(
        &self,
        repository: &Repository<'_>,
        intake: &Arc<Intake>,
        blob: &Descriptor,
        tell: Option<Tell<'_>>,
    ) -> Result<(), PullError> {
        let Ok(_permit) = self.downloads.acquire().await else { return Ok(()) };
        let (sender, receiver) = mpsc::channel(8);
        let (digest, size) = (blob.digest, blob.size);
        let writer = {
            let intake = intake.clone();
            tokio::task::spawn_blocking(move || {
                let mut pieces = Pieces { receiver, current: Bytes::new() };
                intake.copy(&mut pieces, Some(&digest), Some(size)).map(drop)
            })
        };
        let received = AtomicU64::new(0);
        let fetched = self.stream(repository, blob, &sender, &received, tell).await;
        if let Err(error) = &fetched {
            // The writer must not take a part for the whole.
            let _ = sender.send(Err(std::io::Error::other(error.to_string()))).await;
        }
        drop(sender);
        let written = match writer.await {
            Ok(written) => written,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        };
        fetched?;
        written?;
        if let Some(tell) = tell {
            let hidden = Progress { hide_counts: true, ..Progress::default() };
            tell(Message::progress(short(&digest), "Download complete", hidden));
        }
        Ok(())
    }

    /// Gives the pieces of a blob to `sender`, taking a connection that breaks up again where it stopped.
    async fn stream(
        &self,
        repository: &Repository<'_>,
        blob: &Descriptor,
        sender: &mpsc::Sender<std::io::Result<Bytes>>,
        received: &AtomicU64,
        tell: Option<Tell<'_>>,
    ) -> Result<(), PullError> {
        let mut last_told = Instant::now();
        let mut reason = String::new();
        for attempt in 0..=RETRIES {
            if attempt > 0 {
                tokio::time::sleep(Duration::from_millis(200) * attempt).await;
            }
            let offset = received.load(Ordering::Relaxed);
            let mut body = match repository.blob(&blob.digest, offset).await {
                Ok(body) => body,
                Err(error @ RegistryError::Connect { .. }) => {
                    reason = error.to_string();
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            reason.clear();
            while let Some(piece) = body.next().await {
                let piece = match piece {
                    Ok(piece) => piece,
                    Err(error) => {
                        reason = error.to_string();
                        break;
                    }
                };
                let current = received.fetch_add(piece.len() as u64, Ordering::Relaxed) + piece.len() as u64;
                if current > blob.size {
                    let reason = "the registry sends more than it promised".to_owned();
                    return Err(PullError::Broken { digest: blob.digest, reason });
                }
                if let Some(tell) = tell.filter(|_| last_told.elapsed() >= TELL_EACH) {
                    last_told = Instant::now();
                    let progress = Progress {
                        current: signed(current),
                        total: signed(blob.size),
                        ..Progress::default()
                    };
                    tell(Message::progress(short(&blob.digest), "Downloading", progress));
                }
                if sender.send(Ok(piece)).await.is_err() {
                    // The writer knows why it stopped.
                    return Ok(());
                }
            }
            if reason.is_empty() && received.load(Ordering::Relaxed) >= blob.size {
                return Ok(());
            }
            if reason.is_empty() {
                reason = "unexpected EOF".into();
            }
        }
        Err(PullError::Broken { digest: blob.digest, reason })
    }
}

/// What a registry holds under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    /// What the name leads to.
    pub descriptor: Descriptor,
    /// What it can run on.
    pub platforms: Vec<Platform>,
}

impl Puller {
    /// Looks a name up at its registry and stores nothing.
    pub async fn inspect(
        &self,
        reference: &Reference,
        credentials: &Credentials,
    ) -> Result<Remote, PullError> {
        let auth = auth_for(reference, credentials);
        let repository = self.client.repository(reference, &self.insecure, auth);
        let wanted = reference.digest().map(ToString::to_string);
        let wanted = wanted.as_deref().or(reference.tag()).unwrap_or("latest");
        let document = repository.manifest(wanted).await.map_err(|error| refused(reference, error))?;
        let size = document.bytes.len() as u64;
        let descriptor = Descriptor::new(&document.media_type, document.digest, size);
        let platforms = if media::is_index(&document.media_type) {
            let index = parse_index(document.digest, &document.bytes)?;
            index.manifests.into_iter().filter_map(|entry| entry.platform).collect()
        } else if media::is_manifest(&document.media_type) {
            let manifest = parse_manifest(document.digest, &document.bytes)?;
            vec![self.config(&repository, &manifest.config).await?.platform()]
        } else {
            Vec::new()
        };
        Ok(Remote { descriptor, platforms })
    }

    /// A config, verified.
    async fn config(
        &self,
        repository: &Repository<'_>,
        descriptor: &Descriptor,
    ) -> Result<corten_store::oci::ImageConfig, PullError> {
        let digest = descriptor.digest;
        let broken = |reason: String| PullError::Broken { digest, reason };
        let mut blob = repository.blob(&digest, 0).await?;
        let mut bytes = Vec::new();
        while let Some(piece) = blob.next().await {
            bytes.extend_from_slice(&piece.map_err(|error| broken(error.to_string()))?);
            if bytes.len() as u64 > CONFIG_LIMIT {
                return Err(broken(format!("it has more than {CONFIG_LIMIT} bytes")));
            }
        }
        let found = Digest::of(&bytes);
        if found != digest {
            return Err(IntakeError::Digest { expected: digest, found }.into());
        }
        Ok(parse_config(digest, &bytes)?)
    }
}

fn refused(reference: &Reference, error: RegistryError) -> PullError {
    match error {
        RegistryError::NotFound { .. } => PullError::NotFound { reference: reference.clone() },
        RegistryError::Unauthorized { .. } | RegistryError::Denied { .. } => {
            PullError::Denied { name: reference.familiar_name() }
        }
        source => PullError::Resolve { reference: reference.clone(), source },
    }
}

/// The first twelve digits, as progress lines show a layer.
pub(super) fn short(digest: &Digest) -> String {
    digest.hex()[..12].to_owned()
}

pub(super) fn signed(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

/// Pieces that arrive on a channel, as a reader for a thread that may block.
struct Pieces {
    receiver: mpsc::Receiver<std::io::Result<Bytes>>,
    current: Bytes,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.current.is_empty() {
            match self.receiver.blocking_recv() {
                None => return Ok(0),
                Some(piece) => self.current = piece?,
            }
        }
        let length = self.current.len().min(buffer.len());
        buffer[..length].copy_from_slice(&self.current.split_to(length));
        Ok(length)
    }
}

/// The credentials for a reference's registry, whatever form the client knows its address in.
pub fn auth_for(reference: &Reference, credentials: &Credentials) -> Option<Auth> {
    let domain = reference.domain();
    let plain = |address: &str| {
        let host = address.split_once("://").map_or(address, |(_, rest)| rest);
        let host = host.split('/').next().unwrap_or_default();
        if matches!(host, "index.docker.io" | "registry-1.docker.io") {
            "docker.io".to_owned()
        } else {
            host.to_owned()
        }
    };
    credentials.iter().find(|(address, _)| plain(address) == domain).map(|(_, auth)| auth.clone())
}

/// Credentials that were sent for one reference alone.
pub fn credentials_for(reference: &Reference, header: &str) -> Credentials {
    Auth::from_header(header).map(|auth| (reference.domain().to_owned(), auth)).into_iter().collect()
}

/// The header `X-Registry-Config`: base64 of a JSON object from registry to credentials. What cannot be read is no
/// credentials.
pub fn credentials_by_registry(header: &str) -> Credentials {
    let Some(bytes) = corten_registry::decode_header(header) else { return Credentials::new() };
    let all: Credentials = serde_json::from_slice(&bytes).unwrap_or_default();
    all.into_iter().map(|(registry, auth)| (registry, auth.with_parts())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_found_by_any_form_of_the_address() {
        let auth = Auth { username: "u".into(), ..Auth::default() };
        let of = |key: &str, reference: &str| {
            auth_for(&reference.parse().unwrap(), &Credentials::from([(key.to_owned(), auth.clone())]))
                .is_some()
        };
        assert!(of("https://index.docker.io/v1/", "busybox"));
        assert!(of("localhost:5000", "localhost:5000/a"));
        assert!(of("http://localhost:5000/v2/", "localhost:5000/a"));
        assert!(!of("localhost:5001", "localhost:5000/a"));
        assert!(!of("docker.io", "ghcr.io/a/b"));
    }
}
