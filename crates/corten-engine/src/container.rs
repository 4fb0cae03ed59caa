//! Containers: their states, and one file per verb of their life.
//!
//! ```text
//!  verb (Containers::start, …) ──ask──▶ Owner task of that container ──▶ phases, shim, records, events
//!            ▲                                   │ publishes
//!            └────────────── View ◀──────────────┘        list, inspect, wait read views only
//! ```
//!
//! Invariants: all changes of a container happen in its owner task, one after the other; a view is immutable; names are
//! given out by the registry under one lock. A verb that waits (stop, wait) waits outside of the owner, on views.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use corten_store::Store;
use parking_lot::{Mutex, RwLock};

use crate::config::{EngineConfig, Paths};
use crate::events::Events;
use crate::logs::packing::Packing;
use crate::logs::shipping::Shipping;
use crate::network::Networks;
use crate::runtimes::Runtimes;
use crate::shim::{ShimBinary, ShimError};
use crate::userns::Ranges;
use crate::volume::Volumes;

pub mod caps;
pub mod cdi;
pub mod host;
pub mod merge;
pub mod mounts;
pub mod name;
pub mod oci_spec;
pub mod record;
pub mod restart_policy;
pub mod signal;
pub mod state;
pub mod user;
pub mod validate;

mod archive;
mod bundle;
mod create;
mod endpoint;
mod error;
mod exit;
mod filter;
mod filters;
mod handle;
mod health;
mod image_use;
mod inspect;
mod kill;
pub mod link;
mod list;
mod log;
mod owner;
mod pause;
mod prune;
mod remove;
mod rename;
mod restore;
mod source;
mod start;
mod stats;
mod step;
mod sweep;
mod top;
mod update;
mod userns;
mod view;
mod wait;

pub use archive::{ArchiveSource, PutOptions};
pub use create::CreateContainer;
pub use error::ContainerError;
pub use filter::ListFilter;
pub use handle::Container;
pub use host::HostFacts;
pub use remove::RemoveOptions;
pub(crate) use start::read_text;
pub use stats::Sampler;
pub use step::{StepContainer, StepOutput};
pub use view::View;
pub use wait::{WaitCondition, Waited};

/// The containers of this engine.
pub struct Containers {
    shared: Arc<Shared>,
}

/// What the owners of all containers have in common.
pub(crate) struct Shared {
    pub(crate) config: Arc<EngineConfig>,
    pub(crate) paths: Arc<Paths>,
    pub(crate) store: Store,
    pub(crate) events: Arc<Events>,
    pub(crate) volumes: Arc<Volumes>,
    pub(crate) networks: Arc<Networks>,
    pub(crate) shipping: Arc<Shipping>,
    pub(crate) packing: Packing,
    pub(crate) facts: HostFacts,
    filters: filters::Filters,
    binary: OnceLock<ShimBinary>,
    registry: RwLock<Registry>,
    runtimes: RwLock<Arc<Runtimes>>,
    /// Ids that containers with a user namespace of their own have.
    ranges: Mutex<Ranges>,
    /// The daemon ends: nothing is started again by policy.
    stopping: AtomicBool,
}

/// Who there is. Names of containers under creation are in `names` only.
#[derive(Default)]
struct Registry {
    by_id: BTreeMap<String, Arc<Container>>,
    names: HashMap<String, String>,
}

/// What containers work with.
pub struct Parts {
    /// What the daemon was told.
    pub config: Arc<EngineConfig>,
    /// Where things lie.
    pub paths: Arc<Paths>,
    /// Images, snapshots and records.
    pub store: Store,
    /// Told what happens.
    pub events: Arc<Events>,
    /// Volumes.
    pub volumes: Arc<Volumes>,
    /// Networks.
    pub networks: Arc<Networks>,
    /// Ships logs elsewhere.
    pub shipping: Arc<Shipping>,
}

