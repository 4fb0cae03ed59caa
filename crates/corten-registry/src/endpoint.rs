//! Where a registry is: from the domain of a reference to scheme, host and port.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use corten_types::Reference;

/// The host behind the name `docker.io`.
const DOCKER_HUB: &str = "registry-1.docker.io";

/// A registry's address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Whether TLS is spoken.
    pub tls: bool,
    /// Host name or address, IPv6 without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
    /// On this machine, or named as insecure: it may send us to inner addresses, and certificates are not checked.
    pub trusted: bool,
}

impl Endpoint {
    /// The registry of a reference; `insecure` lists hosts (`host[:port]`) and networks (`10.0.0.0/8`).
    pub fn of(reference: &Reference, insecure: &[String]) -> Self {
        Self::of_domain(reference.domain(), insecure)
    }

    /// The registry of a domain, `host[:port]`.
    pub fn of_domain(domain: &str, insecure: &[String]) -> Self {
        let trusted = is_insecure(domain, insecure);
        let (host, port) = split(domain);
        let host = match host.as_str() {
            "docker.io" | "index.docker.io" => DOCKER_HUB.to_owned(),
            _ => host,
        };
        let tls = !trusted || port == Some(443);
        Self { tls, host, port: port.unwrap_or(if tls { 443 } else { 80 }), trusted }
    }

    /// The registry at an address, `http[s]://host[:port][/]`. `None` where it is none.
    pub fn of_address(address: &str, insecure: &[String]) -> Option<Self> {
        let (scheme, rest) = address.split_once("://")?;
        let domain = rest.trim_end_matches('/');
        let tls = match scheme {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let (host, port) = split(domain);
        if host.is_empty() || domain.contains('/') {
            return None;
        }
        // Whoever wrote `http://` has named it as insecure.
        let trusted = !tls || is_insecure(domain, insecure);
        Some(Self { tls, host, port: port.unwrap_or(if tls { 443 } else { 80 }), trusted })
    }

    /// The same with TLS.
    #[must_use]
    pub(crate) fn with_tls(self) -> Self {
        let port = if self.port == 80 { 443 } else { self.port };
        Self { tls: true, port, ..self }
    }

    /// `https://host[:port]`.
    pub fn url(&self) -> String {
        let (scheme, default) = if self.tls { ("https", 443) } else { ("http", 80) };
        if self.port == default {
            format!("{scheme}://{}", self.bracketed())
        } else {
            format!("{scheme}://{}:{}", self.bracketed(), self.port)
        }
    }

    /// The `Host` header.
    pub fn authority(&self) -> String {
        let default = if self.tls { 443 } else { 80 };
        if self.port == default { self.bracketed() } else { format!("{}:{}", self.bracketed(), self.port) }
    }

    fn bracketed(&self) -> String {
        if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() }
    }

    /// Whether credentials for `self` may go to `other`, a token server: the same host, or one of the same domain. What
    /// is not encrypted goes to the same port only: whoever else may listen on that machine proves nothing.
    pub fn shares_domain_with(&self, other: &Endpoint) -> bool {
        if self.host.eq_ignore_ascii_case(&other.host) {
            return self.port == other.port || (self.tls && other.tls);
        }
        if !other.tls {
            return false;
        }
        if self.host.parse::<IpAddr>().is_ok() || other.host.parse::<IpAddr>().is_ok() {
            return false;
        }
        // Without a list of public suffixes: three labels where the last two are short (`co.uk`), else two.
        let domain = |host: &str| {
            let labels: Vec<String> = host.rsplit('.').take(3).map(str::to_ascii_lowercase).collect();
            match labels.as_slice() {
                [top, second, third] if top.len() == 2 && second.len() <= 3 => {
                    format!("{third}.{second}.{top}")
                }
                [top, second, ..] => format!("{second}.{top}"),
                rest => rest.join("."),
            }
        };
        domain(&self.host) == domain(&other.host) && self.host.contains('.')
    }
}

/// `host[:port]`, IPv6 in brackets.
fn split(domain: &str) -> (String, Option<u16>) {
    if let Some(rest) = domain.strip_prefix('[') {
        let (host, port) = rest.split_once(']').unwrap_or((rest, ""));
        return (host.into(), port.strip_prefix(':').and_then(|port| port.parse().ok()));
    }
    match domain.rsplit_once(':') {
        Some((host, port)) => (host.into(), port.parse().ok()),
        None => (domain.into(), None),
    }
}

