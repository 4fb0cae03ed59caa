//! Interfaces, addresses and routes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, BorrowedFd};

use super::batch::{Batch, attributes};
use super::socket::{NetlinkError, Socket};

const NEWLINK: u16 = 16;
const DELLINK: u16 = 17;
const GETLINK: u16 = 18;
const NEWADDR: u16 = 20;
const DELADDR: u16 = 21;
const GETADDR: u16 = 22;
const NEWROUTE: u16 = 24;
const DELROUTE: u16 = 25;
const GETROUTE: u16 = 26;

const CREATE: u16 = 0x400;
const EXCLUSIVE: u16 = 0x200;
const REPLACE: u16 = 0x100;

const IFF_UP: u32 = 1;

/// A hardware address.
pub type Mac = [u8; 6];

/// An interface, as the kernel lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its number in its namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its kind (`bridge`, `veth`), or empty.
    pub kind: String,
    /// Its alias, or empty.
    pub alias: String,
    /// Its hardware address, where it has a six-byte one.
    pub mac: Option<Mac>,
    /// Its MTU.
    pub mtu: u32,
    /// The bridge it is a port of; 0 for none.
    pub master: u32,
    /// Whether it is administratively up.
    pub up: bool,
}

/// An address on an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// The interface.
    pub index: u32,
    /// The address.
    pub address: IpAddr,
    /// Length of its network's prefix.
    pub prefix: u8,
}

/// A route of the main table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// Where to; prefix 0 is the default route.
    pub destination: IpAddr,
    /// Length of the destination's prefix.
    pub prefix: u8,
    /// Through which router.
    pub gateway: Option<IpAddr>,
    /// Through which interface; 0 for none.
    pub index: u32,
}

/// How a port of a bridge behaves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PortOptions {
    /// It reaches only the bridge itself and ports that are not isolated.
    pub isolated: bool,
    /// Packets may leave by the port they came in by.
    pub hairpin: bool,
}

/// A bridge to be made.
#[derive(Debug, Clone, Copy)]
pub struct NewBridge<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its hardware address; the kernel's choice moves with the ports.
    pub mac: Mac,
    /// Its MTU; 0 for the kernel's default.
    pub mtu: u32,
}

/// A veth pair to be made: one end here, a port of a bridge and up; the other, still down, in another namespace.
#[derive(Debug, Clone, Copy)]
pub struct NewVeth<'a> {
    /// Name of this end.
    pub name: &'a str,
    /// The bridge that this end becomes a port of.
    pub master: u32,
    /// MTU of both ends; 0 for the kernel's default.
    pub mtu: u32,
    /// Name of the other end.
    pub peer_name: &'a str,
    /// Hardware address of the other end.
    pub peer_mac: Mac,
    /// The namespace the other end is born in.
    pub peer_netns: BorrowedFd<'a>,
}

fn ifinfomsg(index: u32, flags: u32, change: u32) -> [u8; 16] {
    let mut header = [0; 16];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..16].copy_from_slice(&change.to_ne_bytes());
    header
}

fn family(address: &IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => libc::AF_INET as u8,
        IpAddr::V6(_) => libc::AF_INET6 as u8,
    }
}

fn octets(address: &IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

fn parse_address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(Ipv4Addr::from(v4).into());
    }
    <[u8; 16]>::try_from(bytes).ok().map(|v6| Ipv6Addr::from(v6).into())
}

impl Batch {
    /// Makes a bridge, down. Fails if the name is taken.
    pub fn add_bridge(&mut self, bridge: &NewBridge<'_>) {
        let label = format!("create bridge {}", bridge.name);
        self.request(label, NEWLINK, CREATE | EXCLUSIVE, &ifinfomsg(0, 0, 0), |a| {
            a.text(libc::IFLA_IFNAME, bridge.name);
            a.bytes(libc::IFLA_ADDRESS, &bridge.mac);
            // A bridge never queues.
            a.u32(libc::IFLA_TXQLEN, 0);
            if bridge.mtu != 0 {
                a.u32(libc::IFLA_MTU, bridge.mtu);
            }
            a.nest(libc::IFLA_LINKINFO, |info| info.text(libc::IFLA_INFO_KIND, "bridge"));
        });
    }

    /// Makes a veth pair in one message: this end a port and up, the other born in its namespace.
    pub fn add_veth(&mut self, veth: &NewVeth<'_>) {
        let label = format!("create interface {}", veth.name);
        self.request(label, NEWLINK, CREATE | EXCLUSIVE, &ifinfomsg(0, IFF_UP, IFF_UP), |a| {
            a.text(libc::IFLA_IFNAME, veth.name);
            a.u32(libc::IFLA_MASTER, veth.master);
            // A veth never queues.
            a.u32(libc::IFLA_TXQLEN, 0);
            if veth.mtu != 0 {
                a.u32(libc::IFLA_MTU, veth.mtu);
            }
            a.nest(libc::IFLA_LINKINFO, |info| {
                info.text(libc::IFLA_INFO_KIND, "veth");
                info.nest(libc::IFLA_INFO_DATA, |data| {
                    // VETH_INFO_PEER. A peer that is born up is refused: it is raised from inside.
                    data.nest_after(1, &ifinfomsg(0, 0, 0), |peer| {
                        peer.text(libc::IFLA_IFNAME, veth.peer_name);
                        peer.bytes(libc::IFLA_ADDRESS, &veth.peer_mac);
                        peer.u32(libc::IFLA_TXQLEN, 0);
                        if veth.mtu != 0 {
                            peer.u32(libc::IFLA_MTU, veth.mtu);
                        }
                        peer.u32(libc::IFLA_NET_NS_FD, veth.peer_netns.as_raw_fd().cast_unsigned());
                    });
                });
            });
        });
    }

