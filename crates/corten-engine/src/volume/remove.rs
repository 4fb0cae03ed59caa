use std::fs::File;

use corten_api::filters::Filters;
use corten_store::Durability;
use corten_store::records::Change;
use corten_types::random_hex;

use super::mount::is_mount_point;
use super::{ANONYMOUS_LABEL, Entry, KIND, VolumeError, Volumes};

/// What a prune did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PruneReport {
    /// Names.
    pub deleted: Vec<String>,
    /// Bytes.
    pub reclaimed: u64,
}

impl Volumes {
    /// Removes a volume that nobody has. With `force`, one that does not exist is no error.
    pub async fn remove(&self, name: &str, force: bool) -> Result<(), VolumeError> {
        let _changing = self.changes.lock().await;
        match self.entries.lock().get(name) {
            None if force => return Ok(()),
            None => return Err(VolumeError::NotFound { name: name.to_owned() }),
            Some(entry) if !entry.users.is_empty() => {
                return Err(VolumeError::InUse {
                    name: name.to_owned(),
                    users: entry.users.iter().cloned().collect(),
                });
            }
            Some(_) => {}
        }
        self.discard(name).await
    }

    /// Removes the volumes that nobody has: the anonymous ones, or with the filter `all` every one; never those with driver options.
    pub async fn prune(&self, filters: &Filters) -> Result<PruneReport, VolumeError> {
        filters.only(&["all", "label", "label!"])?;
        let all = filters.bool("all")?.unwrap_or(false);
        let matches = |entry: &Entry| {
            let label = |key: &str| entry.record.label(key);
            entry.users.is_empty()
                && entry.record.is_plain()
                && (all || label(ANONYMOUS_LABEL).is_some())
                && filters.labels("label", label)
                && filters.get("label!").all(|unwanted| match unwanted.split_once('=') {
                    Some((key, value)) => label(key) != Some(value),
                    None => label(unwanted).is_none(),
                })
        };
        let names: Vec<String> = {
            let entries = self.entries.lock();
            entries.iter().filter(|(_, entry)| matches(entry)).map(|(name, _)| name.clone()).collect()
        };
        let mut report = PruneReport::default();
        for name in names {
            let size = self.size(&name).await.unwrap_or(0);
            let _changing = self.changes.lock().await;
            // Somebody may have come for it while it was measured.
            if !self.entries.lock().get(&name).is_some_and(matches) {
                continue;
            }
            match self.discard(&name).await {
                Ok(()) => {
                    report.reclaimed += size;
                    report.deleted.push(name);
                }
                Err(error) => tracing::warn!(volume = name, %error, "a volume was not pruned"),
            }
        }
        self.emit("prune", "", &[("reclaimed", &report.reclaimed.to_string())]);
        Ok(report)
    }

    /// Takes a volume away: its folder first, by a rename, then its record; the content is deleted afterwards. The caller holds `changes`.
    async fn discard(&self, name: &str) -> Result<(), VolumeError> {
        let storage = |source| VolumeError::Storage { name: name.to_owned(), operation: "remove", source };
        let folder = self.root.join(name);
        if is_mount_point(&self.data(name)) {
            rustix::mount::unmount(self.data(name), rustix::mount::UnmountFlags::DETACH)
                .map_err(|e| storage(e.into()))?;
        }
        let rubbish = self.trash.join(random_hex(8));
        match std::fs::rename(&folder, &rubbish) {
            // Removed by hand: then only the record is left.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            result => result.map_err(storage)?,
        }
        let anonymous =
            self.entries.lock().get(name).is_some_and(|entry| entry.record.label(ANONYMOUS_LABEL).is_some());
        let durability = if anonymous { Durability::None } else { Durability::Full };
        if durability == Durability::Full {
            // The rename must not be undone by a power loss that the record's deletion survives.
            File::open(&self.root).and_then(|root| root.sync_all()).map_err(storage)?;
        }
        let delete = vec![Change::Delete { kind: KIND, id: name.to_owned() }];
        let database = |source| VolumeError::Database { name: name.to_owned(), source };
        self.records.batch_with(durability, delete).await.map_err(database)?;
        self.entries.lock().remove(name);
        self.emit("destroy", name, &[("driver", "local")]);
        self.empty_trash();
        Ok(())
    }

    /// Deletes what lies in the trash, in the background.
    pub(super) fn empty_trash(&self) {
        let trash = self.trash.clone();
        let work = move || {
            let Ok(rubbish) = std::fs::read_dir(&trash) else { return };
            for entry in rubbish.flatten() {
                // Links are removed, never followed; what another deleter took first is gone.
                let _ = std::fs::remove_dir_all(entry.path()).or_else(|_| std::fs::remove_file(entry.path()));
            }
        };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(work)),
            Err(_) => work(),
        }
    }
}
