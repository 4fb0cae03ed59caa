//! Ships the local logs of containers with a remote driver, and remembers how far it came.
//!
//! ```text
//!  <id>-json.log.N … <id>-json.log ──▶ Chain ──▶ Sender ──▶ receiver
//!                                        │ after each batch
//!                                        ▼
//!                                 shipped.json {inode, offset}
//! ```
//!
//! Invariants:
//! * a line is shipped once in the life of a daemon, and at least once over its death;
//! * a receiver that is away costs nothing: lines stay in the local log, and are lost only when that is rotated away;
//! * nothing waits for it but the removal of a container, for a moment.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::chain::{Chain, Position};
use super::entry::Entry;
use super::remote::{Connection, Message, Part, Sender};
use super::watch::Watcher;

/// Lines of a batch.
const BATCH: usize = 256;
/// The first pause before a receiver is tried again, and the longest.
const PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How long the removal of a container waits for what is left of its log.
const FAREWELL: Duration = Duration::from_secs(5);
/// The file that remembers.
const PLACE: &str = "shipped.json";

/// All logs that are shipped.
#[derive(Debug)]
pub struct Shipping {
    watcher: Arc<Watcher>,
    tasks: Mutex<HashMap<String, Task>>,
}

#[derive(Debug)]
struct Task {
    handle: JoinHandle<()>,
    /// The container is being removed: what cannot be sent now never is.
    leaving: CancellationToken,
}

impl Shipping {
    /// Nothing is shipped yet.
    pub fn new(watcher: Arc<Watcher>) -> Self {
        Self { watcher, tasks: Mutex::default() }
    }

    /// Ships the log at `path` of a container from where it came to, until `ended` resolves and all is shipped.
    pub fn start(
        self: &Arc<Self>,
        container: &str,
        path: PathBuf,
        sender: Sender,
        ended: impl Future<Output = ()> + Send + 'static,
    ) {
        let leaving = CancellationToken::new();
        let shipment = Shipment {
            container: container.to_owned(),
            place: path.with_file_name(PLACE),
            path,
            sender,
            connection: None,
            parts: HashMap::new(),
            leaving: leaving.clone(),
        };
        let mut tasks = self.tasks.lock();
        // A run before this one may still be on its way: one after the other.
        let before = tasks.remove(container).map(|task| task.handle);
        let watcher = self.watcher.clone();
        let handle = tokio::spawn(async move {
            if let Some(before) = before {
                let _ = before.await;
            }
            shipment.run(&watcher, ended).await;
        });
        tasks.insert(container.to_owned(), Task { handle, leaving });
    }

    /// The container goes, and its log with it: what is left is shipped if the receiver takes it now.
    pub async fn finish(&self, container: &str) {
        let task = self.tasks.lock().remove(container);
        let Some(Task { mut handle, leaving }) = task else { return };
        leaving.cancel();
        if tokio::time::timeout(FAREWELL, &mut handle).await.is_err() {
            handle.abort();
            tracing::warn!(container, "the end of a removed container's log was not shipped");
        }
    }
}

struct Shipment {
    container: String,
    path: PathBuf,
    place: PathBuf,
    sender: Sender,
    connection: Option<Connection>,
    /// The line that each stream is in the middle of: id and pieces so far.
    parts: HashMap<bool, (String, u32)>,
    leaving: CancellationToken,
}

