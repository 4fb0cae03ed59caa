//! Images from daemon to daemon, without a registry between them.
//!
//! ```text
//!  source   what an image consists of, and its blobs
//!  target   begin (what is missing?) ──▶ receive* ──▶ commit: verified, unpacked, named
//!                                          └─ cancel, or ten quiet minutes: nothing stays
//! ```
//!
//! A transfer is an intake: what is there already is held while it lasts, and nothing is visible before all of it is.
//! Whoever carries the bytes, the client, is trusted with nothing: digests, sizes and documents are checked here.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io::Read;
use std::sync::Arc;
use std::time::{Duration, Instant};

use corten_api::transfer::{Begin, Begun, Commit, Content};
use corten_store::oci::Descriptor;
use corten_store::{Intake, Name};
use corten_types::{Digest, ErrorKind, Kind, Reference, random_hex};
use parking_lot::Mutex;

use super::summary::Wanted;
use super::{Error, Images, blocking, layout, shown};

/// How long a transfer lives that nobody goes on with.
const QUIET: Duration = Duration::from_secs(600);
/// The most transfers at once.
const OPEN_MAX: usize = 64;
/// The most blobs in one transfer.
const CONTENT_MAX: usize = 10_000;

/// Why a transfer does not go on.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// There is no such transfer, or it has ended.
    #[error("no such transfer: {0}")]
    NotFound(String),
    /// Too many at once.
    #[error("too many transfers are open: at most 64")]
    TooMany,
    /// It has more parts than allowed.
    #[error("a transfer has at most 10000 blobs")]
    TooLarge,
    /// Something was not sent.
    #[error("the image is not whole: {0} is missing")]
    Incomplete(Digest),
    /// An image could not be read or stored.
    #[error(transparent)]
    Image(#[from] Error),
}

impl Kind for TransferError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound(_) => ErrorKind::NotFound,
            Self::TooMany => ErrorKind::Unavailable,
            Self::TooLarge | Self::Incomplete(_) => ErrorKind::InvalidArgument,
            Self::Image(error) => error.kind(),
        }
    }
}

/// The transfers of one daemon.
pub struct Transfers {
    images: Arc<Images>,
    open: Arc<Mutex<HashMap<String, Open>>>,
}

struct Open {
    intake: Arc<Intake>,
    touched: Instant,
}

impl Transfers {
    /// None yet.
    pub fn new(images: Arc<Images>) -> Self {
        Self { images, open: Arc::default() }
    }

    /// What an image consists of, as far as it is here.
    pub fn content(&self, name: &str) -> Result<Content, TransferError> {
        let store = self.images.store();
        let image = store.images().find(name).map_err(Error::from)?;
        let mut seen = HashSet::new();
        let present = store.content().present(&image.target).map_err(Error::from)?;
        let content = present.iter().filter(|descriptor| seen.insert(descriptor.digest)).map(shown).collect();
        Ok(Content {
            name: image.name.reference().map(Reference::familiar),
            target: shown(&image.target),
            content,
        })
    }

    /// A blob, and its size.
    pub fn open_blob(&self, digest: &Digest) -> Result<(File, u64), TransferError> {
        let content = self.images.store().content();
        let file = content.open(digest).map_err(Error::from)?;
        Ok((file, content.size(digest).unwrap_or(0)))
    }

    /// Begins a transfer: what is here is held, what is missing is named.
    pub fn begin(&self, begin: &Begin) -> Result<Begun, TransferError> {
        if begin.content.len() > CONTENT_MAX {
            return Err(TransferError::TooLarge);
        }
        let intake = Arc::new(self.images.store().intake());
        let missing = begin.content.iter().filter(|digest| !intake.has_blob(digest)).copied().collect();
        let id = random_hex(16);
        {
            let mut open = self.open.lock();
            if open.len() >= OPEN_MAX {
                return Err(TransferError::TooMany);
            }
            open.insert(id.clone(), Open { intake, touched: Instant::now() });
        }
        self.expire_later(id.clone());
        Ok(Begun { id, missing })
    }

