//! Pushing images: what the registry has is left alone, what another of its repositories has is mounted, the rest is
//! uploaded; manifests last, the tag at the very end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use corten_api::progress::{Message, Progress};
use corten_registry::{RegistryError, Repository, Upload, Uploaded};
use corten_store::oci::{Descriptor, MANIFEST_LIMIT, media};
use corten_store::{ContentError, ImageError, Name};
use corten_types::{Digest, ErrorKind, Kind, Platform, Reference};
use futures_util::stream::{FuturesUnordered, StreamExt as _};

use super::pull::{Credentials, Limits, Puller, Tell, auth_of, short, signed};

/// How often the progress of a layer is told.
const TELL_EACH: Duration = Duration::from_millis(100);

/// Why an image could not be pushed. The texts are Docker's.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// Nothing has the name.
    #[error("tag does not exist: {reference}")]
    NoTag {
        /// The name in its short form.
        reference: String,
    },
    /// The repository has no tags here.
    #[error("An image does not exist locally with the tag: {repository}")]
    NoImage {
        /// The repository in its short form.
        repository: String,
    },
    /// The registry does not let us.
    #[error("push access denied, repository does not exist or may require authorization: {0}")]
    Denied(RegistryError),
    /// The registry did not do it.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The image is not whole.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// The image cannot be found.
    #[error(transparent)]
    Image(#[from] ImageError),
}

impl Kind for PushError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NoTag { .. } | Self::NoImage { .. } => ErrorKind::NotFound,
            Self::Denied(error) | Self::Registry(error) => error.kind(),
            Self::Content(error) => error.kind(),
            Self::Image(error) => error.kind(),
        }
    }
}

/// All that belongs to one target, children before parents.
#[derive(Default)]
struct Whole {
    blobs: Vec<Descriptor>,
    documents: Vec<Descriptor>,
    seen: BTreeSet<Digest>,
}

impl Puller {
    /// Pushes an image under its name, or all of a repository's names where the reference has neither tag nor digest.
    pub async fn push(
        &self,
        reference: &Reference,
        platform: Option<&Platform>,
        credentials: &Credentials,
        tell: Tell<'_>,
    ) -> Result<(), PushError> {
        let names: Vec<Reference> = if reference.tag().is_some() || reference.digest().is_some() {
            vec![reference.clone()]
        } else {
            let all = self.store.images().list();
            let names = all.into_iter().filter_map(|named| named.name.reference().cloned());
            names.filter(|name| name.repository() == *reference && name.tag().is_some()).collect()
        };
        if names.is_empty() {
            return Err(PushError::NoImage { repository: reference.familiar_name() });
        }
        tell(Message::status("", format!("The push refers to repository [{}]", reference.repository())));
        let targets = names.iter().map(|name| self.target(name, platform)).collect::<Result<Vec<_>, _>>()?;
        let auth = auth_of(reference.domain(), credentials);
        let repository = self.client.repository(reference, auth).await;
        for (name, target) in names.iter().zip(targets) {
            self.push_one(&repository, name, &target, tell).await.map_err(|error| match error {
                PushError::Registry(
                    error @ (RegistryError::Unauthorized { .. } | RegistryError::Denied { .. }),
                ) => PushError::Denied(error),
                other => other,
            })?;
        }
        Ok(())
    }

    /// What a name leads to; the manifest of a platform where one is asked for, or where the index is not all here.
    fn target(&self, name: &Reference, platform: Option<&Platform>) -> Result<Descriptor, PushError> {
        let named = self.store.images().get(&Name::Reference(name.clone()));
        let named = named.ok_or_else(|| PushError::NoTag { reference: name.familiar() })?;
        if platform.is_none() && self.whole(&named.target).is_ok() {
            return Ok(named.target);
        }
        Ok(self.store.images().image(&named, platform)?.manifest_descriptor)
    }

