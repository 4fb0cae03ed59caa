use std::collections::BTreeMap;
use std::net::IpAddr;

use corten_api::network::{Ipam, NetworkCreate};
use corten_net::ipam::{Subnet, SubnetRequest, check_config};
use corten_types::{ErrorKind, NetworkId};
use ipnet::IpNet;

use super::host::attributes;
use super::options::BridgeOptions;
use super::record::{Driver, NETWORK, NetworkRecord, SubnetRecord};
use super::state::{Network, State};
use super::{NetworkError, Networks};

fn forbidden(text: impl Into<String>) -> NetworkError {
    NetworkError::refused(ErrorKind::Forbidden, text)
}

impl Networks {
    /// Makes a network, remembered before its device is made. Gives its id.
    pub async fn create(&self, request: NetworkCreate) -> Result<String, NetworkError> {
        check_name_and_scope(&request)?;
        let _changes = self.changes.lock().await;
        if self.state.lock().by_name(&request.name).is_some() {
            let text = format!("network with name {} already exists", request.name);
            return Err(NetworkError::refused(ErrorKind::Conflict, text));
        }
        let driver = check_driver(&request)?;
        let request = self.with_template(request)?;
        let id = NetworkId::random().as_str().to_owned();
        let reachable = self.host.reachable(&self.bridges())?;
        let record = {
            let mut state = self.state.lock();
            plan(&mut state, request, driver, id, &reachable)?
        };
        let made = self.add(record.clone()).await;
        if made.is_err() {
            let mut state = self.state.lock();
            record.subnets.iter().for_each(|subnet| state.pools.release(subnet.net));
        }
        made?;
        self.events.emit("network", "create", &record.id, attributes(&record));
        Ok(record.id)
    }

    /// Remembers a network and makes it real; takes back what it did when it cannot.
    pub(super) async fn add(&self, record: NetworkRecord) -> Result<(), NetworkError> {
        let text = serde_json::to_vec(&record).unwrap_or_default();
        self.records.put(NETWORK, &record.id, text).await?;
        if let Err(error) = self.make_real(&record) {
            if let Err(error) = self.host.remove_bridge(&record.bridge) {
                tracing::warn!(network = record.name, %error, "bridge not removed");
            }
            self.records.delete(NETWORK, &record.id).await?;
            return Err(error);
        }
        self.host.directory.add_network(&record.id, &record.name);
        let id = record.id.clone();
        self.state.lock().networks.insert(id, Network::new(record));
        Ok(())
    }

    fn make_real(&self, record: &NetworkRecord) -> Result<(), NetworkError> {
        if record.driver != Driver::Bridge {
            return Ok(());
        }
        let options = BridgeOptions::parse(&record.options)?;
        // Rules first: the bridge is never open before they hold.
        self.host.add_rules(record, &options)?;
        self.host.ensure_bridge(record, &options)?;
        Ok(())
    }

    /// The devices of all networks.
    pub(super) fn bridges(&self) -> Vec<String> {
        let state = self.state.lock();
        state
            .networks
            .values()
            .map(|network| network.record.bridge.clone())
            .filter(|name| !name.is_empty())
            .collect()
    }

    /// A request that names a template takes the template's settings.
    fn with_template(&self, mut request: NetworkCreate) -> Result<NetworkCreate, NetworkError> {
        let Some(name) =
            request.config_from.as_ref().map(|from| from.network.clone()).filter(|n| !n.is_empty())
        else {
            return Ok(request);
        };
        let state = self.state.lock();
        let Ok(template) = state.find(&name) else {
            let text = format!("configuration network {name:?} does not exist");
            return Err(NetworkError::refused(ErrorKind::NotFound, text));
        };
        let template = &template.record;
        if !template.config_only {
            return Err(forbidden(format!("network {name:?} is not a configuration network")));
        }
        let own_settings =
            request.ipam.as_ref().is_some_and(|ipam| ipam.config.as_ref().is_some_and(|c| !c.is_empty()))
                || request.options.as_ref().is_some_and(|options| !options.is_empty())
                || request.internal;
        if own_settings {
            return Err(forbidden(
                "user-specified configurations are not supported if the network depends on a configuration network",
            ));
        }
        request.ipam = Some(template.ipam.clone());
        request.options = Some(template.options.clone());
        request.internal = template.internal;
        request.enable_ipv4 = Some(template.ipv4);
        request.enable_ipv6 = Some(template.ipv6);
        if request.labels.as_ref().is_none_or(BTreeMap::is_empty) {
            request.labels = Some(template.labels.clone());
        }
        Ok(request)
    }
}

