//! Pulling images: resolve, fetch what is missing, unpack, name.
//!
//! Everything goes into one intake: the name appears with the last layer, or nothing does. Layers are unpacked while they
//! are downloaded ([`fetch`]).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use corten_api::progress::{Message, Progress};
use corten_registry::{Auth, Client, RegistryError, Sources};
use corten_store::oci::{CONFIG_LIMIT, Descriptor, MANIFEST_LIMIT, Manifest, media};
use corten_store::{
    ContentError, Intake, IntakeError, Layer, Name, Store, parse_config, parse_index, parse_manifest,
};
use corten_types::{Digest, ErrorKind, Kind, Platform, Reference};
use parking_lot::RwLock;
use tokio::sync::Semaphore;

use crate::config::{Live, Transfers};
use crate::events::Events;

mod fetch;

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
    /// A connection broke, or stood still, too often.
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
    limits: RwLock<Arc<Limits>>,
}

/// What all pulls and pushes share.
pub(super) struct Limits {
    downloads: Semaphore,
    /// Layers that are being downloaded or unpacked.
    layers: Semaphore,
    pub(super) uploads: Semaphore,
    /// How often a transfer is tried without coming forward.
    pub(super) attempts: u32,
}

impl Limits {
    fn new(transfers: Transfers) -> Self {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let Transfers { downloads, uploads, attempts } = transfers;
        Self {
            downloads: Semaphore::new(downloads),
            layers: Semaphore::new(cores.max(downloads)),
            uploads: Semaphore::new(uploads),
            attempts,
        }
    }
}

/// What a pull has decided to fetch.
struct Plan {
    target: Descriptor,
    manifest: Manifest,
}

impl Puller {
    /// Pulls into `store`.
    pub fn new(store: Store, events: Arc<Events>, live: &Live) -> Self {
        let client = Client::new(concat!("corten/", env!("CARGO_PKG_VERSION")), live.registries());
        Self { store, events, client, limits: RwLock::new(Arc::new(Limits::new(live.transfers))) }
    }

    /// Changes what is known about registries and the ways to them, for all that begins from now on.
    pub fn configure(&self, live: &Live) {
        self.client.configure(live.registries());
        *self.limits.write() = Arc::new(Limits::new(live.transfers));
    }

    pub(super) fn limits(&self) -> Arc<Limits> {
        self.limits.read().clone()
    }

    /// Pulls an image, or all tags of a repository where the reference has neither tag nor digest.
    pub async fn pull(
        &self,
        reference: &Reference,
        platform: Option<&Platform>,
        credentials: &Credentials,
        tell: Tell<'_>,
    ) -> Result<(), PullError> {
        let sources = self.sources(reference, credentials).await;
        if reference.tag().is_some() || reference.digest().is_some() {
            return self.pull_one(&sources, reference, platform, tell).await;
        }
        let tags = sources.origin().tags().await.map_err(|error| refused(reference, error))?;
        for tag in tags {
            // A registry may hold names that are none here.
            if let Ok(reference) = reference.with_tag(&tag) {
                self.pull_one(&sources, &reference, platform, tell).await?;
            }
        }
        Ok(())
    }

    async fn sources(&self, reference: &Reference, credentials: &Credentials) -> Sources<'_> {
        self.client.sources(reference, &|domain| auth_of(domain, credentials)).await
    }

    async fn pull_one(
        &self,
        repository: &Sources<'_>,
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
            intake.commit()
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
        repository: &Sources<'_>,
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
        repository: &Sources<'_>,
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
        let repository = self.sources(reference, credentials).await;
        let wanted = reference.digest().map(ToString::to_string);
        let wanted = wanted.as_deref().or(reference.tag()).unwrap_or("latest");
        let document = repository.manifest(wanted).await.map_err(|error| match error {
            // Whoever asks wants to know whether credentials are missing, which a pull hides as Docker does.
            source @ (RegistryError::Unauthorized { .. } | RegistryError::Denied { .. }) => {
                PullError::Resolve { reference: reference.clone(), source }
            }
            error => refused(reference, error),
        })?;
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
        repository: &Sources<'_>,
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

/// The credentials for a registry by its domain, whatever form the client knows its address in.
pub fn auth_of(domain: &str, credentials: &Credentials) -> Option<Auth> {
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
            auth_of(
                reference.parse::<Reference>().unwrap().domain(),
                &Credentials::from([(key.to_owned(), auth.clone())]),
            )
            .is_some()
        };
        assert!(of("https://index.docker.io/v1/", "busybox"));
        assert!(of("localhost:5000", "localhost:5000/a"));
        assert!(of("http://localhost:5000/v2/", "localhost:5000/a"));
        assert!(!of("localhost:5001", "localhost:5000/a"));
        assert!(!of("docker.io", "ghcr.io/a/b"));
    }
}
