//! A container's user namespace at its start: its ids are reserved, or another container's namespace is joined.

use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::Arc;

use corten_api::container::HostConfig;
use rustix::fs::{Mode, OFlags};

use super::owner::Owner;
use super::record::Record;
use super::validate::{Invalid, invalid};
use super::{ContainerError, HostFacts, Shared};
use crate::userns::{Ids, Userns, UsernsConfig, UsernsError, UsernsMode};

/// The first kernel whose overlay file system takes trees with mapped ids.
const KERNEL: (u32, u32) = (5, 19);

/// A user namespace that a container is made in.
#[derive(Debug, Clone)]
pub(super) struct Entered {
    pub(super) ids: Ids,
    /// Whether the daemon remaps all containers: then, as with Docker, binds show the host's ids as they are.
    pub(super) remapped: bool,
    pub(super) namespace: Arc<OwnedFd>,
    /// An empty network namespace that belongs to it.
    pub(super) network: Option<Arc<OwnedFd>>,
}

impl Entered {
    /// Where the monitor finds the namespace.
    pub(super) fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.namespace.as_raw_fd())
    }
}

/// Whether a container of this mode has ids of its own.
fn is_mapped(mode: UsernsMode, config: &UsernsConfig) -> bool {
    match mode {
        UsernsMode::Default => config.remap.is_some(),
        UsernsMode::Host => false,
        UsernsMode::Own { .. } => true,
    }
}

/// Refuses what cannot be had together with ids of the container's own. Texts are those of Docker's `userns-remap`.
pub(super) fn check(
    host: &HostConfig,
    config: &UsernsConfig,
    facts: &HostFacts,
    own_runtime: bool,
) -> Result<(), ContainerError> {
    let Some(mode) = UsernsMode::parse(&host.userns_mode) else {
        return Err(Invalid(format!("invalid user namespace mode: {}", host.userns_mode)).into());
    };
    if !is_mapped(mode, config) {
        return Ok(());
    }
    if matches!(mode, UsernsMode::Own { .. }) && config.pool.is_empty() {
        return Err(UsernsError::NoPool.into());
    }
    conflicts(host)?;
    if facts.kernel < KERNEL {
        return Err(ContainerError::NotImplemented(format!(
            "a user namespace on a kernel before {}.{} (no overlay file system over mapped ids)",
            KERNEL.0, KERNEL.1
        )));
    }
    if !own_runtime {
        let name = &host.runtime;
        return Err(ContainerError::NotImplemented(format!("a user namespace with the runtime {name}")));
    }
    Ok(())
}

fn conflicts(host: &HostConfig) -> Result<(), Invalid> {
    if host.privileged {
        return invalid(
            "privileged mode is incompatible with user namespaces.  You must run the container in the host namespace when running privileged mode",
        );
    }
    if host.network_mode == "host" {
        return invalid("cannot share the host's network namespace when user namespaces are enabled");
    }
    if host.pid_mode == "host" {
        return invalid("cannot share the host PID namespace when user namespaces are enabled");
    }
    if host.ipc_mode == "host" {
        return invalid("cannot share the host IPC namespace when user namespaces are enabled");
    }
    Ok(())
}

impl Owner {
    /// Reserves the container's ids, on record before anything is made with them.
    pub(super) async fn reserve_ids(&mut self) -> Result<(), ContainerError> {
        let record = self.view.record.clone();
        let config = &self.shared.config.userns;
        let mode = UsernsMode::parse(&record.host.userns_mode).unwrap_or(UsernsMode::Default);
        if !is_mapped(mode, config) {
            self.live().userns = None;
            return Ok(());
        }
        let userns = match (donor(&self.shared, &record)?, mode, config.remap) {
            (Some((_, ids)), _, _) => Userns { ids, allocated: false },
            (None, UsernsMode::Own { size }, _) => {
                let ids = self.shared.ranges.lock().allocate(&config.pool, size, &record.id)?;
                Userns { ids, allocated: true }
            }
            (None, _, Some(ids)) => Userns { ids, allocated: false },
            (None, _, None) => return Ok(()),
        };
        self.live().userns = Some(userns);
        self.persist().await;
        Ok(())
    }

    /// Gives the ids back. Nothing of the container may live any more.
    pub(super) fn release_ids(&mut self) {
        if self.view.live.userns.is_some() {
            self.shared.ranges.lock().release(&self.view.record.id);
            self.live().userns = None;
        }
    }

    /// Makes the namespace, or opens the one that is joined.
    pub(super) fn user_namespace(&self) -> Result<Option<Entered>, ContainerError> {
        let Some(Userns { ids, .. }) = self.view.live.userns else { return Ok(None) };
        let record = &self.view.record;
        let remapped = record.host.userns_mode.is_empty();
        if let Some((pid, _)) = donor(&self.shared, record)? {
            let flags = OFlags::RDONLY | OFlags::CLOEXEC;
            let namespace = rustix::fs::open(format!("/proc/{pid}/ns/user"), flags, Mode::empty())
                .map_err(|errno| ContainerError::io("open a user namespace", errno))?;
            let own_network = !record.host.network_mode.starts_with("container:");
            if own_network {
                return Err(ContainerError::Join(
                    "a container that joins the namespaces of one with a user namespace must join its network namespace too".into(),
                ));
            }
            return Ok(Some(Entered { ids, remapped, namespace: Arc::new(namespace), network: None }));
        }
        let [users, groups] = ids.texts();
        let made = corten_sys::namespace::make_owned(&users, &groups, true)
            .map_err(|source| ContainerError::io("make a user namespace", source))?;
        let network = made.net.map(Arc::new);
        Ok(Some(Entered { ids, remapped, namespace: Arc::new(made.user), network }))
    }
}

/// The container whose user namespace is joined, because another namespace of it is: its init and its ids. All that are
/// named must have the same one.
fn donor(shared: &Shared, record: &Record) -> Result<Option<(i32, Ids)>, ContainerError> {
    let modes = [
        (&record.host.network_mode, "network"),
        (&record.host.pid_mode, "PID"),
        (&record.host.ipc_mode, "IPC"),
    ];
    let mut found: Option<(String, i32, Ids)> = None;
    for (mode, what) in modes {
        let Some(other) = mode.strip_prefix("container:") else { continue };
        let container = shared.find(other)?;
        let view = container.view();
        // One that does not run is refused where its namespace is joined.
        let Some(run) = view.live.state.run() else { continue };
        let Some(userns) = view.live.userns else {
            return Err(ContainerError::Join(format!(
                "cannot join the {what} namespace of container {}: it has no user namespace, and this container has one",
                container.id()
            )));
        };
        match &found {
            Some((id, _, ids)) if id != container.id() && *ids != userns.ids => {
                return Err(ContainerError::Join(format!(
                    "cannot join namespaces of containers {id} and {}: they have different user namespaces",
                    container.id()
                )));
            }
            Some(_) => {}
            None => found = Some((container.id().to_owned(), run.pid, userns.ids)),
        }
    }
    Ok(found.map(|(_, pid, ids)| (pid, ids)))
}
