use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use corten_net::bridge::{Bridge, DeviceError, remove, set_sysctl};
use corten_net::dns::Directory;
use corten_net::firewall::{BridgeRules, Firewall, PublishedPort, Rules, foreign_drops};
use corten_net::ports::Ports;
use corten_sys::netlink::{Protocol, Socket};
use ipnet::IpNet;
use parking_lot::Mutex;

use super::options::BridgeOptions;
use super::record::NetworkRecord;
use super::{NetworkConfig, NetworkError};

/// The host's network, as far as we change it. Its methods block for the kernel, never for long.
pub(super) struct Host {
    netlink: Mutex<Socket>,
    /// `None` when the daemon makes no rules.
    firewall: Option<Firewall>,
    pub ports: Ports,
    pub directory: Arc<Directory>,
    /// Distinguishes the daemons of a machine in the names of what they make.
    pub instance: String,
    forward: bool,
    pub ipv6: bool,
}

impl Host {
    /// Opens it for a daemon with this exec root; the firewall holds exactly these rules afterwards.
    pub(super) fn open(config: &NetworkConfig, exec_root: &Path, rules: Rules) -> Result<Self, NetworkError> {
        let instance = instance(exec_root);
        let table = if instance.is_empty() { "corten".to_owned() } else { format!("corten-{instance}") };
        let firewall = config.iptables.then(|| Firewall::open(&table, rules)).transpose()?;
        Ok(Self {
            netlink: Mutex::new(Socket::open(Protocol::Route).map_err(DeviceError::from)?),
            firewall,
            ports: Ports::default(),
            directory: Arc::new(Directory::default()),
            instance,
            forward: config.ip_forward,
            ipv6: Path::new("/proc/sys/net/ipv6").exists(),
        })
    }

    /// Works with the netlink socket, alone.
    pub(super) fn netlink<T>(&self, work: impl FnOnce(&Socket) -> T) -> T {
        work(&self.netlink.lock())
    }

    /// Whether rules lead to published ports.
    pub(super) fn has_rules(&self) -> bool {
        self.firewall.is_some()
    }

    /// The alias of a container's device.
    pub(super) fn alias(&self, container: &str) -> String {
        format!("corten:{}:{container}", self.instance)
    }

    /// Networks that the host reaches by itself, other than through these devices.
    pub(super) fn reachable(&self, own: &[String]) -> Result<Vec<IpNet>, NetworkError> {
        self.netlink(|socket| -> Result<_, DeviceError> {
            let links = socket.links()?;
            let is_own = |index| links.iter().any(|link| link.index == index && own.contains(&link.name));
            let routes = socket.routes()?;
            let routes = routes.into_iter().filter(|route| route.prefix > 0 && !is_own(route.index));
            Ok(routes.filter_map(|route| IpNet::new(route.destination, route.prefix).ok()).collect())
        })
        .map_err(NetworkError::from)
    }

    /// Makes a network's bridge and its rules, or completes what is there. Gives the device's number.
    pub(super) fn ensure_bridge(
        &self,
        record: &NetworkRecord,
        options: &BridgeOptions,
    ) -> Result<u32, NetworkError> {
        let gateways = record
            .subnets
            .iter()
            .filter_map(|subnet| IpNet::new(subnet.gateway?, subnet.net.prefix_len()).ok());
        let bridge = Bridge {
            name: record.bridge.clone(),
            mtu: options.mtu,
            addresses: gateways.collect(),
            route_localnet: self.has_rules() && !record.internal,
        };
        if self.forward && !record.internal {
            enable_forwarding("net.ipv4.ip_forward")?;
            if record.ipv6 && self.ipv6 {
                enable_forwarding("net.ipv6.conf.default.forwarding")?;
                enable_forwarding("net.ipv6.conf.all.forwarding")?;
            }
        }
        Ok(self.netlink(|socket| bridge.ensure(socket))?)
    }

    /// The number of a network's bridge, which is made again if somebody removed it.
    pub(super) fn bridge_index(
        &self,
        record: &NetworkRecord,
        options: &BridgeOptions,
    ) -> Result<u32, NetworkError> {
        match self.netlink(|socket| socket.link(&record.bridge)).map_err(DeviceError::from)? {
            Some(link) => Ok(link.index),
            None => self.ensure_bridge(record, options),
        }
    }

    /// Adds a network's rules.
    pub(super) fn add_rules(
        &self,
        record: &NetworkRecord,
        options: &BridgeOptions,
    ) -> Result<(), NetworkError> {
        let Some(firewall) = &self.firewall else { return Ok(()) };
        Ok(firewall.add_bridge(&record.bridge, bridge_rules(record, options))?)
    }