fn check_name_and_scope(request: &NetworkCreate) -> Result<(), NetworkError> {
    let name = &request.name;
    if name.trim().is_empty() {
        return Err(NetworkError::refused(ErrorKind::InvalidArgument, "invalid name: name is empty"));
    }
    if matches!(name.as_str(), "bridge" | "host" | "none" | "default") {
        return Err(forbidden(format!("operation is not permitted on predefined {name} network ")));
    }
    if request.ingress {
        return Err(forbidden("Ingress network can only be global scope network"));
    }
    if request.scope == "swarm" {
        return Err(forbidden("cannot create a swarm scoped network when swarm is not active"));
    }
    if request.driver == "overlay" {
        return Err(forbidden(
            "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this \
             node to swarm and try again.",
        ));
    }
    Ok(())
}

fn check_driver(request: &NetworkCreate) -> Result<Driver, NetworkError> {
    match request.ipam.as_ref().map_or("", |ipam| ipam.driver.as_str()) {
        "" | "default" => {}
        other => {
            return Err(NetworkError::refused(ErrorKind::NotFound, format!("plugin {other:?} not found")));
        }
    }
    if request.config_only {
        return Ok(Driver::Null);
    }
    if request.enable_ipv4 == Some(false) && request.enable_ipv6 != Some(true) {
        return Err(NetworkError::refused(ErrorKind::InvalidArgument, "IPv4 or IPv6 must be enabled"));
    }
    match request.driver.as_str() {
        "" | "bridge" => Ok(Driver::Bridge),
        driver @ ("host" | "null") => {
            Err(forbidden(format!("only one instance of {driver:?} network is allowed")))
        }
        driver @ ("macvlan" | "ipvlan") => {
            Err(NetworkError::NotImplemented { what: format!("the network driver {driver:?}") })
        }
        other => Err(NetworkError::refused(ErrorKind::NotFound, format!("plugin {other:?} not found"))),
    }
}

/// The record of a new network; its subnets are taken.
fn plan(
    state: &mut State,
    request: NetworkCreate,
    driver: Driver,
    id: String,
    reachable: &[IpNet],
) -> Result<NetworkRecord, NetworkError> {
    let (ipv4, ipv6) = (request.enable_ipv4.unwrap_or(true), request.enable_ipv6.unwrap_or(false));
    let ipam = request.ipam.unwrap_or_default();
    let options = request.options.unwrap_or_default();
    check_subnets(&ipam, ipv6)?;
    let mut record = NetworkRecord {
        id,
        name: request.name,
        created: jiff::Timestamp::now().to_string(),
        driver,
        ipv4,
        ipv6,
        ipam,
        subnets: Vec::new(),
        internal: request.internal,
        attachable: request.attachable,
        config_only: request.config_only,
        config_from: request.config_from.map(|from| from.network).unwrap_or_default(),
        options,
        labels: request.labels.unwrap_or_default(),
        bridge: String::new(),
    };
    if driver != Driver::Bridge {
        return Ok(record);
    }
    for wanted in [false, true] {
        let subnets = record.ipam.config.iter().flatten().map(|config| config.subnet.contains(':'));
        if subnets.filter(|ipv6| *ipv6 == wanted).count() > 1 {
            return Err(forbidden("bridge driver doesn't support multiple subnets"));
        }
    }
    let parsed = BridgeOptions::parse(&record.options)?;
    record.bridge = parsed.name.unwrap_or_else(|| format!("br-{}", &record.id[..12]));
    if let Some(other) = state.networks.values().find(|other| other.record.bridge == record.bridge) {
        return Err(forbidden(format!(
            "cannot create network {} ({bridge}): conflicts with network {} ({bridge}): networks have same bridge name",
            record.id,
            other.record.id,
            bridge = record.bridge,
        )));
    }
    match take_subnets(state, &record, reachable) {
        Ok(subnets) => record.subnets = subnets,
        Err((taken, error)) => {
            taken.into_iter().for_each(|net| state.pools.release(net));
            return Err(error);
        }
    }
    Ok(record)
}

