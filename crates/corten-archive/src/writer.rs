//! Writes archives as Go's `archive/tar` writes them in PAX format: plain ustar where everything fits, extended headers
//! for what does not.

use std::io::{Read, Write};

use crate::entry::{Entry, EntryKind};
use crate::header::{BLOCK, Block};

/// Writes an archive entry by entry.
pub struct Writer<W> {
    inner: W,
}

/// Largest number in the twelve bytes of a size or time.
const OCTAL_SIZE_MAX: u64 = 0o77_777_777_777;
/// Largest number in the eight bytes of an owner.
const OCTAL_ID_MAX: u32 = 0o7_777_777;

impl<W: Write> Writer<W> {
    /// A writer to `inner`.
    pub fn new(inner: W) -> Self {
        Self { inner }
    }

    /// Writes an entry. For a file, exactly `entry.size` bytes come from `content`, or for a sparse one those of its
    /// pieces (GNU's format 1.0); fewer are an error.
    pub fn append(&mut self, entry: &Entry, content: &mut dyn Read) -> std::io::Result<()> {
        let Some(pieces) = entry.pieces.as_ref().filter(|_| entry.kind == EntryKind::File) else {
            self.header(entry, Vec::new())?;
            return if entry.kind == EntryKind::File { self.content(entry.size, content) } else { Ok(()) };
        };
        let mut map = format!("{}\n", pieces.len()).into_bytes();
        for (offset, length) in pieces {
            map.extend_from_slice(format!("{offset}\n{length}\n").as_bytes());
        }
        map.resize(map.len().next_multiple_of(BLOCK), 0);
        let stored = map.len() as u64 + pieces.iter().map(|(_, length)| length).sum::<u64>();
        let (parent, name) = match entry.path.iter().rposition(|&b| b == b'/') {
            Some(slash) => entry.path.split_at(slash + 1),
            None => (&[][..], &entry.path[..]),
        };
        let header = Entry {
            path: [parent, b"GNUSparseFile.0/", name].concat(),
            size: stored,
            pieces: None,
            ..entry.clone()
        };
        let record = |key: &str, value: &[u8]| (format!("GNU.sparse.{key}").into_bytes(), value.to_vec());
        let records = vec![
            record("major", b"1"),
            record("minor", b"0"),
            record("name", &entry.path),
            record("realsize", entry.size.to_string().as_bytes()),
        ];
        self.header(&header, records)?;
        self.content(stored, &mut map.as_slice().chain(content))
    }

