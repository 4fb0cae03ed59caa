use std::net::IpAddr;

use corten_types::{ErrorKind, Kind};

use crate::firewall::Protocol;

/// Which port of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostPort {
    /// Any free one.
    Any,
    /// This one.
    One(u16),
    /// The first free one of these.
    Range(u16, u16),
}

/// A container's port that shall be reachable through the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortRequest {
    /// Transport protocol.
    pub protocol: Protocol,
    /// Port of the container.
    pub container_port: u16,
    /// Address of the host; `None` is the default.
    pub host: Option<IpAddr>,
    /// Port of the host.
    pub host_port: HostPort,
}

/// Why a text describes no port. Texts are Docker's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PortSyntaxError {
    /// The container's side.
    #[error("invalid port specification: \"{0}\"")]
    Container(String),
    /// The host's port.
    #[error("invalid port specification: \"{0}\"")]
    HostPort(String),
    /// The host's address.
    #[error("invalid IP address: {0}")]
    HostAddress(String),
}

impl Kind for PortSyntaxError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::InvalidArgument
    }
}

/// Reads `80/tcp` or `80`.
pub fn parse_port_key(key: &str) -> Result<(u16, Protocol), PortSyntaxError> {
    let invalid = || PortSyntaxError::Container(key.to_owned());
    let (port, protocol) = key.split_once('/').unwrap_or((key, "tcp"));
    let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(invalid)?;
    Ok((port, protocol.parse().map_err(|_| invalid())?))
}

impl PortRequest {
    /// Reads one binding of a container's port: `80/tcp`, the host's address (or empty), the host's port (empty or `0`
    /// for any, `8000`, `8000-8010`).
    pub fn parse(key: &str, host: &str, host_port: &str) -> Result<Self, PortSyntaxError> {
        let (container_port, protocol) = parse_port_key(key)?;
        let host = match host {
            "" => None,
            text => {
                let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
                Some(bare.parse().map_err(|_| PortSyntaxError::HostAddress(text.to_owned()))?)
            }
        };
        let number =
            |text: &str| text.parse::<u16>().map_err(|_| PortSyntaxError::HostPort(host_port.to_owned()));
        let host_port = match host_port.split_once('-') {
            None if host_port.is_empty() => HostPort::Any,
            None => match number(host_port)? {
                0 => HostPort::Any,
                port => HostPort::One(port),
            },
            Some((first, last)) => match (number(first)?, number(last)?) {
                (first, last) if first != 0 && first < last => HostPort::Range(first, last),
                (first, last) if first != 0 && first == last => HostPort::One(first),
                _ => return Err(PortSyntaxError::HostPort(host_port.to_owned())),
            },
        };
        Ok(Self { protocol, container_port, host, host_port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bindings_are_read() {
        let parse = |key, host, port| PortRequest::parse(key, host, port);
        let request = parse("80/tcp", "", "").unwrap();
        assert_eq!((request.container_port, request.host, request.host_port), (80, None, HostPort::Any));
        assert_eq!(parse("53/udp", "127.0.0.1", "5353").unwrap().host_port, HostPort::One(5353));
        assert_eq!(parse("53", "::1", "9000-9001").unwrap().host_port, HostPort::Range(9000, 9001));
        assert_eq!(parse("53", "[::1]", "0").unwrap().host, Some("::1".parse().unwrap()));
        for (key, host, port) in [
            ("x", "", ""),
            ("0/tcp", "", ""),
            ("80/xyz", "", ""),
            ("80", "a", ""),
            ("80", "", "70000"),
            ("80", "", "9-8"),
            ("80", "", "-"),
            ("65536", "", ""),
        ] {
            assert!(parse(key, host, port).is_err(), "{key} {host} {port}");
        }
    }
}
