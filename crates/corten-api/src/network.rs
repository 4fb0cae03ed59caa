//! Networks: create, inspect, list, connect, disconnect, prune (`/networks…`).

use crate::endpoint::EndpointSettings;
use crate::wire::{List, Map};

wire! {
    /// Body of `POST /networks/create`.
    pub struct NetworkCreate {
        /// Name, unique among networks.
        pub name: String,
        /// `bridge` when empty.
        pub driver: String,
        /// `local` or `swarm`; empty is local.
        pub scope: String,
        /// IPv4; `None` follows the daemon's default (on).
        #[serde(rename = "EnableIPv4", skip_serializing_if = "Option::is_none")]
        pub enable_ipv4: Option<bool>,
        /// IPv6; `None` follows the daemon's default (off).
        #[serde(rename = "EnableIPv6", skip_serializing_if = "Option::is_none")]
        pub enable_ipv6: Option<bool>,
        /// Addresses.
        #[serde(rename = "IPAM")]
        pub ipam: Option<Ipam>,
        /// No way out of the host, and none in.
        pub internal: bool,
        /// Swarm: containers may join by hand.
        pub attachable: bool,
        /// Swarm: the routing mesh.
        pub ingress: bool,
        /// A template for other networks, of no use to containers.
        pub config_only: bool,
        /// The template this network takes its settings from.
        pub config_from: Option<ConfigReference>,
        /// Driver options.
        pub options: Map<String>,
        /// Labels.
        pub labels: Map<String>,
    }

    /// How a network gets its addresses.
    pub struct Ipam {
        /// `default` when empty.
        pub driver: String,
        /// Options of the driver.
        pub options: Map<String>,
        /// Subnets.
        pub config: List<IpamConfig>,
    }

    /// One subnet of a network.
    pub struct IpamConfig {
        /// The subnet, CIDR.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub subnet: String,
        /// Where addresses are taken from, CIDR within the subnet.
        #[serde(rename = "IPRange", skip_serializing_if = "String::is_empty")]
        pub ip_range: String,
        /// The gateway's address.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub gateway: String,
        /// Addresses that are never given out, by a name.
        #[serde(rename = "AuxiliaryAddresses", skip_serializing_if = "crate::wire::is_none_or_empty")]
        pub auxiliary_addresses: Map<String>,
    }

    /// A network that others take their settings from.
    pub struct ConfigReference {
        /// Its name.
        pub network: String,
    }

    /// Answer of `POST /networks/create`.
    pub struct NetworkCreated {
        /// The new network's id.
        pub id: String,
        /// Always empty since API 1.44.
        pub warning: String,
    }

    /// A network, as `GET /networks/{id}` and the elements of `GET /networks` show it.
    pub struct NetworkInspect {
        /// Name.
        pub name: String,
        /// Id.
        pub id: String,
        /// When it was made, RFC 3339 with nanoseconds.
        pub created: String,
        /// `local`.
        pub scope: String,
        /// `bridge`, `host`, `null`.
        pub driver: String,
        /// Whether containers get IPv4 addresses.
        #[serde(rename = "EnableIPv4")]
        pub enable_ipv4: bool,
        /// Whether containers get IPv6 addresses.
        #[serde(rename = "EnableIPv6")]
        pub enable_ipv6: bool,
        /// Addresses.
        #[serde(rename = "IPAM")]
        pub ipam: Ipam,
        /// No way out of the host.
        pub internal: bool,
        /// Swarm only.
        pub attachable: bool,
        /// Swarm only.
        pub ingress: bool,
        /// The template it was made from.
        pub config_from: ConfigReference,
        /// Whether it is a template.
        pub config_only: bool,
        /// Running containers on it, by container id; empty in lists.
        pub containers: std::collections::BTreeMap<String, EndpointResource>,
        /// Driver options.
        pub options: std::collections::BTreeMap<String, String>,
        /// Labels.
        pub labels: std::collections::BTreeMap<String, String>,
    }

    /// A running container on a network.
    pub struct EndpointResource {
        /// The container's name.
        pub name: String,
        /// The endpoint's id.
        #[serde(rename = "EndpointID")]
        pub endpoint_id: String,
        /// Hardware address.
        pub mac_address: String,
        /// Address and prefix length, or empty.
        #[serde(rename = "IPv4Address")]
        pub ipv4_address: String,
        /// Address and prefix length, or empty.
        #[serde(rename = "IPv6Address")]
        pub ipv6_address: String,
    }

    /// Body of `POST /networks/{id}/connect`.
    pub struct NetworkConnect {
        /// Name or id of the container.
        pub container: String,
        /// How it wants to be attached.
        pub endpoint_config: Option<EndpointSettings>,
    }

    /// Body of `POST /networks/{id}/disconnect`.
    pub struct NetworkDisconnect {
        /// Name or id of the container.
        pub container: String,
        /// Also when the container is gone or does not answer.
        pub force: bool,
    }

    /// Answer of `POST /networks/prune`.
    pub struct NetworksPruned {
        /// Names of the removed networks; `null` when there are none.
        pub networks_deleted: List<String>,
    }
}