    fn content(&mut self, size: u64, content: &mut dyn Read) -> std::io::Result<()> {
        let copied = std::io::copy(&mut content.take(size), &mut self.inner)?;
        if copied != size {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        self.pad(size)
    }

    /// Ends the archive.
    pub fn finish(mut self) -> std::io::Result<W> {
        self.inner.write_all(&[0; 2 * BLOCK])?;
        Ok(self.inner)
    }

    fn pad(&mut self, size: u64) -> std::io::Result<()> {
        let padding = (size.wrapping_neg() % BLOCK as u64) as usize;
        self.inner.write_all(&[0; BLOCK][..padding])
    }

    fn header(&mut self, entry: &Entry, mut records: Vec<(Vec<u8>, Vec<u8>)>) -> std::io::Result<()> {
        let mut block = [0; BLOCK];
        let mut path = entry.path.clone();
        if entry.kind == EntryKind::Directory && path.last() != Some(&b'/') {
            path.push(b'/');
        }
        put_path(&mut block, &path, &mut records);
        if entry.link.len() > 100 || !entry.link.is_ascii() {
            records.push((b"linkpath".to_vec(), entry.link.clone()));
        }
        if entry.link.is_ascii() {
            let stored = entry.link.len().min(100);
            block[157..157 + stored].copy_from_slice(&entry.link[..stored]);
        }
        octal(&mut block[100..108], u64::from(entry.mode & 0o7777));
        for (field, id, key) in [(108..116, entry.uid, "uid"), (116..124, entry.gid, "gid")] {
            if id > OCTAL_ID_MAX {
                records.push((key.into(), id.to_string().into_bytes()));
            } else {
                octal(&mut block[field], u64::from(id));
            }
        }
        let size = if entry.kind == EntryKind::File { entry.size } else { 0 };
        if size > OCTAL_SIZE_MAX {
            records.push((b"size".to_vec(), size.to_string().into_bytes()));
        } else {
            octal(&mut block[124..136], size);
        }
        let seconds = u64::try_from(entry.mtime.seconds).ok().filter(|seconds| *seconds <= OCTAL_SIZE_MAX);
        octal(&mut block[136..148], seconds.unwrap_or(0));
        if seconds.is_none() || entry.mtime.nanoseconds != 0 {
            records.push((b"mtime".to_vec(), time(entry)));
        }
        for (name, value) in &entry.xattrs {
            records.push(([b"SCHILY.xattr.", name.as_slice()].concat(), value.clone()));
        }
        block[156] = match entry.kind {
            EntryKind::File => b'0',
            EntryKind::HardLink => b'1',
            EntryKind::Symlink => b'2',
            EntryKind::CharDevice { .. } => b'3',
            EntryKind::BlockDevice { .. } => b'4',
            EntryKind::Directory => b'5',
            EntryKind::Fifo => b'6',
        };
        let (major, minor) = match entry.kind {
            EntryKind::CharDevice { major, minor } | EntryKind::BlockDevice { major, minor } => {
                (major, minor)
            }
            _ => (0, 0),
        };
        octal(&mut block[329..337], u64::from(major));
        octal(&mut block[337..345], u64::from(minor));
        if !records.is_empty() {
            self.extended(&path, records)?;
        }
        finish_block(&mut block);
        self.inner.write_all(&block)
    }

    fn extended(&mut self, path: &[u8], mut records: Vec<(Vec<u8>, Vec<u8>)>) -> std::io::Result<()> {
        records.sort();
        let mut body = Vec::new();
        for (key, value) in &records {
            // The length counts its own digits.
            let rest = key.len() + value.len() + 3;
            let mut length = rest + 1;
            while length != rest + length.to_string().len() {
                length = rest + length.to_string().len();
            }
            body.extend_from_slice(length.to_string().as_bytes());
            body.push(b' ');
            body.extend_from_slice(key);
            body.push(b'=');
            body.extend_from_slice(value);
            body.push(b'\n');
        }
        let mut block = [0; BLOCK];
        let path = path.strip_suffix(b"/").unwrap_or(path);
        let (parent, base) = match path.iter().rposition(|&b| b == b'/') {
            Some(slash) => (&path[..=slash], &path[slash + 1..]),
            None => (&[][..], path),
        };
        let mut name = [parent, b"PaxHeaders.0/", base].concat();
        name.retain(u8::is_ascii);
        name.truncate(100);
        block[..name.len()].copy_from_slice(&name);
        octal(&mut block[100..108], 0);
        octal(&mut block[108..116], 0);
        octal(&mut block[116..124], 0);
        octal(&mut block[124..136], body.len() as u64);
        octal(&mut block[136..148], 0);
        octal(&mut block[329..337], 0);
        octal(&mut block[337..345], 0);
        block[156] = b'x';
        finish_block(&mut block);
        self.inner.write_all(&block)?;
        self.inner.write_all(&body)?;
        self.pad(body.len() as u64)
    }
}

/// Puts a path where ustar has room for it, or into a record.
fn put_path(block: &mut Block, path: &[u8], records: &mut Vec<(Vec<u8>, Vec<u8>)>) {
    if path.is_ascii() {
        if path.len() <= 100 {
            block[..path.len()].copy_from_slice(path);
            return;
        }
        if let Some((prefix, name)) = split(path) {
            block[..name.len()].copy_from_slice(name);
            block[345..345 + prefix.len()].copy_from_slice(prefix);
            return;
        }
    }
    records.push((b"path".to_vec(), path.to_vec()));
    let mut name: Vec<u8> = path.iter().copied().filter(u8::is_ascii).collect();
    name.truncate(100);
    block[..name.len()].copy_from_slice(&name);
}

/// Splits a path at a slash into a prefix of at most 155 bytes and a name of at most 100.
fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let whole = path.strip_suffix(b"/").unwrap_or(path);
    let most = whole.len().min(156);
    let slash = whole[..most].iter().rposition(|&b| b == b'/')?;
    let (prefix, name) = (&path[..slash], &path[slash + 1..]);
    (!prefix.is_empty() && !name.is_empty() && name.len() <= 100).then_some((prefix, name))
}

