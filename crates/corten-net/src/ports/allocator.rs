use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use corten_types::{ErrorKind, Kind};
use parking_lot::Mutex;
use rustix::net::{self, AddressFamily, SocketFlags, SocketType, sockopt};

use super::request::{HostPort, PortRequest};
use crate::firewall::Protocol;

/// Ports that are given out when nobody asks for a certain one, as Docker's.
const EPHEMERAL: (u16, u16) = (32768, 60999);

type Key = (Protocol, IpAddr, u16);

/// Why a port is not to be had. Texts are Docker's.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// Another container has it.
    #[error("Bind for {0} failed: port is already allocated")]
    Allocated(SocketAddr),
    /// All of the range, or all ephemeral ones, are taken.
    #[error("all ports are allocated")]
    Exhausted,
    /// A program of the host has it, or the host lacks the address.
    #[error("failed to bind host port for {host}:{target}/{protocol}: {}", plain(source))]
    Host {
        /// The host's side.
        host: SocketAddr,
        /// The container's side.
        target: SocketAddr,
        /// Transport protocol.
        protocol: Protocol,
        /// The cause.
        source: io::Error,
    },
}

impl Kind for PortError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Host { source, .. } if source.kind() == io::ErrorKind::AddrNotAvailable => {
                ErrorKind::InvalidArgument
            }
            _ => ErrorKind::Conflict,
        }
    }
}

/// The system's words as other programs print them: small, without a number.
fn plain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "address already in use".into(),
        io::ErrorKind::AddrNotAvailable => "cannot assign requested address".into(),
        io::ErrorKind::PermissionDenied => "permission denied".into(),
        _ => error.to_string(),
    }
}

/// All leased ports of the host.
#[derive(Debug, Default, Clone)]
pub struct Ports {
    leased: Arc<Mutex<Leased>>,
}

#[derive(Debug, Default)]
struct Leased {
    keys: BTreeSet<Key>,
    /// The ephemeral port given out last.
    last: u16,
}

/// A leased port with its socket; dropping it gives the port back.
#[derive(Debug)]
pub struct HeldPort {
    /// Transport protocol.
    pub protocol: Protocol,
    /// Address of the host.
    pub host: IpAddr,
    /// Port of the host.
    pub host_port: u16,
    /// Port of the container.
    pub container_port: u16,
    /// The bound socket, for TCP listening; `None` where the kernel has no such protocol.
    pub socket: Option<OwnedFd>,
    leased: Arc<Mutex<Leased>>,
}

impl Drop for HeldPort {
    fn drop(&mut self) {
        self.leased.lock().keys.remove(&(self.protocol, self.host, self.host_port));
    }
}

impl Leased {
    /// Whether somebody has the port on this address or on one that includes it.
    fn has(&self, (protocol, host, port): Key) -> bool {
        let any: IpAddr =
            if host.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        if host == any {
            self.keys
                .iter()
                .any(|key| key.0 == protocol && key.2 == port && key.1.is_ipv4() == host.is_ipv4())
        } else {
            self.keys.contains(&(protocol, host, port)) || self.keys.contains(&(protocol, any, port))
        }
    }
}

impl Ports {
    /// Leases one port number on all of `hosts`: what was asked for, or the first one that is free everywhere. An
    /// unspecified IPv6 address is passed over on a host without IPv6. `target` is the container's address, for errors.
    pub fn lease(
        &self,
        request: &PortRequest,
        hosts: &[IpAddr],
        target: IpAddr,
    ) -> Result<Vec<HeldPort>, PortError> {
        let (first, last, start) = match request.host_port {
            HostPort::One(port) => return self.lease_one(request, hosts, target, port),
            HostPort::Range(first, last) => (first, last, first),
            HostPort::Any => {
                let last = self.leased.lock().last;
                let start = if (EPHEMERAL.0..EPHEMERAL.1).contains(&last) { last + 1 } else { EPHEMERAL.0 };
                (EPHEMERAL.0, EPHEMERAL.1, start)
            }
        };
        for port in (start..=last).chain(first..start) {
            match self.lease_one(request, hosts, target, port) {
                Ok(held) => {
                    if request.host_port == HostPort::Any {
                        self.leased.lock().last = port;
                    }
                    return Ok(held);
                }
                Err(PortError::Host { source, .. }) if source.kind() == io::ErrorKind::AddrInUse => {}
                Err(PortError::Allocated(_)) => {}
                Err(other) => return Err(other),
            }
        }
        Err(PortError::Exhausted)
    }

