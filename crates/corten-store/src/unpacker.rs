//! Who unpacks the bytes of a layer: this process, or one that is confined to the layer's tree.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use corten_archive::{Applied, ApplyError, ApplyOptions, Limits, apply_layer};
use corten_types::Digest;

/// Unpacks a layer's stream into a tree that nobody else uses yet.
pub trait Unpack: Send + Sync {
    /// Unpacks the tar of `source`, compressed or not, into `tree` within `limits`. Gives what is still to be settled
    /// with the trees beneath, and the DiffID. Blocks until the source ends. `blob` is the source's own digest, where it
    /// is verified by somebody else: then a plain tar need not be hashed once more.
    fn unpack(
        &self,
        tree: OwnedFd,
        source: Source,
        blob: Option<Digest>,
        limits: Limits,
    ) -> Result<(Applied, Digest), ApplyError>;
}

/// Where the bytes of a layer come from. The descriptor is nobody else's: it has an offset of its own, zero.
#[derive(Debug)]
pub enum Source {
    /// A blob that is complete.
    Whole(File),
    /// A blob that somebody is still writing.
    Growing(File, Growth),
}

/// Tells how far a growing blob has come.
#[derive(Debug)]
pub struct Growth {
    lengths: Receiver<u64>,
    whole: Arc<AtomicBool>,
}

/// The writer's end of a [`Growth`].
#[derive(Debug)]
pub(crate) struct Grower {
    lengths: Sender<u64>,
    whole: Arc<AtomicBool>,
}

pub(crate) fn growth() -> (Grower, Growth) {
    let (sender, receiver) = channel();
    let whole = Arc::new(AtomicBool::new(false));
    (Grower { lengths: sender, whole: whole.clone() }, Growth { lengths: receiver, whole })
}

impl Grower {
    /// So many bytes are there now.
    pub fn reached(&self, length: u64) {
        // Whoever has stopped reading knows why.
        let _ = self.lengths.send(length);
    }

    /// Nothing more will come, and what is there is right.
    pub fn finished(self) {
        self.whole.store(true, Ordering::Release);
    }
}

impl Growth {
    /// Waits for the blob to grow, and says how many bytes there are; `None` at its end.
    pub fn next(&self) -> Option<u64> {
        let mut last = self.lengths.recv().ok()?;
        while let Ok(newer) = self.lengths.try_recv() {
            last = newer;
        }
        Some(last)
    }

    /// After the end: whether the blob is whole. Otherwise its writer has failed.
    pub fn is_whole(&self) -> bool {
        self.whole.load(Ordering::Acquire)
    }
}

/// Unpacks here and now: for tests, and for layers of our own making.
#[derive(Debug, Clone, Copy)]
pub struct InProcess;

impl Unpack for InProcess {
    fn unpack(
        &self,
        tree: OwnedFd,
        source: Source,
        blob: Option<Digest>,
        limits: Limits,
    ) -> Result<(Applied, Digest), ApplyError> {
        let options = ApplyOptions::layer(limits);
        match source {
            Source::Whole(file) => apply_layer(&tree, file, blob, &options),
            Source::Growing(file, growth) => {
                apply_layer(&tree, Following { file, growth, at: 0, there: Some(0) }, blob, &options)
            }
        }
    }
}

/// A growing blob as a reader that waits.
struct Following {
    file: File,
    growth: Growth,
    at: u64,
    /// `None` once all is there.
    there: Option<u64>,
}

impl Read for Following {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.there == Some(self.at) {
            self.there = match self.growth.next() {
                None if !self.growth.is_whole() => return Err(io::ErrorKind::ConnectionAborted.into()),
                there => there,
            };
        }
        let left = self.there.map_or(u64::MAX, |there| there - self.at);
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.file.read(&mut buffer[..most])?;
        self.at += read as u64;
        Ok(read)
    }
}
