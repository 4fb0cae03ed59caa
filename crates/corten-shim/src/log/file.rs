use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::protocol::Numbering;

/// The end of a compressed file's name.
const PACKED: &str = ".gz";
/// How many bytes of entries are collected before they are written.
const BATCH: usize = 64 << 10;

/// The current file of a log and its rotated predecessors.
///
/// Docker's rule: a file that has reached `max_size` is rotated before the next entry, so it is longer than that by
/// at most one entry.
#[derive(Debug)]
pub(super) struct File {
    path: PathBuf,
    max_size: Option<u64>,
    max_files: u32,
    /// The number of the file that was rotated last, where numbers are a sequence.
    sequence: Option<u64>,
    /// `None` when the last attempt to open it failed; the next write tries again.
    current: Option<fs::File>,
    /// Length of the current file up to the last whole entry.
    size: u64,
}

impl File {
    pub(super) fn open(
        path: PathBuf,
        max_size: Option<u64>,
        max_files: u32,
        numbering: Numbering,
    ) -> io::Result<Self> {
        let sequence = (numbering == Numbering::Sequence).then(|| last_of_sequence(&path));
        let mut file = Self { path, max_size, max_files: max_files.max(1), sequence, current: None, size: 0 };
        file.reopen()?;
        Ok(file)
    }

    pub(super) fn reopen(&mut self) -> io::Result<()> {
        let file = OpenOptions::new().append(true).create(true).mode(0o640).open(&self.path)?;
        self.size = file.metadata()?.len();
        self.current = Some(file);
        Ok(())
    }

    /// Called before an entry is added to `batch`: writes it out when it is long, rotates when the file is full.
    pub(super) fn make_room(&mut self, batch: &mut Vec<u8>) {
        let full = self.max_size.is_some_and(|max| self.size + batch.len() as u64 >= max);
        if full || batch.len() >= BATCH {
            self.append(batch);
        }
        // After a failed write the file is shorter than was thought.
        if full && self.max_size.is_some_and(|max| self.size >= max) {
            self.rotate();
        }
    }

    /// Writes whole entries and empties `batch`, written or not.
    pub(super) fn append(&mut self, batch: &mut Vec<u8>) {
        if batch.is_empty() {
            return;
        }
        if self.current.is_none() {
            self.reopen().ok();
        }
        if let Some(file) = self.current.as_mut() {
            match file.write_all(batch) {
                Ok(()) => self.size += batch.len() as u64,
                // A full disk may have taken half an entry: what follows must not be glued to it.
                Err(_) => drop(file.set_len(self.size)),
            }
        }
        batch.clear();
    }

    /// Moves the files one number up and starts a new one. Failures leave the log appending where it can.
    fn rotate(&mut self) {
        self.current = None;
        if let Some(last) = &mut self.sequence {
            *last += 1;
            let last = *last;
            fs::rename(&self.path, self.in_sequence(last, "")).ok();
            // What falls out, and what an earlier run with more files left.
            let kept = u64::from(self.max_files - 1);
            for number in last.saturating_sub(2 * kept)..=last.saturating_sub(kept) {
                fs::remove_file(self.in_sequence(number, "")).ok();
                fs::remove_file(self.in_sequence(number, PACKED)).ok();
            }
        } else if self.max_files > 1 {
            for number in (1..self.max_files - 1).rev() {
                fs::rename(self.numbered(number), self.numbered(number + 1)).ok();
            }
            fs::rename(&self.path, self.numbered(1)).ok();
        } else {
            // A new file rather than a shorter one: who reads the old one reads it to its end.
            fs::remove_file(&self.path).ok();
        }
        self.reopen().ok();
    }

    fn in_sequence(&self, number: u64, end: &str) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{number:09}{end}"));
        name.into()
    }

    fn numbered(&self, number: u32) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{number}"));
        name.into()
    }
}