    /// Removes a network's bridge and its rules.
    pub(super) fn remove_bridge(&self, name: &str) -> Result<(), NetworkError> {
        if let Some(firewall) = &self.firewall {
            firewall.remove_bridge(name)?;
        }
        self.netlink(|socket| -> Result<(), DeviceError> {
            if let Some(link) = socket.link(name)? {
                remove(socket, link.index)?;
            }
            Ok(())
        })?;
        Ok(())
    }

    pub(super) fn publish(&self, ports: &[PublishedPort]) -> Result<(), NetworkError> {
        self.firewall.as_ref().map_or(Ok(()), |firewall| Ok(firewall.add_ports(ports)?))
    }

    pub(super) fn unpublish(&self, ports: &[PublishedPort]) -> Result<(), NetworkError> {
        self.firewall.as_ref().map_or(Ok(()), |firewall| Ok(firewall.remove_ports(ports)?))
    }

    /// Makes the firewall's table what it should be.
    pub(super) fn restore_rules(&self, rules: Rules) -> Result<(), NetworkError> {
        self.firewall.as_ref().map_or(Ok(()), |firewall| Ok(firewall.restore(rules)?))
    }

    /// Keeps the firewall's table as it should be, for as long as this is awaited.
    pub(super) async fn guard_rules(&self) {
        let Some(firewall) = &self.firewall else { return };
        let Err(error) = firewall.guard().await;
        tracing::error!(%error, "our firewall table is not watched");
    }

    /// Takes the firewall's table away.
    pub(super) fn close_rules(&self) -> Result<(), NetworkError> {
        self.firewall.as_ref().map_or(Ok(()), |firewall| Ok(firewall.close()?))
    }

    /// Devices of containers that `keep` does not know: those of our instance, by their alias.
    pub(super) fn remove_devices(&self, keep: impl Fn(&str) -> bool) -> Result<(), NetworkError> {
        let prefix = self.alias("");
        self.netlink(|socket| -> Result<(), DeviceError> {
            for link in socket.links()? {
                if link.alias.strip_prefix(&prefix).is_some_and(|container| !keep(container)) {
                    // It may go away by itself at the same moment.
                    if let Err(error) = remove(socket, link.index) {
                        tracing::debug!(device = link.name, %error, "device not removed");
                    }
                }
            }
            Ok(())
        })?;
        Ok(())
    }

    /// What other firewalls drop of this bridge's traffic, with the cure.
    pub(super) fn foreign_drops(&self, bridge: &str, ipv6: bool) -> Vec<String> {
        match foreign_drops(bridge, ipv6) {
            Ok(drops) => drops.iter().map(ToString::to_string).collect(),
            Err(error) => {
                tracing::debug!(%error, "other firewalls cannot be read");
                Vec::new()
            }
        }
    }
}

pub(super) fn bridge_rules(record: &NetworkRecord, options: &BridgeOptions) -> BridgeRules {
    BridgeRules {
        masquerade: options.masquerade && !record.internal,
        internal: record.internal,
        icc: options.icc,
        subnets: record.subnets.iter().map(|subnet| subnet.net).collect(),
    }
}

fn enable_forwarding(name: &str) -> Result<(), DeviceError> {
    let path = format!("/proc/sys/{}", name.replace('.', "/"));
    // A read-only /proc/sys is no obstacle when it is on already.
    if std::fs::read_to_string(path).is_ok_and(|text| text.trim() == "1") {
        Ok(())
    } else {
        set_sysctl(name, "1")
    }
}

/// Nothing for the machine's main daemon; for others something short that follows from the exec root.
fn instance(exec_root: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    if exec_root == Path::new("/run/corten") || exec_root == Path::new("/var/run/corten") {
        return String::new();
    }
    let hash = exec_root.as_os_str().as_bytes().iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{:08x}", hash & 0xffff_ffff)
}

/// Five bytes that differ from host to host and stay the same: where IPv6 subnets come from.
pub(super) fn seed() -> [u8; 5] {
    let machine = std::fs::read_to_string("/etc/machine-id").unwrap_or_default();
    let mut seed = [0xa5_u8, 0x4e, 0x48, 0xb3, 0xcf];
    for (index, byte) in machine.trim().bytes().enumerate() {
        seed[index % 5] = seed[index % 5].rotate_left(3) ^ byte;
    }
    seed
}

/// All addresses of a list, by family.
pub(super) fn first_of(addresses: &[IpNet], ipv6: bool) -> Option<IpNet> {
    addresses.iter().copied().find(|net| matches!(net.addr(), IpAddr::V6(_)) == ipv6)
}

/// Attributes of a network's event.
pub(super) fn attributes(record: &NetworkRecord) -> BTreeMap<String, String> {
    [("name", record.name.clone()), ("type", record.driver.name().to_owned())]
        .map(|(key, value)| (key.to_owned(), value))
        .into()
}
