//! Blobs that are written to a repository (distribution-spec, "Pushing blobs").
//!
//! A blob goes in one request, as most registries like it best. Where the connection breaks, it goes on from what the
//! registry has kept, in pieces from then on, smaller after each break, so that the next one costs a piece at most; where
//! the registry, or a server before it, finds a request too large, it goes in pieces from its beginning.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use corten_types::Digest;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, LOCATION, RANGE};
use http::{Method, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};

use crate::error::RegistryError;
use crate::repository::{Ask, Repository, escape};
use crate::transport::Body;

/// How large the pieces are at first.
const PIECE: u64 = 32 << 20;
/// Pieces are not made smaller than this: a registry that refuses it refuses the blob.
const LEAST_PIECE: u64 = 1 << 20;
/// So much is coming forward, in bytes.
const FORWARD: u64 = 1 << 20;
/// The first pause after a failure; each later one is twice as long.
const PAUSE: Duration = Duration::from_millis(200);

/// A blob that is to be at a registry.
pub struct Upload<'a> {
    /// Its digest.
    pub digest: Digest,
    /// Its size.
    pub size: u64,
    /// A repository of the same registry that may have it.
    pub from: Option<&'a str>,
    /// Opens it at its beginning.
    pub open: &'a (dyn Fn() -> io::Result<File> + Send + Sync),
    /// How many of its bytes were handed to the connection.
    pub sent: &'a Arc<AtomicU64>,
    /// How often it is begun or taken up again without having come forward.
    pub attempts: u32,
}

/// How a blob came to a registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Uploaded {
    /// From another of its repositories.
    Mounted,
    /// From here.
    Sent,
}

/// An upload that the registry keeps.
struct Session {
    /// Where the next request goes.
    location: String,
    /// How many bytes the registry has.
    offset: u64,
    /// The smallest piece that it takes, the last one aside.
    least: u64,
}

/// What a registry makes of the wish for an upload.
enum Begun {
    Mounted,
    Session(Session),
}

/// What follows from a failure.
#[derive(Debug, PartialEq, Eq)]
enum Remedy {
    /// It may not happen again.
    Again,
    /// The request was too large.
    Smaller,
    /// None.
    None,
}

impl Repository<'_> {
    /// Takes a blob from the repository `from` of the same registry, if it can be had so.
    pub async fn mount(&self, digest: &Digest, from: &str) -> Result<bool, RegistryError> {
        match self.begin(digest, Some(from)).await? {
            Begun::Mounted => Ok(true),
            Begun::Session(session) => {
                // One that cannot be cancelled is forgotten by the registry in time.
                let _ = self.session_ask(Method::DELETE, session.location, Vec::new(), None).await;
                Ok(false)
            }
        }
    }

    /// Brings a blob to the repository.
    pub async fn upload(&self, blob: &Upload<'_>) -> Result<Uploaded, RegistryError> {
        let Begun::Session(mut session) = self.begin(&blob.digest, blob.from).await? else {
            return Ok(Uploaded::Mounted);
        };
        let mut piece = None;
        let (mut failures, mut furthest) = (0, 0);
        loop {
            let error = match self.step(blob, &mut session, piece).await {
                Ok(true) => return Ok(Uploaded::Sent),
                Ok(false) => {
                    if session.offset >= furthest + FORWARD {
                        (failures, furthest) = (0, session.offset);
                    }
                    continue;
                }
                Err(error) => error,
            };
            match remedy(&error) {
                Remedy::Smaller => {
                    let Some(smaller) = smaller(piece, blob.size, session.least) else { return Err(error) };
                    piece = Some(smaller);
                    session = match self.begin(&blob.digest, None).await? {
                        Begun::Session(session) => session,
                        Begun::Mounted => return Ok(Uploaded::Mounted),
                    };
                }
                Remedy::Again => {
                    failures += 1;
                    if failures >= blob.attempts {
                        return Err(error);
                    }
                    tracing::debug!(digest = %blob.digest, %error, "an upload is taken up again");
                    tokio::time::sleep(PAUSE * 2_u32.pow((failures - 1).min(6))).await;
                    // A server may also close on what is too large for it, without a word.
                    piece = smaller(piece, blob.size, session.least).or(piece);
                    session = match self.take_up(&session).await {
                        Some(session) => session,
                        None => match self.begin(&blob.digest, None).await {
                            Ok(Begun::Session(session)) => session,
                            Ok(Begun::Mounted) => return Ok(Uploaded::Mounted),
                            // Not there yet: the next step fails on the old one, and this is tried again.
                            Err(RegistryError::Connect { .. }) => session,
                            Err(error) => return Err(error),
                        },
                    };
                }
                Remedy::None => return Err(error),
            }
        }
    }

    /// Begins an upload.
    async fn begin(&self, digest: &Digest, from: Option<&str>) -> Result<Begun, RegistryError> {
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
            return Ok(Begun::Mounted);
        }
        let least = header(&response, "oci-chunk-min-length").and_then(|text| text.parse().ok());
        let location = header(&response, LOCATION.as_str()).map(str::to_owned);
        let location = location.ok_or_else(|| self.silent())?;
        Ok(Begun::Session(Session { location, offset: 0, least: least.unwrap_or(0) }))
    }

    /// Sends the blob, its next piece, or its end; says whether the blob is there.
    async fn step(
        &self,
        blob: &Upload<'_>,
        session: &mut Session,
        piece: Option<u64>,
    ) -> Result<bool, RegistryError> {
        let from = session.offset;
        let length = piece.unwrap_or(u64::MAX).min(blob.size - from);
        blob.sent.store(from, Ordering::Relaxed);
        let body = || part(blob, from, length);
        let whole = from == 0 && length == blob.size;
        if whole || length == 0 {
            let separator = if session.location.contains('?') { '&' } else { '?' };
            let digest = escape(&blob.digest.to_string());
            let target = format!("{}{separator}digest={digest}", session.location);
            let headers =
                vec![(CONTENT_TYPE, "application/octet-stream".into()), (CONTENT_LENGTH, length.to_string())];
            self.session_ask(Method::PUT, target, headers, Some(&body)).await?;
            return Ok(true);
        }
        let headers = vec![
            (CONTENT_TYPE, "application/octet-stream".into()),
            (CONTENT_LENGTH, length.to_string()),
            (CONTENT_RANGE, format!("{from}-{}", from + length - 1)),
        ];
        let response =
            self.session_ask(Method::PATCH, session.location.clone(), headers, Some(&body)).await?;
        session.location =
            header(&response, LOCATION.as_str()).map(str::to_owned).ok_or_else(|| self.silent())?;
        session.offset = match kept(&response) {
            Some(offset) if offset > from && offset <= blob.size => offset,
            Some(offset) => {
                let reason = format!("the registry has {offset} bytes of {} after {from}", blob.size);
                return Err(RegistryError::Answer { url: self.endpoint.url(), reason });
            }
            None => from + length,
        };
        Ok(false)
    }

    /// What the registry has of a broken upload; `None` where it does not say, or has nothing.
    async fn take_up(&self, session: &Session) -> Option<Session> {
        let asked = self.session_ask(Method::GET, session.location.clone(), Vec::new(), None).await.ok()?;
        let offset = kept(&asked).filter(|offset| *offset > 1)?;
        let location = header(&asked, LOCATION.as_str()).unwrap_or(&session.location).to_owned();
        Some(Session { location, offset, least: session.least })
    }

    async fn session_ask(
        &self,
        method: Method,
        target: String,
        headers: Vec<(http::HeaderName, String)>,
        body: Option<crate::repository::MakeBody<'_>>,
    ) -> Result<Response<Incoming>, RegistryError> {
        let mut ask = Ask::new(method, target);
        // What took a part is used up: [`Self::upload`] decides how it goes on.
        ask.again = false;
        ask.headers = headers;
        ask.body = body;
        self.ask(ask, &self.scope("pull,push")).await
    }

    fn silent(&self) -> RegistryError {
        let reason = "the registry does not say where to upload".into();
        RegistryError::Answer { url: self.endpoint.url(), reason }
    }
}

