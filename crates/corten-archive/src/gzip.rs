//! gzip written on all cores: blocks of one length, each compressed on its own.
//!
//! ```text
//!   plain ──> blocks of 1 MiB ──> deflate, each from nothing, on several threads ─┐
//!   gzip  <── header, the blocks in order, CRC-32 and length <────────────────────┘
//! ```
//!
//! The same bytes give the same bytes, however many threads there are and in whatever pieces they come: where a block
//! ends, and whether it is worth compressing at all, depend on the bytes alone.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use flate2::{Compress, Compression, Crc, FlushCompress};

/// Bytes of a block; only the last one may have fewer.
const BLOCK: usize = 1 << 20;
/// The bytes of one block, for everybody who wants them.
pub type Block = Arc<Vec<u8>>;

/// A third larger than what the best level gives, six times as fast.
const LEVEL: Compression = Compression::new(2);
/// Threads that compress, at most: more than a disk takes bytes from.
const THREADS_MAX: usize = 8;
/// What is tried of a block before it is compressed: so many pieces of so many bytes.
const SAMPLES: usize = 4;
const SAMPLE: usize = 4 << 10;
/// A block is kept plain where its samples shrink to no less than this many of a hundred.
const WORTH: usize = 98;
/// Longest piece that deflate keeps plain.
const STORED_MAX: usize = 65_535;
/// RFC 1952: gzip, deflate, no flags, no time, fastest, of no operating system.
const HEADER: [u8; 10] = [0x1f, 0x8b, 0x08, 0, 0, 0, 0, 0, 4, 0xff];
/// RFC 1951: the last block, with fixed codes, that ends at once.
const END: [u8; 2] = [0x03, 0x00];

