use std::collections::BTreeMap;
use std::net::IpAddr;

use corten_api::endpoint::EndpointSettings;
use corten_api::network::Ipam;
use corten_net::firewall::PublishedPort;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// Kind of the durable records of networks.
pub(super) const NETWORK: &str = "network";
/// Kind of the records of sandboxes, in the database that dies with the machine as they do.
pub(super) const SANDBOX: &str = "sandbox";

/// What makes containers' network stacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Driver {
    Bridge,
    Host,
    Null,
}

impl Driver {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::Host => "host",
            Self::Null => "null",
        }
    }
}

/// A network, as it is remembered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct NetworkRecord {
    pub id: String,
    pub name: String,
    /// RFC 3339.
    pub created: String,
    pub driver: Driver,
    pub ipv4: bool,
    pub ipv6: bool,
    /// As asked for; what was chosen instead is in `subnets`.
    pub ipam: Ipam,
    pub subnets: Vec<SubnetRecord>,
    pub internal: bool,
    pub attachable: bool,
    pub config_only: bool,
    /// Name of the network whose settings these are, or empty.
    pub config_from: String,
    pub options: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
    /// Name of the bridge's device, for a bridge.
    pub bridge: String,
}

/// A subnet of a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SubnetRecord {
    pub net: IpNet,
    pub range: Option<IpNet>,
    pub gateway: Option<IpAddr>,
    pub auxiliary: BTreeMap<String, IpAddr>,
    /// Somebody asked for it, so that containers may have fixed addresses.
    pub configured: bool,
    /// The gateway was asked for, or the whole subnet comes from a pool: inspect shows it.
    pub shows_gateway: bool,
}

impl NetworkRecord {
    /// Whether it is one that is always there.
    pub(super) fn is_predefined(&self) -> bool {
        matches!(self.name.as_str(), "bridge" | "host" | "none")
    }

    /// Whether containers on it have names and our resolver.
    pub(super) fn has_names(&self) -> bool {
        self.driver == Driver::Bridge && self.name != "bridge"
    }

    /// The gateway of one family, unless nothing leads out.
    pub(super) fn gateway(&self, ipv6: bool) -> Option<IpAddr> {
        self.subnets.iter().filter_map(|subnet| subnet.gateway).find(|gateway| gateway.is_ipv6() == ipv6)
    }
}

/// A container's stack, as it is remembered while the container runs. Written before anything of it exists.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct SandboxRecord {
    /// The container.
    pub id: String,
    /// The container's name.
    pub name: String,
    /// It is the host's own stack.
    pub host: bool,
    pub endpoints: Vec<EndpointRecord>,
    /// What the firewall leads to it.
    pub published: Vec<PortRecord>,
}

/// An attachment of a running container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct EndpointRecord {
    pub id: String,
    /// The network's id.
    pub network: String,
    /// What the container asked for, with what it got.
    pub settings: EndpointSettings,
    /// The network's name.
    pub network_name: String,
    /// Name of the host's end; empty where there is no device.
    pub host_name: String,
    /// Name inside.
    pub device: String,
    pub addresses: Vec<IpNet>,
}

/// A published port of a running container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PortRecord {
    pub protocol: PortProtocol,
    pub host: IpAddr,
    pub host_port: u16,
    pub container_port: u16,
    /// The container's address that connections go to.
    pub target: IpAddr,
}

/// A transport protocol, as it is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum PortProtocol {
    Tcp,
    Udp,
    Sctp,
}

impl From<corten_net::firewall::Protocol> for PortProtocol {
    fn from(protocol: corten_net::firewall::Protocol) -> Self {
        use corten_net::firewall::Protocol;
        match protocol {
            Protocol::Tcp => Self::Tcp,
            Protocol::Udp => Self::Udp,
            Protocol::Sctp => Self::Sctp,
        }
    }
}

impl From<PortProtocol> for corten_net::firewall::Protocol {
    fn from(protocol: PortProtocol) -> Self {
        match protocol {
            PortProtocol::Tcp => Self::Tcp,
            PortProtocol::Udp => Self::Udp,
            PortProtocol::Sctp => Self::Sctp,
        }
    }
}

impl PortRecord {
    /// The firewall's rule for it; `None` where no rule can lead to the container.
    pub(super) fn rule(&self) -> Option<PublishedPort> {
        let same_family = self.host.is_ipv4() == self.target.is_ipv4();
        let loopback6 = self.host.is_ipv6() && self.host.is_loopback();
        (same_family && !loopback6).then(|| PublishedPort {
            protocol: self.protocol.into(),
            host: self.host,
            host_port: self.host_port,
            target: (self.target, self.container_port).into(),
        })
    }
}
