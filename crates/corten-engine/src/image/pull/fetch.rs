//! The blobs of an image: downloaded, hashed, written and unpacked at the same time.
//!
//! ```text
//!   connection ──pieces──> writer thread: hash, file ──lengths──> unpacker, which follows the file
//!      ▲ breaks, stands still: again from the byte where it stopped; a part from an earlier pull counts
//! ```
//!
//! A blob that comes out wrong is downloaded once more from its beginning where it was resumed, and is an error otherwise.

use std::collections::BTreeSet;
use std::io::Read;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use corten_api::progress::{Message, Progress};
use corten_registry::{Blob, RegistryError, Sources};
use corten_store::oci::{CONFIG_LIMIT, Descriptor, Manifest};
use corten_store::{ApplyError, Intake, IntakeError, Layer, parse_config};
use corten_types::Digest;
use futures_util::FutureExt as _;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinError, JoinHandle, spawn_blocking};

use super::{Limits, Plan, PullError, Puller, Tell, short, signed};

/// How often a download that stood still is taken up again.
const STANDSTILLS: u32 = 2;
/// So much is coming forward, in bytes.
const FORWARD: u64 = 1 << 20;
/// A connection that brings nothing for so long stands still, or less than [`SLOWEST`] bytes in about this time.
const WINDOW: Duration = Duration::from_secs(10);
const SLOWEST: usize = 1 << 10;
/// How often the progress of a layer is told.
const TELL_EACH: Duration = Duration::from_millis(100);

impl Puller {
    /// Fetches config and layers; gives the layers, each with whether it was fetched now. Those that were fetched are
    /// unpacked, but not settled.
    pub(super) async fn fetch(
        &self,
        repository: &Sources<'_>,
        intake: &Arc<Intake>,
        plan: &Plan,
        tell: Tell<'_>,
    ) -> Result<Vec<(Layer, bool)>, PullError> {
        let manifest = &plan.manifest;
        let missing: BTreeSet<Digest> = std::iter::once(&manifest.config)
            .chain(&manifest.layers)
            .map(|blob| blob.digest)
            .filter(|digest| !intake.has_blob(digest))
            .collect();
        if !missing.is_empty() {
            for layer in &manifest.layers {
                tell(Message::progress(short(&layer.digest), "Pulling fs layer", Progress::default()));
            }
        }
        let limits = self.limits();
        if missing.contains(&manifest.config.digest) {
            self.download(repository, intake, &manifest.config, None, &limits, None).await?;
        }
        let layers = layers(intake, manifest)?;
        let mut under_way = FuturesUnordered::new();
        let mut begun = BTreeSet::new();
        for layer in &layers {
            let blob = &layer.descriptor;
            if !missing.contains(&blob.digest) {
                if !missing.is_empty() {
                    let hidden = Progress { hide_counts: true, ..Progress::default() };
                    tell(Message::progress(short(&blob.digest), "Already exists", hidden));
                }
            } else if begun.insert(blob.digest) {
                let unpack = (!intake.has_layer(&layer.chain_id)).then_some(layer);
                under_way.push(self.download(repository, intake, blob, unpack, &limits, Some(tell)));
            }
        }
        while let Some(done) = under_way.next().await {
            done?;
        }
        drop(under_way);
        let fetched =
            layers.iter().map(|layer| missing.contains(&layer.descriptor.digest)).collect::<Vec<_>>();
        Ok(layers.into_iter().zip(fetched).collect())
    }

    /// Downloads one blob, and unpacks it meanwhile where it is a layer that is wanted unpacked.
    async fn download(
        &self,
        repository: &Sources<'_>,
        intake: &Arc<Intake>,
        blob: &Descriptor,
        unpack: Option<&Layer>,
        limits: &Limits,
        tell: Option<Tell<'_>>,
    ) -> Result<(), PullError> {
        let (Ok(_layer), Ok(permit)) = (limits.layers.acquire().await, limits.downloads.acquire().await)
        else {
            return Ok(());
        };
        let unpacking = match self.attempt(repository, intake, blob, unpack, tell).await? {
            Written::Whole(unpacking) => unpacking,
            // What an earlier pull had left was not what it should be; it is gone now.
            Written::Spoilt => match self.attempt(repository, intake, blob, unpack, tell).await? {
                Written::Whole(unpacking) => unpacking,
                Written::Spoilt => {
                    let reason = "it comes out wrong again and again".to_owned();
                    return Err(PullError::Broken { digest: blob.digest, reason });
                }
            },
        };
        drop(permit);
        let hidden = Progress { hide_counts: true, ..Progress::default() };
        if let Some(tell) = tell {
            tell(Message::progress(short(&blob.digest), "Download complete", hidden));
        }
        match unpacking {
            Some(unpacking) => unpacking.end().await.map_err(PullError::from),
            None => Ok(()),
        }
    }