    /// Takes a blob of a transfer; it must have the digest, and the size where one is known.
    pub async fn receive(
        &self,
        id: &str,
        digest: Digest,
        size: Option<u64>,
        mut reader: Box<dyn Read + Send>,
    ) -> Result<(), TransferError> {
        let intake = self.touch(id)?;
        let received = blocking(move || intake.copy(&mut *reader, Some(&digest), size)).await;
        received.map_err(Error::from)?;
        self.touch(id).map(drop)
    }

    /// Makes what was sent an image, unpacked where it is for this machine.
    pub async fn commit(&self, id: &str, commit: &Commit) -> Result<Digest, TransferError> {
        let name = match &commit.name {
            Some(text) => {
                let reference: Reference = text.parse().map_err(Error::from)?;
                Name::Reference(reference.or_latest())
            }
            None => Name::Dangling(commit.target.digest),
        };
        let intake = self.touch(id)?;
        let target = Descriptor::new(&commit.target.media_type, commit.target.digest, commit.target.size);
        let digest = target.digest;
        blocking(move || publish(&intake, name, target)).await?;
        self.open.lock().remove(id);
        self.images.tell("load", &digest, &digest.to_string());
        Ok(digest)
    }

    /// Ends a transfer; what was sent is thrown away.
    pub fn cancel(&self, id: &str) -> Result<(), TransferError> {
        let removed = self.open.lock().remove(id);
        removed.map(drop).ok_or_else(|| TransferError::NotFound(id.into()))
    }

    fn touch(&self, id: &str) -> Result<Arc<Intake>, TransferError> {
        let mut open = self.open.lock();
        let transfer = open.get_mut(id).ok_or_else(|| TransferError::NotFound(id.into()))?;
        transfer.touched = Instant::now();
        Ok(transfer.intake.clone())
    }

    fn expire_later(&self, id: String) {
        let open = Arc::downgrade(&self.open);
        tokio::spawn(async move {
            loop {
                let Some(open) = open.upgrade() else { return };
                let wait = {
                    let mut open = open.lock();
                    let Some(transfer) = open.get(&id) else { return };
                    // A blob that is on its way holds the intake as well.
                    let quiet = match Arc::strong_count(&transfer.intake) {
                        1 => transfer.touched.elapsed(),
                        _ => Duration::ZERO,
                    };
                    if quiet >= QUIET {
                        open.remove(&id);
                        return;
                    }
                    QUIET.saturating_sub(quiet)
                };
                drop(open);
                tokio::time::sleep(wait.max(Duration::from_secs(1))).await;
            }
        });
    }
}

/// Checks that everything is there, unpacks what this machine can run, and makes it visible.
fn publish(intake: &Intake, name: Name, target: Descriptor) -> Result<(), TransferError> {
    if !intake.has_blob(&target.digest) {
        return Err(TransferError::Incomplete(target.digest));
    }
    let mut reached = HashSet::new();
    for image in layout::read(intake, &target, &mut reached)? {
        let parts = std::iter::once(&image.manifest.config).chain(&image.manifest.layers);
        // A layer that is named with addresses lies there, and not here.
        let lost = parts.filter(|part| part.urls.is_empty()).find(|part| !intake.has_blob(&part.digest));
        if let Some(lost) = lost {
            return Err(TransferError::Incomplete(lost.digest));
        }
        let layers = image.layers()?;
        let runs_here = image.platform.as_ref().and_then(|platform| Wanted::Any.rank(platform)) == Some(0);
        if runs_here {
            intake.unpack(&layers).map_err(Error::from)?;
        }
    }
    intake.name(name, target, BTreeMap::new());
    intake.keep_only(&reached);
    intake.commit().map_err(Error::from)?;
    Ok(())
}
