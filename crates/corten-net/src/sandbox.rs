//! A container's network stack: a namespace with its devices, addresses and routes.
//!
//! ```text
//! bridge ── veth… (host) ═══ eth0 (born inside) ── address, route
//!                            lo, 127.0.0.11:53
//! ```
//!
//! Devices are born inside, never moved; on the way out nothing is deleted: the addresses go, so that nobody answers for
//! them any more, then the last reference, and the kernel takes the rest away by itself.
//!
//! A namespace and its first steps ([`Sandbox::create`]) know nothing of a container, so that they can be made ahead.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use corten_sys::netlink::route::{Address, Mac, NewVeth, PortOptions, Route};
use corten_sys::netlink::{Batch, Protocol, Socket};
use ipnet::IpNet;

use crate::bridge::{DeviceError, set_device_sysctl, set_sysctl};
use crate::netns::Namespace;

/// Where the resolver of a container listens, inside.
pub const RESOLVER: std::net::SocketAddrV4 =
    std::net::SocketAddrV4::new(std::net::Ipv4Addr::new(127, 0, 0, 11), 53);

/// A network namespace of ours, bound at a path.
#[derive(Debug)]
pub struct Sandbox {
    namespace: Namespace,
    inside: Socket,
    path: PathBuf,
}

/// A device to be made in a sandbox.
#[derive(Debug, Clone)]
pub struct NewDevice<'a> {
    /// Name of the host's end.
    pub host_name: &'a str,
    /// Whose it is, for the sweeper; the host's end carries it as its alias.
    pub alias: &'a str,
    /// The bridge.
    pub bridge: u32,
    /// MTU; 0 for the kernel's default.
    pub mtu: u32,
    /// Reaches only the bridge, not its other ports.
    pub isolated: bool,
    /// Name inside.
    pub name: &'a str,
    /// Hardware address inside.
    pub mac: Mac,
    /// Addresses with their subnets' prefixes.
    pub addresses: &'a [IpNet],
    /// Sysctls of the device, by dotted name with `IFNAME` in the device's place.
    pub sysctls: &'a [(String, String)],
}

/// The sockets of a container's resolver, opened inside.
#[derive(Debug)]
pub struct ResolverSockets {
    /// For datagrams.
    pub udp: UdpSocket,
    /// For streams.
    pub tcp: TcpListener,
}