    /// Downloads what is missing of a blob.
    async fn attempt(
        &self,
        repository: &Sources<'_>,
        intake: &Arc<Intake>,
        blob: &Descriptor,
        unpack: Option<&Layer>,
        tell: Option<Tell<'_>>,
    ) -> Result<Written, PullError> {
        let (sender, receiver) = mpsc::channel(8);
        let (begun, begins) = oneshot::channel();
        let writing = {
            let (intake, blob, unpack) = (intake.clone(), blob.clone(), unpack.cloned());
            spawn_blocking(move || write(&intake, &blob, unpack, receiver, begun))
        };
        let mut unpacking = None;
        let streamed = match begins.await {
            Ok(begin) => {
                unpacking = begin.unpacking;
                self.stream(repository, blob, begin.offset, &sender, unpacking.as_mut(), tell).await
            }
            // The writer knows why it did not even begin.
            Err(_) => Ok(Streamed::Unwanted),
        };
        if matches!(streamed, Ok(Streamed::Whole)) {
            // The writer may have stopped before.
            let _ = sender.send(Piece::End).await;
        }
        drop(sender);
        let finished = joined(writing.await);
        match (streamed?, finished) {
            (Streamed::Whole, Ok(Finished::Whole)) => Ok(Written::Whole(unpacking)),
            (Streamed::Whole, Ok(Finished::Spoilt)) => {
                if let Some(unpacking) = unpacking {
                    // Of the wrong bytes.
                    drop(unpacking.end().await);
                }
                Ok(Written::Spoilt)
            }
            (Streamed::Whole, Err(error)) => Err(error.into()),
            (Streamed::Unwanted, finished) => {
                if let Some(unpacking) = unpacking {
                    unpacking.end().await?;
                }
                finished?;
                Ok(Written::Spoilt)
            }
        }
    }

    /// Gives the pieces of a blob to `sender`, taking a connection that breaks up again where it stopped.
    async fn stream(
        &self,
        repository: &Sources<'_>,
        blob: &Descriptor,
        offset: u64,
        sender: &mpsc::Sender<Piece>,
        mut unpacking: Option<&mut Unpacking>,
        tell: Option<Tell<'_>>,
    ) -> Result<Streamed, PullError> {
        let digest = blob.digest;
        let mut progress = Told { blob, tell, received: offset, last: Instant::now() };
        let (mut tries, mut standstills, mut forward) = (0, 0, offset);
        while progress.received < blob.size {
            let reason = match repository.blob(&digest, progress.received).await {
                Ok(body) => match follow(body, &mut progress, sender, unpacking.as_deref_mut()).await? {
                    Ended::Whole => continue,
                    Ended::Unwanted => return Ok(Streamed::Unwanted),
                    Ended::Broken(reason) => reason,
                    Ended::Standing => {
                        standstills += 1;
                        "the registry stopped sending".to_owned()
                    }
                },
                Err(error @ RegistryError::Connect { .. }) => error.to_string(),
                Err(error) => return Err(error.into()),
            };
            tries += 1;
            if progress.received >= forward + FORWARD {
                (tries, standstills, forward) = (1, 0, progress.received);
            }
            if tries > self.limits().attempts || standstills > STANDSTILLS {
                return Err(PullError::Broken { digest, reason });
            }
            tracing::debug!(%digest, received = progress.received, %reason, "a download is taken up again");
            tokio::time::sleep(Duration::from_millis(200) * (tries - 1)).await;
        }
        Ok(Streamed::Whole)
    }
}

/// How the stream of a blob ended.
enum Streamed {
    Whole,
    /// The writer or the unpacker has failed.
    Unwanted,
}

/// How the stream of one answer ended.
enum Ended {
    Whole,
    Unwanted,
    Broken(String),
    Standing,
}

/// Hands on what one answer brings.
async fn follow(
    mut body: Blob,
    progress: &mut Told<'_>,
    sender: &mpsc::Sender<Piece>,
    mut unpacking: Option<&mut Unpacking>,
) -> Result<Ended, PullError> {
    let (mut window, mut in_window) = (Instant::now(), 0);
    loop {
        if window.elapsed() >= WINDOW {
            if in_window < SLOWEST {
                return Ok(Ended::Standing);
            }
            (window, in_window) = (Instant::now(), 0);
        }
        let piece = match tokio::time::timeout(WINDOW, body.next()).await {
            Err(_) => return Ok(Ended::Standing),
            Ok(None) if progress.received < progress.blob.size => {
                return Ok(Ended::Broken("unexpected EOF".into()));
            }
            Ok(None) => return Ok(Ended::Whole),
            Ok(Some(Err(error))) => return Ok(Ended::Broken(error.to_string())),
            Ok(Some(Ok(piece))) => piece,
        };
        in_window += piece.len();
        progress.forward(piece.len() as u64)?;
        // A disk that is full, or a bomb, need not be downloaded to its end.
        if sender.send(Piece::Data(piece)).await.is_err()
            || unpacking.as_deref_mut().is_some_and(Unpacking::has_failed_for_good)
        {
            return Ok(Ended::Unwanted);
        }
    }
}

