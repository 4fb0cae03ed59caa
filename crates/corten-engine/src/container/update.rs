//! Changing limits and restart policy of a container.

use std::sync::Arc;

use corten_api::container::{HostConfig, Resources, RestartPolicy, UpdateConfig, UpdateResponse};
use corten_runtime::cgroup::{Cgroup, CgroupError};

use super::oci_spec::{self, BlockDevices};
use super::owner::Owner;
use super::start::{cgroup_path, cgroup_scope};
use super::state::{Request, admit};
use super::validate::{Invalid, Purpose, invalid};
use super::{ContainerError, Containers, validate};

impl Containers {
    /// Changes what `update` names; a running container feels it at once.
    pub async fn update(
        &self,
        container: &str,
        mut update: UpdateConfig,
    ) -> Result<UpdateResponse, ContainerError> {
        let mut warnings = Vec::new();
        validate::resources(&mut update.resources, &self.shared.facts, Purpose::Update, &mut warnings)?;
        validate::restart_policy(&update.restart_policy)?;
        let container = self.find(container)?;
        container.ask(move |owner| Box::pin(owner.update(update))).await??;
        Ok(UpdateResponse { warnings: (!warnings.is_empty()).then_some(warnings) })
    }
}

impl Owner {
    async fn update(&mut self, update: UpdateConfig) -> Result<(), ContainerError> {
        admit(self.id(), &self.view.live.state, Request::Update)?;
        let mut host = self.view.record.host.clone();
        apply(&mut host, &update)
            .map_err(|error| Invalid(format!("Cannot update container {}: {error}", self.id())))?;
        if self.view.live.state.run().is_some() {
            let cgroup = Cgroup::open(&cgroup_path(&self.shared, &self.view.record))?;
            let limits = oci_spec::resources(&update.resources, &BlockDevices::default());
            let id = self.id();
            let refused = |error: CgroupError| match error {
                // In the words of the program that Docker runs for this.
                CgroupError::Limit(_) | CgroupError::Refused { .. } => {
                    ContainerError::from(Invalid(format!(
                        "Cannot update container {id}: runc did not terminate successfully: exit status 1: {error}\n"
                    )))
                }
                other => other.into(),
            };
            if let Some(scope) = cgroup_scope(&self.shared, &self.view.record) {
                scope.update(&limits, corten_runtime::cgroup::is_unified()).map_err(refused)?;
            }
            cgroup.apply(&limits).map_err(refused)?;
        }
        let record = Arc::make_mut(&mut self.view.record);
        record.host = host;
        if let Some(limit) = update.resources.pids_limit {
            record.unlimited_pids = limit <= 0;
        }
        self.publish();
        self.persist_record().await?;
        self.emit("update", &[]);
        Ok(())
    }
}

/// Takes over what an update names: zero and nothing leave a value as it is.
fn apply(host: &mut HostConfig, update: &UpdateConfig) -> Result<(), Invalid> {
    let RestartPolicy { name, .. } = &update.restart_policy;
    if !name.is_empty() {
        if host.auto_remove && name != "no" {
            return invalid(
                "Restart policy cannot be updated because AutoRemove is enabled for the container",
            );
        }
        host.restart_policy = update.restart_policy.clone();
    }
    let (old, new) = (&mut host.resources, &update.resources);
    check(old, new)?;
    if new.nano_cpus != 0 {
        old.nano_cpus = new.nano_cpus;
        (old.cpu_period, old.cpu_quota) = (0, 0);
    }
    for (old, new) in [
        (&mut old.cpu_shares, new.cpu_shares),
        (&mut old.cpu_period, new.cpu_period),
        (&mut old.cpu_quota, new.cpu_quota),
        (&mut old.cpu_realtime_period, new.cpu_realtime_period),
        (&mut old.cpu_realtime_runtime, new.cpu_realtime_runtime),
        (&mut old.memory, new.memory),
        (&mut old.memory_swap, new.memory_swap),
        (&mut old.memory_reservation, new.memory_reservation),
    ] {
        if new != 0 {
            *old = new;
        }
    }
    if new.blkio_weight != 0 {
        old.blkio_weight = new.blkio_weight;
    }
    for (old, new) in [(&mut old.cpuset_cpus, &new.cpuset_cpus), (&mut old.cpuset_mems, &new.cpuset_mems)] {
        if !new.is_empty() {
            old.clone_from(new);
        }
    }
    if new.pids_limit.is_some() {
        old.pids_limit = new.pids_limit;
    }
    Ok(())
}

fn check(old: &Resources, new: &Resources) -> Result<(), Invalid> {
    if new.nano_cpus > 0 && old.cpu_period > 0 {
        return invalid(
            "Conflicting options: Nano CPUs cannot be updated as CPU Period has already been set",
        );
    }
    if new.nano_cpus > 0 && old.cpu_quota > 0 {
        return invalid("Conflicting options: Nano CPUs cannot be updated as CPU Quota has already been set");
    }
    if new.cpu_period > 0 && old.nano_cpus > 0 {
        return invalid("Conflicting options: CPU Period cannot be updated as NanoCPUs has already been set");
    }
    if new.cpu_quota > 0 && old.nano_cpus > 0 {
        return invalid("Conflicting options: CPU Quota cannot be updated as NanoCPUs has already been set");
    }
    // A memory limit above the swap limit that stands cannot be meant.
    if new.memory != 0 && old.memory_swap > 0 && new.memory > old.memory_swap && new.memory_swap == 0 {
        return invalid(
            "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time",
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_named_stays() {
        let mut host = HostConfig::default();
        host.resources.memory = 1 << 30;
        host.resources.cpu_shares = 512;
        let mut update = UpdateConfig::default();
        update.resources.cpu_shares = 1024;
        update.restart_policy.name = "always".into();
        apply(&mut host, &update).unwrap();
        assert_eq!((host.resources.memory, host.resources.cpu_shares), (1 << 30, 1024));
        assert_eq!(host.restart_policy.name, "always");
    }

    #[test]
    fn memory_cannot_pass_the_swap_limit_alone() {
        let mut host = HostConfig::default();
        host.resources.memory_swap = 1 << 30;
        let mut update = UpdateConfig::default();
        update.resources.memory = 2 << 30;
        assert!(apply(&mut host, &update).is_err());
        update.resources.memory_swap = 4 << 30;
        assert!(apply(&mut host, &update).is_ok());
    }
}
