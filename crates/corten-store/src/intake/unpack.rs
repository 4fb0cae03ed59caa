use std::io::{BufReader, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use corten_archive::{Applied, ApplyError, ApplyOptions};
use corten_types::{Digest, Digester};
use rustix::fs::Mode;

use super::{Intake, IntakeError, open_directory};
use crate::image::Layer;
use crate::oci::Descriptor;
use crate::snapshot::tree_usage;
use crate::state::LayerRow;
use crate::{Shared, trash};

impl Intake {
    /// Unpacks those of an image's layers that are not unpacked yet, all at once. Their blobs are in the store or in
    /// this intake.
    pub fn unpack(&self, layers: &[Layer]) -> Result<(), IntakeError> {
        let missing: Vec<(usize, &Layer)> = layers
            .iter()
            .enumerate()
            .filter(|(_, layer)| !self.staged.lock().layers.contains_key(&layer.chain_id))
            .filter(|(_, layer)| !self.has_layer(&layer.chain_id))
            .collect();
        let next = AtomicUsize::new(0);
        let workers = std::thread::available_parallelism().map_or(2, usize::from).min(missing.len());
        let work = || {
            let mut done = Vec::new();
            while let Some((position, layer)) = missing.get(next.fetch_add(1, Ordering::Relaxed)) {
                let blob = self.open(&layer.descriptor.digest)?;
                done.push((*position, self.apply(Some(&layer.diff_id), Box::new(blob))?));
            }
            Ok::<_, IntakeError>(done)
        };
        let mut unpacked: Vec<(usize, Unpacked)> = std::thread::scope(|scope| {
            let threads: Vec<_> = (1..workers.max(1)).map(|_| scope.spawn(work)).collect();
            let mut all = work();
            for thread in threads {
                let more = match thread.join() {
                    Ok(more) => more,
                    Err(panic) => std::panic::resume_unwind(panic),
                };
                match (&mut all, more) {
                    (Ok(all), Ok(more)) => all.extend(more),
                    (Ok(_), Err(error)) => all = Err(error),
                    (Err(_), _) => {}
                }
            }
            all
        })?;
        unpacked.sort_by_key(|(position, _)| *position);
        for (position, tree) in unpacked {
            let below = position.checked_sub(1).map(|below| layers[below].chain_id);
            self.settle(layers[position].chain_id, below, tree)?;
        }
        Ok(())
    }

    /// Unpacks one layer from a stream of its tar, compressed or not, on top of `parent`.
    pub fn unpack_stream(
        &self,
        parent: Option<&Digest>,
        diff_id: &Digest,
        reader: Box<dyn Read + Send + '_>,
    ) -> Result<Digest, IntakeError> {
        let chain = Digest::chain(parent, diff_id);
        let tree = self.apply(Some(diff_id), reader)?;
        self.settle(chain, parent.copied(), tree)?;
        Ok(chain)
    }

    /// Unpacks one layer whose DiffID nobody has said, and gives that and the chain.
    pub fn unpack_unknown(
        &self,
        parent: Option<&Digest>,
        reader: Box<dyn Read + Send + '_>,
    ) -> Result<(Digest, Digest), IntakeError> {
        let tree = self.apply(None, reader)?;
        let diff_id = tree.diff_id;
        let chain = Digest::chain(parent, &diff_id);
        if !self.has_layer(&chain) {
            self.settle(chain, parent.copied(), tree)?;
        }
        Ok((diff_id, chain))
    }

    /// Whether the layer is in the store or in this intake. If it is, it stays.
    pub fn has_layer(&self, chain: &Digest) -> bool {
        self.staged.lock().layers.contains_key(chain) || self.hold_layer(chain)
    }

    /// Makes a layer of what a container has changed: blob and tree. Gives the descriptor of the plain tar, whose
    /// digest is the DiffID too, and the chain.
    pub fn commit_snapshot(&self, key: &str, media_type: &str) -> Result<(Descriptor, Digest), IntakeError> {
        let row = self.shared.state.read().snapshots.get(key).cloned();
        let Some(row) = row else {
            let path = PathBuf::from(key);
            return Err(IntakeError::Io {
                operation: "find the snapshot",
                path,
                source: std::io::ErrorKind::NotFound.into(),
            });
        };
        let upper = self.shared.layout.tree(row.dir);
        let root = open_directory(&upper)?;
        let mut writer = self.writer()?;
        {
            let mut buffered = std::io::BufWriter::with_capacity(256 << 10, &mut writer);
            corten_archive::diff(&root, &mut buffered)
                .map_err(|source| IntakeError::Diff { key: key.into(), source })?;
            buffered.flush().map_err(|source| IntakeError::Io {
                operation: "write",
                path: upper.clone(),
                source,
            })?;
        }
        let (diff_id, size) = writer.finish(None, None)?;
        let chain = Digest::chain(row.parent.as_ref(), &diff_id);
        if !self.has_layer(&chain) {
            let blob = self.open(&diff_id)?;
            self.unpack_stream(row.parent.as_ref(), &diff_id, Box::new(blob))?;
        }
        Ok((Descriptor::new(media_type, diff_id, size), chain))
    }

    fn apply(
        &self,
        expected: Option<&Digest>,
        reader: Box<dyn Read + Send + '_>,
    ) -> Result<Unpacked, IntakeError> {
        let dir = {
            let mut state = self.shared.state.write();
            state.next_dir += 1;
            state.next_dir - 1
        };
        let mut unpacked = Unpacked {
            shared: self.shared.clone(),
            dir: Some(dir),
            diff_id: Digest::of(b""),
            applied: Applied::default(),
        };
        let (outer, tree) = (self.shared.layout.snapshot(dir), self.shared.layout.tree(dir));
        for path in [&outer, &tree] {
            let mode = Mode::from_raw_mode(0o755);
            rustix::fs::mkdir(path, mode).map_err(|errno| IntakeError::Io {
                operation: "create",
                path: path.clone(),
                source: errno.into(),
            })?;
        }
        let root = open_directory(&tree)?;
        let failed = |source| IntakeError::Apply { layer: name_layer(expected), source };
        let plain =
            corten_archive::decompress(BufReader::with_capacity(256 << 10, reader)).map_err(failed)?;
        let options = ApplyOptions::layer(corten_archive::Limits::for_disk(&root));
        let (applied, found) =
            hashed(plain, |plain| corten_archive::apply(&root, plain, &options)).map_err(failed)?;
        if let Some(expected) = expected
            && *expected != found
        {
            return Err(IntakeError::DiffId { expected: *expected, found });
        }
        unpacked.diff_id = found;
        unpacked.applied = applied;
        Ok(unpacked)
    }

    /// Brings an unpacked tree in harmony with the trees beneath it, measures it and stages it.
    fn settle(&self, chain: Digest, parent: Option<Digest>, mut tree: Unpacked) -> Result<(), IntakeError> {
        let Some(dir) = tree.dir else { return Ok(()) };
        let path = self.shared.layout.tree(dir);
        let root = open_directory(&path)?;
        let mut below = Vec::new();
        let mut next = parent;
        while let Some(chain) = next {
            let staged = self.staged.lock().layers.get(&chain).cloned();
            let row = staged.or_else(|| self.shared.state.read().layers.get(&chain).cloned());
            let Some(row) = row else { break };
            below.push(open_directory(&self.shared.layout.tree(row.dir))?);
            next = row.parent;
        }
        corten_archive::settle(&root, &tree.applied, &below)
            .map_err(|source| IntakeError::Apply { layer: name_layer(Some(&tree.diff_id)), source })?;
        let usage =
            tree_usage(&path).map_err(|source| IntakeError::Io { operation: "measure", path, source })?;
        let row = LayerRow { dir, parent, usage };
        tree.dir = None;
        if let Some(twin) = self.staged.lock().layers.insert(chain, row) {
            trash::discard(&self.shared, &self.shared.layout.snapshot(twin.dir));
        }
        Ok(())
    }
}

/// A tree that nobody names yet; dropped, it goes to the trash.
struct Unpacked {
    shared: Arc<Shared>,
    dir: Option<u64>,
    diff_id: Digest,
    applied: Applied,
}

fn name_layer(diff_id: Option<&Digest>) -> String {
    diff_id.map_or_else(|| "layer".into(), |diff_id| format!("layer {diff_id}"))
}

impl Drop for Unpacked {
    fn drop(&mut self) {
        if let Some(dir) = self.dir {
            trash::discard(&self.shared, &self.shared.layout.snapshot(dir));
        }
    }
}

/// Bytes of one piece between the two threads.
const PIECE: usize = 256 << 10;
/// Pieces on the way at most.
const PIECES: usize = 8;

/// Gives `consume` the bytes of `plain`, which another thread inflates and hashes meanwhile. Ends with the digest of
/// all of them, also of what `consume` has left over.
fn hashed<T>(
    mut plain: Box<dyn Read + Send + '_>,
    consume: impl FnOnce(&mut dyn Read) -> Result<T, ApplyError>,
) -> Result<(T, Digest), ApplyError> {
    std::thread::scope(|scope| {
        let (full, pieces) = sync_channel(PIECES);
        let (used, free) = channel();
        let hashing = scope.spawn(move || inflate(&mut plain, &full, &free));
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
        let ((), digest) = hashed(Box::new(&bytes[..]), |plain| {
            plain.read_exact(&mut first).map_err(|source| ApplyError::Read { source })
        })
        .unwrap();
        assert_eq!((first, digest), ([0, 1, 2, 3, 4], Digest::of(&bytes)));
    }

    #[test]
    fn an_error_at_either_end_ends_both() {
        let endless = std::io::repeat(1);
        let failed = hashed::<()>(Box::new(endless), |_| Err(ApplyError::Header { reason: "test" }));
        assert!(failed.is_err());
        let broken = b"x".chain(Broken);
        let failed = hashed(Box::new(broken), |plain| {
            std::io::copy(plain, &mut std::io::sink()).map_err(|source| ApplyError::Read { source })
        });
        assert!(failed.is_err());
    }

    struct Broken;

    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::ConnectionReset.into())
        }
    }
}
