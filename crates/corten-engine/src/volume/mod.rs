//! Volumes: named and anonymous, of the local driver.
//!
//! ```text
//! data_root/volumes/<name>/_data      the content
//! data_root/trash/<random>            removed, being deleted
//! corten.db                           one record a volume: labels, options, time
//! ```
//!
//! A record is written before its folder is made, and a folder leaves by a rename before its record does: a crash leaves a record without
//! a folder (the folder is made again, empty, as nothing had been acknowledged) or nothing. A folder without a record is adopted rather
//! than deleted: data is never thrown away because a database was lost.
//!
//! Which containers use a volume is known in memory only; containers say so again when their records are read
//! ([`Volumes::restore`]). Making, referring and removing happen under one asynchronous lock, so that no prune comes between; lists and
//! inspection read what is in memory and never wait for a disk.
//!
//! A volume with driver options (`type`, `device`, `o`) is a mount on `_data`, made when the first running container needs it
//! ([`Volumes::mount`]) and undone with the last ([`Volumes::unmount`]).
//!
//! Other drivers, quotas and cluster volumes are refused by name.

mod copy_up;
mod create;
mod error;
mod list;
mod mount;
mod options;
mod remove;

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use corten_api::volume::{UsageData, Volume};
use corten_store::Records;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex as AsyncMutex;

use crate::events::Events;

pub use create::{Acquired, VolumeRequest};
pub use error::VolumeError;
pub use remove::PruneReport;

/// The label of a volume that nobody named.
pub const ANONYMOUS_LABEL: &str = "com.docker.volume.anonymous";

/// The kind of a volume's record.
const KIND: &str = "volume";

/// The volumes of this engine.
pub struct Volumes {
    records: Records,
    events: Arc<Events>,
    /// `data_root/volumes`.
    root: PathBuf,
    /// `data_root/trash`.
    trash: PathBuf,
    entries: Mutex<BTreeMap<String, Entry>>,
    /// Held by whoever makes, mounts or removes a volume.
    changes: AsyncMutex<()>,
}

/// A volume and who has it.
#[derive(Debug, Clone)]
struct Entry {
    record: Record,
    /// Ids of containers, running or not.
    users: BTreeSet<String>,
    /// Ids of containers for which it is mounted.
    mounted_for: BTreeSet<String>,
}

/// What is kept of a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    /// RFC 3339.
    created_at: String,
    labels: Option<BTreeMap<String, String>>,
    options: Option<BTreeMap<String, String>>,
}

impl Volumes {
    /// Reads the records and mends what a crash left.
    pub fn open(records: Records, data_root: &Path, events: Arc<Events>) -> Result<Self, VolumeError> {
        let (root, trash) = (data_root.join("volumes"), data_root.join("trash"));
        let storage =
            |source: std::io::Error| VolumeError::Storage { name: String::new(), operation: "open", source };
        for (folder, mode) in [(&root, 0o701), (&trash, 0o700)] {
            std::fs::DirBuilder::new().recursive(true).mode(mode).create(folder).map_err(storage)?;
        }
        let mut entries = BTreeMap::new();
        for (name, value) in
            records.list(KIND).map_err(|source| VolumeError::Database { name: String::new(), source })?
        {
            match serde_json::from_slice(&value) {
                Ok(record) => {
                    entries.insert(name, Entry::new(record));
                }
                Err(error) => {
                    tracing::error!(volume = name, %error, "the record of a volume cannot be read; its folder is adopted")
                }
            }
        }
        adopt(&root, &mut entries).map_err(storage)?;
        let volumes =
            Self { records, events, root, trash, entries: Mutex::new(entries), changes: AsyncMutex::new(()) };
        volumes.empty_trash();
        Ok(volumes)
    }

    /// One volume.
    pub fn inspect(&self, name: &str) -> Result<Volume, VolumeError> {
        let entries = self.entries.lock();
        let entry = entries.get(name).ok_or_else(|| VolumeError::NotFound { name: name.to_owned() })?;
        Ok(self.show(name, entry))
    }

    /// After a start of the daemon: this container has these volumes.
    pub fn restore(&self, container: &str, names: &[String]) {
        let mut entries = self.entries.lock();
        for name in names {
            match entries.get_mut(name) {
                Some(entry) => {
                    entry.users.insert(container.to_owned());
                }
                None => {
                    tracing::warn!(volume = name, container, "a container's volume does not exist any more")
                }
            }
        }
    }

    /// The container is gone: its volumes are free again, and those in `remove` (its anonymous ones) are removed.
    pub async fn release(&self, container: &str, remove: &[String]) {
        self.unmount(container).await;
        for entry in self.entries.lock().values_mut() {
            entry.users.remove(container);
        }
        for name in remove {
            match self.remove(name, true).await {
                // Another container has it too: it goes with that one.
                Ok(()) | Err(VolumeError::InUse { .. }) => {}
                Err(error) => tracing::warn!(volume = name, %error, "an anonymous volume was not removed"),
            }
        }
    }

    /// Where a volume's content lies.
    pub fn data(&self, name: &str) -> PathBuf {
        self.root.join(name).join("_data")
    }

    fn show(&self, name: &str, entry: &Entry) -> Volume {
        Volume {
            created_at: entry.record.created_at.clone(),
            driver: "local".into(),
            labels: entry.record.labels.clone(),
            mountpoint: self.data(name).to_string_lossy().into_owned(),
            name: name.to_owned(),
            options: entry.record.options.clone(),
            scope: "local".into(),
            status: None,
            usage_data: None,
        }
    }

    fn emit(&self, action: &str, name: &str, more: &[(&str, &str)]) {
        let attributes = more.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        self.events.emit("volume", action, name, attributes);
    }
}

impl Entry {
    fn new(record: Record) -> Self {
        Self { record, users: BTreeSet::new(), mounted_for: BTreeSet::new() }
    }

    fn usage(&self, size: i64) -> UsageData {
        UsageData { ref_count: self.users.len() as i64, size }
    }
}

impl Record {
    fn label(&self, key: &str) -> Option<&str> {
        self.labels.as_ref()?.get(key).map(String::as_str)
    }

    /// Whether the content lies in the folder itself rather than in something mounted on it.
    fn is_plain(&self) -> bool {
        self.options.as_ref().is_none_or(BTreeMap::is_empty)
    }
}

/// Makes missing folders, and takes folders without a record for volumes.
fn adopt(root: &Path, entries: &mut BTreeMap<String, Entry>) -> std::io::Result<()> {
    for name in entries.keys() {
        make_folders(&root.join(name))?;
    }
    for folder in std::fs::read_dir(root)? {
        let folder = folder?;
        let Ok(name) = folder.file_name().into_string() else { continue };
        if entries.contains_key(&name) || options::check_name(&name).is_err() || !folder.file_type()?.is_dir()
        {
            continue;
        }
        tracing::warn!(volume = name, "a volume without a record was adopted");
        entries.insert(name, Entry::new(Record { created_at: now(), labels: None, options: None }));
    }
    Ok(())
}

/// The folders of a volume: the outer one closed to everyone but root, the inner one as a container finds it.
fn make_folders(folder: &Path) -> std::io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o701).create(folder)?;
    match std::fs::DirBuilder::new().mode(0o755).create(folder.join("_data")) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        result => result,
    }
}

fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