    /// Names whose a bridge's port is, and how it behaves.
    pub fn mark_port(&mut self, name: &str, alias: &str, port: PortOptions) {
        self.request(format!("mark interface {name}"), NEWLINK, 0, &ifinfomsg(0, 0, 0), |a| {
            a.text(libc::IFLA_IFNAME, name);
            a.text(libc::IFLA_IFALIAS, alias);
            if port.isolated || port.hairpin {
                a.nest(libc::IFLA_LINKINFO, |info| {
                    info.text(libc::IFLA_INFO_SLAVE_KIND, "bridge");
                    info.nest(libc::IFLA_INFO_SLAVE_DATA, |data| {
                        // IFLA_BRPORT_MODE, IFLA_BRPORT_ISOLATED
                        data.bytes(4, &[u8::from(port.hairpin)]);
                        data.bytes(33, &[u8::from(port.isolated)]);
                    });
                });
            }
        });
    }

    /// Raises an interface.
    pub fn set_up(&mut self, index: u32) {
        self.request(
            format!("raise interface {index}"),
            NEWLINK,
            0,
            &ifinfomsg(index, IFF_UP, IFF_UP),
            |_| {},
        );
    }

    /// Raises an interface by name.
    pub fn set_up_by_name(&mut self, name: &str) {
        self.request(format!("raise interface {name}"), NEWLINK, 0, &ifinfomsg(0, IFF_UP, IFF_UP), |a| {
            a.text(libc::IFLA_IFNAME, name);
        });
    }

    /// Sets the MTU of an interface.
    pub fn set_mtu(&mut self, index: u32, mtu: u32) {
        self.request(format!("set MTU {mtu}"), NEWLINK, 0, &ifinfomsg(index, 0, 0), |a| {
            a.u32(libc::IFLA_MTU, mtu)
        });
    }

    /// Sets the hardware address of an interface.
    pub fn set_mac(&mut self, index: u32, mac: Mac) {
        self.request("set hardware address", NEWLINK, 0, &ifinfomsg(index, 0, 0), |a| {
            a.bytes(libc::IFLA_ADDRESS, &mac);
        });
    }

    /// Gives an interface another name.
    pub fn rename_link(&mut self, index: u32, name: &str) {
        self.request(format!("rename interface to {name}"), NEWLINK, 0, &ifinfomsg(index, 0, 0), |a| {
            a.text(libc::IFLA_IFNAME, name);
        });
    }

    /// Removes an interface (of a veth pair: both ends).
    pub fn delete_link(&mut self, index: u32) {
        self.request(format!("remove interface {index}"), DELLINK, 0, &ifinfomsg(index, 0, 0), |_| {});
    }

    /// Gives an interface an address. IPv6 addresses are used at once, without looking for duplicates.
    pub fn add_address(&mut self, address: &Address) {
        // IFA_F_NODAD
        let flags = if address.address.is_ipv6() { 0x02 } else { 0 };
        let mut header = [family(&address.address), address.prefix, flags, 0, 0, 0, 0, 0];
        header[4..8].copy_from_slice(&address.index.to_ne_bytes());
        let bytes = octets(&address.address);
        let label = format!("add address {}/{}", address.address, address.prefix);
        self.request(label, NEWADDR, CREATE | REPLACE, &header, |a| {
            a.bytes(libc::IFA_LOCAL, &bytes);
            a.bytes(libc::IFA_ADDRESS, &bytes);
            if let IpAddr::V4(v4) = address.address
                && address.prefix < 31
            {
                let broadcast = v4.to_bits() | (u32::MAX >> address.prefix);
                a.bytes(libc::IFA_BROADCAST, &broadcast.to_be_bytes());
            }
        });
    }

    /// Takes an address from an interface.
    pub fn delete_address(&mut self, address: &Address) {
        let mut header = [family(&address.address), address.prefix, 0, 0, 0, 0, 0, 0];
        header[4..8].copy_from_slice(&address.index.to_ne_bytes());
        let label = format!("remove address {}", address.address);
        self.request(label, DELADDR, 0, &header, |a| a.bytes(libc::IFA_LOCAL, &octets(&address.address)));
    }

    /// Adds a route to the main table, in place of an equal one.
    pub fn add_route(&mut self, route: &Route) {
        let label = format!("add route to {}/{}", route.destination, route.prefix);
        self.route_request(label, NEWROUTE, CREATE | REPLACE, route);
    }

