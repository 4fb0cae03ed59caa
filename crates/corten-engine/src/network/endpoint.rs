//! What a container gets on each of its networks: decided before anything is made.

use std::net::IpAddr;
use std::sync::Arc;

use corten_api::endpoint::EndpointSettings;
use corten_net::bridge::random_mac;
use corten_net::ipam::{AddressError, EndpointAddresses, check_endpoint, join_errors};
use corten_types::{ErrorKind, NetworkId};
use ipnet::IpNet;

use super::NetworkError;
use super::host::first_of;
use super::options::BridgeOptions;
use super::record::{Driver, EndpointRecord, NetworkRecord};
use super::request::{ContainerNetworkRequest, NetworkMode};
use super::state::{Attached, Network, State};

/// A hardware address.
pub(super) type Mac = [u8; 6];

/// An attachment that is decided: its addresses are taken and its network cannot be removed.
#[derive(Debug, Clone)]
pub(super) struct Planned {
    pub network: Arc<NetworkRecord>,
    pub record: EndpointRecord,
    /// What a device needs; `None` on networks without devices.
    pub device: Option<PlannedDevice>,
}

#[derive(Debug, Clone)]
pub(super) struct PlannedDevice {
    pub options: BridgeOptions,
    pub mac: Mac,
}

/// The networks a container wants, the one of its mode first, with what it wants of each.
pub(super) fn wanted(request: &ContainerNetworkRequest) -> Vec<(String, EndpointSettings)> {
    let primary = match &request.mode {
        NetworkMode::Bridge => "bridge",
        NetworkMode::Host => "host",
        NetworkMode::None => "none",
        NetworkMode::Network(name) => name.as_str(),
        NetworkMode::Container(_) => return Vec::new(),
    };
    let is_primary = |name: &str| name == primary || (primary == "bridge" && name == "default");
    let alone = matches!(request.mode, NetworkMode::Host | NetworkMode::None) || request.endpoints.is_empty();
    let mut list: Vec<_> = if alone {
        let own = request.endpoints.iter().find(|(name, _)| is_primary(name));
        vec![(primary.to_owned(), own.map(|(_, settings)| settings.clone()).unwrap_or_default())]
    } else {
        let named = |(name, settings): (&String, &EndpointSettings)| {
            (if name == "default" { "bridge".to_owned() } else { name.clone() }, settings.clone())
        };
        request.endpoints.iter().map(named).collect()
    };
    list.sort_by_key(|(name, _)| !is_primary(name));
    if let Some((_, first)) = list.first_mut()
        && first.mac_address.is_empty()
    {
        first.mac_address.clone_from(&request.mac_address);
    }
    list
}

/// Reads `aa:bb:cc:dd:ee:ff` or the same with dashes.
pub(super) fn parse_mac(text: &str) -> Option<Mac> {
    let mut mac = [0; 6];
    let mut parts = text.split([':', '-']);
    for byte in &mut mac {
        let part = parts.next().filter(|part| part.len() == 2)?;
        *byte = u8::from_str_radix(part, 16).ok()?;
    }
    parts.next().is_none().then_some(mac)
}

pub(super) fn show_mac(mac: Mac) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// All that is wrong with what an attachment asks of a network.
pub(super) fn check_settings(
    network: &NetworkRecord,
    settings: &EndpointSettings,
) -> Result<(), NetworkError> {
    let mut errors = Vec::new();
    let ipam = settings.ipam_config.as_ref();
    let addresses = EndpointAddresses {
        ipv4: ipam.map_or("", |ipam| &ipam.ipv4_address),
        ipv6: ipam.map_or("", |ipam| &ipam.ipv6_address),
    };
    let has_address = !addresses.ipv4.is_empty() || !addresses.ipv6.is_empty();
    if !network.has_names() {
        if has_address {
            errors.push("user specified IP address is supported on user defined networks only".to_owned());
        }
        if settings.aliases.as_ref().is_some_and(|aliases| !aliases.is_empty()) {
            let text = "network-scoped alias is supported only for containers in user defined networks";
            errors.push(text.to_owned());
        }
    }
    let configured: Vec<IpNet> =
        network.subnets.iter().filter(|subnet| subnet.configured).map(|subnet| subnet.net).collect();
    errors.extend(check_endpoint(addresses, &configured));
    for address in ipam.iter().flat_map(|ipam| ipam.link_local_ips.iter().flatten()) {
        if address.parse::<IpAddr>().is_err() {
            errors.push(format!("invalid link-local IP address: {address}"));
        }
    }
    if !settings.mac_address.is_empty() && parse_mac(&settings.mac_address).is_none() {
        errors.push(format!("invalid MAC address: {}", settings.mac_address));
    }
    join_errors(&errors).map_or(Ok(()), |errors| {
        Err(NetworkError::refused(
            ErrorKind::InvalidArgument,
            format!("invalid endpoint settings:\n{errors}"),
        ))
    })
}

