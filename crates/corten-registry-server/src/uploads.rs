//! Blobs on their way in, piece by piece (distribution-spec, "Pushing blobs").
//!
//! ```text
//!  begin ──▶ open ──append*──▶ finish ──▶ a blob of its repository
//!             │ cancel, expiry, wrong digest, restart
//!             ▼
//!            gone, and its bytes with it
//! ```
//!
//! An upload belongs to its repository. One request at a time writes to it; what a broken request brought stays, and
//! the next goes on from there. Bytes are hashed as they come.

use std::collections::HashMap;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use corten_store::{BlobWriter, Durability, Intake};
use corten_types::random_hex;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use parking_lot::Mutex;

use crate::catalog::{Blob, Change, Moment};
use crate::digest::ContentDigest;
use crate::error::Refusal;
use crate::name::RepositoryName;
use crate::storage::{Storage, run};
use crate::time::now;

/// The most uploads at once.
const OPEN_MAX: usize = 10_000;
/// How much is gathered before it is written and hashed.
const PIECE: usize = 512 << 10;
/// How long a client may send nothing.
const STALL: Duration = Duration::from_secs(60);

type Writer = BlobWriter<Arc<Intake>>;

/// The open uploads.
pub struct Uploads {
    open: Mutex<HashMap<String, Arc<Upload>>>,
    limit: u64,
}

/// One upload.
pub struct Upload {
    id: String,
    repository: RepositoryName,
    /// `None` once it has ended.
    writer: Arc<tokio::sync::Mutex<Option<Writer>>>,
    offset: AtomicU64,
    touched: Moment,
}

impl Upload {
    /// Its name in addresses.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// How many bytes of it are here.
    pub fn offset(&self) -> u64 {
        self.offset.load(Ordering::Acquire)
    }

    /// Where it is.
    pub fn location(&self) -> String {
        format!("/v2/{}/blobs/uploads/{}", self.repository, self.id)
    }
}

impl Uploads {
    /// No uploads yet; no blob may be larger than `limit` bytes.
    pub fn new(limit: u64) -> Self {
        Self { open: Mutex::default(), limit }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.open.lock().len()
    }

    /// Begins an upload.
    pub fn begin(&self, storage: &Storage, repository: RepositoryName) -> Result<Arc<Upload>, Refusal> {
        let writer = Arc::new(storage.intake()).shared_writer()?;
        let upload = Arc::new(Upload {
            id: random_hex(16),
            repository,
            writer: Arc::new(tokio::sync::Mutex::new(Some(writer))),
            offset: AtomicU64::new(0),
            touched: Moment::at(now()),
        });
        let mut open = self.open.lock();
        if open.len() >= OPEN_MAX {
            return Err(Refusal::TooMany("too many uploads are open; try again later"));
        }
        open.insert(upload.id.clone(), upload.clone());
        Ok(upload)
    }

    /// An upload of this repository.
    pub fn find(&self, repository: &RepositoryName, id: &str) -> Result<Arc<Upload>, Refusal> {
        let open = self.open.lock();
        let upload = open.get(id).filter(|upload| upload.repository == *repository);
        upload.cloned().ok_or(Refusal::NoSuchUpload)
    }

    /// Ends an upload and throws its bytes away.
    pub fn cancel(&self, upload: &Upload) {
        self.open.lock().remove(&upload.id);
        if let Ok(mut writer) = upload.writer.try_lock() {
            *writer = None;
        }
    }

    /// Ends uploads that nobody has written to for so many seconds.
    pub fn expire(&self, seconds: u64) -> usize {
        let latest = now().saturating_sub(seconds);
        let mut open = self.open.lock();
        let before = open.len();
        // One that is being written to is in its request's hands, whose own deadline ends it.
        open.retain(|_, upload| upload.touched.get() > latest || upload.writer.try_lock().is_err());
        before - open.len()
    }

    /// Adds the body of a request. What came of a body that breaks off stays.
    pub async fn append(&self, upload: &Arc<Upload>, body: Incoming) -> Result<(), Refusal> {
        let Ok(mut writer) = upload.writer.clone().try_lock_owned() else {
            return Err(Refusal::UploadBusy);
        };
        let (upload, limit) = (upload.clone(), self.limit);
        // In a task of its own: a client that goes away must not take the writer along.
        let task = tokio::spawn(async move {
            let taken = writer.take().ok_or(Refusal::NoSuchUpload)?;
            let (kept, result) = receive(taken, &upload, limit, body).await;
            *writer = kept;
            upload.touched.advance(now());
            result
        });
        match task.await {
            Ok(result) => result,
            Err(panic) => Err(Refusal::Failed(format!("an upload failed: {panic}"))),
        }
    }