    /// Removes a route from the main table.
    pub fn delete_route(&mut self, route: &Route) {
        let label = format!("remove route to {}/{}", route.destination, route.prefix);
        self.route_request(label, DELROUTE, 0, route);
    }

    fn route_request(&mut self, label: String, kind: u16, flags: u16, route: &Route) {
        let scope = if route.gateway.is_some() { libc::RT_SCOPE_UNIVERSE } else { libc::RT_SCOPE_LINK };
        let header = [
            family(&route.destination),
            route.prefix,
            0,
            0,
            libc::RT_TABLE_MAIN,
            libc::RTPROT_BOOT,
            scope,
            libc::RTN_UNICAST,
            0,
            0,
            0,
            0,
        ];
        self.request(label, kind, flags, &header, |a| {
            if route.prefix > 0 {
                a.bytes(libc::RTA_DST, &octets(&route.destination));
            }
            if let Some(gateway) = &route.gateway {
                a.bytes(libc::RTA_GATEWAY, &octets(gateway));
            }
            if route.index != 0 {
                a.u32(libc::RTA_OIF, route.index);
            }
        });
    }
}

impl Socket {
    /// All interfaces of the namespace.
    pub fn links(&self) -> Result<Vec<Link>, NetlinkError> {
        self.dump(&Batch::dump(GETLINK, &ifinfomsg(0, 0, 0), |_| {}), parse_link)
    }

    /// The interface with this name.
    pub fn link(&self, name: &str) -> Result<Option<Link>, NetlinkError> {
        let request = Batch::query(format!("find interface {name}"), GETLINK, &ifinfomsg(0, 0, 0), |a| {
            a.text(libc::IFLA_IFNAME, name);
        });
        self.query(&request, parse_link)
    }

    /// All addresses of the namespace.
    pub fn addresses(&self) -> Result<Vec<Address>, NetlinkError> {
        self.dump(&Batch::dump(GETADDR, &[0; 8], |_| {}), |payload| {
            let prefix = *payload.get(1)?;
            let index = u32::from_ne_bytes(payload.get(4..8)?.try_into().ok()?);
            let mut address = None;
            for (kind, value) in attributes(payload.get(8..)?) {
                // The local address of a point-to-point interface is not its "address".
                if kind == libc::IFA_LOCAL || (kind == libc::IFA_ADDRESS && address.is_none()) {
                    address = parse_address(value);
                }
            }
            Some(Address { index, address: address?, prefix })
        })
    }

    /// All routes of the main table.
    pub fn routes(&self) -> Result<Vec<Route>, NetlinkError> {
        self.dump(&Batch::dump(GETROUTE, &[0; 12], |_| {}), |payload| {
            let header = payload.get(..12)?;
            if header[4] != libc::RT_TABLE_MAIN || header[7] != libc::RTN_UNICAST {
                return None;
            }
            let any = if i32::from(header[0]) == libc::AF_INET {
                IpAddr::V4(Ipv4Addr::UNSPECIFIED)
            } else {
                IpAddr::V6(Ipv6Addr::UNSPECIFIED)
            };
            let mut route = Route { destination: any, prefix: header[1], gateway: None, index: 0 };
            for (kind, value) in attributes(payload.get(12..)?) {
                match kind {
                    libc::RTA_DST => route.destination = parse_address(value)?,
                    libc::RTA_GATEWAY => route.gateway = parse_address(value),
                    libc::RTA_OIF => route.index = u32::from_ne_bytes(value.try_into().ok()?),
                    _ => {}
                }
            }
            Some(route)
        })
    }
}

fn parse_link(payload: &[u8]) -> Option<Link> {
    let text = |value: &[u8]| String::from_utf8_lossy(value).trim_end_matches('\0').to_owned();
    let number = |value: &[u8]| value.try_into().map(u32::from_ne_bytes).unwrap_or(0);
    let flags = u32::from_ne_bytes(payload.get(8..12)?.try_into().ok()?);
    let mut link = Link {
        index: u32::from_ne_bytes(payload.get(4..8)?.try_into().ok()?),
        name: String::new(),
        kind: String::new(),
        alias: String::new(),
        mac: None,
        mtu: 0,
        master: 0,
        up: flags & IFF_UP != 0,
    };
    for (kind, value) in attributes(payload.get(16..)?) {
        match kind {
            libc::IFLA_IFNAME => link.name = text(value),
            libc::IFLA_IFALIAS => link.alias = text(value),
            libc::IFLA_ADDRESS => link.mac = value.try_into().ok(),
            libc::IFLA_MTU => link.mtu = number(value),
            libc::IFLA_MASTER => link.master = number(value),
            libc::IFLA_LINKINFO => {
                let kind = attributes(value).find(|(kind, _)| *kind == libc::IFLA_INFO_KIND);
                link.kind = kind.map(|(_, value)| text(value)).unwrap_or_default();
            }
            _ => {}
        }
    }
    Some(link)
}
