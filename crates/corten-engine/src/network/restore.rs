use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use corten_net::firewall::Rules;
use corten_net::netns::Namespace;
use corten_net::sandbox::Sandbox as Stack;
use parking_lot::Mutex;

use super::attach::device;
use super::host::{bridge_rules, first_of};
use super::options::BridgeOptions;
use super::record::{NetworkRecord, PortRecord, SANDBOX, SandboxRecord};
use super::request::{ContainerNetworkRequest, Sandbox};
use super::state::{Attached, Running, Served, State};
use super::{NetworkError, Networks, files, publish};

/// What the firewall holds for these networks and sandboxes.
pub(super) fn rules<'a>(
    networks: impl Iterator<Item = &'a NetworkRecord>,
    sandboxes: impl Iterator<Item = &'a SandboxRecord>,
) -> Rules {
    let bridges = networks.filter(|record| !record.bridge.is_empty()).filter_map(|record| {
        let options = BridgeOptions::parse(&record.options).ok()?;
        Some((record.bridge.clone(), bridge_rules(record, &options)))
    });
    let ports = sandboxes.flat_map(|record| record.published.iter().filter_map(PortRecord::rule));
    Rules { bridges: bridges.collect(), ports: ports.collect() }
}

/// The remembered sandboxes; one that cannot be read is passed over, what it owned is swept away.
pub(super) fn read(records: &corten_store::Records) -> Result<HashMap<String, SandboxRecord>, NetworkError> {
    let mut found = HashMap::new();
    for (id, value) in records.list(SANDBOX)? {
        match serde_json::from_slice(&value) {
            Ok(record) => drop(found.insert(id, record)),
            Err(error) => tracing::warn!(container = id, %error, "a sandbox's record is damaged"),
        }
    }
    Ok(found)
}

impl Networks {
    /// After a start of the daemon: `containers` run; their sandboxes are served again, all others are removed.
    /// Gives the sandboxes back, as far as they are known.
    pub async fn restore(
        &self,
        containers: &[ContainerNetworkRequest],
    ) -> Result<Vec<Sandbox>, NetworkError> {
        let mut remembered = read(&self.runtime)?;
        let mut restored = Vec::new();
        for request in containers {
            let Some(record) = remembered.remove(&request.id) else { continue };
            match self.restore_one(request, record).await {
                Ok(running) => {
                    restored.push(self.show(&running));
                    self.state.lock().sandboxes.insert(request.id.clone(), running);
                }
                Err(error) => {
                    tracing::error!(container = request.id, %error, "its network is not served any more");
                }
            }
        }
        self.host.restore_rules(self.rules_now())?;
        for id in remembered.into_keys() {
            self.runtime.delete(SANDBOX, &id).await?;
        }
        self.sweep();
        Ok(restored)
    }

    /// What the firewall should hold now.
    pub(super) fn rules_now(&self) -> Rules {
        let state = self.state.lock();
        let sandboxes: Vec<_> =
            state.sandboxes.values().map(|running| running.record.lock().clone()).collect();
        rules(state.networks.values().map(|network| &*network.record), sandboxes.iter())
    }

    async fn restore_one(
        &self,
        request: &ContainerNetworkRequest,
        record: SandboxRecord,
    ) -> Result<Arc<Running>, NetworkError> {
        claim(&mut self.state.lock(), &record);
        let (with_resolver, ipv6) = {
            let state = self.state.lock();
            let networks = || record.endpoints.iter().filter_map(|one| state.networks.get(&one.network));
            (networks().any(|n| n.record.has_names()), networks().any(|n| n.record.ipv6))
        };
        let conf = files::resolv_conf(request, with_resolver, ipv6)?;
        let (host, path, published) = (record.host, self.paths.netns(&record.id), record.published.clone());
        let ports = self.host.ports.clone();
        let opened = tokio::task::spawn_blocking(move || -> Result<_, NetworkError> {
            let stack = if host { None } else { Some(Stack::open(&path)?) };
            let resolver = match &stack {
                Some(stack) if with_resolver => Some(stack.open_resolver().map_err(device)?),
                _ => None,
            };
            Ok((stack, resolver, publish::lease_again(&ports, &published)))
        });
        let (stack, resolver, held) = opened.await.map_err(|_| NetworkError::BrokenOff)??;
        let running = Arc::new(Running {
            record: Mutex::new(record),
            stack,
            served: Mutex::new(Served { resolv_conf: conf.render(), ..Served::default() }),
            request: Mutex::new(request.clone()),
        });
        self.serve(&running, held, resolver, &conf)?;
        Ok(running)
    }

