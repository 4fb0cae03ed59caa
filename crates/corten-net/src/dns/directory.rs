use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use parking_lot::RwLock;

/// Who is on which network, for all resolvers of the daemon.
#[derive(Debug, Default)]
pub struct Directory {
    networks: RwLock<HashMap<String, NetworkNames>>,
}

/// The names of one network.
#[derive(Debug, Clone, Default)]
pub struct NetworkNames {
    /// The network's name: `container.network` is a name too.
    pub name: String,
    /// By endpoint: all its names (small letters), the one for reverse answers first, and its addresses.
    endpoints: BTreeMap<String, (Vec<String>, Vec<IpAddr>)>,
}

/// What one container sees.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// Ids of its networks, the one asked first in front.
    pub networks: Vec<String>,
    /// Names that only this container has for others: alias to (network's id, name there).
    pub links: Vec<(String, String, String)>,
    /// Whether what nobody here is called may be asked outside.
    pub forward: bool,
    /// `ndots` was set on purpose: a name without a dot is not asked outside.
    pub ndots_set: bool,
}

/// Where a name leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    Addresses(Vec<IpAddr>),
    Nobody,
}

impl Directory {
    /// A network appears, or has another name now.
    pub fn add_network(&self, id: &str, name: &str) {
        self.networks.write().entry(id.to_owned()).or_default().name = name.to_lowercase();
    }

    /// A network disappears.
    pub fn remove_network(&self, id: &str) {
        self.networks.write().remove(id);
    }

    /// An endpoint answers to `names` from now on; the first one is its name in reverse answers.
    pub fn add_endpoint(&self, network: &str, endpoint: &str, names: &[String], addresses: &[IpAddr]) {
        let names = names.iter().map(|name| name.to_lowercase()).collect();
        if let Some(network) = self.networks.write().get_mut(network) {
            network.endpoints.insert(endpoint.to_owned(), (names, addresses.to_vec()));
        }
    }

    /// An endpoint is gone.
    pub fn remove_endpoint(&self, network: &str, endpoint: &str) {
        if let Some(network) = self.networks.write().get_mut(network) {
            network.endpoints.remove(endpoint);
        }
    }

    /// Who is called `name` (small letters, no final dot) in `view`.
    pub(super) fn lookup(&self, view: &View, name: &str) -> Found {
        let networks = self.networks.read();
        for id in &view.networks {
            let Some(network) = networks.get(id) else { continue };
            let mut addresses = network.addresses(name);
            for (alias, on, target) in &view.links {
                if alias == name && on == id {
                    addresses.extend(network.addresses(target));
                }
            }
            if addresses.is_empty()
                && let Some((host, suffix)) = name.rsplit_once('.')
                && suffix == network.name
            {
                addresses = network.addresses(host);
            }
            if !addresses.is_empty() {
                return Found::Addresses(addresses);
            }
        }
        Found::Nobody
    }

    /// The full name of whoever has `address` in `view`.
    pub(super) fn reverse(&self, view: &View, address: IpAddr) -> Option<String> {
        let networks = self.networks.read();
        view.networks.iter().filter_map(|id| networks.get(id)).find_map(|network| {
            let (names, _) =
                network.endpoints.values().find(|(_, addresses)| addresses.contains(&address))?;
            names.first().map(|name| format!("{name}.{}", network.name))
        })
    }
}

impl NetworkNames {
    fn addresses(&self, name: &str) -> Vec<IpAddr> {
        let named = self.endpoints.values().filter(|(names, _)| names.iter().any(|other| other == name));
        named.flat_map(|(_, addresses)| addresses.iter().copied()).collect()
    }
}
