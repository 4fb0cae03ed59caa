//! Proxies on the way to registries: which one a host is reached through, by the rules of Go's `httpproxy` package, which
//! are Docker's; and the way through one (HTTP `CONNECT`, RFC 9110 section 9.3.6; SOCKS 5, RFC 1928).

use std::fmt;
use std::net::IpAddr;

use base64::Engine as _;
use http::header::{HOST, PROXY_AUTHORIZATION};
use http::{HeaderValue, Method, Request, Uri};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::endpoint::{Endpoint, contains};

/// A connection through a proxy, whatever lies between.
pub(crate) type Tunnel = Box<dyn Stream>;

/// What a connection can do.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// The proxies of a client.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proxies {
    http: Option<Proxy>,
    https: Option<Proxy>,
    exceptions: Exceptions,
    /// As they were given, for those who ask.
    told: Told,
}

/// Proxies as `info` shows them: `xxxxx` stands for names and passwords.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    /// For HTTP.
    pub http: String,
    /// For HTTPS.
    pub https: String,
    /// What is reached without one.
    pub without: String,
}

/// How a proxy is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// HTTP/1.1 in the clear.
    Http,
    /// HTTP/1.1 in TLS.
    Https,
    /// SOCKS 5; names are looked up by the proxy.
    Socks,
}

/// One proxy.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Proxy {
    pub(crate) scheme: Scheme,
    pub(crate) host: String,
    pub(crate) port: u16,
    user: Option<(String, String)>,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = if self.user.is_some() { "xxxxx:xxxxx@" } else { "" };
        write!(f, "{:?}://{user}{}:{}", self.scheme, self.host, self.port)
    }
}

/// A proxy's address that is none.
#[derive(Debug, thiserror::Error)]
#[error("{0} is not a proxy's address, such as http://proxy.example.com:3128")]
pub struct ProxyError(String);

impl Proxies {
    /// Proxies for registries that speak HTTP and HTTPS (`[scheme://][user:password@]host[:port]`, the schemes `http`,
    /// `https`, `socks5` and `socks5h`; empty for none), and the hosts that are reached without one: names (with those
    /// beneath them), names with a leading dot (those beneath only), addresses, networks, each with or without a port, or
    /// `*`, separated by commas.
    pub fn new(http: &str, https: &str, without: &str) -> Result<Self, ProxyError> {
        Ok(Self {
            http: Proxy::parse(http)?,
            https: Proxy::parse(https)?,
            exceptions: Exceptions::parse(without),
            told: Told {
                http: without_credentials(http),
                https: without_credentials(https),
                without: without.to_owned(),
            },
        })
    }

    /// What the environment says: `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`, or the same in small letters.
    pub fn from_environment() -> Result<Self, ProxyError> {
        let get = |name: &str| {
            let large = std::env::var(name).ok().filter(|value| !value.is_empty());
            large.or_else(|| std::env::var(name.to_lowercase()).ok()).unwrap_or_default()
        };
        Self::new(&get("HTTP_PROXY"), &get("HTTPS_PROXY"), &get("NO_PROXY"))
    }

    /// The proxies without their secrets.
    pub fn told(&self) -> &Told {
        &self.told
    }

    /// The proxy on the way to an endpoint.
    pub(crate) fn of(&self, endpoint: &Endpoint) -> Option<&Proxy> {
        let proxy = if endpoint.tls { &self.https } else { &self.http };
        proxy.as_ref().filter(|_| !self.exceptions.has(&endpoint.host, endpoint.port))
    }
}

