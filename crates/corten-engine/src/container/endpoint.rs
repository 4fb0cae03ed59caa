//! A container's attachments to networks: what networks need to know of it, connect and disconnect.

use std::str::FromStr as _;
use std::sync::Arc;

use corten_api::endpoint::EndpointSettings;

use super::owner::Owner;
use super::record::Record;
use super::{ContainerError, Containers, Shared};
use crate::network::{ContainerNetworkRequest, NetworkMode};

/// Everything networks need to know of a container.
pub(super) fn request(shared: &Shared, record: &Record) -> ContainerNetworkRequest {
    let (config, host) = (&record.config, &record.host);
    let or_daemon = |own: &Option<Vec<String>>, daemon: &[String]| {
        own.clone().filter(|list| !list.is_empty()).unwrap_or_else(|| daemon.to_vec())
    };
    let mode = NetworkMode::from_str(&host.network_mode).unwrap_or(NetworkMode::Bridge);
    ContainerNetworkRequest {
        id: record.id.clone(),
        name: record.name.clone(),
        hostname: config.hostname.clone(),
        domainname: config.domainname.clone(),
        mode: if config.network_disabled { NetworkMode::None } else { mode },
        endpoints: record.networks.clone(),
        port_bindings: host.port_bindings.clone().unwrap_or_default(),
        exposed_ports: config.exposed_ports.iter().flatten().map(|(port, _)| port.clone()).collect(),
        publish_all: host.publish_all_ports,
        dns: or_daemon(&host.dns, &shared.config.dns),
        dns_search: or_daemon(&host.dns_search, &shared.config.dns_search),
        dns_options: or_daemon(&host.dns_options, &shared.config.dns_options),
        extra_hosts: host.extra_hosts.clone().unwrap_or_default(),
        links: host.links.clone().unwrap_or_default(),
        mac_address: config.mac_address.clone(),
        // The runtime sets them, with all others.
        sysctls: std::collections::BTreeMap::new(),
        folder: shared.paths.container(&record.id),
        namespace: None,
    }
}

impl Containers {
    /// Connects a container to a network, running or not.
    pub async fn connect(
        &self,
        container: &str,
        network: &str,
        settings: EndpointSettings,
    ) -> Result<(), ContainerError> {
        let network = network.to_owned();
        self.find(container)?.ask(move |owner| Box::pin(owner.connect(network, settings))).await?
    }

    /// Takes a container off a network, running or not.
    pub async fn disconnect(&self, container: &str, network: &str) -> Result<(), ContainerError> {
        let network = network.to_owned();
        self.find(container)?.ask(move |owner| Box::pin(owner.disconnect(network))).await?
    }
}

impl Owner {
    /// The request with the endpoints as they are now.
    fn network_request(&self) -> ContainerNetworkRequest {
        let mut request = request(&self.shared, &self.view.record);
        request.endpoints.extend(self.view.live.network.endpoints.clone());
        request
    }

    async fn connect(&mut self, network: String, settings: EndpointSettings) -> Result<(), ContainerError> {
        let request = self.network_request();
        let (name, made) = self.shared.networks.connect(&network, &request, settings.clone()).await?;
        if self.view.live.state.run().is_some() {
            self.live().network.endpoints.insert(name.clone(), made.clone());
        }
        Arc::make_mut(&mut self.view.record).networks.insert(name, crate::network::at_rest(&made, &settings));
        self.publish();
        self.persist().await;
        self.persist_record().await
    }

    async fn disconnect(&mut self, network: String) -> Result<(), ContainerError> {
        let request = self.network_request();
        let name = self.shared.networks.disconnect(&network, &request).await?;
        self.live().network.endpoints.remove(&name);
        Arc::make_mut(&mut self.view.record).networks.remove(&name);
        self.publish();
        self.persist().await;
        self.persist_record().await
    }
}
