//! The networks that are always there: `bridge`, `host` and `none`.

use std::collections::BTreeMap;

use corten_types::{ErrorKind, NetworkId};
use ipnet::IpNet;

use super::create::with_gateway;
use super::options::default_bridge_options;
use super::record::{Driver, NetworkRecord, SubnetRecord};
use super::state::State;
use super::{NetworkError, Networks};
use crate::config::EngineConfig;

/// A network without anything yet.
fn record(name: &str, driver: Driver) -> NetworkRecord {
    NetworkRecord {
        id: NetworkId::random().as_str().to_owned(),
        name: name.to_owned(),
        created: jiff::Timestamp::now().to_string(),
        driver,
        ipv4: true,
        ipv6: false,
        ipam: corten_api::network::Ipam::default(),
        subnets: Vec::new(),
        internal: false,
        attachable: false,
        config_only: false,
        config_from: String::new(),
        options: BTreeMap::new(),
        labels: BTreeMap::new(),
        bridge: String::new(),
    }
}

impl Networks {
    /// Makes those that are missing, and the default bridge as the daemon's settings want it.
    pub(super) async fn ensure_predefined(&self) -> Result<(), NetworkError> {
        for (name, driver) in [("none", Driver::Null), ("host", Driver::Host)] {
            if self.state.lock().by_name(name).is_none() {
                self.add(record(name, driver)).await?;
            }
        }
        let reachable = self.host.reachable(&self.bridges_and(&self.config.network.bridge))?;
        let wanted = {
            let mut state = self.state.lock();
            let known = state.by_name("bridge").map(|network| (*network.record).clone());
            plan_bridge(&mut state, known, &self.config, &reachable)?
        };
        self.add(wanted).await
    }

    fn bridges_and(&self, name: &str) -> Vec<String> {
        let mut names = self.bridges();
        names.push(name.to_owned());
        names
    }
}

/// The default bridge: its id, age and subnet stay as long as the settings do not say otherwise.
fn plan_bridge(
    state: &mut State,
    known: Option<NetworkRecord>,
    config: &EngineConfig,
    reachable: &[IpNet],
) -> Result<NetworkRecord, NetworkError> {
    let invalid = |text: String| NetworkError::refused(ErrorKind::InvalidArgument, text);
    let had = known.as_ref().and_then(|known| known.subnets.first().cloned());
    let mut wanted = known.unwrap_or_else(|| record("bridge", Driver::Bridge));
    let network = &config.network;
    wanted.bridge.clone_from(&network.bridge);
    wanted.options = default_bridge_options(&network.bridge, network, config.mtu);
    let range = network
        .fixed_cidr
        .as_ref()
        .map(|text| text.parse::<IpNet>().map_err(|_| invalid(format!("invalid fixed-cidr {text:?}"))));
    let range = range.transpose()?;
    let bip = config
        .bip
        .as_ref()
        .map(|text| text.parse::<IpNet>().map_err(|_| invalid(format!("invalid bip {text:?}"))));
    let (net, gateway, configured) = match (bip.transpose()?, had) {
        (Some(bip), _) => (bip.trunc(), Some(bip.addr()), true),
        (None, Some(had)) if !had.configured => (had.net, had.gateway, false),
        (None, Some(had)) => {
            // The settings named a subnet before and do not any more.
            state.pools.release(had.net);
            (state.pools.take_any(false, reachable)?, None, false)
        }
        (None, None) => (state.pools.take_any(false, reachable)?, None, false),
    };
    if configured && wanted.subnets.first().is_none_or(|subnet| subnet.net != net) {
        wanted.subnets.iter().for_each(|subnet| state.pools.release(subnet.net));
        state.pools.take(net)?;
    }
    if range.is_some_and(|range| !net.contains(&range)) {
        return Err(invalid(format!("fixed-cidr is not within the default bridge's subnet {net}")));
    }
    wanted.subnets = vec![with_gateway(SubnetRecord {
        net,
        // The gateway is the subnet's first address, whatever range containers get theirs from.
        range: None,
        gateway,
        auxiliary: BTreeMap::new(),
        configured,
        shows_gateway: true,
    })?];
    wanted.subnets[0].range = range;
    Ok(wanted)
}
