use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use super::Tail;

/// How much is read at once.
const BLOCK: usize = 64 << 10;
/// The highest number of a rotated file that is looked for.
const MOST_FILES: u32 = 10_000;

/// The files of one log as one sequence of lines, oldest first, while the writer rotates them.
///
/// ```text
///  log.2 ──▶ log.1 ──▶ log (current)        a file only ever moves to a higher number, or goes
/// ```
///
/// A file is known by its inode. When the current name is another inode, the file being read is complete, and its
/// successors are found by walking the numbers up until it.
#[derive(Debug)]
pub(super) struct Chain {
    path: PathBuf,
    /// The file being read.
    reading: Option<File>,
    /// Complete files that follow it, the current one last.
    next: VecDeque<File>,
    /// Bytes that were read; lines begin at `start`.
    buffer: Vec<u8>,
    start: usize,
}

impl Chain {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, reading: None, next: VecDeque::new(), buffer: Vec::new(), start: 0 }
    }

    /// Opens all files and stands so that the last `tail` entries follow. No file is no entry.
    pub(super) fn open(&mut self, tail: Tail) -> io::Result<()> {
        // With their places: how many lines of what is there now come before.
        let mut files = newer_than(&self.path, None)?;
        if let Tail::Last(count) = tail {
            let mut wanted = count;
            let mut first = files.len();
            while first > 0 {
                let (at, found) = place_of_last(&files[first - 1], wanted)?;
                io::Seek::seek(&mut files[first - 1], io::SeekFrom::Start(at))?;
                wanted -= found;
                first -= 1;
                if wanted == 0 {
                    break;
                }
            }
            files.drain(..first);
        }
        self.next = files.into();
        self.reading = self.next.pop_front();
        Ok(())
    }

    /// The next whole line, without its end; `None` when there is none yet.
    pub(super) fn next_line(&mut self) -> io::Result<Option<&[u8]>> {
        let end = loop {
            // A long line is looked at again with each block: entries are short (a piece of a line is at most 16 KiB).
            if let Some(at) = self.buffer[self.start..].iter().position(|b| *b == b'\n') {
                break self.start + at;
            }
            if !self.fill()? {
                return Ok(None);
            }
        };
        let line = self.start..end;
        self.start = end + 1;
        Ok(Some(&self.buffer[line]))
    }

    /// Reads on; false when there is nothing more now.
    fn fill(&mut self) -> io::Result<bool> {
        self.buffer.drain(..self.start);
        self.start = 0;
        loop {
            let Some(file) = &mut self.reading else {
                // Nothing was there at first.
                self.next = newer_than(&self.path, None)?.into();
                self.reading = self.next.pop_front();
                if self.reading.is_none() {
                    return Ok(false);
                }
                continue;
            };
            if file.by_ref().take(BLOCK as u64).read_to_end(&mut self.buffer)? > 0 {
                return Ok(true);
            }
            if self.next.is_empty() {
                // The order matters: first see that there are successors, then read what came before them.
                self.next = newer_than(&self.path, Some(file))?.into();
                if self.next.is_empty() {
                    return Ok(false);
                }
                if file.by_ref().take(BLOCK as u64).read_to_end(&mut self.buffer)? > 0 {
                    return Ok(true);
                }
            }
            // What a full disk cut off in a complete file is no line.
            self.buffer.clear();
            self.reading = self.next.pop_front();
        }
    }
}

/// The files that are newer than `known` (all, without one), oldest first.
///
/// Opened from the current one backwards: while we look, files move towards us, so one may be met twice but none missed.
fn newer_than(path: &Path, known: Option<&File>) -> io::Result<Vec<File>> {
    let identity = |file: &File| file.metadata().map(|m| (m.dev(), m.ino()));
    let known = known.map(identity).transpose()?;
    let mut found: Vec<File> = Vec::new();
    let mut seen = Vec::new();
    // A rotation under way leaves one number empty for a moment; two empty ones are the end.
    let mut missing = 0;
    for number in 0..MOST_FILES {
        let mut name = path.as_os_str().to_owned();
        if number > 0 {
            name.push(format!(".{number}"));
        }
        let file = match File::open(&name) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                missing += 1;
                if missing == 2 {
                    break;
                }
                continue;
            }
            Err(error) => return Err(error),
        };
        missing = 0;
        let who = identity(&file)?;
        if Some(who) == known {
            break;
        }
        if !seen.contains(&who) {
            seen.push(who);
            found.push(file);
        }
    }
    found.reverse();
    Ok(found)
}

