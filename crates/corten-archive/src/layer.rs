//! A layer's compressed stream to a tree and a DiffID: inflated and hashed on one thread, unpacked on another.

use std::io::{BufRead as _, BufReader, Read};
use std::os::fd::AsFd;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use corten_types::{Digest, Digester};

use crate::apply::{Applied, ApplyOptions, apply};
use crate::compression::{Compression, decompress};
use crate::error::ApplyError;

/// Bytes of one piece between the two threads.
const PIECE: usize = 256 << 10;
/// Bytes of headers that a layer may have besides as many as its files, in any case.
const BETWEEN: u64 = 256 << 20;
/// Pieces on the way at most.
const PIECES: usize = 8;

/// Unpacks a layer from a stream of its tar, compressed or not, into the tree at `root`, which nobody else uses yet.
/// Gives what is still to be settled, and the layer's DiffID.
///
/// `blob` is the digest of the stream itself, where somebody else makes sure of it: a stream that is not compressed need
/// not be hashed again.
pub fn apply_layer(
    root: impl AsFd,
    reader: impl Read + Send,
    blob: Option<Digest>,
    options: &ApplyOptions,
) -> Result<(Applied, Digest), ApplyError> {
    let mut reader = BufReader::with_capacity(PIECE, reader);
    if let Some(blob) = blob {
        let start = reader.fill_buf().map_err(|source| ApplyError::Read { source })?;
        if Compression::detect(start) == Compression::None {
            let applied = apply(root, &mut reader, options)?;
            // Its end must have come, where it is still growing.
            std::io::copy(&mut reader, &mut std::io::sink()).map_err(|source| ApplyError::Read { source })?;
            return Ok((applied, blob));
        }
    }
    let plain = decompress(reader)?;
    // What stands between the files, and behind the last one, is bounded too.
    let most = options.limits.bytes.saturating_mul(2).saturating_add(BETWEEN);
    hashed(plain, most, |plain| apply(root, plain, options))
}

/// Gives `consume` the at most `most` bytes of `plain`, which another thread inflates and hashes meanwhile. Ends with the digest of
/// all of them, also of what `consume` has left over.
fn hashed<T>(
    mut plain: Box<dyn Read + Send + '_>,
    most: u64,
    consume: impl FnOnce(&mut dyn Read) -> Result<T, ApplyError>,
) -> Result<(T, Digest), ApplyError> {
    std::thread::scope(|scope| {
        let (full, pieces) = sync_channel(PIECES);
        let (used, free) = channel();
        let hashing = scope.spawn(move || inflate(&mut plain, most, &full, &free));
        let mut reader = Pieces { pieces, used, piece: Vec::new(), at: 0 };
        let consumed = consume(&mut reader).and_then(|consumed| {
            std::io::copy(&mut reader, &mut std::io::sink()).map_err(|source| ApplyError::Read { source })?;
            Ok(consumed)
        });
        // Ends the other thread where it is still at work.
        drop(reader);
        match hashing.join() {
            Ok(digester) => consumed.map(|consumed| (consumed, digester.finish())),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

fn inflate(
    plain: &mut dyn Read,
    most: u64,
    full: &SyncSender<std::io::Result<Vec<u8>>>,
    free: &Receiver<Vec<u8>>,
) -> Digester {
    let mut digester = Digester::new();
    loop {
        let mut piece = free.try_recv().unwrap_or_default();
        piece.resize(PIECE, 0);
        let mut filled = 0;
        let mut ended = None;
        while filled < PIECE && ended.is_none() {
            match plain.read(&mut piece[filled..]) {
                Ok(0) => ended = Some(Ok(())),
                Ok(n) => filled += n,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => ended = Some(Err(error)),
            }
        }
        piece.truncate(filled);
        digester.update(&piece);
        if digester.len() > most {
            ended = Some(Err(std::io::Error::other("it is far longer than what is in it")));
        }
        if filled > 0 && full.send(Ok(piece)).is_err() {
            return digester;
        }
        match ended {
            None => {}
            Some(Ok(())) => return digester,
            Some(Err(error)) => {
                // A reader that is gone has failed already.
                let _ = full.send(Err(error));
                return digester;
            }
        }
    }
}

/// The pieces as one stream.
struct Pieces {
    pieces: Receiver<std::io::Result<Vec<u8>>>,
    used: Sender<Vec<u8>>,
    piece: Vec<u8>,
    at: usize,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.at == self.piece.len() {
            let Ok(next) = self.pieces.recv() else { return Ok(0) };
            // The other thread may have ended; then nobody needs the old one.
            let _ = self.used.send(std::mem::replace(&mut self.piece, next?));
            self.at = 0;
        }
        let n = buffer.len().min(self.piece.len() - self.at);
        buffer[..n].copy_from_slice(&self.piece[self.at..self.at + n]);
        self.at += n;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_hashed_also_what_is_left_over() {
        let bytes: Vec<u8> = (0..3_000_000_u32).map(|i| (i % 251) as u8).collect();
        let mut first = [0; 5];
        let ((), digest) = hashed(Box::new(&bytes[..]), u64::MAX, |plain| {
            plain.read_exact(&mut first).map_err(|source| ApplyError::Read { source })
        })
        .unwrap();
        assert_eq!((first, digest), ([0, 1, 2, 3, 4], Digest::of(&bytes)));
    }

    #[test]
    fn an_error_at_either_end_ends_both() {
        let endless = std::io::repeat(1);
        let failed = hashed::<()>(Box::new(endless), u64::MAX, |_| Err(ApplyError::header("test")));
        assert!(failed.is_err());
        let broken = b"x".chain(Broken);
        let failed = hashed(Box::new(broken), u64::MAX, |plain| {
            std::io::copy(plain, &mut std::io::sink()).map_err(|source| ApplyError::Read { source })
        });
        assert!(failed.is_err());
    }

    #[test]
    fn what_has_no_end_ends() {
        let endless = std::io::repeat(0);
        let drained = hashed(Box::new(endless), 5 << 20, |_| Ok(()));
        assert!(matches!(drained, Err(ApplyError::Read { .. })));
    }

    struct Broken;

    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::ConnectionReset.into())
        }
    }
}
