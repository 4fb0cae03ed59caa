use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Tail;
use super::segment::{Identity, Segment, newer_than};

/// The files of one log as one sequence of lines, oldest first, while the writer rotates them.
///
/// ```text
///  log.2 ──▶ log.1 ──▶ log (current)        a file only ever moves to a higher number, or goes
///  log.000000007.gz ──▶ log.000000008 ──▶ log        or keeps the next number of a sequence, and is compressed
/// ```
///
/// When the current name is another file than the one being read, that is complete, and its
/// successors are found by walking from the current one back to it.
#[derive(Debug)]
pub(super) struct Chain {
    path: PathBuf,
    /// The file being read.
    reading: Option<Segment>,
    /// Complete files that follow it, the current one last.
    next: VecDeque<Segment>,
    /// Bytes that were read; lines begin at `start`.
    buffer: Vec<u8>,
    start: usize,
}

/// A place in a log that stays the same while files are rotated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Position {
    /// The file.
    pub(super) file: Identity,
    /// Bytes before it.
    pub(super) offset: u64,
}

impl Chain {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, reading: None, next: VecDeque::new(), buffer: Vec::new(), start: 0 }
    }

    /// Opens all files and stands so that the last `tail` entries follow. No file is no entry. Where all entries are wanted, files
    /// whose last one is older than `since` are passed over: their times are the log's index.
    pub(super) fn open(&mut self, tail: Tail, since: Option<Timestamp>) -> io::Result<()> {
        let mut files = newer_than(&self.path, None)?;
        match (tail, since) {
            (Tail::Last(count), _) => {
                // With their places: how many lines of what is there now come before.
                let mut wanted = count;
                let mut first = files.len();
                while first > 0 {
                    let (at, found) = files[first - 1].place_of_last(wanted)?;
                    files[first - 1].seek(at)?;
                    wanted -= found;
                    first -= 1;
                    if wanted == 0 {
                        break;
                    }
                }
                files.drain(..first);
            }
            (Tail::All, Some(since)) => {
                let older = |file: &Segment| {
                    Timestamp::try_from(file.modified).is_ok_and(|modified| modified < since)
                };
                let current = files.len().saturating_sub(1);
                let first = files.iter().take(current).take_while(|file| older(file)).count();
                files.drain(..first);
            }
            (Tail::All, None) => {}
        }
        self.next = files.into();
        self.reading = self.next.pop_front();
        Ok(())
    }

    /// Opens all files and stands at `position`; at the oldest line there is when that has been rotated away, or is none.
    pub(super) fn open_at(&mut self, position: Option<Position>) -> io::Result<()> {
        let mut files = newer_than(&self.path, None)?;
        if let Some(position) = position {
            let is_there = |file: &Segment| file.identity == position.file && file.reaches(position.offset);
            if let Some(at) = files.iter().position(is_there) {
                files[at].seek(position.offset)?;
                files.drain(..at);
            }
        }
        self.next = files.into();
        self.reading = self.next.pop_front();
        Ok(())
    }

    /// Where the next line begins; `None` while there is no file.
    pub(super) fn position(&self) -> Option<Position> {
        let file = self.reading.as_ref()?;
        let unread = self.buffer.len() - self.start;
        Some(Position { file: file.identity, offset: file.offset.checked_sub(unread as u64)? })
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
            if file.read_block(&mut self.buffer)? > 0 {
                return Ok(true);
            }
            if self.next.is_empty() {
                // The order matters: first see that there are successors, then read what came before them.
                self.next = newer_than(&self.path, Some(file.identity))?.into();
                if self.next.is_empty() {
                    return Ok(false);
                }
                if file.read_block(&mut self.buffer)? > 0 {
                    return Ok(true);
                }
            }
            // What a full disk cut off in a complete file is no line.
            self.buffer.clear();
            self.reading = self.next.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
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
            chain.open(tail, None).unwrap();
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
    fn a_position_is_found_again_after_rotations() {
        let log = log();
        log.write("1\n2\n3\n");
        let mut chain = log.open(Tail::All);
        chain.next_line().unwrap();
        chain.next_line().unwrap();
        let position = chain.position();
        log.rotate(5);
        log.write("4\n");
        let again = |position| {
            let mut chain = Chain::new(log.path(0));
            chain.open_at(position).unwrap();
            rest(&mut chain)
        };
        assert_eq!(again(position), "3 4 ");
        assert_eq!(again(None), "1 2 3 4 ");
        let gone = serde_json::from_str(r#"{"file":{"inode":0,"born":0},"offset":0}"#).unwrap();
        assert_eq!(again(Some(gone)), "1 2 3 4 ");
    }

    #[test]
    fn a_compressed_sequence_is_read_like_any_other() {
        let log = log();
        let place = |number: u32| log.0.path().join(format!("log.{number:09}"));
        for (number, text) in [(1, "1\n2\n"), (2, "3\n"), (3, "4\n5\n6\n")] {
            std::fs::write(place(number), text).unwrap();
        }
        log.write("7\n");
        let mut reader = log.open(Tail::All);
        assert_eq!(reader.next_line().unwrap().unwrap(), b"1");
        let position = reader.position();
        super::super::segment::pack_all(&log.path(0)).unwrap();
        assert!(!place(1).exists() && place(1).with_extension("000000001.gz").exists());
        // Who was reading goes on, and who was interrupted finds the place again.
        assert_eq!(rest(&mut reader), "2 3 4 5 6 7 ");
        let mut again = Chain::new(log.path(0));
        again.open_at(position).unwrap();
        assert_eq!(rest(&mut again), "2 3 4 5 6 7 ");
        for (count, expected) in
            [(1, "7 "), (3, "5 6 7 "), (4, "4 5 6 7 "), (5, "3 4 5 6 7 "), (9, "1 2 3 4 5 6 7 ")]
        {
            assert_eq!(rest(&mut log.open(Tail::Last(count))), expected);
        }
    }

    #[test]
    fn files_older_than_what_is_wanted_are_passed_over() {
        let log = three_files();
        let old = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1000);
        for number in [1, 2] {
            File::options().append(true).open(log.path(number)).unwrap().set_modified(old).unwrap();
        }
        let mut chain = Chain::new(log.path(0));
        chain.open(Tail::All, Some(Timestamp::from_second(2000).unwrap())).unwrap();
        assert_eq!(rest(&mut chain), "6 7 ");
        chain = Chain::new(log.path(0));
        chain.open(Tail::All, Some(Timestamp::from_second(500).unwrap())).unwrap();
        assert_eq!(rest(&mut chain), "1 2 3 4 5 6 7 ");
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