    /// Ends an upload: its bytes are a blob of the repository now.
    pub async fn finish(
        &self,
        storage: &Arc<Storage>,
        upload: &Upload,
        digest: ContentDigest,
    ) -> Result<(), Refusal> {
        let Ok(mut writer) = upload.writer.clone().try_lock_owned() else {
            return Err(Refusal::UploadBusy);
        };
        let writer = writer.take().ok_or(Refusal::NoSuchUpload)?;
        self.open.lock().remove(&upload.id);
        let expected = digest.clone();
        let (intake, content, size) = run(move || {
            if !matches!(expected, ContentDigest::Sha256(_)) {
                check_other_kind(&writer, &expected)?;
            }
            let intake = writer.intake().clone();
            let sha256 = match &expected {
                ContentDigest::Sha256(digest) => Some(digest),
                ContentDigest::Sha512(_) => None,
            };
            let (content, size) = writer.finish(sha256, None)?;
            let intake = Arc::into_inner(intake).ok_or(Refusal::UploadBusy)?;
            Ok((intake, content, size))
        })
        .await?;
        let lease = storage.commit_content(intake).await?;
        let repository = upload.repository.clone();
        // The row rests on the next durable one, at the latest that of the manifest that needs it.
        storage
            .change(&upload.repository, Durability::None, vec![lease], move |_| {
                let blob = Arc::new(Blob { content, size, used: Moment::at(now()) });
                Ok((vec![Change::PutBlob(repository, digest, blob)], ()))
            })
            .await
    }
}

fn check_other_kind(writer: &Writer, expected: &ContentDigest) -> Result<(), Refusal> {
    let read = writer.reread().and_then(|mut reader| expected.of_same_kind(&mut reader));
    let found = read.map_err(|error| Refusal::io("could not read an upload", &error))?;
    if found == *expected {
        Ok(())
    } else {
        Err(Refusal::DigestDiffers { expected: expected.clone(), found })
    }
}

/// Writes a body; gives the writer back unless a thread died with it.
async fn receive(
    mut writer: Writer,
    upload: &Upload,
    limit: u64,
    mut body: Incoming,
) -> (Option<Writer>, Result<(), Refusal>) {
    let mut gathered: Vec<Bytes> = Vec::new();
    let mut length = 0;
    loop {
        let (piece, end) = match tokio::time::timeout(STALL, body.frame()).await {
            Ok(Some(Ok(frame))) => (frame.into_data().ok(), None),
            Ok(Some(Err(error))) => (None, Some(Err(error.to_string()))),
            Ok(None) => (None, Some(Ok(()))),
            Err(_) => (None, Some(Err("nothing came for a minute".to_owned()))),
        };
        if let Some(piece) = piece {
            length += piece.len();
            gathered.push(piece);
        }
        if (length >= PIECE || end.is_some()) && length > 0 {
            if writer.len() + length as u64 > limit {
                return (Some(writer), Err(Refusal::TooLarge { what: "the blob", limit }));
            }
            let pieces = std::mem::take(&mut gathered);
            length = 0;
            let written = tokio::task::spawn_blocking(move || {
                let result = pieces.iter().try_for_each(|piece| writer.write_all(piece));
                (writer, result)
            });
            let result = match written.await {
                Ok((kept, result)) => {
                    writer = kept;
                    result
                }
                Err(panic) => return (None, Err(Refusal::Failed(format!("a thread failed: {panic}")))),
            };
            upload.offset.store(writer.len(), Ordering::Release);
            upload.touched.advance(now());
            if let Err(error) = result {
                return (Some(writer), Err(Refusal::io("could not write an upload", &error)));
            }
        }
        match end {
            None => {}
            Some(Ok(())) => return (Some(writer), Ok(())),
            Some(Err(reason)) => {
                let received = writer.len();
                return (Some(writer), Err(Refusal::UploadBroken { received, reason }));
            }
        }
    }
}
