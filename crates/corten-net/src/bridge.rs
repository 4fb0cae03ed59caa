//! The host's side of a network: its bridge device.

use std::io;
use std::net::IpAddr;

use corten_sys::netlink::route::{Address, Mac, NewBridge};
use corten_sys::netlink::{Batch, NetlinkError, Socket};
use ipnet::IpNet;

/// Why a device could not be made ready.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// The kernel refused.
    #[error("{0}")]
    Netlink(#[from] NetlinkError),
    /// A setting under `/proc/sys` could not be written.
    #[error("cannot set {name} to {value}: {source}")]
    Sysctl {
        /// Its dotted name.
        name: String,
        /// The value.
        value: String,
        /// The cause.
        source: io::Error,
    },
    /// A namespace could not be made or entered.
    #[error("network namespace: {0}")]
    Namespace(#[from] io::Error),
    /// The device has disappeared.
    #[error("interface {0} is gone")]
    Gone(String),
    /// The name is taken by something that is no bridge.
    #[error("interface {0} exists and is not a bridge")]
    NotABridge(String),
}

/// A random hardware address that claims to be nobody's product.
pub fn random_mac() -> Mac {
    let mut bytes = [0; 6];
    let text = corten_types::random_hex(6);
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte =
            std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok()).unwrap_or(0);
    }
    bytes[0] = (bytes[0] | 0x02) & 0xfe;
    bytes
}

/// Writes a sysctl of the calling thread's network namespace; `name` is dotted, `/` stands for a dot within a part.
pub fn set_sysctl(name: &str, value: &str) -> Result<(), DeviceError> {
    // As sysctl(8): the first separator says which of both separates.
    let path: String = name
        .chars()
        .map(|c| {
            if c == '.' {
                '/'
            } else if c == '/' {
                '.'
            } else {
                c
            }
        })
        .collect();
    std::fs::write(format!("/proc/sys/{path}"), value).map_err(|source| DeviceError::Sysctl {
        name: name.to_owned(),
        value: value.to_owned(),
        source,
    })
}

/// Writes a sysctl of one device (`net.<family>.conf.<device>.<key>`).
pub fn set_device_sysctl(family: &str, device: &str, key: &str, value: &str) -> Result<(), DeviceError> {
    std::fs::write(format!("/proc/sys/net/{family}/conf/{device}/{key}"), value).map_err(|source| {
        DeviceError::Sysctl {
            name: format!("net.{family}.conf.{device}.{key}"),
            value: value.to_owned(),
            source,
        }
    })
}

/// A bridge as a network wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bridge {
    /// Device name.
    pub name: String,
    /// MTU; 0 for the kernel's default.
    pub mtu: u32,
    /// The gateways' addresses with their subnets' prefixes.
    pub addresses: Vec<IpNet>,
    /// Whether published ports of its containers are reached from 127.0.0.1 by rules.
    pub route_localnet: bool,
}

impl Bridge {
    /// Makes the device, or takes one of that name, and gives it exactly these addresses. Gives its number.
    ///
    /// A new device that cannot be completed is removed again.
    pub fn ensure(&self, socket: &Socket) -> Result<u32, DeviceError> {
        if let Some(link) = socket.link(&self.name)? {
            if link.kind != "bridge" {
                return Err(DeviceError::NotABridge(self.name.clone()));
            }
            self.configure(socket, link.index)?;
            return Ok(link.index);
        }
        let mut batch = Batch::new();
        batch.add_bridge(&NewBridge { name: &self.name, mac: random_mac(), mtu: self.mtu });
        socket.transact(&batch)?;
        let index = socket.link(&self.name)?.ok_or_else(|| DeviceError::Gone(self.name.clone()))?.index;
        if let Err(error) = self.configure(socket, index) {
            remove(socket, index)?;
            return Err(error);
        }
        Ok(index)
    }

    fn configure(&self, socket: &Socket, index: u32) -> Result<(), DeviceError> {
        let ipv6 = self.addresses.iter().any(|net| matches!(net, IpNet::V6(_)));
        let name = &self.name;
        // Routers that containers announce are not this host's; and what has no IPv6 shall not get it by itself.
        if std::path::Path::new("/proc/sys/net/ipv6").exists() {
            set_device_sysctl("ipv6", name, "accept_ra", "0")?;
            set_device_sysctl("ipv6", name, "disable_ipv6", if ipv6 { "0" } else { "1" })?;
        }
        set_device_sysctl("ipv4", name, "route_localnet", if self.route_localnet { "1" } else { "0" })?;
        let present = socket.addresses()?;
        let present: Vec<_> = present.into_iter().filter(|address| address.index == index).collect();
        let mut batch = Batch::new();
        for old in &present {
            let link_local = matches!(old.address, IpAddr::V6(v6) if v6.is_unicast_link_local());
            let wanted =
                self.addresses.iter().any(|net| net.addr() == old.address && net.prefix_len() == old.prefix);
            if !wanted && !link_local {
                batch.delete_address(old);
            }
        }
        for net in &self.addresses {
            if !present.iter().any(|old| old.address == net.addr() && old.prefix == net.prefix_len()) {
                batch.add_address(&Address { index, address: net.addr(), prefix: net.prefix_len() });
            }
        }
        batch.set_up(index);
        Ok(socket.transact(&batch)?)
    }
}

/// Removes the device with this number.
pub fn remove(socket: &Socket, index: u32) -> Result<(), NetlinkError> {
    let mut batch = Batch::new();
    batch.delete_link(index);
    socket.transact(&batch)
}
