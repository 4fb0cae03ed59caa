//! Compresses the rotated files of logs that are kept compressed, beside the monitor that rotates them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use tokio::task::JoinHandle;

use super::segment::pack_all;
use super::watch::Watcher;

/// All logs that are kept compressed.
#[derive(Debug)]
pub struct Packing {
    watcher: Watcher,
    tasks: Mutex<HashMap<String, JoinHandle<()>>>,
}

impl Packing {
    /// Nothing is compressed yet.
    #[expect(clippy::new_without_default, reason = "an engine has one, made on purpose")]
    pub fn new() -> Self {
        // Its own: what is written between two rotations must wake nobody.
        Self { watcher: Watcher::for_rotations(), tasks: Mutex::default() }
    }

    /// Compresses what the log at `path` of a container has rotated and rotates, until `ended` resolves.
    pub fn start(&self, container: &str, path: PathBuf, ended: impl Future<Output = ()> + Send + 'static) {
        let Ok(mut watch) = self.watcher.watch(path.parent().unwrap_or(Path::new("/"))) else { return };
        let id = container.to_owned();
        let task = tokio::spawn(async move {
            tokio::pin!(ended);
            let mut last_round = false;
            loop {
                let log = path.clone();
                if let Ok(Err(error)) = tokio::task::spawn_blocking(move || pack_all(&log)).await {
                    tracing::warn!(container = id, %error, "a log is not compressed");
                }
                if last_round {
                    return;
                }
                tokio::select! {
                    () = watch.changed() => {}
                    () = &mut ended => last_round = true,
                }
            }
        });
        if let Some(before) = self.tasks.lock().insert(container.to_owned(), task) {
            before.abort();
        }
    }

    /// The container goes, and its log with it.
    pub fn finish(&self, container: &str) {
        if let Some(task) = self.tasks.lock().remove(container) {
            task.abort();
        }
    }
}
