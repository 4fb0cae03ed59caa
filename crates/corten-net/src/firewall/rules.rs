use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use ipnet::IpNet;

/// A transport protocol that ports can be published for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// Its number in IP headers.
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        })
    }
}

/// The text names no transport protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid proto: {0}")]
pub struct UnknownProtocol(pub String);

impl FromStr for Protocol {
    type Err = UnknownProtocol;

    fn from_str(text: &str) -> Result<Self, UnknownProtocol> {
        match text.to_ascii_lowercase().as_str() {
            "tcp" => Ok(Self::Tcp),
            "udp" => Ok(Self::Udp),
            "sctp" => Ok(Self::Sctp),
            _ => Err(UnknownProtocol(text.to_owned())),
        }
    }
}

/// What the firewall does for one bridge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BridgeRules {
    /// What leaves this host from it gets this host's address.
    pub masquerade: bool,
    /// Nothing leaves it and nothing enters it.
    pub internal: bool,
    /// Its containers may talk to each other.
    pub icc: bool,
    /// Its subnets.
    pub subnets: Vec<IpNet>,
}

/// A port of this host that leads to a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublishedPort {
    /// Transport protocol.
    pub protocol: Protocol,
    /// Address of this host; the unspecified one means all of its family.
    pub host: IpAddr,
    /// Port of this host.
    pub host_port: u16,
    /// Address and port of the container, of the same family as `host`.
    pub target: SocketAddr,
}

/// All that the table should hold.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// By name of the bridge's device.
    pub bridges: BTreeMap<String, BridgeRules>,
    /// Published ports.
    pub ports: BTreeSet<PublishedPort>,
}
