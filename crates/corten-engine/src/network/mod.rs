//! Networks: bridge, host, none, those that people make, and the stacks of containers on them.
//!
//! ```text
//! create ─ remove ─ list      Networks ── State (what is taken, in memory)     records: durable, per network
//! attach ─ detach ─ restore        │      Host (bridges, firewall, ports)      runtime: per running container
//! connect ─ disconnect             └────▶ corten-net
//! ```
//!
//! Invariants:
//! - What an attach takes (addresses, ports, the place on a network) is taken under one lock before anything is made, and
//!   the record that names it is written before the first kernel object; what no record names is swept away.
//! - An attach is all or nothing: what fails gives back what the steps before it took.
//! - A network with attachments cannot be removed; changes of the set of networks happen one after the other.
//! - Running containers need no daemon: rules, devices and addresses stay when it goes. Its successor serves names and
//!   holds ports again ([`Networks::restore`]).
//!
//! Locks, in this order: `changes` (the only one held across waits), a container's `served`, `state`, a container's
//! `record`, its `request`.
//!
//! It refuses by name what does not exist yet: macvlan and ipvlan, gateway modes other than `nat`.

mod attach;
mod config;
mod connect;
mod create;
mod endpoint;
mod error;
mod files;
mod host;
mod list;
mod options;
mod predefined;
mod publish;
mod record;
mod remove;
mod request;
mod restore;
mod state;

pub use config::NetworkConfig;
pub use endpoint::at_rest;
pub use error::NetworkError;
pub use request::{ContainerNetworkRequest, Netns, NetworkMode, Sandbox};

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use corten_net::ipam::{AddressPool, Pools, unique_local_pool};
use corten_store::Records;
use corten_types::{ErrorKind, Kind as _};
use parking_lot::Mutex;

use crate::config::{EngineConfig, Paths};
use crate::events::Events;
use host::Host;
use state::{Network, State};

/// The networks of this engine.
pub struct Networks {
    config: Arc<EngineConfig>,
    paths: Arc<Paths>,
    records: Records,
    runtime: Records,
    events: Arc<Events>,
    host: Arc<Host>,
    state: Mutex<State>,
    /// Held while the set of networks changes.
    changes: tokio::sync::Mutex<()>,
    /// The task that keeps the firewall's table.
    guard: tokio::task::AbortHandle,
}

impl Drop for Networks {
    fn drop(&mut self) {
        self.guard.abort();
    }
}

impl Networks {
    /// Reads the records, takes the firewall's table over and makes the networks' devices. What running containers
    /// have published stays reachable; [`Self::restore`] must follow.
    pub async fn open(
        config: Arc<EngineConfig>,
        paths: Arc<Paths>,
        records: Records,
        runtime: Records,
        events: Arc<Events>,
    ) -> Result<Self, NetworkError> {
        let known = restore::networks(&records)?;
        let sandboxes = restore::read(&runtime)?;
        let rules = restore::rules(known.values(), sandboxes.values());
        let host = Arc::new(Host::open(&config.network, &paths.exec_root, rules)?);
        let mut pools = Pools::new(pools(&config)?, unique_local_pool(host::seed()));
        for record in known.values() {
            for subnet in &record.subnets {
                // Two records that overlap are no reason not to start.
                if let Err(error) = pools.take(subnet.net) {
                    tracing::warn!(network = record.name, %error, "subnet {}", subnet.net);
                }
            }
        }
        let guarded = host.clone();
        let networks = Self {
            guard: tokio::spawn(async move { guarded.guard_rules().await }).abort_handle(),
            config,
            paths,
            records,
            runtime,
            events,
            host,
            state: Mutex::new(State { networks: BTreeMap::new(), pools, sandboxes: HashMap::new() }),
            changes: tokio::sync::Mutex::new(()),
        };
        networks.revive(known.into_values());
        networks.ensure_predefined().await?;
        for warning in networks.warnings() {
            tracing::warn!("{warning}");
        }
        Ok(networks)
    }

    /// Makes the devices of remembered networks, which a restart of the machine took away.
    fn revive(&self, known: impl Iterator<Item = record::NetworkRecord>) {
        for record in known {
            self.host.directory.add_network(&record.id, &record.name);
            if record.driver == record::Driver::Bridge && record.name != "bridge" {
                let made = options::BridgeOptions::parse(&record.options)
                    .and_then(|options| self.host.ensure_bridge(&record, &options));
                if let Err(error) = made {
                    // The others, and the daemon, go on; an attach tries again and says what is wrong.
                    tracing::error!(network = record.name, %error, "its bridge cannot be made");
                }
            }
            self.state.lock().networks.insert(record.id.clone(), Network::new(record));
        }
    }

    /// Checks at a container's creation what can be known then: settings that its networks can never grant.
    pub fn check(&self, request: &ContainerNetworkRequest) -> Result<(), NetworkError> {
        publish::check(request)?;
        let state = self.state.lock();
        for (name, settings) in endpoint::wanted(request) {
            // A network that does not exist yet may exist when the container starts.
            let Ok(network) = state.find(&name) else { continue };
            endpoint::check_settings(&network.record, &settings).map_err(|error| {
                NetworkError::refused(error.kind(), format!("invalid config for network {name}: {error}"))
            })?;
        }
        Ok(())
    }

    /// What stands in the way of containers' traffic on this host, each with its cure; for the log and `info`.
    pub fn warnings(&self) -> Vec<String> {
        let bridges: Vec<_> = {
            let state = self.state.lock();
            let all = state.networks.values().filter(|network| !network.record.bridge.is_empty());
            all.filter(|network| network.record.name == "bridge" || !network.endpoints.is_empty())
                .map(|network| (network.record.bridge.clone(), network.record.ipv6))
                .collect()
        };
        let mut warnings: Vec<String> =
            bridges.iter().flat_map(|(bridge, ipv6)| self.host.foreign_drops(bridge, *ipv6)).collect();
        let forwarding = std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap_or_default();
        if forwarding.trim() == "0" {
            warnings.push("IPv4 forwarding is disabled: containers reach nothing outside. Cure: sysctl -w net.ipv4.ip_forward=1".into());
        }
        warnings
    }
}

fn pools(config: &EngineConfig) -> Result<Vec<AddressPool>, NetworkError> {
    let pool = |(base, size): &(String, u8)| {
        let parsed = base.parse().ok().filter(|base: &ipnet::IpNet| {
            *base == base.trunc() && base.prefix_len() <= *size && *size <= base.max_prefix_len()
        });
        let text = || format!("invalid default address pool: base {base:?}, size {size}");
        let base = parsed.ok_or_else(|| NetworkError::refused(ErrorKind::InvalidArgument, text()))?;
        Ok(AddressPool { base, size: *size })
    };
    config.default_address_pools.iter().map(pool).collect()
}
