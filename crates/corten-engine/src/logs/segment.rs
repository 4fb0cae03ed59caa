//! One file of a log, as it was written or compressed since, and which files a log has.
//!
//! A file is known by its inode and its birth, as inodes are used again; a compressed one keeps both of its origin in its head, so that
//! whoever reads the one finds its place in the other.

use std::fs::{self, File};
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use flate2::bufread::GzDecoder;
use flate2::{Compression, GzBuilder};
use serde::{Deserialize, Serialize};

/// How much is read at once.
pub(super) const BLOCK: usize = 64 << 10;
/// The highest number of a rotated file that is looked for.
const MOST_FILES: u32 = 10_000;
/// The end of a compressed file's name.
const PACKED: &str = ".gz";
/// Digits of a number in a sequence; the others have fewer.
const DIGITS: usize = 9;

/// Which file the monitor wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    inode: u64,
    /// Nanoseconds since 1970; 0 where the file system does not know.
    born: u64,
}

impl Identity {
    fn of(metadata: &fs::Metadata) -> Self {
        let born = metadata.created().ok().and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
        let born = born.and_then(|since| u64::try_from(since.as_nanos()).ok()).unwrap_or(0);
        Self { inode: metadata.ino(), born }
    }

    fn to_bytes(self) -> Vec<u8> {
        [self.inode.to_le_bytes(), self.born.to_le_bytes()].concat()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (inode, born) = bytes.split_at_checked(8)?;
        let number = |bytes: &[u8]| Some(u64::from_le_bytes(bytes.try_into().ok()?));
        Some(Self { inode: number(inode)?, born: number(born)? })
    }
}

/// An open file of a log.
#[derive(Debug)]
pub(super) struct Segment {
    content: Content,
    /// Of the file that the monitor wrote.
    pub(super) identity: Identity,
    /// When its last line was written.
    pub(super) modified: SystemTime,
    /// Bytes of content before what is read next.
    pub(super) offset: u64,
}

#[derive(Debug)]
enum Content {
    Plain(File),
    Packed(Box<GzDecoder<io::BufReader<File>>>),
}

impl Segment {
    fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        let packed = path.extension().is_some_and(|end| end == &PACKED[1..]);
        let (content, identity) = if packed {
            let decoder = GzDecoder::new(io::BufReader::new(file));
            let origin = decoder.header().and_then(|head| Identity::from_bytes(head.extra()?));
            let damaged = || io::Error::new(io::ErrorKind::InvalidData, "a compressed log is damaged");
            (Content::Packed(Box::new(decoder)), origin.ok_or_else(damaged)?)
        } else {
            (Content::Plain(file), Identity::of(&metadata))
        };
        Ok(Self { content, identity, modified: metadata.modified()?, offset: 0 })
    }

    /// Appends up to a block to `buffer`; how many bytes there were.
    pub(super) fn read_block(&mut self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        let read = match &mut self.content {
            Content::Plain(file) => Read::by_ref(file).take(BLOCK as u64).read_to_end(buffer)?,
            Content::Packed(decoder) => decoder.by_ref().take(BLOCK as u64).read_to_end(buffer)?,
        };
        self.offset += read as u64;
        Ok(read)
    }

    /// Stands at `offset`, or at the end if there is less.
    pub(super) fn seek(&mut self, offset: u64) -> io::Result<()> {
        match &mut self.content {
            Content::Plain(file) => {
                self.offset = file.seek(SeekFrom::Start(offset))?;
            }
            Content::Packed(decoder) => {
                let mut file = decoder.get_ref().get_ref().try_clone()?;
                file.rewind()?;
                **decoder = GzDecoder::new(io::BufReader::new(file));
                self.offset = io::copy(&mut decoder.by_ref().take(offset), &mut io::sink())?;
            }
        }
        Ok(())
    }

    /// Whether `offset` is inside of it.
    pub(super) fn reaches(&self, offset: u64) -> bool {
        match &self.content {
            Content::Plain(file) => file.metadata().is_ok_and(|metadata| metadata.len() >= offset),
            Content::Packed(_) => true,
        }
    }

    /// Where the last `count` lines begin, and how many of them there are. A line without an end is none. Where it stands
    /// afterwards is not said.
    pub(super) fn place_of_last(&mut self, count: u64) -> io::Result<(u64, u64)> {
        match &self.content {
            Content::Plain(file) => super::tail::place_of_last(file, count),
            Content::Packed(_) => {
                let mut lines = 0_u64;
                self.each_end(|_| lines += 1)?;
                let skipped = lines.saturating_sub(count);
                let (mut place, mut seen) = (0, 0);
                if skipped > 0 {
                    self.each_end(|end| {
                        seen += 1;
                        if seen == skipped {
                            place = end;
                        }
                    })?;
                }
                Ok((place, lines - skipped))
            }
        }
    }

    /// Calls `each` with the offset after every end of line, from the beginning on.
    fn each_end(&mut self, mut each: impl FnMut(u64)) -> io::Result<()> {
        self.seek(0)?;
        let mut block = Vec::with_capacity(BLOCK);
        loop {
            let before = self.offset;
            block.clear();
            if self.read_block(&mut block)? == 0 {
                return Ok(());
            }
            for (at, _) in block.iter().enumerate().filter(|(_, byte)| **byte == b'\n') {
                each(before + at as u64 + 1);
            }
        }
    }
}

