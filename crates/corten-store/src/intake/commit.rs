use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, sync_channel};

use corten_archive::{Applied, ApplyError, ApplyOptions, Block, Blockwise, Limits, apply, diff, gzip_blocks};
use corten_types::{Digest, Digester};

use super::unpack::name_layer;
use super::{Intake, IntakeError, open_directory};
use crate::oci::{Descriptor, media};
use crate::snapshot::tree_usage;
use crate::state::LayerRow;

/// What becomes of the directory that a container has written into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upper {
    /// It stays the container's; the layer's tree is another.
    Stays,
    /// It is the layer's tree from then on.
    Becomes,
}

/// A layer made of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The blob.
    pub descriptor: Descriptor,
    /// The digest of its plain tar.
    pub diff_id: Digest,
    /// The layer and all beneath it.
    pub chain: Digest,
}

impl Intake {
    /// Makes a layer of what a container has changed, if it has changed anything: a blob, compressed with gzip, and a tree.
    ///
    /// With [`Upper::Becomes`] the snapshot ends with the commit, and its directory is the layer's tree. Its mounts are
    /// gone by then.
    pub fn commit_snapshot(&self, key: &str, upper: Upper) -> Result<Option<Committed>, IntakeError> {
        let row = self.shared.state.read().snapshots.get(key).cloned();
        let Some(row) = row else {
            let path = PathBuf::from(key);
            return Err(IntakeError::Io {
                operation: "find the snapshot",
                path,
                source: std::io::ErrorKind::NotFound.into(),
            });
        };
        let tree = self.shared.layout.tree(row.dir);
        let io =
            |operation, path: &Path, source| IntakeError::Io { operation, path: path.to_owned(), source };
        if std::fs::read_dir(&tree).map_err(|e| io("read", &tree, e))?.next().is_none() {
            return Ok(None);
        }
        let mut copy = match upper {
            Upper::Stays => Some(self.new_tree()?),
            Upper::Becomes => None,
        };
        let mut writer = self.writer()?;
        let (diff_id, applied) = pack(key, &tree, copy.as_ref().map(|(_, root)| root), &mut writer)?;
        let (digest, size) = writer.finish(None, None)?;
        let chain = Digest::chain(row.parent.as_ref(), &diff_id);
        if !self.has_layer(&chain) {
            if let Some((mut copy, _)) = copy.take() {
                copy.diff_id = diff_id;
                copy.applied = applied;
                self.settle(chain, row.parent, copy)?;
            } else {
                let work = self.shared.layout.work(row.dir);
                std::fs::remove_dir_all(&work).map_err(|e| io("remove", &work, e))?;
                let usage = tree_usage(&tree).map_err(|e| io("measure", &tree, e))?;
                let mut staged = self.staged.lock();
                let layer = LayerRow { dir: row.dir, parent: row.parent, usage, sealed: false };
                staged.layers.insert(chain, layer);
                staged.taken.insert(chain, key.to_owned());
            }
        }
        Ok(Some(Committed { descriptor: Descriptor::new(media::LAYER_GZIP, digest, size), diff_id, chain }))
    }
}

/// How many blocks may wait for those who are slower than the reading of the tree.
const WAITING: usize = 4;

/// Packs the changes in `upper` once, for all who want them: the hash whose digest is given, the compression that goes
/// to `out`, and the tree `copy`.
///
/// The copy is made here and not in a worker: the archive is of our own making, and its paths are only ever resolved
/// beneath the tree.
fn pack(
    key: &str,
    upper: &Path,
    copy: Option<&OwnedFd>,
    out: &mut dyn Write,
) -> Result<(Digest, Applied), IntakeError> {
    let root = open_directory(upper)?;
    let io = |source| IntakeError::Io { operation: "compress", path: upper.to_owned(), source };
    std::thread::scope(|scope| {
        let (to_gzip, blocks) = sync_channel(WAITING);
        let (to_copy, copied) = copy.map(|_| sync_channel(WAITING)).unzip();
        let reading = scope.spawn(move || -> Result<Digest, IntakeError> {
            let mut digester = Digester::new();
            let mut plain = Blockwise::new(|block: Block| {
                digester.update(&block);
                if let Some(copy) = &to_copy {
                    // One that has failed knows why.
                    let _ = copy.send(block.clone());
                }
                to_gzip.send(Ok(block)).map_err(|_| std::io::ErrorKind::BrokenPipe.into())
            });
            diff(&root, &mut plain).map_err(|source| IntakeError::Diff { key: key.into(), source })?;
            plain.finish().map_err(io)?;
            Ok(digester.finish())
        });
        let copying = copy.zip(copied).map(|(root, blocks)| scope.spawn(move || unpack(root, blocks)));
        // Where the compression fails, that is why nothing more could be read.
        let written = gzip_blocks(blocks.into_iter(), out).map_err(io);
        let read = reading.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let applied = copying.map(|copying| match copying.join() {
            Ok(applied) => applied,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        written?;
        let digest = read?;
        let applied = applied.transpose().map_err(|source| {
            let layer = name_layer(Some(&digest));
            IntakeError::Apply { layer, source }
        })?;
        Ok((digest, applied.unwrap_or_default()))
    })
}

fn unpack(root: &OwnedFd, blocks: Receiver<Block>) -> Result<Applied, ApplyError> {
    let options = ApplyOptions::layer(Limits::for_disk(root));
    let mut reader = Blocks { blocks, block: Block::default(), at: 0 };
    let applied = apply(root, &mut reader, &options)?;
    std::io::copy(&mut reader, &mut std::io::sink()).map_err(|source| ApplyError::Read { source })?;
    Ok(applied)
}

/// The blocks as one stream.
struct Blocks {
    blocks: Receiver<Block>,
    block: Block,
    at: usize,
}

impl Read for Blocks {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.at == self.block.len() {
            let Ok(next) = self.blocks.recv() else { return Ok(0) };
            (self.block, self.at) = (next, 0);
        }
        let n = buffer.len().min(self.block.len() - self.at);
        buffer[..n].copy_from_slice(&self.block[self.at..self.at + n]);
        self.at += n;
        Ok(n)
    }
}