impl Containers {
    /// No containers yet; [`Self::restore`] reads them.
    pub fn new(parts: Parts) -> Self {
        let Parts { config, paths, store, events, volumes, networks, shipping } = parts;
        let mut facts = HostFacts::read();
        if facts.apparmor {
            facts.default_apparmor = crate::apparmor::provide_default();
        }
        let runtimes = RwLock::new(config.live.runtimes.clone());
        let shared = Shared {
            config,
            paths,
            store,
            events,
            volumes,
            networks,
            shipping,
            packing: Packing::new(),
            facts,
            filters: filters::Filters::default(),
            binary: OnceLock::new(),
            registry: RwLock::default(),
            runtimes,
            ranges: Mutex::default(),
            stopping: AtomicBool::new(false),
        };
        Self { shared: Arc::new(shared) }
    }

    /// What this machine is.
    pub fn facts(&self) -> &HostFacts {
        &self.shared.facts
    }

    /// Changes what containers may be made by from now on.
    pub fn set_runtimes(&self, runtimes: Arc<Runtimes>) {
        *self.shared.runtimes.write() = runtimes;
    }

    /// The container of this full id, name (with or without slash) or unambiguous beginning of an id.
    pub fn find(&self, text: &str) -> Result<Arc<Container>, ContainerError> {
        self.shared.find(text)
    }

    /// All containers, newest first, as they are now.
    pub fn views(&self) -> Vec<Arc<View>> {
        let mut views: Vec<_> = self.shared.registry.read().by_id.values().map(|c| c.view()).collect();
        views.sort_by_key(|view| std::cmp::Reverse(view.record.created));
        views
    }
}

impl Shared {
    pub(crate) fn find(&self, text: &str) -> Result<Arc<Container>, ContainerError> {
        if text.is_empty() {
            return Err(ContainerError::Identifier(String::new()));
        }
        let registry = self.registry.read();
        let by_name = |name: &str| registry.names.get(name).and_then(|id| registry.by_id.get(id));
        let exact = registry.by_id.get(text).or_else(|| by_name(text.strip_prefix('/').unwrap_or(text)));
        if let Some(container) = exact {
            return Ok(container.clone());
        }
        if text.contains('/') {
            drop(registry);
            let (_, id) = self.find_link(text).ok_or_else(|| ContainerError::NotFound(text.into()))?;
            return self.find(&id);
        }
        let hex = text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        let mut matches = registry
            .by_id
            .range(text.to_owned()..)
            .take_while(|(id, _)| hex && id.starts_with(text))
            .map(|(_, container)| container);
        match (matches.next(), matches.next()) {
            (Some(_), Some(_)) => Err(ContainerError::Ambiguous(text.into())),
            (Some(container), None) => Ok(container.clone()),
            _ => Err(ContainerError::NotFound(text.into())),
        }
    }

    /// The monitor's program, copied at first use.
    fn binary(&self) -> Result<&ShimBinary, ShimError> {
        if let Some(binary) = self.binary.get() {
            return Ok(binary);
        }
        let loaded = if self.config.shim.as_os_str().is_empty() {
            ShimBinary::find()
        } else {
            ShimBinary::load(&self.config.shim)
        };
        let loaded = loaded?;
        Ok(self.binary.get_or_init(|| loaded))
    }

    /// What containers may be made by.
    fn runtimes(&self) -> Arc<Runtimes> {
        self.runtimes.read().clone()
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Gives a name to an id, or says whose it is.
    fn reserve_name(&self, name: &str, id: &str) -> Result<(), ContainerError> {
        let mut registry = self.registry.write();
        match registry.names.get(name) {
            Some(owner) if owner != id => {
                Err(ContainerError::NameInUse { name: name.into(), id: owner.clone() })
            }
            _ => {
                registry.names.insert(name.into(), id.into());
                Ok(())
            }
        }
    }

    /// Takes a name back if it still is this id's.
    fn release_name(&self, name: &str, id: &str) {
        let mut registry = self.registry.write();
        if registry.names.get(name).is_some_and(|owner| owner == id) {
            registry.names.remove(name);
        }
    }
}
