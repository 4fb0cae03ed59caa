//! The local log of a container: Docker's `json-file` format, rotated, never in the container's way.
//!
//! ```text
//!  bytes of a stream ──▶ Splitter (lines, 16 KiB pieces) ──▶ entry (JSON) ──▶ File (rotation)
//! ```
//!
//! Invariants: an entry is one `\n`-ended line and is never split over two files; a file never ends in half an entry
//! (what a full disk cut is taken back); a write that fails loses its entries and nothing else, the container goes on.

mod entry;
mod file;
mod line;

use crate::clock;
use crate::protocol::LogConfig;

pub use entry::write_entry;
pub use line::{PIECE, Piece, Splitter};

/// One of the two output streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stream {
    /// Standard output, and everything a terminal shows.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    /// Docker's name of it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }

    /// Its number in multiplexed streams.
    pub fn number(self) -> u8 {
        match self {
            Self::Stdout => 1,
            Self::Stderr => 2,
        }
    }
}

/// The attributes as Go's encoder writes them: sorted, and safe inside HTML.
fn attrs_text(attrs: &std::collections::BTreeMap<String, String>) -> Option<String> {
    let text = serde_json::to_string(attrs).ok()?;
    Some(text.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026"))
}

/// Records what a container writes.
#[derive(Debug)]
pub struct Log {
    file: file::File,
    attrs: Option<String>,
    splitters: [Splitter; 2],
    /// Entries on their way to the file; empty between calls.
    buffer: Vec<u8>,
}

impl Log {
    /// Opens the log; `None` for the driver that keeps none.
    pub fn open(config: &LogConfig) -> std::io::Result<Option<Self>> {
        match config {
            LogConfig::None => Ok(None),
            LogConfig::JsonFile { path, max_size, max_files, attrs, numbering } => Ok(Some(Self {
                file: file::File::open(path.clone(), *max_size, *max_files, *numbering)?,
                attrs: attrs.as_ref().filter(|a| !a.is_empty()).and_then(|a| attrs_text(a)),
                splitters: [Splitter::default(), Splitter::default()],
                buffer: Vec::new(),
            })),
        }
    }

    /// Records bytes of a stream: every whole line, and every 16 KiB without an end of line.
    pub fn write(&mut self, stream: Stream, data: &[u8]) {
        let Self { file, attrs, splitters, buffer } = self;
        let time = clock::rfc3339_nano(clock::now());
        splitters[stream as usize].feed(data, |piece| {
            file.make_room(buffer);
            entry::write_entry(buffer, piece, stream, attrs.as_deref(), &time);
        });
        file.append(buffer);
    }

    /// Records what is left of a stream that ended without an end of line.
    pub fn end(&mut self, stream: Stream) {
        let Self { file, attrs, splitters, buffer } = self;
        let time = clock::rfc3339_nano(clock::now());
        splitters[stream as usize].end(|piece| {
            file.make_room(buffer);
            entry::write_entry(buffer, piece, stream, attrs.as_deref(), &time);
        });
        file.append(buffer);
    }

    /// Opens the file anew, after somebody moved it away.
    pub fn reopen(&mut self) -> std::io::Result<()> {
        self.file.reopen()
    }

    /// Gives buffers back that a burst left behind.
    pub fn shrink(&mut self) {
        self.buffer = Vec::new();
        for splitter in &mut self.splitters {
            splitter.shrink();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Numbering;

    #[test]
    fn the_file_is_what_docker_28_5_writes() {
        let input = include_bytes!("../../testdata/json-file/input");
        let expected = include_str!("../../testdata/json-file/expected");
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let config = LogConfig::JsonFile {
            path: path.clone(),
            max_size: None,
            max_files: 1,
            attrs: None,
            numbering: Numbering::Shift,
        };
        let mut log = Log::open(&config).unwrap().unwrap();
        for chunk in input.chunks(5000) {
            log.write(Stream::Stdout, chunk);
        }
        log.end(Stream::Stdout);
        let written = std::fs::read_to_string(path).unwrap();
        let mut expected = expected.lines();
        for line in written.lines() {
            let at = line.rfind(r#""time":""#).unwrap();
            assert_eq!(format!(r#"{}"time":"T"}}"#, &line[..at]), expected.next().unwrap());
        }
        assert_eq!(expected.next(), None);
    }
}
