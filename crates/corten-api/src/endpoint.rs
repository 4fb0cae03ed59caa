//! How a container is, or wants to be, attached to a network: shared by containers and networks.

use crate::wire::{List, Map};

wire! {
    /// The attachments wanted at create.
    pub struct NetworkingConfig {
        /// By network name or id; `null` means "with defaults".
        pub endpoints_config: Map<Option<EndpointSettings>>,
    }

    /// One attachment: what was asked for (first part) and what it became (second part).
    pub struct EndpointSettings {
        /// Fixed addresses asked for.
        #[serde(rename = "IPAMConfig")]
        pub ipam_config: Option<EndpointIpamConfig>,
        /// Legacy links, `container:alias`.
        pub links: List<String>,
        /// Extra DNS names on this network.
        pub aliases: List<String>,
        /// Hardware address asked for, or in use.
        pub mac_address: String,
        /// Options for the network's driver.
        pub driver_opts: Map<String>,
        /// The attachment with the highest one gives the default route.
        pub gw_priority: i64,
        /// Id of the network.
        #[serde(rename = "NetworkID")]
        pub network_id: String,
        /// Id of the endpoint; empty while the container does not run.
        #[serde(rename = "EndpointID")]
        pub endpoint_id: String,
        /// IPv4 gateway.
        pub gateway: String,
        /// IPv4 address.
        #[serde(rename = "IPAddress")]
        pub ip_address: String,
        /// Prefix length of [`Self::ip_address`].
        #[serde(rename = "IPPrefixLen")]
        pub ip_prefix_len: i64,
        /// IPv6 gateway.
        #[serde(rename = "IPv6Gateway")]
        pub ipv6_gateway: String,
        /// Global IPv6 address.
        #[serde(rename = "GlobalIPv6Address")]
        pub global_ipv6_address: String,
        /// Prefix length of [`Self::global_ipv6_address`].
        #[serde(rename = "GlobalIPv6PrefixLen")]
        pub global_ipv6_prefix_len: i64,
        /// All names the embedded DNS answers for this endpoint.
        #[serde(rename = "DNSNames")]
        pub dns_names: List<String>,
    }

    /// Fixed addresses of an endpoint.
    pub struct EndpointIpamConfig {
        /// IPv4 address.
        #[serde(rename = "IPv4Address", skip_serializing_if = "String::is_empty")]
        pub ipv4_address: String,
        /// IPv6 address.
        #[serde(rename = "IPv6Address", skip_serializing_if = "String::is_empty")]
        pub ipv6_address: String,
        /// Link-local addresses.
        #[serde(rename = "LinkLocalIPs", skip_serializing_if = "crate::wire::is_none_or_empty")]
        pub link_local_ips: List<String>,
    }
}
