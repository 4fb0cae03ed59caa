use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

/// How many bytes wait in memory.
const IN_MEMORY: usize = 256 << 10;
/// How many bytes wait in the spool file.
const IN_FILE: u64 = 1 << 30;
/// How many bytes are taken back from the spool file at once.
const CHUNK: usize = 64 << 10;

/// Bytes on their way to a client that may be slow: first in memory, then in an unlinked file.
///
/// ```text
///  push ──▶ spool file (once memory was full, until it is read to its end) ──▶ memory ──▶ front / consume
/// ```
#[derive(Debug)]
pub(super) struct Queue {
    memory: VecDeque<u8>,
    /// Where the spool file is made; `None`: nothing is spooled.
    directory: Option<PathBuf>,
    spool: Option<Spool>,
}

#[derive(Debug)]
struct Spool {
    file: File,
    read: u64,
    written: u64,
}

impl Queue {
    pub(super) fn new(directory: Option<PathBuf>) -> Self {
        Self { memory: VecDeque::new(), directory, spool: None }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.memory.is_empty() && self.spool.is_none()
    }

    /// Whether the source should pause. A `push` is still taken, so that what was read is never lost.
    pub(super) fn is_full(&self) -> bool {
        match (&self.spool, &self.directory) {
            (Some(spool), _) => spool.written >= IN_FILE,
            (None, Some(_)) => false,
            (None, None) => self.memory.len() >= IN_MEMORY,
        }
    }

    /// Adds bytes at the end. An error means that the spool could not take them: the stream has a hole now.
    pub(super) fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let (None, Some(directory)) = (&self.spool, &self.directory)
            && self.memory.len() + bytes.len() > IN_MEMORY
        {
            self.spool = Some(Spool::new(directory)?);
        }
        match &mut self.spool {
            Some(spool) => spool.push(bytes),
            None => {
                self.memory.extend(bytes);
                Ok(())
            }
        }
    }

    /// The next bytes, as many as lie in one piece; empty when there are none.
    pub(super) fn front(&mut self) -> io::Result<&[u8]> {
        if self.memory.is_empty() {
            self.memory = VecDeque::new();
            if let Some(spool) = &mut self.spool {
                self.memory = spool.take()?.into();
                if spool.read == spool.written {
                    self.spool = None;
                }
            }
        }
        Ok(self.memory.as_slices().0)
    }

    /// Drops the first `count` bytes of what [`Queue::front`] gave.
    pub(super) fn consume(&mut self, count: usize) {
        self.memory.drain(..count);
    }
}

impl Spool {
    fn new(directory: &Path) -> io::Result<Self> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let file = rustix::fs::open(directory, flags, Mode::RUSR | Mode::WUSR)?;
        Ok(Self { file: file.into(), read: 0, written: 0 })
    }

    fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, self.written)?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    fn take(&mut self) -> io::Result<Vec<u8>> {
        let left = usize::try_from(self.written - self.read).unwrap_or(CHUNK);
        let mut bytes = vec![0; left.min(CHUNK)];
        self.file.read_exact_at(&mut bytes, self.read)?;
        self.read += bytes.len() as u64;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_out_as_they_went_in_through_memory_and_spool() {
        let dir = tempfile::tempdir().unwrap();
        let mut queue = Queue::new(Some(dir.path().into()));
        let (mut next_in, mut next_out) = (0_u32, 0_u32);
        // Fill three times faster than drained, then drain; twice, so that the spool is left and entered again.
        for _ in 0..2 {
            for round in 0..200 {
                let bytes: Vec<u8> = (0..3000).map(|n| ((next_in + n) % 251) as u8).collect();
                queue.push(&bytes).unwrap();
                next_in += 3000;
                if round % 3 == 0 {
                    drain(&mut queue, 3000, &mut next_out);
                }
            }
            assert!(queue.spool.is_some());
            drain(&mut queue, usize::MAX, &mut next_out);
            assert!(queue.is_empty());
            assert_eq!(next_in, next_out);
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    fn drain(queue: &mut Queue, mut most: usize, next_out: &mut u32) {
        while most > 0 {
            let piece = queue.front().unwrap();
            let count = piece.len().min(most);
            if count == 0 {
                return;
            }
            for byte in &piece[..count] {
                assert_eq!(u32::from(*byte), *next_out % 251);
                *next_out += 1;
            }
            queue.consume(count);
            most -= count;
        }
    }

    #[test]
    fn without_a_spool_a_full_queue_says_so() {
        let mut queue = Queue::new(None);
        assert!(!queue.is_full());
        queue.push(&vec![0; IN_MEMORY]).unwrap();
        assert!(queue.is_full());
        queue.push(b"still taken").unwrap();
        queue.consume(IN_MEMORY);
        assert_eq!(queue.front().unwrap(), b"still taken");
        assert!(!queue.is_full());
    }
}
