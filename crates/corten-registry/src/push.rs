//! What can be written to a repository.

use std::io;

use bytes::Bytes;
use corten_types::Digest;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use http::{Method, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};

use crate::error::RegistryError;
use crate::repository::{Ask, Repository, escape, full};
use crate::transport::Body;

/// Whether the registry took a blob from another of its repositories.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mounted {
    /// It did.
    Yes,
    /// It wants the blob, at this place.
    No {
        /// Where to.
        location: String,
    },
}

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

    /// Begins the upload of a blob; takes it from the repository `from` of the same registry instead, if it can.
    pub async fn begin(&self, digest: &Digest, from: Option<&str>) -> Result<Mounted, RegistryError> {
        let base = format!("/v2/{}/blobs/uploads/", self.path);
        let (target, scope) = match from {
            Some(from) => (
                format!("{base}?mount={}&from={}", escape(&digest.to_string()), escape(from)),
                format!("{} repository:{from}:pull", self.scope("pull,push")),
            ),
            None => (base, self.scope("pull,push")),
        };
        let response = self.ask(Ask::new(Method::POST, target), &scope).await?;
        if response.status() == StatusCode::CREATED {
            return Ok(Mounted::Yes);
        }
        Ok(Mounted::No { location: self.location(&response)? })
    }

    /// Uploads a blob in one request to the place that [`Self::begin`] gave. `open` reads the blob from its start;
    /// `sent` is told how many bytes were handed to the connection.
    pub async fn upload(
        &self,
        location: &str,
        digest: &Digest,
        size: u64,
        open: &(dyn Fn() -> io::Result<std::fs::File> + Send + Sync),
        sent: &std::sync::Arc<dyn Fn(u64) + Send + Sync>,
    ) -> Result<(), RegistryError> {
        let separator = if location.contains('?') { '&' } else { '?' };
        let mut ask =
            Ask::new(Method::PUT, format!("{location}{separator}digest={}", escape(&digest.to_string())));
        // A place that took a part is used up; the caller begins anew.
        ask.again = false;
        ask.headers.push((CONTENT_TYPE, "application/octet-stream".into()));
        ask.headers.push((CONTENT_LENGTH, size.to_string()));
        let body = || open().map(|file| stream(file, sent.clone()));
        ask.body = Some(&body);
        self.ask(ask, &self.scope("pull,push")).await.map(drop)
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

    fn location(&self, response: &Response<Incoming>) -> Result<String, RegistryError> {
        let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        location.map(str::to_owned).ok_or_else(|| RegistryError::Answer {
            url: self.endpoint.url(),
            reason: "the registry does not say where to upload".into(),
        })
    }
}

fn found(answer: Result<Response<Incoming>, RegistryError>) -> Result<bool, RegistryError> {
    match answer {
        Ok(_) => Ok(true),
        Err(RegistryError::NotFound { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// A file as a body, read on a thread where it may block.
fn stream(file: std::fs::File, sent: std::sync::Arc<dyn Fn(u64) + Send + Sync>) -> Body {
    let (sender, receiver) = tokio::sync::mpsc::channel::<io::Result<Bytes>>(4);
    tokio::task::spawn_blocking(move || {
        let mut file = file;
        loop {
            let mut buffer = vec![0; 128 << 10];
            let piece = match io::Read::read(&mut file, &mut buffer) {
                Ok(0) => return,
                Ok(n) => {
                    buffer.truncate(n);
                    sent(n as u64);
                    Ok(Bytes::from(buffer))
                }
                Err(error) => Err(error),
            };
            let failed = piece.is_err();
            // The request ended early where nobody takes the piece.
            if sender.blocking_send(piece).is_err() || failed {
                return;
            }
        }
    });
    let frames = futures_util::stream::unfold(receiver, |mut receiver| async move {
        let piece = receiver.recv().await?;
        Some((piece.map(Frame::data), receiver))
    });
    StreamBody::new(frames).boxed()
}