/// Whether a registry may be spoken to without TLS: it is on this machine, or it was named.
pub fn is_insecure(domain: &str, insecure: &[String]) -> bool {
    let (host, _) = split(domain);
    let address = host.parse::<IpAddr>().ok();
    if host.eq_ignore_ascii_case("localhost") || address.is_some_and(|address| address.is_loopback()) {
        return true;
    }
    insecure.iter().any(|entry| match entry.split_once('/') {
        Some((network, length)) => {
            let (Some(address), Ok(network), Ok(length)) = (address, network.parse(), length.parse()) else {
                return false;
            };
            contains(network, length, address)
        }
        None => entry.eq_ignore_ascii_case(domain) || entry.eq_ignore_ascii_case(&host),
    })
}

/// Whether an address lies in a network.
pub(crate) fn contains(network: IpAddr, length: u32, address: IpAddr) -> bool {
    let bits = |address: IpAddr| match address {
        IpAddr::V4(v4) => (u128::from(u32::from(v4)) << 96, 32),
        IpAddr::V6(v6) => (u128::from(v6), 128),
    };
    let ((network, width), (address, other)) = (bits(network), bits(address));
    width == other && length <= width && (length == 0 || (network ^ address) >> (128 - length) == 0)
}

/// Whether an address belongs to this machine or its link: nobody outside may send us there.
pub(crate) fn is_inner(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => inner_v4(v4),
        IpAddr::V6(v6) => {
            let mapped = v6.to_ipv4_mapped().is_some_and(inner_v4);
            v6 == Ipv6Addr::LOCALHOST
                || v6.is_unspecified()
                || (v6.segments()[0] & 0xffc0) == 0xfe80
                || mapped
        }
    }
}

fn inner_v4(v4: Ipv4Addr) -> bool {
    v4.is_loopback() || v4.is_link_local() || v4.is_unspecified()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_are_found_by_their_domain() {
        let of = |domain: &str| Endpoint::of_domain(domain, &["reg.lan".into(), "10.1.0.0/16".into()]).url();
        assert_eq!(of("docker.io"), "https://registry-1.docker.io");
        assert_eq!(of("ghcr.io"), "https://ghcr.io");
        assert_eq!(of("localhost:5000"), "http://localhost:5000");
        assert_eq!(of("127.0.0.1:5000"), "http://127.0.0.1:5000");
        assert_eq!(of("[::1]:5000"), "http://[::1]:5000");
        assert_eq!(of("reg.lan:8080"), "http://reg.lan:8080");
        assert_eq!(of("10.1.2.3"), "http://10.1.2.3");
        assert_eq!(of("10.2.2.3:5000"), "https://10.2.2.3:5000");
    }

    #[test]
    fn mirrors_are_addresses() {
        let of = |text| Endpoint::of_address(text, &["10.0.0.0/8".into()]);
        let mirror = of("http://mirror.lan:5000/").unwrap();
        assert_eq!((mirror.url().as_str(), mirror.trusted), ("http://mirror.lan:5000", true));
        let mirror = of("https://mirror.lan").unwrap();
        assert_eq!((mirror.url().as_str(), mirror.trusted), ("https://mirror.lan", false));
        assert!(of("https://10.1.2.3").unwrap().trusted);
        for wrong in ["mirror.lan", "ftp://x", "https://", "https://a/b"] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn token_servers_are_of_the_same_domain() {
        let shares =
            |a: &str, b: &str| Endpoint::of_domain(a, &[]).shares_domain_with(&Endpoint::of_domain(b, &[]));
        assert!(shares("docker.io", "auth.docker.io"));
        assert!(shares("registry.gitlab.com", "gitlab.com"));
        assert!(!shares("ghcr.io", "evil.io"));
        assert!(!shares("a.co.uk", "b.co.uk"));
        assert!(!shares("10.0.0.1", "10.0.0.2"));
        assert!(shares("10.0.0.1:5000", "10.0.0.1:5001"));
        assert!(shares("127.0.0.1:5000", "127.0.0.1:5000"));
        assert!(!shares("127.0.0.1:5000", "127.0.0.1:5001"));
    }
}
