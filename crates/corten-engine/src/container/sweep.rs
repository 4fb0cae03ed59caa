//! What nobody owns is removed: at the daemon's start and each minute.
//!
//! A container's objects carry its id as their name. Here: folders in both roots, snapshots, cgroups. Networks sweep
//! theirs by their own records.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::{Containers, Shared};

/// How often it looks.
const EACH: Duration = Duration::from_secs(60);

impl Containers {
    /// Starts sweeping: now, and each minute.
    pub fn start_sweeper(&self) {
        let shared = Arc::downgrade(&self.shared);
        tokio::spawn(async move {
            let mut candidates = BTreeSet::new();
            loop {
                let Some(shared) = shared.upgrade() else { return };
                candidates = sweep(&shared, &candidates).await;
                shared.networks.sweep();
                drop(shared);
                tokio::time::sleep(EACH).await;
            }
        });
    }
}

/// Removes what had no owner at the look before and has none now; gives what has none now. Two looks, because a create
/// makes its snapshot and its folder before its record.
async fn sweep(shared: &Shared, before: &BTreeSet<String>) -> BTreeSet<String> {
    let mut ids: BTreeSet<String> = shared.store.snapshots().keys().into_iter().collect();
    for folder in [shared.paths.data_root.join("containers"), shared.paths.exec_root.join("containers")] {
        ids.extend(names(&folder));
    }
    ids.extend(cgroups(&shared.config.cgroup_parent));
    ids.retain(|id| id.parse::<corten_types::ContainerId>().is_ok());
    {
        let registry = shared.registry.read();
        ids.retain(|id| {
            !registry.by_id.contains_key(id) && !registry.names.values().any(|owner| owner == id)
        });
    }
    for id in ids.intersection(before) {
        remove(shared, id).await;
    }
    ids
}

async fn remove(shared: &Shared, id: &str) {
    tracing::info!(container = id, "removing what no container owns");
    shared.networks.detach(id).await;
    let cgroup = format!("{}/{id}", shared.config.cgroup_parent);
    if let Ok(cgroup) = corten_runtime::cgroup::Cgroup::open(&cgroup) {
        let _ = cgroup.kill_all();
        let _ = cgroup.delete();
    }
    let _ = fs::remove_dir_all(shared.paths.container_exec(id));
    let _ = fs::remove_dir_all(shared.paths.container(id));
    if let Err(error) = shared.store.snapshots().remove(id).await {
        tracing::debug!(container = id, %error, "no snapshot removed");
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// Ids for which a cgroup exists, in whatever hierarchy.
fn cgroups(parent: &str) -> Vec<String> {
    let parent = parent.trim_start_matches('/');
    let root = Path::new("/sys/fs/cgroup");
    let mut found = names(&root.join(parent));
    for hierarchy in names(root) {
        found.extend(names(&root.join(hierarchy).join(parent)));
    }
    found
}