/// The files that are newer than `known` (all, without one), oldest first.
///
/// Opened from the current one backwards: while we look, files move towards us, so one may be met twice but none missed.
pub(super) fn newer_than(path: &Path, known: Option<Identity>) -> io::Result<Vec<Segment>> {
    let mut found: Vec<Segment> = Vec::new();
    // Whether to go on with older files.
    let mut take = |name: &Path| -> io::Result<Option<bool>> {
        let segment = match Segment::open(name) {
            Ok(segment) => segment,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        if Some(segment.identity) == known {
            return Ok(Some(false));
        }
        if !found.iter().any(|other| other.identity == segment.identity) {
            found.push(segment);
        }
        Ok(Some(true))
    };
    // A rotation under way leaves one number empty for a moment; two empty ones are the end.
    let mut missing = 0;
    let mut more = true;
    for number in 0..MOST_FILES {
        match take(&if number == 0 { path.to_owned() } else { with_end(path, &format!(".{number}")) })? {
            Some(true) => missing = 0,
            Some(false) => {
                more = false;
                break;
            }
            None => missing += 1,
        }
        if missing == 2 {
            break;
        }
    }
    for (number, _) in sequence(path).into_iter().rev().filter(|_| more) {
        let plain = with_end(path, &format!(".{number:0DIGITS$}"));
        // Compressed between the look and now.
        let goes_on = match take(&plain)? {
            None => take(&with_end(&plain, PACKED))?,
            found => found,
        };
        if goes_on == Some(false) {
            break;
        }
    }
    found.reverse();
    Ok(found)
}

fn with_end(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

/// The numbers of a log's rotated files that are a sequence, oldest first, and whether they are plain.
fn sequence(path: &Path) -> Vec<(u64, bool)> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        return Vec::new();
    };
    let number = |entry: fs::DirEntry| {
        let entry = entry.file_name();
        let end = entry.to_str()?.strip_prefix(name)?.strip_prefix('.')?;
        let plain = !end.ends_with(PACKED);
        let digits = end.strip_suffix(PACKED).unwrap_or(end);
        (digits.len() >= DIGITS).then(|| digits.parse().ok().map(|number| (number, plain)))?
    };
    let mut numbers: Vec<_> =
        fs::read_dir(folder).into_iter().flatten().flatten().filter_map(number).collect();
    numbers.sort_unstable();
    numbers.dedup_by_key(|(number, _)| *number);
    numbers
}

/// Compresses the rotated files of a log that are not yet: each is there, whole, all the time, under the one name or the other.
pub(super) fn pack_all(path: &Path) -> io::Result<()> {
    for (number, _) in sequence(path).into_iter().filter(|(_, plain)| *plain) {
        let plain = with_end(path, &format!(".{number:0DIGITS$}"));
        match pack(&plain) {
            // Thrown away meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            packed => packed?,
        }
    }
    Ok(())
}

fn pack(plain: &Path) -> io::Result<()> {
    let mut file = File::open(plain)?;
    let metadata = file.metadata()?;
    let (packed, new) = (with_end(plain, PACKED), with_end(plain, ".new"));
    let made = fs::OpenOptions::new().write(true).create(true).truncate(true).open(&new)?;
    let head = GzBuilder::new().extra(Identity::of(&metadata).to_bytes());
    let mut encoder = head.write(io::BufWriter::new(made), Compression::fast());
    io::copy(&mut file, &mut encoder)?;
    let mut writer = encoder.finish()?;
    writer.flush()?;
    writer.get_ref().set_permissions(metadata.permissions())?;
    writer.get_ref().set_modified(metadata.modified()?)?;
    fs::rename(&new, &packed)?;
    match fs::remove_file(plain) {
        // It fell out of the log while it was compressed, and so does this.
        Err(error) if error.kind() == io::ErrorKind::NotFound => fs::remove_file(&packed),
        removed => removed,
    }
}