/// The highest number of a log's rotated files, compressed or not.
fn last_of_sequence(path: &Path) -> u64 {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        return 0;
    };
    let number = |entry: fs::DirEntry| {
        let entry = entry.file_name();
        let number = entry.to_str()?.strip_prefix(name)?.strip_prefix('.')?;
        number.strip_suffix(PACKED).unwrap_or(number).parse::<u64>().ok()
    };
    fs::read_dir(folder).into_iter().flatten().flatten().filter_map(number).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sequence_never_renames_and_forgets_what_falls_out() {
        let dir = tempfile::tempdir().unwrap();
        let open = || File::open(dir.path().join("l"), Some(5), 3, Numbering::Sequence).unwrap();
        write(&mut open(), &["aaaa\n", "bbbb\n", "cccc\n"]);
        assert_eq!(contents(&dir, "l.000000001"), "aaaa\n");
        fs::rename(dir.path().join("l.000000001"), dir.path().join("l.000000001.gz")).unwrap();
        assert_eq!(contents(&dir, "l.000000002"), "bbbb\n");
        write(&mut open(), &["dddd\n"]);
        assert_eq!(contents(&dir, "l.000000003"), "cccc\n");
        assert_eq!((contents(&dir, "l.000000001.gz"), contents(&dir, "l")), ("-".into(), "dddd\n".into()));
    }

    fn write(file: &mut File, entries: &[&str]) {
        let mut batch = Vec::new();
        for entry in entries {
            file.make_room(&mut batch);
            batch.extend_from_slice(entry.as_bytes());
        }
        file.append(&mut batch);
    }

    fn contents(dir: &tempfile::TempDir, name: &str) -> String {
        fs::read_to_string(dir.path().join(name)).unwrap_or_else(|_| "-".into())
    }

    #[test]
    fn a_full_file_is_rotated_before_the_next_entry() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = File::open(dir.path().join("l"), Some(10), 3, Numbering::Shift).unwrap();
        write(&mut file, &["aaaa\n", "bbbb\n", "cccc\n", "dd\n", "ee\n", "f\n"]);
        assert_eq!(contents(&dir, "l.2"), "aaaa\nbbbb\n");
        assert_eq!(contents(&dir, "l.1"), "cccc\ndd\nee\n");
        assert_eq!(contents(&dir, "l"), "f\n");
        write(&mut file, &["gggg\n", "hhhh\n", "iiii\n"]);
        assert_eq!(contents(&dir, "l.2"), "cccc\ndd\nee\n");
        assert_eq!(contents(&dir, "l.1"), "f\ngggg\nhhhh\n");
        assert_eq!(contents(&dir, "l"), "iiii\n");
        assert_eq!(contents(&dir, "l.3"), "-");
    }

    #[test]
    fn a_single_file_starts_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = File::open(dir.path().join("l"), Some(6), 1, Numbering::Shift).unwrap();
        write(&mut file, &["aaaa\n", "bbbb\n", "cccc\n"]);
        assert_eq!(contents(&dir, "l"), "cccc\n");
        assert_eq!(contents(&dir, "l.1"), "-");
    }

    #[test]
    fn an_existing_file_is_continued() {
        let dir = tempfile::tempdir().unwrap();
        write(&mut File::open(dir.path().join("l"), Some(6), 2, Numbering::Shift).unwrap(), &["aaaa\n"]);
        write(
            &mut File::open(dir.path().join("l"), Some(6), 2, Numbering::Shift).unwrap(),
            &["bbbb\n", "cccc\n"],
        );
        assert_eq!((contents(&dir, "l.1"), contents(&dir, "l")), ("aaaa\nbbbb\n".into(), "cccc\n".into()));
    }

    #[test]
    fn a_disk_that_is_full_costs_whole_entries_only() {
        let mut file = File::open("/dev/full".into(), None, 2, Numbering::Shift).unwrap();
        let mut batch = b"lost\n".to_vec();
        file.append(&mut batch);
        assert!(batch.is_empty());
        assert_eq!(file.size, 0);
    }
}