/// How far a download has come, and who is told.
struct Told<'a> {
    blob: &'a Descriptor,
    tell: Option<Tell<'a>>,
    received: u64,
    last: Instant,
}

impl Told<'_> {
    #[expect(clippy::result_large_err, reason = "it is made once per pull, and says everything")]
    fn forward(&mut self, bytes: u64) -> Result<(), PullError> {
        self.received += bytes;
        if self.received > self.blob.size {
            let reason = "the registry sends more than it promised".to_owned();
            return Err(PullError::Broken { digest: self.blob.digest, reason });
        }
        if let Some(tell) = self.tell.filter(|_| self.last.elapsed() >= TELL_EACH) {
            self.last = Instant::now();
            let (current, total) = (signed(self.received), signed(self.blob.size));
            let progress = Progress { current, total, ..Progress::default() };
            tell(Message::progress(short(&self.blob.digest), "Downloading", progress));
        }
        Ok(())
    }
}

/// A layer that is being unpacked, or was.
enum Unpacking {
    Running(JoinHandle<Result<(), IntakeError>>),
    Ended(Result<(), IntakeError>),
}

impl Unpacking {
    /// Whether it has failed for a reason that does not lie in bytes which may yet turn out to be wrong.
    fn has_failed_for_good(&mut self) -> bool {
        if let Self::Running(task) = self
            && let Some(result) = task.now_or_never()
        {
            *self = Self::Ended(joined(result));
        }
        let Self::Ended(Err(IntakeError::Apply { source, .. })) = self else { return false };
        matches!(source, ApplyError::Limit { .. } | ApplyError::Io { .. })
    }

    async fn end(self) -> Result<(), IntakeError> {
        match self {
            Self::Running(task) => joined(task.await),
            Self::Ended(result) => result,
        }
    }
}

/// What the writer found when it began.
struct Begin {
    offset: u64,
    unpacking: Option<Unpacking>,
}

/// What the writer made of it.
enum Finished {
    Whole,
    /// It was resumed, and came out wrong.
    Spoilt,
}

/// What a download made of a blob.
enum Written {
    /// It is here; its unpacking may still go on.
    Whole(Option<Unpacking>),
    Spoilt,
}

/// Hashes and writes what arrives. Blocks.
fn write(
    intake: &Arc<Intake>,
    blob: &Descriptor,
    unpack: Option<Layer>,
    receiver: mpsc::Receiver<Piece>,
    begun: oneshot::Sender<Begin>,
) -> Result<Finished, IntakeError> {
    let mut writer = intake.download(&blob.digest, blob.size)?;
    let unpacking = match unpack {
        None => None,
        Some(layer) => {
            let (intake, source) = (intake.clone(), writer.follow()?);
            Some(Unpacking::Running(spawn_blocking(move || intake.unpack_from(&layer, source))))
        }
    };
    // Nobody waits where the pull was given up.
    let _ = begun.send(Begin { offset: writer.len(), unpacking });
    let mut pieces = Pieces { receiver, current: Bytes::new(), ended: false };
    intake.fill(&mut writer, &mut pieces)?;
    let resumed = writer.resumed() > 0;
    match writer.finish(Some(&blob.digest), Some(blob.size)) {
        Err(IntakeError::Digest { .. }) if resumed => Ok(Finished::Spoilt),
        finished => finished.map(|_| Finished::Whole),
    }
}

/// The layers of a manifest with what its config says about them.
#[expect(clippy::result_large_err, reason = "it is made once per pull, and says everything")]
fn layers(intake: &Intake, manifest: &Manifest) -> Result<Vec<Layer>, PullError> {
    let config = parse_config(manifest.config.digest, &intake.read(&manifest.config.digest, CONFIG_LIMIT)?)?;
    let chains = config.chain_ids();
    if chains.len() != manifest.layers.len() {
        return Err(PullError::Layers);
    }
    let layers = manifest.layers.iter().zip(&config.rootfs.diff_ids).zip(chains);
    let layer = |((descriptor, diff_id), chain_id): ((&Descriptor, &Digest), Digest)| Layer {
        descriptor: descriptor.clone(),
        diff_id: *diff_id,
        chain_id,
    };
    Ok(layers.map(layer).collect())
}

fn joined<T>(result: Result<T, JoinError>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// What goes from the connection to the writer.
enum Piece {
    Data(Bytes),
    /// All is there. Without it, the channel's end is a download that was given up.
    End,
}

/// Pieces that arrive on a channel, as a reader for a thread that may block.
struct Pieces {
    receiver: mpsc::Receiver<Piece>,
    current: Bytes,
    ended: bool,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.current.is_empty() && !self.ended {
            match self.receiver.blocking_recv() {
                None => return Err(std::io::ErrorKind::ConnectionAborted.into()),
                Some(Piece::Data(piece)) => self.current = piece,
                Some(Piece::End) => self.ended = true,
            }
        }
        let length = self.current.len().min(buffer.len());
        buffer[..length].copy_from_slice(&self.current.split_to(length));
        Ok(length)
    }
}
