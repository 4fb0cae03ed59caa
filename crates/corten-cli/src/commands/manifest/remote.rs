//! Manifests of registries, with the user's credentials.

use corten_registry::{Auth, Client, Document, Proxies, RegistryError, Repository, Settings};
use corten_types::{Digest, Platform, Reference};
use serde::Deserialize;

use super::entry::{Descriptor, Entry, is_list, is_manifest};
use crate::config::HUB;
use crate::error::{Failure, Outcome};
use crate::session::Session;

/// The largest config that is read for its platform.
const CONFIG_LIMIT: usize = 8 << 20;

/// The registries, as one command sees them.
pub struct Remote<'a> {
    session: &'a Session,
    client: Client,
}

/// What a registry has under a reference.
pub enum Found {
    /// A manifest of one platform.
    One(Box<Entry>),
    /// A list of manifests.
    List(Vec<Entry>),
}

impl<'a> Remote<'a> {
    /// A client for the registries of these references; with `insecure` they may do without TLS.
    pub fn new(session: &'a Session, references: &[&Reference], insecure: bool) -> Self {
        let domains = references.iter().map(|reference| reference.domain().to_owned());
        let settings = Settings {
            insecure: if insecure { domains.collect() } else { Vec::new() },
            certificates: vec!["/etc/docker/certs.d".into(), "/etc/corten/certs.d".into()],
            // One that is none is as good as none: the way to the registry then says what is wrong.
            proxies: Proxies::from_environment().unwrap_or_default(),
            ..Settings::default()
        };
        let agent = format!("Docker-Client/{} ({})", env!("CARGO_PKG_VERSION"), std::env::consts::OS);
        Self { session, client: Client::new(agent, settings) }
    }

    /// The repository of a reference.
    pub async fn repository(&self, reference: &Reference) -> Repository<'_> {
        let server = if reference.domain() == "docker.io" { HUB } else { reference.domain() };
        let auth = self.session.config.credentials(server).map(|credentials| Auth {
            username: credentials.username,
            password: credentials.password,
            identity_token: credentials.identity_token,
            server_address: server.to_owned(),
            ..Auth::default()
        });
        self.client.repository(reference, auth).await
    }

    /// What the registry has under a reference.
    pub async fn find(&self, reference: &Reference) -> Outcome<Found> {
        let repository = self.repository(reference).await;
        let tag = reference.digest().map(Digest::to_string);
        let tag = tag.as_deref().or(reference.tag()).unwrap_or("latest");
        let document = repository.manifest(tag).await.map_err(|error| failure(reference, &error))?;
        if !is_list(&document.media_type) {
            let entry = self.entry(&repository, reference.clone(), document, None).await?;
            return Ok(Found::One(Box::new(entry)));
        }
        #[derive(Deserialize)]
        struct List {
            manifests: Vec<Descriptor>,
        }
        let list: List = serde_json::from_slice(&document.bytes)
            .map_err(|error| Failure::new(format!("{reference}: the list cannot be read: {error}")))?;
        let mut entries = Vec::new();
        for member in list.manifests {
            let name = member.digest.to_string();
            let found = repository.manifest(&name).await.map_err(|error| failure(reference, &error))?;
            let at = reference.with_digest(member.digest);
            entries.push(self.entry(&repository, at, found, Some(member.platform)).await?);
        }
        Ok(Found::List(entries))
    }

    /// One manifest: a list is refused, as docker does.
    pub async fn manifest(&self, reference: &Reference) -> Outcome<Entry> {
        match self.find(reference).await? {
            Found::One(entry) => Ok(*entry),
            Found::List(_) => Err(Failure::new(format!("{reference} is a manifest list"))),
        }
    }

    async fn entry(
        &self,
        repository: &Repository<'_>,
        reference: Reference,
        document: Document,
        platform: Option<Option<Platform>>,
    ) -> Outcome<Entry> {
        if !is_manifest(&document.media_type) {
            return Err(Failure::new(format!("unsupported manifest format: {}", document.media_type)));
        }
        let descriptor = Descriptor {
            media_type: document.media_type.clone(),
            digest: document.digest,
            size: document.bytes.len() as u64,
            platform: None,
        };
        let mut entry = Entry::new(reference, descriptor, &document.bytes)?;
        entry.descriptor.platform = match platform {
            Some(platform) => platform,
            None => match entry.blobs().first() {
                Some(config) => Some(platform_of(repository, &entry.reference, config).await?),
                None => None,
            },
        };
        Ok(entry)
    }
}

/// What an image runs on, by its config.
async fn platform_of(
    repository: &Repository<'_>,
    reference: &Reference,
    config: &Digest,
) -> Outcome<Platform> {
    let mut blob = repository.blob(config, 0).await.map_err(|error| failure(reference, &error))?;
    let mut bytes = Vec::new();
    while let Some(piece) = blob.next().await {
        bytes.extend_from_slice(&piece?);
        if bytes.len() > CONFIG_LIMIT {
            return Err(Failure::new(format!("{reference}: the config is larger than {CONFIG_LIMIT} bytes")));
        }
    }
    if Digest::of(&bytes) != *config {
        return Err(Failure::new(format!("{reference}: the config lacks the digest {config}")));
    }
    serde_json::from_slice(&bytes)
        .map_err(|error| Failure::new(format!("{reference}: the config cannot be read: {error}")))
}

/// A registry's refusal in docker's words.
pub fn failure(reference: &Reference, error: &RegistryError) -> Failure {
    match error {
        RegistryError::NotFound { .. } => Failure::new(format!("no such manifest: {reference}")),
        error => Failure::new(error.to_string()),
    }
}