    /// Removes what no sandbox of ours owns: bound namespaces and devices. To be called again and again.
    ///
    /// A sandbox that is being made or taken back has a record for as long as anything of it exists; so the records are
    /// read after the objects, never before.
    pub fn sweep(&self) {
        let entries = std::fs::read_dir(self.paths.netns("")).into_iter().flatten().flatten();
        let bound: Vec<_> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        let remembered = match read(&self.runtime) {
            Ok(remembered) => remembered,
            Err(error) => {
                tracing::warn!(%error, "nothing is swept");
                return;
            }
        };
        let of_host = remembered.values().any(|record| record.host);
        for name in bound {
            if remembered.contains_key(&name) || (name == "default" && of_host) {
                continue;
            }
            tracing::info!(sandbox = name, "removing a network namespace that no container owns");
            if let Err(error) = Namespace::unbind(&self.paths.netns(&name)) {
                tracing::warn!(sandbox = name, %error, "network namespace not removed");
            }
        }
        // What cannot be read may be somebody's.
        let keep = |container: &str| !matches!(self.runtime.get(SANDBOX, container), Ok(None));
        if let Err(error) = self.host.remove_devices(keep) {
            tracing::warn!(%error, "devices not swept");
        }
    }

    /// The daemon ends: without running containers nothing of ours stays on the host.
    pub async fn close(&self) {
        let bridges = {
            let state = self.state.lock();
            if !state.sandboxes.is_empty() {
                return;
            }
            let records = state.networks.values().map(|network| network.record.bridge.clone());
            records.filter(|bridge| !bridge.is_empty()).collect::<Vec<_>>()
        };
        self.sweep();
        for bridge in bridges {
            if let Err(error) = self.host.remove_bridge(&bridge) {
                tracing::warn!(bridge, %error, "bridge not removed");
            }
        }
        if let Err(error) = self.host.close_rules() {
            tracing::warn!(%error, "firewall table not removed");
        }
    }
}

/// Takes what a sandbox from before has: its addresses and its places on the networks.
fn claim(state: &mut State, record: &SandboxRecord) {
    for one in &record.endpoints {
        let Some(network) = state.networks.get_mut(&one.network) else { continue };
        for net in &one.addresses {
            for subnet in &mut network.subnets {
                if subnet.net().contains(&net.addr()) {
                    // Nobody else can have it: containers start only after this.
                    let _ = subnet.take(net.addr());
                }
            }
        }
        let with_prefix =
            |ipv6| first_of(&one.addresses, ipv6).map(|net| net.to_string()).unwrap_or_default();
        let attached = Attached {
            container: record.id.clone(),
            name: record.name.clone(),
            mac: one.settings.mac_address.clone(),
            ipv4: with_prefix(false),
            ipv6: with_prefix(true),
        };
        network.endpoints.insert(one.id.clone(), attached);
    }
}

/// The networks that are remembered; one that cannot be read is passed over with a warning.
pub(super) fn networks(
    records: &corten_store::Records,
) -> Result<BTreeMap<String, NetworkRecord>, NetworkError> {
    let mut found = BTreeMap::new();
    for (id, value) in records.list(super::record::NETWORK)? {
        match serde_json::from_slice(&value) {
            Ok(record) => drop(found.insert(id, record)),
            Err(error) => {
                tracing::error!(network = id, %error, "a network's record is damaged; it is left alone")
            }
        }
    }
    Ok(found)
}
