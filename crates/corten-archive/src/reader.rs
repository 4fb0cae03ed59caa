//! The one reader of archives.
//!
//! It gives entries as Go's `archive/tar` gives them (what Docker and containerd see), and refuses what that refuses. In
//! particular a size in an extended header replaces that of the header, also for finding the next header, so that no
//! two readers of this program disagree about where an entry ends.

use std::io::Read;

use crate::entry::{Entry, EntryKind, Time};
use crate::error::ApplyError;
use crate::header::{BLOCK, Block, Format, Header, number, text};
use crate::limits::{EXTENDED_MAX, SPARSE_PIECES_MAX};
use crate::pax::{Extended, decimal};

/// Reads an archive entry by entry. Between two entries, [`Read`] gives the stored bytes of the current one: those of
/// its pieces, where the file is sparse.
pub struct Reader<R> {
    inner: R,
    /// Bytes of the current entry that are still to come.
    remaining: u64,
    /// What fills its last block.
    padding: u64,
    ended: bool,
}

impl<R: Read> Read for Reader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let most = usize::try_from(self.remaining).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let n = self.inner.read(&mut buffer[..most])?;
        if n == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        self.remaining -= n as u64;
        Ok(n)
    }
}

const fn invalid(reason: &'static str) -> ApplyError {
    ApplyError::header(reason)
}

impl<R: Read> Reader<R> {
    /// A reader of `inner`, which stands at the first header.
    pub fn new(inner: R) -> Self {
        Self { inner, remaining: 0, padding: 0, ended: false }
    }

    /// The next entry; what is left of the current one is skipped.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, ApplyError> {
        let mut extended: Option<Extended> = None;
        let mut long_path = None;
        let mut long_link = None;
        loop {
            let skip = self.remaining.saturating_add(self.padding);
            self.skip(skip)?;
            (self.remaining, self.padding) = (0, 0);
            let Some(block) = self.next_block()? else { return Ok(None) };
            let header = Header::parse(&block)?;
            match header.flag {
                b'x' => extended = Some(Extended::parse(&self.extension(header.size)?)?),
                // Nobody heeds global headers: not Go's reader, not what reads layers with it.
                b'g' => {
                    Extended::parse(&self.extension(header.size)?)?;
                }
                b'L' => long_path = Some(text(&self.extension(header.size)?).to_vec()),
                b'K' => long_link = Some(text(&self.extension(header.size)?).to_vec()),
                _ => {
                    let extended = extended.unwrap_or_default();
                    return self.merge(&block, header, extended, long_path, long_link).map(Some);
                }
            }
        }
    }

    fn merge(
        &mut self,
        block: &Block,
        header: Header,
        extended: Extended,
        long_path: Option<Vec<u8>>,
        long_link: Option<Vec<u8>>,
    ) -> Result<Entry, ApplyError> {
        let mut path = long_path.or(extended.path).unwrap_or(header.path);
        let link = long_link.or(extended.link).unwrap_or(header.link);
        let id = |id: u64| u32::try_from(id).map_err(|_| invalid("owner out of range"));
        let kind = match header.flag {
            b'0' | b'S' => EntryKind::File,
            b'1' => EntryKind::HardLink,
            b'2' => EntryKind::Symlink,
            b'3' => EntryKind::CharDevice { major: header.major, minor: header.minor },
            b'4' => EntryKind::BlockDevice { major: header.major, minor: header.minor },
            b'5' => EntryKind::Directory,
            b'6' => EntryKind::Fifo,
            _ => return Err(ApplyError::entry(&path, "its type is unknown")),
        };
        let stored = extended.size.unwrap_or(header.size);
        let (mut size, mut pieces) = (stored, None);
        if kind == EntryKind::File {
            self.remaining = stored;
            self.padding = stored.wrapping_neg() % BLOCK as u64;
            if stored > u64::MAX / 2 {
                return Err(invalid("size"));
            }
            let sparse = extended.sparse;
            if header.flag == b'S' {
                if header.format != Format::Gnu {
                    return Err(invalid("sparse file"));
                }
                let map = self.old_sparse_map(block)?;
                size = number(&block[483..495])
                    .and_then(|n| u64::try_from(n).ok())
                    .ok_or(invalid("size of a sparse file"))?;
                pieces = Some(map);
            } else if let Some(map) = sparse_map(self, sparse.major, sparse.minor, sparse.map)? {
                size = sparse.real_size.ok_or(invalid("size of a sparse file"))?;
                if let Some(name) = sparse.name {
                    path = name;
                }
                pieces = Some(map);
            }
            if let Some(pieces) = &pieces {
                check_pieces(pieces, size, self.remaining)?;
            }
        } else {
            size = 0;
        }
        Ok(Entry {
            path,
            link,
            kind,
            mode: header.mode,
            uid: id(extended.uid.unwrap_or(header.uid))?,
            gid: id(extended.gid.unwrap_or(header.gid))?,
            size,
            mtime: extended.mtime.unwrap_or(Time { seconds: header.mtime, nanoseconds: 0 }),
            xattrs: extended.xattrs,
            pieces,
        })
    }

    /// The pieces that an old GNU header and the blocks behind it name.
    fn old_sparse_map(&mut self, block: &Block) -> Result<Vec<(u64, u64)>, ApplyError> {
        let mut pieces = Vec::new();
        let mut more = take_pieces(&block[386..482], &mut pieces)? && block[482] != 0;
        while more {
            let mut block = [0; BLOCK];
            self.fill(&mut block)?;
            more = take_pieces(&block[..504], &mut pieces)? && block[504] != 0;
        }
        Ok(pieces)
    }

    /// The body of an extended or long-name header.
    fn extension(&mut self, size: u64) -> Result<Vec<u8>, ApplyError> {
        if size > EXTENDED_MAX {
            return Err(ApplyError::Limit {
                what: "bytes in an extended header".into(),
                limit: EXTENDED_MAX,
            });
        }
        let mut body = vec![0; usize::try_from(size).unwrap_or(0)];
        self.fill(&mut body)?;
        self.padding = size.wrapping_neg() % BLOCK as u64;
        Ok(body)
    }

    /// The next header; nothing at the end of the archive.
    fn next_block(&mut self) -> Result<Option<Block>, ApplyError> {
        if self.ended {
            return Ok(None);
        }
        let mut block = [0; BLOCK];
        if !self.fill_or_end(&mut block)? {
            self.ended = true;
            return Ok(None);
        }
        if block != [0; BLOCK] {
            return Ok(Some(block));
        }
        self.ended = true;
        // Two blocks of zeros end an archive; one alone only where the stream ends too.
        if self.fill_or_end(&mut block)? && block != [0; BLOCK] {
            return Err(invalid("a block of zeros between headers"));
        }
        Ok(None)
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), ApplyError> {
        self.inner.read_exact(buffer).map_err(|source| ApplyError::Read { source })
    }

    /// Fills the buffer, or says that the stream has ended before its first byte.
    fn fill_or_end(&mut self, buffer: &mut [u8]) -> Result<bool, ApplyError> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.inner.read(&mut buffer[filled..]) {
                Ok(0) if filled == 0 => return Ok(false),
                Ok(0) => return Err(ApplyError::Read { source: std::io::ErrorKind::UnexpectedEof.into() }),
                Ok(n) => filled += n,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(source) => return Err(ApplyError::Read { source }),
            }
        }
        Ok(true)
    }

    fn skip(&mut self, bytes: u64) -> Result<(), ApplyError> {
        if bytes == 0 {
            return Ok(());
        }
        let skipped = std::io::copy(&mut self.inner.by_ref().take(bytes), &mut std::io::sink());
        match skipped {
            Ok(n) if n == bytes => Ok(()),
            Ok(_) => Err(ApplyError::Read { source: std::io::ErrorKind::UnexpectedEof.into() }),
            Err(source) => Err(ApplyError::Read { source }),
        }
    }
}

