//! Writes a container's `hosts`, `resolv.conf` and `hostname`.

use std::net::IpAddr;
use std::path::Path;

use corten_net::files::{
    HostRecord, ResolvConf, ResolvOverrides, host_resolv_conf_path, hosts_file, own_names,
};
use corten_net::sandbox::RESOLVER;
use corten_types::ErrorKind;

use super::NetworkError;
use super::record::EndpointRecord;
use super::request::{ContainerNetworkRequest, NetworkMode};

/// Writes in place: the file is mounted into the container, so that a new one would not be seen.
pub(super) fn write(path: &Path, text: &str) -> Result<(), NetworkError> {
    std::fs::write(path, text).map_err(|source| NetworkError::File { path: path.to_owned(), source })
}

pub(super) fn folder(path: &Path) -> Result<(), NetworkError> {
    std::fs::create_dir_all(path).map_err(|source| NetworkError::File { path: path.to_owned(), source })
}

/// Extra lines of a hosts file: what was asked for, `name:address`. `gateway` stands in for `host-gateway`.
pub(super) fn extra_hosts(lines: &[String], gateway: &[IpAddr]) -> Result<Vec<HostRecord>, NetworkError> {
    let mut records = Vec::new();
    for line in lines {
        let bad = || {
            NetworkError::refused(ErrorKind::InvalidArgument, format!("bad format for add-host: {line:?}"))
        };
        let (name, address) = line.split_once([':', '=']).ok_or_else(bad)?;
        if address == "host-gateway" {
            if gateway.is_empty() {
                let text = "unable to derive the IP value for host-gateway";
                return Err(NetworkError::refused(ErrorKind::InvalidArgument, text));
            }
            records.extend(gateway.iter().map(|&address| HostRecord { address, names: name.to_owned() }));
            continue;
        }
        let bare = address.strip_prefix('[').and_then(|a| a.strip_suffix(']')).unwrap_or(address);
        let address = bare.parse().map_err(|_| {
            NetworkError::refused(
                ErrorKind::InvalidArgument,
                format!("invalid IP address in add-host: {address:?}"),
            )
        })?;
        records.push(HostRecord { address, names: name.to_owned() });
    }
    Ok(records)
}

/// Lines for the container's own addresses.
pub(super) fn own_records(
    request: &ContainerNetworkRequest,
    endpoints: &[EndpointRecord],
) -> Vec<HostRecord> {
    let names = own_names(&request.hostname, &request.domainname);
    let addresses = endpoints.iter().flat_map(|endpoint| &endpoint.addresses);
    addresses.map(|net| HostRecord { address: net.addr(), names: names.clone() }).collect()
}

/// Writes the hosts file. `extra` comes before the container's own addresses.
pub(super) fn write_hosts(
    request: &ContainerNetworkRequest,
    endpoints: &[EndpointRecord],
    mut extra: Vec<HostRecord>,
    ipv6: bool,
) -> Result<(), NetworkError> {
    let path = request.folder.join("hosts");
    if request.mode == NetworkMode::Host && extra.is_empty() {
        let host = std::fs::read_to_string("/etc/hosts").unwrap_or_else(|_| hosts_file(&[], ipv6));
        return write(&path, &host);
    }
    extra.extend(own_records(request, endpoints));
    write(&path, &hosts_file(&extra, ipv6))
}

/// What the container's resolver configuration is. `with_resolver`: ours answers; `ipv6`: the default bridge has it.
pub(super) fn resolv_conf(
    request: &ContainerNetworkRequest,
    with_resolver: bool,
    ipv6: bool,
) -> Result<ResolvConf, NetworkError> {
    let etc = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let path = host_resolv_conf_path(&etc);
    let text = if path == "/etc/resolv.conf" { etc } else { std::fs::read_to_string(path).unwrap_or(etc) };
    let nameservers: Vec<IpAddr> = request
        .dns
        .iter()
        .map(|server| {
            server.parse().map_err(|_| {
                let text = format!("bad nameserver address {server}");
                NetworkError::refused(ErrorKind::InvalidArgument, text)
            })
        })
        .collect::<Result<_, _>>()?;
    let conf = ResolvConf::parse(path, &text).with(ResolvOverrides {
        nameservers: &nameservers,
        search: &request.dns_search,
        options: &request.dns_options,
    });
    Ok(if with_resolver {
        conf.for_resolver((*RESOLVER.ip()).into())
    } else if request.mode == NetworkMode::Host {
        conf
    } else {
        conf.for_default_bridge(ipv6)
    })
}