impl Sandbox {
    /// Makes a namespace (or takes the empty one that is given) with loopback up, sets `sysctls` in it, and binds it at
    /// `path`.
    pub fn create(
        path: &Path,
        sysctls: &BTreeMap<String, String>,
        given: Option<OwnedFd>,
    ) -> Result<Self, DeviceError> {
        let furnish = |_: BorrowedFd<'_>| -> Result<Socket, DeviceError> {
            let socket = Socket::open(Protocol::Route)?;
            let mut batch = Batch::new();
            batch.set_up_by_name("lo");
            socket.transact(&batch)?;
            // Devices to come tell their neighbours where their address is now, and have IPv6 only where it is given.
            set_device_sysctl("ipv4", "default", "arp_notify", "1")?;
            if Path::new("/proc/sys/net/ipv6").exists() {
                set_device_sysctl("ipv6", "default", "disable_ipv6", "1")?;
                set_device_sysctl("ipv6", "default", "accept_ra", "0")?;
            }
            for (name, value) in sysctls {
                set_sysctl(name, value)?;
            }
            Ok(socket)
        };
        let (namespace, inside) = match given {
            Some(fd) => Namespace::of(fd, furnish)?,
            None => Namespace::create(furnish)?,
        };
        let inside = inside?;
        namespace.bind(path)?;
        Ok(Self { namespace, inside, path: path.to_owned() })
    }

    /// Takes over the one bound at `path`.
    pub fn open(path: &Path) -> Result<Self, DeviceError> {
        let namespace = Namespace::open(path)?;
        let inside = namespace.enter(|| Socket::open(Protocol::Route))??;
        Ok(Self { namespace, inside, path: path.to_owned() })
    }

    /// Where it is bound.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its namespace.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Makes a device in it, up, with its addresses. `host` is a netlink socket of the bridge's namespace.
    pub fn add_device(&self, host: &Socket, device: &NewDevice<'_>) -> Result<(), DeviceError> {
        let mut batch = Batch::new();
        batch.add_veth(&NewVeth {
            name: device.host_name,
            master: device.bridge,
            mtu: device.mtu,
            peer_name: device.name,
            peer_mac: device.mac,
            peer_netns: self.namespace.as_fd(),
        });
        // Where bridges pass the packet filter, a redirected packet is turned round within the bridge.
        let hairpin =
            std::fs::read("/proc/sys/net/bridge/bridge-nf-call-iptables").is_ok_and(|text| text == b"1\n");
        batch.mark_port(device.host_name, device.alias, PortOptions { isolated: device.isolated, hairpin });
        host.transact(&batch)?;
        self.configure(device).inspect_err(|_| {
            if let Ok(Some(link)) = host.link(device.host_name) {
                let _ = crate::bridge::remove(host, link.index);
            }
        })
    }

    fn configure(&self, device: &NewDevice<'_>) -> Result<(), DeviceError> {
        let link = self.inside.link(device.name)?.ok_or_else(|| DeviceError::Gone(device.name.to_owned()))?;
        let ipv6 = device.addresses.iter().any(|net| matches!(net, IpNet::V6(_)));
        if ipv6 || !device.sysctls.is_empty() {
            self.namespace.enter(|| -> Result<(), DeviceError> {
                if ipv6 {
                    set_device_sysctl("ipv6", device.name, "disable_ipv6", "0")?;
                }
                for (name, value) in device.sysctls {
                    set_sysctl(&name.replace("IFNAME", device.name), value)?;
                }
                Ok(())
            })??;
        }
        let mut batch = Batch::new();
        for net in device.addresses {
            batch.add_address(&Address { index: link.index, address: net.addr(), prefix: net.prefix_len() });
        }
        batch.set_up(link.index);
        Ok(self.inside.transact(&batch)?)
    }

    /// Makes these the default routes: gateways, each through the device whose subnet holds it.
    pub fn set_default_routes(&self, gateways: &[IpAddr]) -> Result<(), DeviceError> {
        let mut batch = Batch::new();
        for old in self.inside.routes()? {
            if old.prefix == 0 && !old.gateway.is_some_and(|gateway| gateways.contains(&gateway)) {
                batch.delete_route(&old);
            }
        }
        for gateway in gateways {
            let any: IpAddr = match gateway {
                IpAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
                IpAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
            };
            batch.add_route(&Route { destination: any, prefix: 0, gateway: Some(*gateway), index: 0 });
        }
        Ok(self.inside.transact(&batch)?)
    }

    /// The lowest free `<prefix>N`.
    pub fn free_name(&self, prefix: &str) -> Result<String, DeviceError> {
        let links = self.inside.links()?;
        let free =
            (0..).map(|n| format!("{prefix}{n}")).find(|name| !links.iter().any(|link| link.name == *name));
        Ok(free.expect("there is always a next number"))
    }

    /// Removes the device that has this hardware address: its network was left while the container runs.
    pub fn remove_device(&self, mac: Mac) -> Result<(), DeviceError> {
        if let Some(link) = self.inside.links()?.into_iter().find(|link| link.mac == Some(mac)) {
            crate::bridge::remove(&self.inside, link.index)?;
        }
        Ok(())
    }

    /// Opens the sockets of the container's resolver.
    pub fn open_resolver(&self) -> io::Result<ResolverSockets> {
        self.namespace.enter(|| {
            let sockets =
                ResolverSockets { udp: UdpSocket::bind(RESOLVER)?, tcp: TcpListener::bind(RESOLVER)? };
            sockets.udp.set_nonblocking(true)?;
            sockets.tcp.set_nonblocking(true)?;
            Ok(sockets)
        })?
    }

    /// Ends it: nobody answers for its addresses any more, and its path is free. The kernel removes it when the last
    /// process and socket in it are gone.
    pub fn close(&self) -> io::Result<()> {
        if let Ok(addresses) = self.inside.addresses() {
            let mut batch = Batch::new();
            for address in addresses.iter().filter(|address| !address.address.is_loopback()) {
                batch.delete_address(address);
            }
            // It only shortens the moment until the kernel has removed the devices.
            let _ = self.inside.transact(&batch);
        }
        Namespace::unbind(&self.path)
    }
}