impl Shipment {
    async fn run(mut self, watcher: &Watcher, ended: impl Future<Output = ()>) {
        let folder = self.path.parent().unwrap_or(Path::new("/")).to_owned();
        let mut watch = watcher.watch(&folder).ok();
        let (path, place) = (self.path.clone(), self.place.clone());
        let opened = tokio::task::spawn_blocking(move || {
            let mut chain = Chain::new(path);
            chain.open_at(read_place(&place)).map(|()| chain)
        });
        let mut chain = match opened.await {
            Ok(Ok(chain)) => chain,
            Ok(Err(error)) => {
                tracing::warn!(container = self.container, %error, "a log cannot be read to be shipped");
                return;
            }
            Err(_) => return,
        };
        tokio::pin!(ended);
        let leaving = self.leaving.clone();
        let mut last_round = false;
        loop {
            let read = tokio::task::spawn_blocking(move || read_batch(chain)).await;
            let Ok((next, lines)) = read else { return };
            chain = next;
            match lines {
                Ok(lines) if lines.is_empty() && last_round => return,
                Ok(lines) if lines.is_empty() => {
                    let changed = async {
                        match &mut watch {
                            Some(watch) => watch.changed().await,
                            None => std::future::pending().await,
                        }
                    };
                    tokio::select! {
                        () = changed => {}
                        () = &mut ended => last_round = true,
                        () = leaving.cancelled() => last_round = true,
                    }
                }
                Ok(lines) => {
                    if !self.ship(&lines).await {
                        return;
                    }
                    self.remember(chain.position());
                }
                Err(error) => {
                    tracing::warn!(container = self.container, %error, "a log cannot be read to be shipped");
                    return;
                }
            }
        }
    }

    /// Sends lines, trying again until they are sent; false when the container leaves before that.
    async fn ship(&mut self, lines: &[Vec<u8>]) -> bool {
        for line in lines {
            let Ok(entry) = serde_json::from_slice::<Entry<'_>>(line) else { continue };
            let Ok(time) = entry.time.parse() else { continue };
            let whole = entry.log.strip_suffix('\n');
            let is_error = entry.stream == "stderr";
            let message = Message {
                text: whole.unwrap_or(&entry.log),
                is_error,
                time,
                part: self.part(is_error, whole.is_some()),
            };
            let mut pause = PAUSE;
            while let Err(error) = self.send(&message).await {
                self.connection = None;
                if pause == PAUSE {
                    tracing::warn!(container = self.container, %error, "a log's receiver is away");
                }
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = self.leaving.cancelled(), if pause != PAUSE => return false,
                }
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
        true
    }

    async fn send(&mut self, message: &Message<'_>) -> io::Result<()> {
        if self.connection.as_ref().is_some_and(|connection| !connection.is_open()) {
            self.connection = None;
        }
        let connection = match &mut self.connection {
            Some(connection) => connection,
            None => self.connection.insert(self.sender.address().open().await?),
        };
        self.sender.send(connection, message).await
    }

    /// Which piece of a line the next entry of a stream is; none for a whole line.
    fn part(&mut self, is_error: bool, ends: bool) -> Option<Part> {
        match (self.parts.get_mut(&is_error), ends) {
            (None, true) => None,
            (None, false) => {
                let id = corten_types::random_hex(32);
                self.parts.insert(is_error, (id.clone(), 1));
                Some(Part { id, ordinal: 1, last: false })
            }
            (Some((id, count)), ends) => {
                *count += 1;
                let part = Part { id: id.clone(), ordinal: *count, last: ends };
                if ends {
                    self.parts.remove(&is_error);
                }
                Some(part)
            }
        }
    }

    fn remember(&self, position: Option<Position>) {
        let Some(position) = position else { return };
        let write = || -> io::Result<()> {
            let new = self.place.with_extension("new");
            std::fs::write(&new, serde_json::to_vec(&position)?)?;
            std::fs::rename(&new, &self.place)
        };
        match write() {
            // The container's folder is gone, and what would be read from this with it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::warn!(container = self.container, %error, "how far a log was shipped is not remembered")
            }
            Ok(()) => {}
        }
    }
}

fn read_place(path: &Path) -> Option<Position> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

fn read_batch(mut chain: Chain) -> (Chain, io::Result<Vec<Vec<u8>>>) {
    let mut lines = Vec::new();
    while lines.len() < BATCH {
        match chain.next_line() {
            Ok(Some(line)) => lines.push(line.to_vec()),
            Ok(None) => break,
            Err(error) => return (chain, Err(error)),
        }
    }
    (chain, Ok(lines))
}

#[cfg(test)]
mod tests;