/// The link-local addresses that were asked for, with the prefixes Docker gives them. They are the container's own affair: nobody
/// gives them out, and no name leads to them.
pub(super) fn link_local(settings: &EndpointSettings) -> Vec<IpNet> {
    let asked = settings.ipam_config.iter().flat_map(|ipam| ipam.link_local_ips.iter().flatten());
    let addresses = asked.filter_map(|text| text.parse::<IpAddr>().ok());
    addresses.filter_map(|ip| IpNet::new(ip, if ip.is_ipv4() { 16 } else { 64 }).ok()).collect()
}

/// An attachment as the record of a container holds it: what was asked for, without what a run got.
pub fn at_rest(made: &EndpointSettings, asked: &EndpointSettings) -> EndpointSettings {
    EndpointSettings {
        network_id: made.network_id.clone(),
        dns_names: made.dns_names.clone(),
        endpoint_id: String::new(),
        gateway: String::new(),
        ip_address: String::new(),
        ip_prefix_len: 0,
        ipv6_gateway: String::new(),
        global_ipv6_address: String::new(),
        global_ipv6_prefix_len: 0,
        ..asked.clone()
    }
}

/// The names a container answers to on a network: its own, its aliases, its short id and its host name.
pub(super) fn names(request: &ContainerNetworkRequest, settings: &EndpointSettings) -> Vec<String> {
    let mut names = vec![request.name.clone()];
    names.extend(settings.aliases.iter().flatten().cloned());
    names.push(request.id.chars().take(12).collect());
    names.push(request.hostname.clone());
    let mut seen = std::collections::HashSet::new();
    names.retain(|name| !name.is_empty() && seen.insert(name.clone()));
    names
}

/// Decides all attachments of a container that starts; on an error nothing is taken.
pub(super) fn plan_all(
    state: &mut State,
    request: &ContainerNetworkRequest,
    ipv6: bool,
) -> Result<Vec<Planned>, NetworkError> {
    let mut planned: Vec<Planned> = Vec::new();
    for (name, settings) in wanted(request) {
        match plan(state, request, &name, settings, ipv6) {
            Ok(one) => planned.push(one),
            Err(error) => {
                planned.iter().for_each(|one| release(state, &one.record));
                return Err(error);
            }
        }
    }
    let mut devices = std::collections::HashMap::<String, u32>::new();
    for one in &mut planned {
        if let Some(device) = &one.device {
            let number = devices.entry(device.options.prefix.clone()).or_default();
            one.record.device = format!("{}{number}", device.options.prefix);
            *number += 1;
        }
    }
    Ok(planned)
}

/// Decides one attachment; the device's name inside is left open.
pub(super) fn plan(
    state: &mut State,
    request: &ContainerNetworkRequest,
    name: &str,
    mut settings: EndpointSettings,
    ipv6: bool,
) -> Result<Planned, NetworkError> {
    let record = state.find(name)?.record.clone();
    if record.config_only {
        return Err(NetworkError::refused(
            ErrorKind::Forbidden,
            "cannot create endpoint on configuration-only network",
        ));
    }
    check_settings(&record, &settings)?;
    let id = NetworkId::random().as_str().to_owned();
    settings.network_id.clone_from(&record.id);
    settings.endpoint_id.clone_from(&id);
    settings.dns_names = record.has_names().then(|| names(request, &settings));
    let Some(network) = state.networks.get_mut(&record.id) else {
        return Err(NetworkError::NotFound { name: name.to_owned() });
    };
    if network.endpoints.values().any(|attached| attached.container == request.id) {
        let text = format!("endpoint with name {} already exists in network {}", request.name, record.name);
        return Err(NetworkError::refused(ErrorKind::Forbidden, text));
    }
    let mut planned = Planned {
        record: EndpointRecord {
            host_name: String::new(),
            device: String::new(),
            addresses: Vec::new(),
            id,
            network: record.id.clone(),
            network_name: record.name.clone(),
            settings,
        },
        network: record.clone(),
        device: None,
    };
    if record.driver == Driver::Bridge {
        add_device(&mut planned, network, ipv6)?;
    }
    let settings = &planned.record.settings;
    let with_prefix =
        |ipv6| first_of(&planned.record.addresses, ipv6).map(|net| net.to_string()).unwrap_or_default();
    let attached = Attached {
        container: request.id.clone(),
        name: request.name.clone(),
        mac: settings.mac_address.clone(),
        ipv4: with_prefix(false),
        ipv6: with_prefix(true),
    };
    network.endpoints.insert(planned.record.id.clone(), attached);
    Ok(planned)
}

