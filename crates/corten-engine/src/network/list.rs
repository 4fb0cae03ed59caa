use std::collections::BTreeMap;

use corten_api::filters::Filters;
use corten_api::network::{ConfigReference, EndpointResource, Ipam, IpamConfig, NetworkInspect};
use corten_types::ErrorKind;

use super::record::NetworkRecord;
use super::state::Network;
use super::{NetworkError, Networks};

impl Networks {
    /// The networks that the filters let through, oldest first.
    pub fn list(&self, filters: &Filters) -> Result<Vec<NetworkInspect>, NetworkError> {
        filters
            .only(&["dangling", "driver", "id", "label", "name", "scope", "type"])
            .map_err(|error| NetworkError::refused(ErrorKind::InvalidArgument, error.to_string()))?;
        let dangling = filters.bool("dangling").map_err(|_| {
            let text =
                "invalid value for filter 'dangling', must be \"true\" (or \"1\"), or \"false\" (or \"0\")";
            NetworkError::refused(ErrorKind::InvalidArgument, text)
        })?;
        if let Some(other) = filters.get("type").find(|value| !matches!(*value, "custom" | "builtin")) {
            let text = format!("invalid filter: 'type'='{other}'");
            return Err(NetworkError::refused(ErrorKind::InvalidArgument, text));
        }
        let state = self.state.lock();
        let mut found: Vec<_> = state
            .networks
            .values()
            .filter(|network| {
                let record = &network.record;
                let kind = if record.is_predefined() { "builtin" } else { "custom" };
                filters.exact("driver", record.driver.name())
                    && filters.part("id", &record.id)
                    && filters.labels("label", |name| record.labels.get(name).map(String::as_str))
                    && filters.part("name", &record.name)
                    && filters.exact("scope", "local")
                    && filters.exact("type", kind)
                    && dangling.is_none_or(|wanted| {
                        wanted == (!record.is_predefined() && network.endpoints.is_empty())
                    })
            })
            .collect();
        found.sort_by(|a, b| a.record.created.cmp(&b.record.created));
        Ok(found.into_iter().map(|network| show(&network.record, BTreeMap::new())).collect())
    }

    /// One network with its running containers; none, if another scope than `local` is asked for.
    pub fn inspect(&self, name: &str, scope: &str) -> Result<NetworkInspect, NetworkError> {
        if !matches!(scope, "" | "local") {
            return Err(NetworkError::NotFound { name: name.to_owned() });
        }
        let state = self.state.lock();
        let network = state.find(name)?;
        Ok(show(&network.record, containers(network)))
    }
}

fn containers(network: &Network) -> BTreeMap<String, EndpointResource> {
    let resource = |(id, attached): (&String, &super::state::Attached)| {
        let resource = EndpointResource {
            name: attached.name.clone(),
            endpoint_id: id.clone(),
            mac_address: attached.mac.clone(),
            ipv4_address: attached.ipv4.clone(),
            ipv6_address: attached.ipv6.clone(),
        };
        (attached.container.clone(), resource)
    };
    network.endpoints.iter().map(resource).collect()
}

fn show(record: &NetworkRecord, containers: BTreeMap<String, EndpointResource>) -> NetworkInspect {
    let config = record.subnets.iter().map(|subnet| IpamConfig {
        subnet: subnet.net.to_string(),
        ip_range: subnet.range.map(|range| range.to_string()).unwrap_or_default(),
        gateway: subnet.gateway.filter(|_| subnet.shows_gateway).map(|g| g.to_string()).unwrap_or_default(),
        auxiliary_addresses: Some(
            subnet.auxiliary.iter().map(|(name, address)| (name.clone(), address.to_string())).collect(),
        ),
    });
    let config: Vec<_> = config.collect();
    // A template shows what was asked for; nothing was chosen.
    let config = if record.config_only {
        record.ipam.config.clone().filter(|list| !list.is_empty())
    } else {
        Some(config).filter(|list| !list.is_empty())
    };
    let driver =
        if record.ipam.driver.is_empty() { "default".to_owned() } else { record.ipam.driver.clone() };
    NetworkInspect {
        name: record.name.clone(),
        id: record.id.clone(),
        created: record.created.clone(),
        scope: "local".into(),
        driver: record.driver.name().into(),
        enable_ipv4: record.ipv4,
        enable_ipv6: record.ipv6,
        ipam: Ipam { driver, options: record.ipam.options.clone(), config },
        internal: record.internal,
        attachable: record.attachable,
        ingress: false,
        config_from: ConfigReference { network: record.config_from.clone() },
        config_only: record.config_only,
        containers,
        options: record.options.clone(),
        labels: record.labels.clone(),
    }
}
