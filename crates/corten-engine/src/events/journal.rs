//! Events on disk: one JSON line each, in two files of bounded size.
//!
//! ```text
//! data_root/events/events.log      appended to; when it is full it becomes
//! data_root/events/events.log.1    the older half, thrown away at the next turn
//! ```
//!
//! A line is written with one call before anybody is told of its event, so that the daemon's death loses none; nothing is synced. A
//! line that was cut off by a full disk or a power failure is passed over.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Actor, Event};

/// Bytes after which a file is full: about a thousand events, and there are two.
const FULL: u64 = 384 << 10;
/// How much of the end of a file is searched for its last line.
const LAST: u64 = 64 << 10;

/// The types of events; what another version of the daemon wrote besides is passed over.
const TYPES: [&str; 6] = ["builder", "container", "daemon", "image", "network", "volume"];

/// The journal, open for writing.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: File,
    size: u64,
}

#[derive(Serialize, Deserialize)]
struct Line<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    action: String,
    id: String,
    attributes: std::collections::BTreeMap<String, String>,
    time: i64,
}

impl Journal {
    /// Opens the journal in a folder, and gives the time of the last event in it.
    pub(super) fn open(folder: &Path) -> io::Result<(Self, i64)> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let path = folder.join("events.log");
        let mut journal = Self { file: append(&path)?, path, size: 0 };
        journal.size = journal.file.metadata()?.len();
        if !ends_whole(&journal.path)? {
            // What was cut off must not be glued to what follows.
            journal.file.write_all(b"\n")?;
            journal.size += 1;
        }
        let last = [journal.path.clone(), older(&journal.path)].iter().find_map(|path| last_time(path));
        Ok((journal, last.unwrap_or(0)))
    }

    /// Writes an event.
    pub(super) fn append(&mut self, event: &Event) -> io::Result<()> {
        if self.size >= FULL {
            fs::rename(&self.path, older(&self.path))?;
            self.file = append(&self.path)?;
            self.size = 0;
        }
        let line = Line {
            kind: event.r#type,
            action: event.action.clone(),
            id: event.actor.id.clone(),
            attributes: event.actor.attributes.clone(),
            time: event.time_nano,
        };
        let mut line = serde_json::to_vec(&line)?;
        line.push(b'\n');
        self.file.write_all(&line)?;
        self.size += line.len() as u64;
        Ok(())
    }

    /// Where it can be read.
    pub(super) fn path(&self) -> PathBuf {
        self.path.clone()
    }
}

/// The events in the journal at `path` that are `wanted`, oldest first; those from `before` on are not read.
pub(super) fn read(path: &Path, before: i64, wanted: impl Fn(&Event) -> bool) -> io::Result<Vec<Event>> {
    // Opened together, oldest last: a turn in between moves the older one on, and repeats none.
    let current = File::open(path)?;
    let files = match File::open(older(path)) {
        Ok(older) => vec![older, current],
        Err(error) if error.kind() == io::ErrorKind::NotFound => vec![current],
        Err(error) => return Err(error),
    };
    let mut found: Vec<Event> = Vec::new();
    for file in files {
        for line in BufReader::new(file).split(b'\n') {
            let Some(event) = parse(&line?) else { continue };
            let repeated = found.last().is_some_and(|last| last.time_nano >= event.time_nano);
            if event.time_nano < before && !repeated && wanted(&event) {
                found.push(event);
            }
        }
    }
    Ok(found)
}

fn parse(line: &[u8]) -> Option<Event> {
    let Line { kind, action, id, attributes, time } = serde_json::from_slice(line).ok()?;
    let r#type = TYPES.into_iter().find(|known| *known == kind)?;
    Some(Event { r#type, action, actor: Actor { id, attributes }, time_nano: time })
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

fn older(path: &Path) -> PathBuf {
    path.with_extension("log.1")
}

fn ends_whole(path: &Path) -> io::Result<bool> {
    let mut file = File::open(path)?;
    if file.seek(SeekFrom::End(0))? == 0 {
        return Ok(true);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut byte = [0];
    file.read_exact(&mut byte)?;
    Ok(byte[0] == b'\n')
}

fn last_time(path: &Path) -> Option<i64> {
    let mut file = File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LAST))).ok()?;
    let mut end = Vec::new();
    file.read_to_end(&mut end).ok()?;
    end.rsplit(|byte| *byte == b'\n').find_map(parse).map(|event| event.time_nano)
}