    fn lease_one(
        &self,
        request: &PortRequest,
        hosts: &[IpAddr],
        target: IpAddr,
        port: u16,
    ) -> Result<Vec<HeldPort>, PortError> {
        let mut held = Vec::new();
        for &host in hosts {
            let key = (request.protocol, host, port);
            {
                let mut leased = self.leased.lock();
                if leased.has(key) {
                    return Err(PortError::Allocated(SocketAddr::new(host, port)));
                }
                leased.keys.insert(key);
            }
            // From here on the lease ends with the value, whatever happens.
            let mut one = HeldPort {
                protocol: request.protocol,
                host,
                host_port: port,
                container_port: request.container_port,
                socket: None,
                leased: self.leased.clone(),
            };
            match bind(request.protocol, SocketAddr::new(host, port)) {
                Ok(socket) => one.socket = socket,
                Err(source)
                    if host == IpAddr::V6(Ipv6Addr::UNSPECIFIED)
                        && hosts.len() > 1
                        && lacks_ipv6(&source) =>
                {
                    continue;
                }
                Err(source) => {
                    return Err(PortError::Host {
                        host: SocketAddr::new(host, port),
                        target: SocketAddr::new(target, request.container_port),
                        protocol: request.protocol,
                        source,
                    });
                }
            }
            held.push(one);
        }
        Ok(held)
    }
}

fn lacks_ipv6(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(97 /* EAFNOSUPPORT */ | 99 /* EADDRNOTAVAIL */))
}

/// A socket on the port. TCP listens, because only a listening socket keeps others away who reuse addresses.
fn bind(protocol: Protocol, address: SocketAddr) -> io::Result<Option<OwnedFd>> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let (kind, number) = match protocol {
        Protocol::Tcp => (SocketType::STREAM, net::ipproto::TCP),
        Protocol::Udp => (SocketType::DGRAM, net::ipproto::UDP),
        Protocol::Sctp => (SocketType::STREAM, net::ipproto::SCTP),
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = match net::socket_with(family, kind, flags, Some(number)) {
        Err(rustix::io::Errno::PROTONOSUPPORT) if protocol == Protocol::Sctp => return Ok(None),
        other => other?,
    };
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    if protocol == Protocol::Tcp {
        // Connections of an earlier holder that linger must not keep the port from us.
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    net::bind(&socket, &address)?;
    if protocol == Protocol::Tcp {
        net::listen(&socket, 128)?;
    }
    Ok(Some(socket))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const TARGET: IpAddr = IpAddr::V4(Ipv4Addr::new(172, 17, 0, 2));

    fn request(host_port: HostPort) -> PortRequest {
        PortRequest { protocol: Protocol::Tcp, container_port: 80, host: None, host_port }
    }

    #[test]
    fn a_leased_port_is_refused_until_it_is_given_back() {
        let ports = Ports::default();
        let held = ports.lease(&request(HostPort::Any), &[LOCAL], TARGET).unwrap();
        let port = held[0].host_port;
        let again = ports.lease(&request(HostPort::One(port)), &[LOCAL], TARGET).unwrap_err();
        assert_eq!(again.to_string(), format!("Bind for 127.0.0.1:{port} failed: port is already allocated"));
        let all = [IpAddr::V4(Ipv4Addr::UNSPECIFIED)];
        assert!(matches!(
            ports.lease(&request(HostPort::One(port)), &all, TARGET),
            Err(PortError::Allocated(_))
        ));
        drop(held);
        ports.lease(&request(HostPort::One(port)), &[LOCAL], TARGET).unwrap();
    }

    #[test]
    fn a_port_of_a_program_of_the_host_is_refused_by_dockers_text() {
        let program = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = program.local_addr().unwrap().port();
        let error = Ports::default().lease(&request(HostPort::One(port)), &[LOCAL], TARGET).unwrap_err();
        let expected = format!(
            "failed to bind host port for 127.0.0.1:{port}:172.17.0.2:80/tcp: address already in use"
        );
        assert_eq!(error.to_string(), expected);
        assert_eq!(error.kind(), ErrorKind::Conflict);
    }

    #[test]
    fn the_host_cannot_take_a_leased_port() {
        let held = Ports::default().lease(&request(HostPort::Any), &[LOCAL], TARGET).unwrap();
        assert!(std::net::TcpListener::bind((LOCAL, held[0].host_port)).is_err());
    }

    #[test]
    fn a_range_gives_the_first_free_port_and_ends() {
        let ports = Ports::default();
        let free = ports.lease(&request(HostPort::Any), &[LOCAL], TARGET).unwrap();
        let range = HostPort::Range(free[0].host_port, free[0].host_port);
        assert!(matches!(ports.lease(&request(range), &[LOCAL], TARGET), Err(PortError::Exhausted)));
    }
}