impl Proxy {
    fn parse(text: &str) -> Result<Option<Self>, ProxyError> {
        if text.is_empty() {
            return Ok(None);
        }
        let refused = || ProxyError(without_credentials(text));
        let (scheme, rest) = match text.split_once("://") {
            None => (Scheme::Http, text),
            Some(("http", rest)) => (Scheme::Http, rest),
            Some(("https", rest)) => (Scheme::Https, rest),
            Some(("socks5" | "socks5h", rest)) => (Scheme::Socks, rest),
            Some(_) => return Err(refused()),
        };
        let (user, place) = match rest.rsplit_once('@') {
            Some((user, place)) => (Some(user), place),
            None => (None, rest),
        };
        let authority = place.split(['/', '?', '#']).next().unwrap_or_default();
        let uri: Uri = format!("http://{authority}/").parse().map_err(|_| refused())?;
        let name = uri.host().unwrap_or_default();
        let port = match authority.strip_prefix(name) {
            Some("") => None,
            Some(rest) => {
                Some(rest.strip_prefix(':').and_then(|port| port.parse().ok()).ok_or_else(refused)?)
            }
            None => return Err(refused()),
        };
        let host = name.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(refused());
        }
        let default = match scheme {
            Scheme::Http => 80,
            Scheme::Https => 443,
            Scheme::Socks => 1080,
        };
        let user = user.map(|user| {
            let (name, password) = user.split_once(':').unwrap_or((user, ""));
            (unescape(name), unescape(password))
        });
        Ok(Some(Self { scheme, host: host.to_owned(), port: port.unwrap_or(default), user }))
    }

    /// The proxy as a place to connect to.
    pub(crate) fn endpoint(&self) -> Endpoint {
        let tls = self.scheme == Scheme::Https;
        Endpoint { tls, host: self.host.clone(), port: self.port, trusted: false }
    }

    /// The `Proxy-Authorization` header.
    pub(crate) fn authorization(&self) -> Option<HeaderValue> {
        let (name, password) = self.user.as_ref()?;
        let encoded = base64::prelude::BASE64_STANDARD.encode(format!("{name}:{password}"));
        let mut value = HeaderValue::from_str(&format!("Basic {encoded}")).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// Asks the proxy at the end of `stream` for a connection to `endpoint`.
    pub(crate) async fn tunnel(&self, stream: Tunnel, endpoint: &Endpoint) -> Result<Tunnel, String> {
        if self.scheme == Scheme::Socks {
            let target = (endpoint.host.as_str(), endpoint.port);
            let connected = match &self.user {
                None => tokio_socks::tcp::Socks5Stream::connect_with_socket(stream, target).await,
                Some((name, password)) => {
                    tokio_socks::tcp::Socks5Stream::connect_with_password_and_socket(
                        stream, target, name, password,
                    )
                    .await
                }
            };
            let connected = connected.map_err(|error| format!("socks connect: {error}"))?;
            return Ok(connected.into_inner());
        }
        let failed = |error: hyper::Error| format!("proxyconnect tcp: {error}");
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
        tokio::spawn(connection.with_upgrades());
        let target = if endpoint.host.contains(':') {
            format!("[{}]:{}", endpoint.host, endpoint.port)
        } else {
            format!("{}:{}", endpoint.host, endpoint.port)
        };
        let mut request =
            Request::builder().method(Method::CONNECT).uri(target.as_str()).header(HOST, target.as_str());
        if let Some(value) = self.authorization() {
            request = request.header(PROXY_AUTHORIZATION, value);
        }
        let request = request.body(http_body_util::Empty::<bytes::Bytes>::new());
        let request = request.map_err(|error| format!("proxyconnect tcp: {error}"))?;
        let response = sender.send_request(request).await.map_err(failed)?;
        if !response.status().is_success() {
            // Only the reason, as Go says it: what a proxy writes about itself is not for users of the engine.
            let status = response.status();
            return Err(status.canonical_reason().map_or_else(|| status.as_str().to_owned(), str::to_owned));
        }
        let upgraded = hyper::upgrade::on(response).await.map_err(failed)?;
        Ok(Box::new(TokioIo::new(upgraded)))
    }
}

/// An address with `xxxxx` for its user and password.
fn without_credentials(address: &str) -> String {
    let (scheme, rest) = match address.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), address),
    };
    match rest.rsplit_once('@') {
        Some((_, place)) => format!("{scheme}xxxxx:xxxxx@{place}"),
        None => address.to_owned(),
    }
}

/// Replaces `%xx`; what is no such pair stays.
fn unescape(text: &str) -> String {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [byte, after @ ..] = rest {
        rest = after;
        if let ([high, low, after @ ..], b'%') = (after, byte)
            && let (Some(high), Some(low)) = (digit(high), digit(low))
        {
            out.push(high << 4 | low);
            rest = after;
        } else {
            out.push(*byte);
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// What is reached without a proxy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Exceptions {
    all: bool,
    list: Vec<(Exception, Option<u16>)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Exception {
    Address(IpAddr),
    Network(IpAddr, u32),
    /// A name's end, with its dot; and whether the name without the dot is meant too.
    Domain {
        suffix: String,
        itself: bool,
    },
}

impl Exceptions {
    fn parse(text: &str) -> Self {
        let mut out = Self::default();
        for entry in text.split(',').map(|entry| entry.trim().to_ascii_lowercase()) {
            if entry.is_empty() {
                continue;
            }
            if entry == "*" {
                return Self { all: true, list: Vec::new() };
            }
            if let Some((address, length)) = entry.split_once('/')
                && let (Ok(address), Ok(length)) = (address.parse(), length.parse())
            {
                out.list.push((Exception::Network(address, length), None));
                continue;
            }
            if let Ok(address) = entry.trim_start_matches('[').trim_end_matches(']').parse() {
                out.list.push((Exception::Address(address), None));
                continue;
            }
            let (host, port) = match entry.rsplit_once(':') {
                Some((host, port)) => match port.parse() {
                    Ok(port) => (host, Some(port)),
                    // Go takes such an entry for nothing.
                    Err(_) => continue,
                },
                None => (entry.as_str(), None),
            };
            let host = host.trim_start_matches('[').trim_end_matches(']');
            if let Ok(address) = host.parse() {
                out.list.push((Exception::Address(address), port));
                continue;
            }
            let host = host.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(host);
            if host.is_empty() {
                continue;
            }
            let itself = !host.starts_with('.');
            let suffix = if itself { format!(".{host}") } else { host.to_owned() };
            out.list.push((Exception::Domain { suffix, itself }, port));
        }
        out
    }

    /// Whether a host is reached without a proxy. This machine always is.
    fn has(&self, host: &str, port: u16) -> bool {
        let host = host.to_ascii_lowercase();
        let host = host.trim_end_matches('.');
        let address = host.parse::<IpAddr>().ok();
        if self.all || host == "localhost" || address.is_some_and(|address| address.is_loopback()) {
            return true;
        }
        self.list.iter().any(|(exception, only)| {
            let meant = match (exception, address) {
                (Exception::Address(own), Some(address)) => *own == address,
                (Exception::Network(network, length), Some(address)) => contains(*network, *length, address),
                (Exception::Domain { suffix, itself }, None) => {
                    host.ends_with(suffix.as_str()) || (*itself && host == &suffix[1..])
                }
                _ => false,
            };
            meant && only.is_none_or(|only| only == port)
        })
    }
}

#[cfg(test)]
mod tests;
