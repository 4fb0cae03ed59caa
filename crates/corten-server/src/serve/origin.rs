//! Who may have made a request: nothing here authenticates, it refuses what a web page can make a browser send.
//!
//! A page that rebinds its own name to our address sends that name as `Host`; a page that posts across sites sends `Origin` or
//! `Sec-Fetch-Site`. Docker's clients send neither.

use std::net::IpAddr;

use http::header::{HOST, ORIGIN};
use http::{HeaderMap, StatusCode};

use crate::ApiError;

/// The host names under which the daemon is known over TCP, besides addresses and `localhost`.
#[derive(Debug, Clone, Default)]
pub struct Origins {
    names: Vec<String>,
}

impl Origins {
    /// With these host names.
    pub fn new(names: impl IntoIterator<Item = String>) -> Self {
        Self { names: names.into_iter().map(|n| n.to_ascii_lowercase()).collect() }
    }

    /// Refuses a request that a foreign web page may have caused, or that names two hosts.
    pub(crate) fn check(&self, headers: &HeaderMap, check_host: bool) -> Result<(), ApiError> {
        let mut hosts = headers.get_all(HOST).iter();
        let host = hosts.next();
        if hosts.next().is_some() {
            return Err(ApiError::invalid("the request has more than one Host header"));
        }
        let host = host.map_or("", |h| h.to_str().unwrap_or("\u{1}"));
        if host.bytes().any(|b| b <= b' ' || matches!(b, b'/' | b'@' | b'\\')) {
            return Err(ApiError::invalid("the Host header is malformed"));
        }
        if check_host && !self.knows(host) {
            let message = format!("the host name {host:?} is not one of this daemon's");
            return Err(ApiError::with_status(StatusCode::FORBIDDEN, message));
        }
        let foreign = |message: &str| Err(ApiError::with_status(StatusCode::FORBIDDEN, message));
        if let Some(origin) = headers.get(ORIGIN) {
            let origin = origin.to_str().unwrap_or("");
            let same = origin.split_once("://").is_some_and(|(_, origin)| origin.eq_ignore_ascii_case(host));
            if !same {
                return foreign("requests from other web sites are refused");
            }
        }
        match headers.get("sec-fetch-site").map(|v| v.as_bytes()) {
            None | Some(b"same-origin" | b"none") => Ok(()),
            Some(_) => foreign("requests from other web sites are refused"),
        }
    }

    fn knows(&self, host: &str) -> bool {
        let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((address, _)) => address,
            None => host.rsplit_once(':').map_or(host, |(name, _)| name),
        };
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        // An address cannot be rebound; an absent Host (HTTP/1.0) is not a browser's.
        name.is_empty() || name == "localhost" || name.parse::<IpAddr>().is_ok() || self.names.contains(&name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(pairs: &[(&'static str, &str)], check_host: bool) -> Option<u16> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        Origins::new(["Build.Example".to_owned()])
            .check(&headers, check_host)
            .err()
            .map(|e| e.status().as_u16())
    }

    #[test]
    fn foreign_names_are_refused_over_tcp_only() {
        assert_eq!(verdict(&[("host", "evil.example")], true), Some(403));
        assert_eq!(verdict(&[("host", "evil.example")], false), None);
        for host in [
            "localhost",
            "localhost:2375",
            "127.0.0.1:2375",
            "[::1]:2375",
            "192.0.2.7",
            "build.example:2376",
            "",
        ] {
            assert_eq!(verdict(&[("host", host)], true), None, "{host}");
        }
    }

    #[test]
    fn pages_of_other_sites_are_refused() {
        assert_eq!(verdict(&[("host", "localhost"), ("origin", "http://evil.example")], false), Some(403));
        assert_eq!(verdict(&[("host", "localhost"), ("origin", "null")], false), Some(403));
        assert_eq!(verdict(&[("host", "localhost:80"), ("origin", "http://localhost:80")], true), None);
        assert_eq!(verdict(&[("host", "localhost"), ("sec-fetch-site", "cross-site")], false), Some(403));
        assert_eq!(verdict(&[("host", "localhost"), ("sec-fetch-site", "same-site")], false), Some(403));
        assert_eq!(verdict(&[("host", "localhost"), ("sec-fetch-site", "none")], false), None);
    }

    #[test]
    fn a_second_host_is_refused() {
        assert_eq!(verdict(&[("host", "a"), ("host", "b")], false), Some(400));
    }
}