fn remedy(error: &RegistryError) -> Remedy {
    match error {
        RegistryError::Connect { .. } | RegistryError::NotFound { .. } => Remedy::Again,
        RegistryError::Status { status, .. } => match status {
            413 => Remedy::Smaller,
            408 | 416 | 429 | 500 | 502..=504 => Remedy::Again,
            _ => Remedy::None,
        },
        _ => Remedy::None,
    }
}

/// Pieces that are smaller than those that were too large.
fn smaller(piece: Option<u64>, size: u64, least: u64) -> Option<u64> {
    let now = piece.unwrap_or(u64::MAX).min(size);
    let next = if now > PIECE { PIECE } else { now / 2 };
    (next >= LEAST_PIECE.max(least)).then_some(next)
}

/// How many bytes a registry says to have: `Range: 0-<last>`. What it says of none or one looks the same.
fn kept(response: &Response<Incoming>) -> Option<u64> {
    let (_, last) = header(response, RANGE.as_str())?.trim_start_matches("bytes=").split_once('-')?;
    last.parse::<u64>().ok()?.checked_add(1)
}

fn header<'r>(response: &'r Response<Incoming>, name: &str) -> Option<&'r str> {
    response.headers().get(name)?.to_str().ok()
}

/// A part of a blob as a body, read on a thread where it may block.
fn part(blob: &Upload<'_>, from: u64, length: u64) -> io::Result<Body> {
    let mut file = (blob.open)()?;
    file.seek(SeekFrom::Start(from))?;
    let mut file = file.take(length);
    blob.sent.store(from, Ordering::Relaxed);
    let sent = blob.sent.clone();
    let (sender, receiver) = tokio::sync::mpsc::channel::<io::Result<Bytes>>(4);
    tokio::task::spawn_blocking(move || {
        loop {
            let mut buffer = vec![0; 128 << 10];
            let piece = match file.read(&mut buffer) {
                Ok(0) => return,
                Ok(n) => {
                    buffer.truncate(n);
                    sent.fetch_add(n as u64, Ordering::Relaxed);
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
    Ok(StreamBody::new(frames).boxed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_shrink_to_a_least_one() {
        assert_eq!(smaller(None, 100 << 20, 0), Some(PIECE));
        assert_eq!(smaller(None, 20 << 20, 0), Some(10 << 20));
        assert_eq!(smaller(Some(PIECE), 100 << 20, 0), Some(16 << 20));
        assert_eq!(smaller(Some(16 << 20), 100 << 20, 10 << 20), None);
        let mut piece = None;
        let all = std::iter::from_fn(|| {
            piece = smaller(piece, 1 << 30, 0);
            piece
        });
        assert_eq!(all.last(), Some(LEAST_PIECE));
    }

    #[test]
    fn failures_and_their_remedies() {
        let status = |status| RegistryError::Status {
            method: "Put",
            url: String::new(),
            status,
            message: String::new(),
        };
        assert_eq!(remedy(&status(413)), Remedy::Smaller);
        assert_eq!(remedy(&status(503)), Remedy::Again);
        assert_eq!(remedy(&status(400)), Remedy::None);
        assert_eq!(remedy(&RegistryError::Denied { message: String::new() }), Remedy::None);
    }
}
