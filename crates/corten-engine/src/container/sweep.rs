//! What nobody owns is removed: at the daemon's start and each minute.
//!
//! A container's objects carry its id as their name. Here: folders in both roots, snapshots, cgroups. Networks sweep
//! theirs by their own records.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use corten_runtime::cgroup::Cgroup;

use super::source::Sources;
use super::{Containers, Shared};
use crate::config::CgroupDriver;
use crate::shim::{Adopted, Shim, ShimSpec};

/// How often it looks.
const EACH: Duration = Duration::from_secs(60);

impl Containers {
    /// Starts sweeping: at once what is there now, when nothing can be under creation, and then each minute. Call it
    /// after the containers are restored and before requests are taken.
    pub fn start_sweeper(&self) {
        let mut orphans = look(&self.shared);
        let weak = Arc::downgrade(&self.shared);
        tokio::spawn(async move {
            let mut before = orphans.clone();
            while let Some(shared) = weak.upgrade() {
                for id in orphans.intersection(&before) {
                    remove(&shared, id).await;
                }
                before = look(&shared);
                drop(shared);
                tokio::time::sleep(EACH).await;
                let Some(shared) = weak.upgrade() else { return };
                orphans = look(&shared);
            }
        });
    }
}

/// Ids that nobody owns but for which something is there. While the daemon serves, what has no owner at one look may
/// be under creation (a snapshot and a folder are made before their record); at two looks in a row it is not.
fn look(shared: &Shared) -> BTreeSet<String> {
    let owner = |key: String| key.split('.').next().unwrap_or_default().to_owned();
    let mut ids: BTreeSet<String> = shared.store.snapshots().keys().into_iter().map(owner).collect();
    let (durable, running) = (&shared.paths.data_root, &shared.paths.exec_root);
    for folder in [durable.join("containers"), running.join("containers"), running.join("mounts")] {
        ids.extend(names(&folder));
    }
    // Scopes that systemd made go by themselves, and those of other engines lie beside them.
    if shared.config.cgroup_driver == CgroupDriver::Cgroupfs {
        ids.extend(cgroups(&shared.config.cgroup_parent));
    }
    ids.retain(|id| id.parse::<corten_types::ContainerId>().is_ok());
    let registry = shared.registry.read();
    ids.retain(|id| !registry.by_id.contains_key(id) && !registry.names.values().any(|owner| owner == id));
    ids
}

async fn remove(shared: &Shared, id: &str) {
    tracing::info!(container = id, "removing what no container owns");
    let cgroup = format!("{}/{id}", shared.config.cgroup_parent);
    let exec_dir = shared.paths.container_exec(id);
    end_monitor(ShimSpec { id: id.to_owned(), exec_dir, cgroup: Some(cgroup.clone()) }).await;
    shared.networks.detach(id).await;
    if let Ok(cgroup) = Cgroup::open(&cgroup) {
        let _ = cgroup.kill_all();
    }
    super::start::delete_cgroup(&cgroup);
    Sources::at(shared.paths.mounts(id)).release_all();
    let _ = fs::remove_dir_all(shared.paths.container_exec(id));
    let _ = fs::remove_dir_all(shared.paths.container(id));
    super::remove::snapshots(shared, id).await;
}

/// Ends a monitor that nobody knows of, and with it its container. Its objects are not touched by it afterwards.
async fn end_monitor(spec: ShimSpec) {
    let id = spec.id.clone();
    match Shim::adopt(spec).await {
        Ok(Adopted::Living { shim, mut events, .. }) => {
            let _ = shim.shutdown().await;
            while events.recv().await.is_some() {}
        }
        Ok(Adopted::Ended(_) | Adopted::Gone) => {}
        Err(error) => {
            tracing::warn!(container = id, %error, "a monitor that no container owns was not ended")
        }
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