/// Where the last `count` lines of a file begin, and how many of them there are. A line without an end is none.
fn place_of_last(file: &File, count: u64) -> io::Result<(u64, u64)> {
    let mut at = file.metadata()?.len();
    if count == 0 {
        // From the end on: the half entry that may be there now becomes whole.
        return Ok((last_end(file, at)?, 0));
    }
    let mut ends = 0;
    let mut block = vec![0; BLOCK];
    while at > 0 {
        let size = usize::try_from(at).unwrap_or(BLOCK).min(BLOCK);
        at -= size as u64;
        file.read_exact_at(&mut block[..size], at)?;
        for offset in (0..size).rev().filter(|o| block[*o] == b'\n') {
            if ends == count {
                return Ok((at + offset as u64 + 1, count));
            }
            ends += 1;
        }
    }
    Ok((0, ends))
}

/// Where the last whole line ends.
fn last_end(file: &File, mut at: u64) -> io::Result<u64> {
    let mut block = vec![0; BLOCK];
    while at > 0 {
        let size = usize::try_from(at).unwrap_or(BLOCK).min(BLOCK);
        at -= size as u64;
        file.read_exact_at(&mut block[..size], at)?;
        if let Some(offset) = block[..size].iter().rposition(|b| *b == b'\n') {
            return Ok(at + offset as u64 + 1);
        }
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    struct Log(tempfile::TempDir);

    impl Log {
        fn path(&self, number: u32) -> PathBuf {
            self.0.path().join(if number == 0 { "log".into() } else { format!("log.{number}") })
        }

        fn write(&self, text: &str) {
            let mut file = File::options().append(true).create(true).open(self.path(0)).unwrap();
            file.write_all(text.as_bytes()).unwrap();
        }

        fn rotate(&self, files: u32) {
            for number in (0..files).rev() {
                std::fs::rename(self.path(number), self.path(number + 1)).ok();
            }
            std::fs::remove_file(self.path(files)).ok();
            self.write("");
        }

        fn open(&self, tail: Tail) -> Chain {
            let mut chain = Chain::new(self.path(0));
            chain.open(tail).unwrap();
            chain
        }
    }

    fn rest(chain: &mut Chain) -> String {
        let mut all = String::new();
        while let Some(line) = chain.next_line().unwrap() {
            all.push_str(std::str::from_utf8(line).unwrap());
            all.push(' ');
        }
        all
    }

    fn log() -> Log {
        Log(tempfile::tempdir().unwrap())
    }

    fn three_files() -> Log {
        let log = log();
        for text in ["1\n2\n", "3\n4\n5\n", "6\n7\nhal"] {
            log.rotate(5);
            log.write(text);
        }
        log
    }

    #[test]
    fn rotated_files_come_first_and_half_an_entry_later() {
        let log = three_files();
        let mut chain = log.open(Tail::All);
        assert_eq!(rest(&mut chain), "1 2 3 4 5 6 7 ");
        log.write("f\n");
        assert_eq!(rest(&mut chain), "half ");
    }

    #[test]
    fn a_tail_reaches_back_over_files() {
        let log = three_files();
        for (count, expected) in [
            (0, ""),
            (1, "7 "),
            (2, "6 7 "),
            (3, "5 6 7 "),
            (5, "3 4 5 6 7 "),
            (6, "2 3 4 5 6 7 "),
            (99, "1 2 3 4 5 6 7 "),
        ] {
            assert_eq!(rest(&mut log.open(Tail::Last(count))), expected);
        }
        let mut chain = log.open(Tail::Last(0));
        assert_eq!(rest(&mut chain), "");
        log.write("f\n8\n");
        assert_eq!(rest(&mut chain), "half 8 ");
    }

    #[test]
    fn a_tail_finds_its_place_in_long_files() {
        let log = log();
        let text: String = (0..30_000).map(|n| format!("line {n}\n")).collect();
        log.write(&text);
        let mut chain = log.open(Tail::Last(20_001));
        assert_eq!(chain.next_line().unwrap().unwrap(), b"line 9999");
    }

    #[test]
    fn following_loses_nothing_over_rotations() {
        let log = log();
        log.write("1\n");
        let mut chain = log.open(Tail::All);
        assert_eq!(rest(&mut chain), "1 ");
        log.write("2\n");
        log.rotate(5);
        log.write("3\n");
        log.rotate(5);
        log.rotate(5);
        log.write("4\n");
        assert_eq!(rest(&mut chain), "2 3 4 ");
        log.rotate(5);
        assert_eq!(rest(&mut chain), "");
        log.write("5\n");
        assert_eq!(rest(&mut chain), "5 ");
    }

    #[test]
    fn a_file_that_was_thrown_away_while_read_is_read_to_its_end() {
        let log = log();
        log.write("1\n2\n");
        let mut chain = log.open(Tail::All);
        assert_eq!(chain.next_line().unwrap().unwrap(), b"1");
        std::fs::remove_file(log.path(0)).unwrap();
        log.write("3\n");
        assert_eq!(rest(&mut chain), "2 3 ");
    }

    #[test]
    fn a_log_that_appears_later_is_read() {
        let log = log();
        let mut chain = log.open(Tail::Last(1));
        assert_eq!(rest(&mut chain), "");
        log.write("1\n");
        assert_eq!(rest(&mut chain), "1 ");
    }
}