fn octal(field: &mut [u8], value: u64) {
    let digits = format!("{value:0width$o}", width = field.len() - 1);
    field[..digits.len()].copy_from_slice(digits.as_bytes());
}

fn finish_block(block: &mut Block) {
    block[257..265].copy_from_slice(b"ustar\x0000");
    let (sum, _) = crate::header::checksums(block);
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

fn time(entry: &Entry) -> Vec<u8> {
    let (mut seconds, mut nanoseconds, mut sign) = (entry.mtime.seconds, entry.mtime.nanoseconds, "");
    if seconds < 0 {
        sign = "-";
        seconds = -seconds;
        if nanoseconds != 0 {
            seconds -= 1;
            nanoseconds = 1_000_000_000 - nanoseconds;
        }
    }
    let text = format!("{sign}{seconds}.{nanoseconds:09}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned().into_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::entry::Time;
    use crate::reader::Reader;

    fn entries() -> impl Strategy<Value = Vec<(Entry, Vec<u8>)>> {
        let name = prop_oneof!["[a-z]{1,20}", "[a-z]{1,90}/[a-z]{1,120}", "[a-z/]{150,400}x", "[äöü]{1,60}"];
        let xattr = ("user\\.[a-z]{1,8}", proptest::collection::vec(any::<u8>(), 0..40));
        let entry = (
            name,
            proptest::collection::vec(any::<u8>(), 0..1500),
            0..0o7777_u32,
            any::<u32>(),
            -10_000_000_000_i64..20_000_000_000,
            0..1_000_000_000_u32,
            proptest::option::of(xattr),
        )
            .prop_map(|(path, content, mode, uid, seconds, nanoseconds, xattr)| {
                let mut entry = Entry::new(path, EntryKind::File, mode);
                entry.uid = uid;
                entry.gid = uid / 3;
                entry.size = content.len() as u64;
                entry.mtime = Time { seconds, nanoseconds };
                entry.xattrs = xattr.into_iter().map(|(name, value)| (name.into_bytes(), value)).collect();
                (entry, content)
            });
        proptest::collection::vec(entry, 0..5)
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(entries in entries()) {
            let mut writer = Writer::new(Vec::new());
            for (entry, content) in &entries {
                writer.append(entry, &mut &content[..]).unwrap();
            }
            let bytes = writer.finish().unwrap();
            let mut reader = Reader::new(&bytes[..]);
            for (entry, content) in &entries {
                let read = reader.next_entry().unwrap().unwrap();
                prop_assert_eq!(&read, entry);
                let mut bytes = Vec::new();
                reader.read_to_end(&mut bytes).unwrap();
                prop_assert_eq!(&bytes, content);
            }
            prop_assert!(reader.next_entry().unwrap().is_none());
        }

        #[test]
        fn no_bytes_make_the_reader_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..2048), fix in any::<bool>()) {
            if fix && bytes.len() >= BLOCK {
                let (head, _) = bytes.split_at_mut(BLOCK);
                let mut block: Block = head.try_into().unwrap();
                finish_block(&mut block);
                head.copy_from_slice(&block);
            }
            let mut reader = Reader::new(&bytes[..]);
            while let Ok(Some(_)) = reader.next_entry() {}
        }
    }

    #[test]
    fn one_entry_is_written_as_go_writes_it() {
        let mut writer = Writer::new(Vec::new());
        let mut entry = Entry::new("blobs/", EntryKind::Directory, 0o755);
        entry.mtime = Time::default();
        writer.append(&entry, &mut std::io::empty()).unwrap();
        let bytes = writer.finish().unwrap();
        assert_eq!(&bytes[100..108], b"0000755\0");
        assert_eq!(&bytes[257..265], b"ustar\x0000");
        assert_eq!(&bytes[329..345], b"0000000\x000000000\0");
    }
}
