//! Manifests that are written to a repository, and what is there already. Blobs: [`crate::upload`].

use bytes::Bytes;
use corten_types::Digest;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{Method, Response};
use hyper::body::Incoming;

use crate::error::RegistryError;
use crate::repository::{Ask, Repository, full};

impl Repository<'_> {
    /// Whether the repository has a blob.
    pub async fn has_blob(&self, digest: &Digest) -> Result<bool, RegistryError> {
        let ask = Ask::new(Method::HEAD, format!("/v2/{}/blobs/{digest}", self.path));
        found(self.ask(ask, &self.scope("pull,push")).await)
    }

    /// Whether the repository has a manifest.
    pub async fn has_manifest(&self, digest: &Digest) -> Result<bool, RegistryError> {
        let ask = Ask::new(Method::HEAD, self.manifest_path(&digest.to_string()));
        found(self.ask(ask, &self.scope("pull,push")).await)
    }

    /// Puts a manifest or index under a tag or its digest.
    pub async fn put_manifest(
        &self,
        reference: &str,
        media_type: &str,
        bytes: Bytes,
    ) -> Result<(), RegistryError> {
        let mut ask = Ask::new(Method::PUT, self.manifest_path(reference));
        ask.headers.push((CONTENT_TYPE, media_type.into()));
        ask.headers.push((CONTENT_LENGTH, bytes.len().to_string()));
        let body = || Ok(full(bytes.clone()));
        ask.body = Some(&body);
        self.ask(ask, &self.scope("pull,push")).await.map(drop)
    }
}

fn found(answer: Result<Response<Incoming>, RegistryError>) -> Result<bool, RegistryError> {
    match answer {
        Ok(_) => Ok(true),
        Err(RegistryError::NotFound { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}
