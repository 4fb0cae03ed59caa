//! From the ports a container wants published to leased ports of the host.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use corten_api::container::{PortBinding, PortMap};
use corten_net::ports::{HeldPort, HostPort, PortRequest, Ports, parse_port_key};
use corten_types::{ErrorKind, Kind};

use super::NetworkError;
use super::host::first_of;
use super::record::{EndpointRecord, PortProtocol, PortRecord};
use super::request::ContainerNetworkRequest;

/// What bindings become.
#[derive(Default)]
pub(super) struct Leased {
    pub held: Vec<HeldPort>,
    pub records: Vec<PortRecord>,
}

/// Reads all wanted bindings.
pub(super) fn requests(request: &ContainerNetworkRequest) -> Result<Vec<PortRequest>, NetworkError> {
    let invalid =
        |error: corten_net::ports::PortSyntaxError| NetworkError::refused(error.kind(), error.to_string());
    let mut list = Vec::new();
    for (key, bindings) in &request.port_bindings {
        for binding in bindings.iter().flatten() {
            list.push(PortRequest::parse(key, &binding.host_ip, &binding.host_port).map_err(invalid)?);
        }
    }
    if request.publish_all {
        for key in &request.exposed_ports {
            if request.port_bindings.get(key).is_some_and(|bindings| bindings.iter().flatten().count() > 0) {
                continue;
            }
            let (container_port, protocol) = parse_port_key(key).map_err(invalid)?;
            list.push(PortRequest { protocol, container_port, host: None, host_port: HostPort::Any });
        }
    }
    Ok(list)
}

/// Leases them all for the container's way out, or none. `default` is where a binding goes that names no address.
pub(super) fn lease(
    ports: &Ports,
    requests: &[PortRequest],
    endpoint: &EndpointRecord,
    container: &str,
    default: IpAddr,
) -> Result<Leased, NetworkError> {
    let mut leased = Leased::default();
    let v4 = first_of(&endpoint.addresses, false).map(|net| net.addr());
    let v6 = first_of(&endpoint.addresses, true).map(|net| net.addr());
    for request in requests {
        let carried = corten_net::proxy::Proxy::carries(request.protocol);
        let hosts: Vec<IpAddr> = match request.host {
            Some(host) => vec![host],
            None if default == IpAddr::V4(Ipv4Addr::UNSPECIFIED) && (v6.is_some() || carried) => {
                vec![default, Ipv6Addr::UNSPECIFIED.into()]
            }
            None => vec![default],
        };
        let target = |host: &IpAddr| if host.is_ipv4() { v4.or(v6) } else { v6.or(v4) };
        let Some(first) = hosts.first().and_then(target) else { continue };
        let held = ports.lease(request, &hosts, first).map_err(|error| {
            let text = format!(
                "driver failed programming external connectivity on endpoint {container} ({}): {error}",
                endpoint.id
            );
            NetworkError::refused(error.kind(), text)
        })?;
        for port in held {
            let Some(target) = target(&port.host) else { continue };
            if port.host.is_ipv4() != target.is_ipv4() && !carried {
                let what = format!("publishing {} ports from {} to {target}", port.protocol, port.host);
                return Err(NetworkError::NotImplemented { what });
            }
            leased.records.push(PortRecord {
                protocol: PortProtocol::from(port.protocol),
                host: port.host,
                host_port: port.host_port,
                container_port: port.container_port,
                target,
            });
            leased.held.push(port);
        }
    }
    Ok(leased)
}

/// Leases exactly what a container had before the daemon started anew.
pub(super) fn lease_again(ports: &Ports, records: &[PortRecord]) -> Vec<HeldPort> {
    let mut held = Vec::new();
    for record in records {
        let request = PortRequest {
            protocol: record.protocol.into(),
            container_port: record.container_port,
            host: Some(record.host),
            host_port: HostPort::One(record.host_port),
        };
        match ports.lease(&request, &[record.host], record.target) {
            Ok(again) => held.extend(again),
            // Its rules still lead to the container, ahead of whoever took the port meanwhile.
            Err(error) => tracing::warn!(%error, "a published port is not held any more"),
        }
    }
    held
}

/// `NetworkSettings.Ports`: what is exposed, with where it is published.
pub(super) fn port_map(request: &ContainerNetworkRequest, records: &[PortRecord]) -> PortMap {
    let mut map: PortMap = BTreeMap::new();
    for key in request.exposed_ports.iter().chain(request.port_bindings.keys()) {
        if let Ok((port, protocol)) = parse_port_key(key) {
            map.insert(format!("{port}/{protocol}"), None);
        }
    }
    for record in records {
        let protocol = corten_net::firewall::Protocol::from(record.protocol);
        let entry = map.entry(format!("{}/{protocol}", record.container_port)).or_default();
        let binding =
            PortBinding { host_ip: record.host.to_string(), host_port: record.host_port.to_string() };
        entry.get_or_insert_default().push(binding);
    }
    map
}

/// Refuses bindings that cannot be read, when a container is created.
pub(super) fn check(request: &ContainerNetworkRequest) -> Result<(), NetworkError> {
    requests(request).map(drop).map_err(|error| {
        let text = error.to_string();
        NetworkError::refused(ErrorKind::InvalidArgument, text)
    })
}
