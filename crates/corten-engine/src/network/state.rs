use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use corten_net::ipam::{Pools, Subnet};
use corten_net::sandbox::Sandbox as Stack;
use corten_types::ErrorKind;

use super::NetworkError;
use super::record::{NetworkRecord, SandboxRecord};

/// What is known now. Behind one lock that is never held over a wait.
pub(super) struct State {
    /// By id.
    pub networks: BTreeMap<String, Network>,
    pub pools: Pools,
    /// By container.
    pub sandboxes: HashMap<String, Arc<Running>>,
}

/// A network with what is taken of it.
pub(super) struct Network {
    pub record: Arc<NetworkRecord>,
    pub subnets: Vec<Subnet>,
    /// Attachments of running containers, also while they are being made: by endpoint id.
    pub endpoints: BTreeMap<String, Attached>,
}

/// A running container on a network, as the network's inspect shows it.
#[derive(Debug, Clone)]
pub(super) struct Attached {
    pub container: String,
    pub name: String,
    pub mac: String,
    pub ipv4: String,
    pub ipv6: String,
}

/// A container's stack while it runs.
pub(super) struct Running {
    pub record: parking_lot::Mutex<SandboxRecord>,
    /// `None` for the host's.
    pub stack: Option<Stack>,
    pub served: parking_lot::Mutex<Served>,
    /// What of it is asked for again at a connect or disconnect.
    pub request: parking_lot::Mutex<super::ContainerNetworkRequest>,
}

/// What the daemon does for a stack as long as it lives.
#[derive(Default)]
pub(super) struct Served {
    pub held: Vec<corten_net::ports::HeldPort>,
    pub proxies: Vec<corten_net::proxy::Proxy>,
    pub resolver: Option<corten_net::dns::Server>,
    /// What we wrote last to resolv.conf; another content is the user's.
    pub resolv_conf: String,
}

impl Network {
    pub(super) fn new(record: NetworkRecord) -> Self {
        let mut subnets: Vec<_> =
            record.subnets.iter().map(|subnet| Subnet::new(subnet.net, subnet.range)).collect();
        for (subnet, record) in subnets.iter_mut().zip(&record.subnets) {
            for address in record.gateway.iter().chain(record.auxiliary.values()) {
                // Both were taken when the network was made; a record that says otherwise harms nobody.
                let _ = subnet.take(*address);
            }
        }
        Self { record: Arc::new(record), subnets, endpoints: BTreeMap::new() }
    }

    pub(super) fn release(&mut self, address: IpAddr) {
        for subnet in &mut self.subnets {
            if subnet.net().contains(&address) {
                subnet.release(address);
            }
        }
    }
}

impl State {
    /// The network called `text`: by id, by name, or by the beginning of its id.
    pub(super) fn find(&self, text: &str) -> Result<&Network, NetworkError> {
        let not_found = || NetworkError::NotFound { name: text.to_owned() };
        if text.is_empty() {
            return Err(not_found());
        }
        if let Some(network) = self.networks.get(text).or_else(|| self.by_name(text)) {
            return Ok(network);
        }
        let mut found = self.networks.values().filter(|network| network.record.id.starts_with(text));
        match (found.next(), found.count()) {
            (None, _) => Err(not_found()),
            (Some(network), 0) => Ok(network),
            (Some(_), more) => Err(NetworkError::refused(
                ErrorKind::InvalidArgument,
                format!("network {text} is ambiguous ({} matches found based on ID prefix)", more + 1),
            )),
        }
    }

    pub(super) fn by_name(&self, name: &str) -> Option<&Network> {
        self.networks.values().find(|network| network.record.name == name)
    }
}