fn add_device(planned: &mut Planned, network: &mut Network, ipv6: bool) -> Result<(), NetworkError> {
    let options = BridgeOptions::parse(&network.record.options)?;
    let settings = &mut planned.record.settings;
    let ipam = settings.ipam_config.clone().unwrap_or_default();
    for (v6, wanted) in [(false, &ipam.ipv4_address), (true, &ipam.ipv6_address)] {
        if (v6 && !ipv6) || !network.subnets.iter().any(|subnet| subnet.net().addr().is_ipv6() == v6) {
            continue;
        }
        match take(network, v6, wanted) {
            Ok(address) => planned.record.addresses.push(address),
            Err(error) => {
                planned.record.addresses.iter().for_each(|net| network.release(net.addr()));
                return Err(error);
            }
        }
    }
    let mac = parse_mac(&settings.mac_address).unwrap_or_else(random_mac);
    settings.mac_address = show_mac(mac);
    let gateway = |v6| {
        let gateway = network.record.gateway(v6).filter(|_| !network.record.internal);
        gateway.map(|gateway| gateway.to_string()).unwrap_or_default()
    };
    if let Some(net) = first_of(&planned.record.addresses, false) {
        settings.ip_address = net.addr().to_string();
        settings.ip_prefix_len = net.prefix_len().into();
        settings.gateway = gateway(false);
    }
    if let Some(net) = first_of(&planned.record.addresses, true) {
        settings.global_ipv6_address = net.addr().to_string();
        settings.global_ipv6_prefix_len = net.prefix_len().into();
        settings.ipv6_gateway = gateway(true);
    }
    planned.record.host_name = format!("veth{}", &planned.record.id[..7]);
    planned.device = Some(PlannedDevice { options, mac });
    Ok(())
}

/// Takes the wanted address of one family, or the next free one.
fn take(network: &mut Network, ipv6: bool, wanted: &str) -> Result<IpNet, NetworkError> {
    let (name, id) = (network.record.name.clone(), network.record.id.clone());
    let wanted: Option<IpAddr> = wanted.parse().ok();
    let of_family = network.subnets.iter_mut().filter(|subnet| subnet.net().addr().is_ipv6() == ipv6);
    let mut last = AddressError::Exhausted;
    for subnet in of_family {
        let taken = match wanted {
            Some(address) => subnet.take(address).map(|()| address),
            None => subnet.take_any(),
        };
        match taken.map(|address| IpNet::new(address, subnet.net().prefix_len())) {
            Ok(Ok(net)) => return Ok(net),
            Ok(Err(_)) => {}
            Err(AddressError::OutOfRange) => {}
            Err(error) => last = error,
        }
    }
    Err(match last {
        AddressError::Exhausted => {
            let family = if ipv6 { "IPv6" } else { "IPv4" };
            let text =
                format!("no available {family} addresses on this network's address pools: {name} ({id})");
            NetworkError::refused(ErrorKind::Conflict, text)
        }
        other => NetworkError::refused(ErrorKind::Forbidden, other.to_string()),
    })
}

/// Gives back what [`plan`] took.
pub(super) fn release(state: &mut State, record: &EndpointRecord) {
    if let Some(network) = state.networks.get_mut(&record.network) {
        network.endpoints.remove(&record.id);
        record.addresses.iter().for_each(|net| network.release(net.addr()));
    }
}

/// The attachment that leads out of the container, for one family: the highest priority, then the first by name.
pub(super) fn gateway_of(endpoints: &[EndpointRecord], ipv6: bool) -> Option<(&EndpointRecord, IpAddr)> {
    let gateway = |endpoint: &EndpointRecord| {
        let text = if ipv6 { &endpoint.settings.ipv6_gateway } else { &endpoint.settings.gateway };
        text.parse::<IpAddr>().ok()
    };
    endpoints.iter().filter_map(|endpoint| Some((endpoint, gateway(endpoint)?))).min_by_key(
        |(endpoint, _)| (std::cmp::Reverse(endpoint.settings.gw_priority), endpoint.network_name.clone()),
    )
}

/// All default gateways of a container.
pub(super) fn gateways(endpoints: &[EndpointRecord]) -> Vec<IpAddr> {
    [false, true]
        .into_iter()
        .filter_map(|ipv6| gateway_of(endpoints, ipv6))
        .map(|(_, gateway)| gateway)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hardware_addresses() {
        assert_eq!(parse_mac("02:42:ac:11:00:99").map(show_mac).as_deref(), Some("02:42:ac:11:00:99"));
        assert_eq!(parse_mac("02-42-AC-11-00-99").map(show_mac).as_deref(), Some("02:42:ac:11:00:99"));
        for text in ["", "02:42", "02:42:ac:11:00:99:00", "2:42:ac:11:00:99", "zz:42:ac:11:00:99"] {
            assert_eq!(parse_mac(text), None, "{text}");
        }
    }

    #[test]
    fn the_way_out_is_the_highest_priority_then_the_first_name() {
        let endpoint = |name: &str, gw_priority, gateway: &str| EndpointRecord {
            id: String::new(),
            network: String::new(),
            settings: EndpointSettings { gw_priority, gateway: gateway.into(), ..Default::default() },
            network_name: name.into(),
            host_name: String::new(),
            device: String::new(),
            addresses: Vec::new(),
        };
        let list = [endpoint("b", 0, "10.0.0.1"), endpoint("a", 0, "10.1.0.1"), endpoint("0", 0, "")];
        assert_eq!(gateways(&list), ["10.1.0.1".parse::<IpAddr>().unwrap()]);
        let list = [endpoint("b", 1, "10.0.0.1"), endpoint("a", 0, "10.1.0.1")];
        assert_eq!(gateways(&list), ["10.0.0.1".parse::<IpAddr>().unwrap()]);
    }
}