/// Writes the blocks of a [`Blockwise`] to `out` as gzip.
pub fn gzip_blocks(
    plain: impl Iterator<Item = io::Result<Block>> + Send,
    out: &mut dyn Write,
) -> io::Result<()> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
    std::thread::scope(|scope| {
        let (mut ways_in, mut ways_out) = (Vec::new(), Vec::new());
        for _ in 0..threads {
            let (way_in, blocks) = sync_channel::<Block>(1);
            let (pieces, way_out) = sync_channel(1);
            scope.spawn(move || compress_all(&blocks, &pieces));
            ways_in.push(way_in);
            ways_out.push(way_out);
        }
        let fed = scope.spawn(move || feed(plain, &ways_in));
        let written = join(ways_out, out);
        // What cannot be read ends the blocks early: that is why.
        match fed.join() {
            Ok(fed) => fed.and(written),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// [`gzip_blocks`] for all that `plain` has.
pub fn gzip(plain: impl Read + Send, out: &mut dyn Write) -> io::Result<()> {
    gzip_blocks(Blocks { plain, ended: false }, out)
}

/// Gives each block to the thread whose turn it is, until nobody wants them any more.
fn feed(plain: impl Iterator<Item = io::Result<Block>>, ways: &[SyncSender<Block>]) -> io::Result<()> {
    for (block, way) in plain.zip(ways.iter().cycle()) {
        if way.send(block?).is_err() {
            break;
        }
    }
    Ok(())
}

fn compress_all(blocks: &Receiver<Block>, pieces: &SyncSender<Piece>) {
    let mut deflate = Compress::new(LEVEL, false);
    for block in blocks {
        let mut crc = Crc::new();
        crc.update(&block);
        if pieces.send(compress(&mut deflate, &block).map(|piece| (piece, crc))).is_err() {
            return;
        }
    }
}

/// A compressed block, and the checksum of its plain bytes.
type Piece = io::Result<(Vec<u8>, Crc)>;

/// Writes the pieces in their order; they end where the thread whose turn it is has nothing more.
fn join(ways: Vec<Receiver<Piece>>, out: &mut dyn Write) -> io::Result<()> {
    out.write_all(&HEADER)?;
    let mut whole = Crc::new();
    for way in ways.iter().cycle() {
        let Ok(piece) = way.recv() else { break };
        let (piece, crc) = piece?;
        out.write_all(&piece)?;
        whole.combine(&crc);
    }
    out.write_all(&END)?;
    out.write_all(&whole.sum().to_le_bytes())?;
    out.write_all(&whole.amount().to_le_bytes())
}

/// One block as deflate that ends on a byte and is not the last.
fn compress(deflate: &mut Compress, block: &[u8]) -> io::Result<Vec<u8>> {
    if !is_worth_it(deflate, block)? {
        return Ok(stored(block));
    }
    let mut piece = Vec::with_capacity(block.len() / 2 + SAMPLE);
    shrink(deflate, block, &mut piece)?;
    Ok(piece)
}

/// Whether samples of a block become smaller.
fn is_worth_it(deflate: &mut Compress, block: &[u8]) -> io::Result<bool> {
    if block.len() < SAMPLES * SAMPLE {
        return Ok(true);
    }
    let apart = (block.len() - SAMPLE) / (SAMPLES - 1);
    let samples: Vec<u8> =
        (0..SAMPLES).flat_map(|n| &block[n * apart..n * apart + SAMPLE]).copied().collect();
    let mut small = Vec::with_capacity(samples.len());
    shrink(deflate, &samples, &mut small)?;
    Ok(small.len() * 100 < samples.len() * WORTH)
}

fn shrink(deflate: &mut Compress, bytes: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    deflate.reset();
    loop {
        let done = usize::try_from(deflate.total_in()).unwrap_or(usize::MAX);
        out.reserve(SAMPLE);
        deflate.compress_vec(&bytes[done..], out, FlushCompress::Sync).map_err(io::Error::other)?;
        // It has more to give as long as it fills what it is given.
        if out.len() < out.capacity() {
            return Ok(());
        }
    }
}

/// The block as it is, in deflate's frames.
fn stored(block: &[u8]) -> Vec<u8> {
    let mut piece = Vec::with_capacity(block.len() + 5 * block.len().div_ceil(STORED_MAX));
    for part in block.chunks(STORED_MAX) {
        let length = u16::try_from(part.len()).unwrap_or(u16::MAX);
        piece.push(0);
        piece.extend_from_slice(&length.to_le_bytes());
        piece.extend_from_slice(&(!length).to_le_bytes());
        piece.extend_from_slice(part);
    }
    piece
}

/// A stream as blocks.
struct Blocks<R> {
    plain: R,
    ended: bool,
}

impl<R: Read> Iterator for Blocks<R> {
    type Item = io::Result<Block>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let mut block = Vec::with_capacity(BLOCK);
        let read = (&mut self.plain).take(BLOCK as u64).read_to_end(&mut block);
        self.ended = block.len() < BLOCK;
        match read {
            Ok(0) => None,
            Ok(_) => Some(Ok(block.into())),
            Err(error) => {
                self.ended = true;
                Some(Err(error))
            }
        }
    }
}

/// Collects what is written into blocks, and gives each to `take`. The last one comes with [`Blockwise::finish`].
pub struct Blockwise<F> {
    block: Vec<u8>,
    take: F,
}

impl<F: FnMut(Block) -> io::Result<()>> Blockwise<F> {
    /// A writer of blocks.
    pub fn new(take: F) -> Self {
        Self { block: Vec::with_capacity(BLOCK), take }
    }

    /// Gives what is left.
    pub fn finish(mut self) -> io::Result<()> {
        if self.block.is_empty() { Ok(()) } else { (self.take)(std::mem::take(&mut self.block).into()) }
    }
}

impl<F: FnMut(Block) -> io::Result<()>> Write for Blockwise<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(BLOCK - self.block.len());
        self.block.extend_from_slice(&bytes[..taken]);
        if self.block.len() == BLOCK {
            (self.take)(std::mem::replace(&mut self.block, Vec::with_capacity(BLOCK)).into())?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zipped(plain: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        gzip(plain, &mut out).unwrap();
        out
    }

    /// Bytes without a pattern, the same for the same seed.
    fn noise(length: usize, seed: u64) -> Vec<u8> {
        let mut state = seed;
        std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .take(length)
        .collect()
    }

    #[test]
    fn what_is_compressed_comes_out_as_it_was() {
        let text = b"steel that protects itself by rusting ".repeat(100_000);
        let mixed = [&noise(3 << 20, 1)[..], &text, &noise(5, 2)].concat();
        for plain in [&b""[..], b"x", &text[..BLOCK], &text[..BLOCK + 1], &text, &mixed] {
            let mut out = Vec::new();
            flate2::bufread::GzDecoder::new(&zipped(plain)[..]).read_to_end(&mut out).unwrap();
            assert_eq!(out.len(), plain.len());
            assert!(out == plain);
        }
    }

    #[test]
    fn the_same_bytes_give_the_same_bytes_in_whatever_pieces_they_come() {
        let plain = [noise(2 << 20, 3), b"again and again ".repeat(200_000)].concat();
        let mut blocks = Vec::new();
        let mut writer = Blockwise::new(|block: Block| {
            blocks.push(Ok(block));
            Ok(())
        });
        for piece in plain.chunks(77_777) {
            writer.write_all(piece).unwrap();
        }
        writer.finish().unwrap();
        let mut by_pieces = Vec::new();
        gzip_blocks(blocks.into_iter(), &mut by_pieces).unwrap();
        assert!(by_pieces == zipped(&plain));
    }

    #[test]
    fn noise_grows_by_its_frames_alone_and_text_shrinks() {
        let noise = noise(4 << 20, 4);
        assert!(zipped(&noise).len() < noise.len() + noise.len() / 1000);
        let text = b"again and again ".repeat(BLOCK / 8);
        assert!(zipped(&text).len() < text.len() / 50);
    }

    #[test]
    fn an_error_at_either_end_ends_it() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::ConnectionReset.into())
            }
        }
        impl Write for Broken {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let cut = noise(3 << 20, 5);
        let error = gzip(cut.chain(Broken), &mut io::sink()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        let error = gzip(io::repeat(1), &mut Broken).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }
}