    async fn push_one(
        &self,
        repository: &Repository<'_>,
        name: &Reference,
        target: &Descriptor,
        tell: Tell<'_>,
    ) -> Result<(), PushError> {
        let whole = self.whole(target)?;
        // Nothing of the image goes while it is read.
        let lease = self.store.intake();
        for descriptor in whole.blobs.iter().chain(&whole.documents) {
            lease.hold(&descriptor.digest);
        }
        for layer in whole.blobs.iter().filter(|blob| media::is_layer(&blob.media_type)) {
            tell(Message::progress(short(&layer.digest), "Waiting", Progress::default()));
        }
        let limits = self.limits();
        let mut under_way: FuturesUnordered<_> =
            whole.blobs.iter().map(|blob| self.push_blob(repository, name, blob, &limits, tell)).collect();
        while let Some(done) = under_way.next().await {
            done?;
        }
        drop(under_way);
        for document in &whole.documents {
            let bytes = Bytes::from(self.store.content().read(&document.digest, MANIFEST_LIMIT)?);
            let own = document.digest == target.digest;
            let under = match name.tag() {
                Some(tag) if own => tag.to_owned(),
                _ => document.digest.to_string(),
            };
            repository.put_manifest(&under, &document.media_type, bytes).await?;
        }
        if let Some(tag) = name.tag() {
            let size = target.size;
            tell(Message::status("", format!("{tag}: digest: {} size: {size}", target.digest)));
        }
        let attributes = BTreeMap::from([("name".to_owned(), name.familiar_name())]);
        self.events.emit("image", "push", &name.familiar(), attributes);
        Ok(())
    }

    async fn push_blob(
        &self,
        repository: &Repository<'_>,
        name: &Reference,
        blob: &Descriptor,
        limits: &Limits,
        tell: Tell<'_>,
    ) -> Result<(), PushError> {
        let Ok(_permit) = limits.uploads.acquire().await else { return Ok(()) };
        let id = short(&blob.digest);
        let is_layer = media::is_layer(&blob.media_type);
        let say = |action: String| {
            if is_layer {
                tell(Message::progress(id.clone(), action, Progress::default()));
            }
        };
        if repository.has_blob(&blob.digest).await? {
            say("Layer already exists".into());
            return Ok(());
        }
        let from = self.sibling(name, &blob.digest);
        let (content, digest) = (self.store.content().clone(), blob.digest);
        let open = move || content.open(&digest).map_err(std::io::Error::other);
        let sent = Arc::new(AtomicU64::new(0));
        let upload = Upload {
            digest: blob.digest,
            size: blob.size,
            from: from.as_deref(),
            open: &open,
            sent: &sent,
            attempts: limits.attempts,
        };
        let upload = repository.upload(&upload);
        tokio::pin!(upload);
        let mut next = Instant::now() + TELL_EACH;
        let how = loop {
            tokio::select! {
                done = &mut upload => break done?,
                () = tokio::time::sleep_until(next.into()) => {
                    next += TELL_EACH;
                    let current = signed(sent.load(Ordering::Relaxed).min(blob.size));
                    if is_layer && current > 0 {
                        let progress = Progress { current, total: signed(blob.size), ..Progress::default() };
                        tell(Message::progress(id.clone(), "Pushing", progress));
                    }
                }
            }
        };
        say(match (how, &from) {
            (Uploaded::Mounted, Some(from)) => format!("Mounted from {from}"),
            _ => "Pushed".into(),
        });
        Ok(())
    }

    /// Everything that a target needs and that is here.
    fn whole(&self, target: &Descriptor) -> Result<Whole, ContentError> {
        let mut whole = Whole::default();
        self.collect(target, &mut whole, 0)?;
        Ok(whole)
    }

    fn collect(&self, descriptor: &Descriptor, whole: &mut Whole, depth: usize) -> Result<(), ContentError> {
        const DEPTH_MAX: usize = 8;
        let content = self.store.content();
        if !whole.seen.insert(descriptor.digest) || depth > DEPTH_MAX {
            return Ok(());
        }
        if !content.contains(&descriptor.digest) {
            return Err(ContentError::NotFound { digest: descriptor.digest });
        }
        if media::is_manifest(&descriptor.media_type) || media::is_index(&descriptor.media_type) {
            for child in content.children(descriptor)? {
                self.collect(&child, whole, depth + 1)?;
            }
            whole.documents.push(descriptor.clone());
        } else {
            whole.blobs.push(descriptor.clone());
        }
        Ok(())
    }

    /// Another repository of the same registry whose image here holds the blob.
    fn sibling(&self, name: &Reference, digest: &Digest) -> Option<String> {
        let images = self.store.images().list();
        images.into_iter().find_map(|named| {
            let other = named.name.reference()?;
            let elsewhere = other.domain() == name.domain() && other.path() != name.path();
            let holds = || self.whole(&named.target).is_ok_and(|whole| whole.seen.contains(digest));
            (elsewhere && holds()).then(|| other.path().to_owned())
        })
    }
}

impl Puller {
    /// Asks a registry whether it takes credentials.
    pub async fn login(&self, domain: &str, auth: corten_registry::Auth) -> Result<(), RegistryError> {
        self.client.registry(domain, Some(auth)).await.ping().await
    }
}
