//! Reading the local logs of containers.
//!
//! ```text
//!  <id>-json.log.4 … .1, <id>-json.log ──▶ Chain (oldest first, exact across rotation)
//!                                            ▼
//!              tail ──▶ since / until ──▶ stream filter ──▶ details, timestamps ──▶ frame
//! ```
//!
//! The monitor writes, anybody reads; the two meet only in the files. Invariants:
//! * each entry comes out once and in order, however often the files rotate meanwhile, unless a file was thrown away
//!   before it was reached;
//! * half an entry (the writer is at work) is left for later;
//! * following waits for the kernel's word ([`Watcher`]), it never polls.

mod chain;
pub mod driver;
mod entry;
pub mod info;
mod open;
pub mod packing;
pub mod remote;
mod request;
mod segment;
pub mod shipping;
mod tail;
mod watch;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::mpsc;

pub use entry::{Entry, Framing};
pub use open::{ContainerLog, OpenLogError};
pub use request::{LogRequest, LogsError, Tail};
pub use watch::Watcher;

use chain::Chain;
use entry::Filter;

/// About how many bytes are handed on at once.
const BATCH: usize = 64 << 10;
/// How many batches wait for a slow reader.
const AHEAD: usize = 4;

/// The logs of this engine's containers.
#[derive(Debug)]
pub struct Logs {
    watcher: Arc<Watcher>,
}

/// What a reader gets: bytes as the API sends them, in order; closed at the end.
pub type Batches = mpsc::Receiver<io::Result<Vec<u8>>>;

impl Logs {
    /// Nothing is opened until somebody reads.
    pub fn new(watcher: Arc<Watcher>) -> Self {
        Self { watcher }
    }

    /// Reads the log at `path`. With [`LogRequest::follow`] it goes on until `ended` resolves (the container stopped,
    /// and all it wrote is in the file), the request's `until` is over, or the receiver is dropped.
    pub fn read(
        &self,
        path: PathBuf,
        request: LogRequest,
        framing: Framing,
        ended: impl Future<Output = ()> + Send + 'static,
    ) -> Batches {
        let (batches, receiver) = mpsc::channel(AHEAD);
        let watch = if request.follow {
            self.watcher.watch(path.parent().unwrap_or(Path::new("/"))).ok()
        } else {
            None
        };
        let reading =
            Reading { chain: Chain::new(path), filter: Filter::new(&request, framing), over: false };
        tokio::spawn(async move {
            let Some(mut reading) = reading.first(request, &batches).await else { return };
            let Some(mut watch) = watch else { return };
            tokio::pin!(ended);
            let mut last_round = false;
            loop {
                match reading.more(&batches).await {
                    Some(next) => reading = next,
                    None => return,
                }
                if last_round || reading.over {
                    return;
                }
                tokio::select! {
                    () = watch.changed() => {}
                    () = &mut ended => last_round = true,
                    () = batches.closed() => return,
                    () = until(request.until) => return,
                }
            }
        });
        receiver
    }
}

/// Resolves when that time has come.
async fn until(time: Option<jiff::Timestamp>) {
    match time {
        Some(time) => {
            let left = time.as_nanosecond() - jiff::Timestamp::now().as_nanosecond();
            let left = std::time::Duration::from_nanos(u64::try_from(left).unwrap_or(0));
            tokio::time::sleep(left).await;
        }
        None => std::future::pending().await,
    }
}

/// A reader's place. File work is done on a blocking thread; the place travels there and back.
struct Reading {
    chain: Chain,
    filter: Filter,
    /// Nothing that follows is wanted.
    over: bool,
}

impl Reading {
    async fn first(
        mut self,
        request: LogRequest,
        batches: &mpsc::Sender<io::Result<Vec<u8>>>,
    ) -> Option<Self> {
        let sender = batches.clone();
        let done = tokio::task::spawn_blocking(move || {
            let result = self.chain.open(request.tail, request.since);
            self.pump(result, &sender)
        });
        done.await.ok().flatten()
    }

    async fn more(self, batches: &mpsc::Sender<io::Result<Vec<u8>>>) -> Option<Self> {
        let sender = batches.clone();
        tokio::task::spawn_blocking(move || self.pump(Ok(()), &sender)).await.ok().flatten()
    }

    /// Hands on everything that is there now; `None` when nobody listens any more or reading failed.
    fn pump(mut self, opened: io::Result<()>, batches: &mpsc::Sender<io::Result<Vec<u8>>>) -> Option<Self> {
        let mut batch = Vec::new();
        let read = || -> io::Result<bool> {
            opened?;
            while let Some(line) = self.chain.next_line()? {
                if !self.filter.apply(line, &mut batch) {
                    self.over = true;
                    break;
                }
                if batch.len() >= BATCH && batches.blocking_send(Ok(std::mem::take(&mut batch))).is_err() {
                    return Ok(false);
                }
            }
            Ok(true)
        };
        match read() {
            Ok(true) if batch.is_empty() => Some(self),
            Ok(true) => batches.blocking_send(Ok(batch)).is_ok().then_some(self),
            Ok(false) => None,
            Err(error) => {
                batches.blocking_send(Err(error)).ok();
                None
            }
        }
    }
}