fn check_subnets(ipam: &Ipam, ipv6: bool) -> Result<(), NetworkError> {
    let requests = ipam.config.iter().flatten().map(|config| SubnetRequest {
        subnet: &config.subnet,
        ip_range: &config.ip_range,
        gateway: &config.gateway,
        auxiliary: config
            .auxiliary_addresses
            .iter()
            .flatten()
            .map(|(name, address)| (name.as_str(), address.as_str()))
            .collect(),
    });
    let requests = requests.collect::<Vec<_>>();
    check_config(&requests, ipv6).map_err(|text| NetworkError::refused(ErrorKind::InvalidArgument, text))
}

/// Takes the wanted subnets, and one from the pools for each wanted family that has none. When something fails, what was
/// taken is given with the error.
fn take_subnets(
    state: &mut State,
    record: &NetworkRecord,
    reachable: &[IpNet],
) -> Result<Vec<SubnetRecord>, (Vec<IpNet>, NetworkError)> {
    let mut taken = Vec::new();
    let mut subnets = Vec::new();
    let wanted = |net: &IpNet| if net.addr().is_ipv4() { record.ipv4 } else { record.ipv6 };
    for config in record.ipam.config.iter().flatten() {
        // They were read before; what cannot be read has been refused.
        let Ok(net) = config.subnet.parse::<IpNet>() else { continue };
        if !wanted(&net) {
            continue;
        }
        if let Err(error) = state.pools.take(net) {
            return Err((taken, error.into()));
        }
        taken.push(net);
        let auxiliary = config.auxiliary_addresses.iter().flatten();
        let auxiliary: BTreeMap<String, IpAddr> =
            auxiliary.filter_map(|(name, address)| Some((name.clone(), address.parse().ok()?))).collect();
        let asked: Option<IpAddr> = config.gateway.parse().ok();
        let record = SubnetRecord {
            net,
            range: config.ip_range.parse().ok(),
            gateway: asked,
            auxiliary,
            configured: true,
            shows_gateway: asked.is_some(),
        };
        match with_gateway(record) {
            Ok(record) => subnets.push(record),
            Err(error) => return Err((taken, error)),
        }
    }
    for (ipv6, wanted) in [(false, record.ipv4), (true, record.ipv6)] {
        if !wanted || subnets.iter().any(|subnet| subnet.net.addr().is_ipv6() == ipv6) {
            continue;
        }
        let net = match state.pools.take_any(ipv6, reachable) {
            Ok(net) => net,
            Err(error) => return Err((taken, error.into())),
        };
        taken.push(net);
        let record = SubnetRecord {
            net,
            range: None,
            gateway: None,
            auxiliary: BTreeMap::new(),
            configured: false,
            shows_gateway: true,
        };
        match with_gateway(record) {
            Ok(record) => subnets.push(record),
            Err(error) => return Err((taken, error)),
        }
    }
    Ok(subnets)
}

/// The subnet with its gateway chosen: the first address of its range, unless one was asked for.
pub(super) fn with_gateway(mut record: SubnetRecord) -> Result<SubnetRecord, NetworkError> {
    let mut subnet = Subnet::new(record.net, record.range);
    let gateway = match record.gateway {
        Some(gateway) => subnet.take(gateway).map(|()| gateway),
        None => subnet.take_any(),
    };
    record.gateway = Some(
        gateway
            .map_err(|error| forbidden(format!("failed to allocate gateway ({}): {error}", record.net)))?,
    );
    for (name, address) in &record.auxiliary {
        subnet.take(*address).map_err(|error| {
            forbidden(format!("failed to allocate secondary ip address ({name}:{address}): {error}"))
        })?;
    }
    Ok(record)
}