/// Reads pieces from a GNU header; says whether all places were taken.
fn take_pieces(places: &[u8], pieces: &mut Vec<(u64, u64)>) -> Result<bool, ApplyError> {
    for place in places.chunks_exact(24) {
        if place[0] == 0 {
            return Ok(false);
        }
        let field = |field: &[u8]| {
            number(field).and_then(|n| u64::try_from(n).ok()).ok_or(invalid("piece of a sparse file"))
        };
        if pieces.len() == SPARSE_PIECES_MAX {
            return Err(invalid("too many pieces of a sparse file"));
        }
        pieces.push((field(&place[..12])?, field(&place[12..])?));
    }
    Ok(true)
}

/// The pieces that extended headers name, or the blocks before the data where version 1.0 says so.
fn sparse_map<R: Read>(
    reader: &mut Reader<R>,
    major: Option<u64>,
    minor: Option<u64>,
    map: Option<Vec<u64>>,
) -> Result<Option<Vec<(u64, u64)>>, ApplyError> {
    let pairs = |map: &[u64]| -> Result<Vec<(u64, u64)>, ApplyError> {
        if !map.len().is_multiple_of(2) || map.len() / 2 > SPARSE_PIECES_MAX {
            return Err(invalid("pieces of a sparse file"));
        }
        Ok(map.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect())
    };
    match (major, minor) {
        (Some(1), Some(0)) => {
            let mut numbers = Vec::new();
            let mut wanted = 1;
            let mut digits = Vec::new();
            let mut block = [0; BLOCK];
            while numbers.len() < wanted {
                reader.read_exact(&mut block).map_err(|source| ApplyError::Read { source })?;
                for &byte in &block {
                    if numbers.len() == wanted {
                        break;
                    }
                    if byte != b'\n' {
                        digits.push(byte);
                        if digits.len() > 20 {
                            return Err(invalid("pieces of a sparse file"));
                        }
                        continue;
                    }
                    let value = decimal(&digits).ok_or(invalid("pieces of a sparse file"))?;
                    digits.clear();
                    if numbers.is_empty() {
                        if value > SPARSE_PIECES_MAX as u64 {
                            return Err(invalid("too many pieces of a sparse file"));
                        }
                        wanted = 1 + 2 * usize::try_from(value).unwrap_or(0);
                    }
                    numbers.push(value);
                }
            }
            pairs(&numbers[1..]).map(Some)
        }
        (Some(0), Some(0 | 1)) | (None, None) => map.map(|map| pairs(&map)).transpose(),
        _ => Err(invalid("version of a sparse file")),
    }
}

fn check_pieces(pieces: &[(u64, u64)], size: u64, stored: u64) -> Result<(), ApplyError> {
    let mut end = 0;
    let mut total = 0_u64;
    for &(offset, length) in pieces {
        let next = offset.checked_add(length).ok_or(invalid("piece of a sparse file"))?;
        if offset < end || next > size {
            return Err(invalid("piece of a sparse file"));
        }
        end = next;
        total += length;
    }
    if total == stored { Ok(()) } else { Err(invalid("stored size of a sparse file")) }
}
