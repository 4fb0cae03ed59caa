/// What the daemon was told about networks, beside `mtu`, `bip` and `default_address_pools` of the engine's settings.
#[derive(Debug, Clone)]
pub struct NetworkConfig {
    /// Name of the default bridge's device (`docker0` when started as dockerd).
    pub bridge: String,
    /// Make firewall rules (`--iptables`). Without: nothing is published or masqueraded by rules.
    pub iptables: bool,
    /// Turn the host's IP forwarding on (`--ip-forward`).
    pub ip_forward: bool,
    /// Masquerade what leaves the default bridge (`--ip-masq`).
    pub ip_masq: bool,
    /// Containers on the default bridge may talk to each other (`--icc`).
    pub icc: bool,
    /// Address that ports are published on when none is named (`--ip`).
    pub default_ip: std::net::IpAddr,
    /// Range within the default bridge's subnet that addresses are taken from (`--fixed-cidr`).
    pub fixed_cidr: Option<String>,
}

impl Default for NetworkConfig {
    fn default() -> Self {
        Self {
            bridge: "corten0".into(),
            iptables: true,
            ip_forward: true,
            ip_masq: true,
            icc: true,
            default_ip: std::net::Ipv4Addr::UNSPECIFIED.into(),
            fixed_cidr: None,
        }
    }
}
