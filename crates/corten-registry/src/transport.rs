//! HTTP/1.1 to one host at a time: connections, straight or through a proxy, kept while they are good, and requests on
//! them.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::header::PROXY_AUTHORIZATION;
use http::{Request, Response};
use http_body_util::combinators::BoxBody;
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::endpoint::{Endpoint, is_inner};
use crate::proxy::{Proxy, Scheme, Tunnel};
use crate::settings::Settings;
use crate::tls;

/// The body of a request.
pub(crate) type Body = BoxBody<Bytes, io::Error>;

/// How long an address may take to answer at all.
const CONNECT_TIME: Duration = Duration::from_secs(15);
/// How long a registry that may do without TLS may take to show that it speaks it.
const PROBE_TIME: Duration = Duration::from_secs(5);
/// How long a server may take from a request to the head of its answer.
const HEAD_TIME: Duration = Duration::from_secs(120);
/// How many idle connections are kept per host.
const IDLE_MAX: usize = 8;

/// Whether an endpoint may be on this machine or link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Anywhere.
    Anywhere,
    /// Not there: a public registry sent us.
    Outside,
}

/// Connections by host.
#[derive(Default)]
pub(crate) struct Transport {
    idle: Mutex<HashMap<Endpoint, Vec<SendRequest<Body>>>>,
    connectors: Mutex<HashMap<Endpoint, TlsConnector>>,
    /// Endpoints that proved to be who they are (TLS) from an address of this machine or link.
    inner: Mutex<HashSet<Endpoint>>,
}

/// Why no TLS came about.
struct HandshakeError {
    text: String,
    /// Whether the other side speaks TLS at all.
    is_tls: bool,
}

impl Transport {
    /// Sends a request and gives the head of the answer. Where a kept connection turned out to be closed, `make` is
    /// asked again: if nothing was sent yet, or if the request may be sent `again`.
    pub async fn send(
        &self,
        endpoint: &Endpoint,
        reach: Reach,
        settings: &Settings,
        again: bool,
        make: &(dyn Fn() -> io::Result<Request<Body>> + Send + Sync),
    ) -> Result<Response<Incoming>, String> {
        let forwarder = forwarder(endpoint, settings);
        let make = || match forwarder {
            None => make(),
            Some(proxy) => forwarded(make()?, endpoint, proxy),
        };
        if let Some(mut sender) = self.take(endpoint) {
            let request = make().map_err(|error| error.to_string())?;
            match tokio::time::timeout(HEAD_TIME, sender.send_request(request)).await {
                Ok(Ok(response)) => {
                    self.keep(endpoint, sender);
                    return Ok(response);
                }
                Ok(Err(error)) if again || error.is_canceled() => {}
                Ok(Err(error)) => return Err(describe(&error)),
                Err(_) => return Err("timeout awaiting response headers".into()),
            }
        }
        let mut sender = self.connect(endpoint, reach, settings).await?;
        let request = make().map_err(|error| error.to_string())?;
        let answer = tokio::time::timeout(HEAD_TIME, sender.send_request(request)).await;
        let response = answer
            .map_err(|_| "timeout awaiting response headers".to_owned())?
            .map_err(|error| describe(&error))?;
        self.keep(endpoint, sender);
        Ok(response)
    }

    /// Closes what is idle, and reads certificates anew.
    pub fn forget(&self) {
        self.idle.lock().clear();
        self.connectors.lock().clear();
        self.inner.lock().clear();
    }

    /// Whether an endpoint answered, with a certificate of its name, from this machine or link: whoever runs it is
    /// here already, and may send us around here.
    pub fn is_inner(&self, endpoint: &Endpoint) -> bool {
        self.inner.lock().contains(endpoint)
    }

    /// Whether TLS is spoken at `endpoint`; `None` where nobody answers.
    pub async fn speaks_tls(&self, endpoint: &Endpoint, settings: &Settings) -> Option<bool> {
        let (stream, _) = self.open(endpoint, Reach::Anywhere, settings).await.ok()?;
        let shaken = self.shake_hands(endpoint, stream, settings);
        match tokio::time::timeout(PROBE_TIME, shaken).await {
            Ok(Ok(stream)) => {
                if let Ok(sender) = handshake(stream).await {
                    self.keep(endpoint, sender);
                }
                Some(true)
            }
            // A certificate of ours that cannot be read, or one that it wants: that is TLS too.
            Ok(Err(error)) => Some(error.is_tls),
            Err(_) => Some(false),
        }
    }

    async fn connect(
        &self,
        endpoint: &Endpoint,
        reach: Reach,
        settings: &Settings,
    ) -> Result<SendRequest<Body>, String> {
        let (stream, inner) = self.open(endpoint, reach, settings).await?;
        if !endpoint.tls {
            return handshake(stream).await;
        }
        let shaken = self.shake_hands(endpoint, stream, settings);
        let stream = tokio::time::timeout(CONNECT_TIME, shaken)
            .await
            .map_err(|_| "net/http: TLS handshake timeout".to_owned())?
            .map_err(|error| error.text)?;
        if inner {
            self.inner.lock().insert(endpoint.clone());
        }
        handshake(stream).await
    }

    /// The way to an endpoint, its own TLS not yet begun; and whether it ends at this machine or link.
    async fn open(
        &self,
        endpoint: &Endpoint,
        reach: Reach,
        settings: &Settings,
    ) -> Result<(Tunnel, bool), String> {
        let Some(proxy) = settings.proxies.of(endpoint) else {
            let stream = dial(endpoint, reach).await?;
            let inner = stream.peer_addr().is_ok_and(|address| is_inner(address.ip()));
            return Ok((Box::new(stream), inner));
        };
        let literal = endpoint.host.parse().ok();
        if reach == Reach::Outside && literal.is_some_and(is_inner) {
            return Err(refused(&endpoint.host));
        }
        let place = proxy.endpoint();
        let tell = |error: String| format!("proxyconnect tcp: {error}");
        let stream = dial(&place, Reach::Anywhere).await.map_err(tell)?;
        let shaken = async {
            let stream: Tunnel = match proxy.scheme {
                Scheme::Https => {
                    let shaken = self.shake_hands(&place, stream, settings).await;
                    Box::new(shaken.map_err(|error| tell(error.text))?)
                }
                Scheme::Http | Scheme::Socks => Box::new(stream),
            };
            match forwarder(endpoint, settings) {
                Some(_) => Ok(stream),
                None => proxy.tunnel(stream, endpoint).await,
            }
        };
        let stream = tokio::time::timeout(CONNECT_TIME, shaken)
            .await
            .map_err(|_| tell(format!("{}:{}: i/o timeout", place.host, place.port)))??;
        Ok((stream, false))
    }

    async fn shake_hands<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        endpoint: &Endpoint,
        stream: S,
        settings: &Settings,
    ) -> Result<tokio_rustls::client::TlsStream<S>, HandshakeError> {
        let connector =
            self.connector(endpoint, settings).map_err(|text| HandshakeError { text, is_tls: true })?;
        let name = ServerName::try_from(endpoint.host.clone())
            .map_err(|error| HandshakeError { text: format!("tls: {error}"), is_tls: true })?;
        connector.connect(name, stream).await.map_err(|error| {
            let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
            let is_tls = inner.is_some_and(|inner| !matches!(inner, rustls::Error::InvalidMessage(_)));
            let text = match inner {
                Some(rustls::Error::InvalidCertificate(_)) => {
                    format!("tls: failed to verify certificate: {error}")
                }
                _ => format!("tls: {error}"),
            };
            HandshakeError { text, is_tls }
        })
    }

    /// How TLS is spoken with a registry; read from the disk once.
    fn connector(&self, endpoint: &Endpoint, settings: &Settings) -> Result<TlsConnector, String> {
        let mut connectors = self.connectors.lock();
        if let Some(connector) = connectors.get(endpoint) {
            return Ok(connector.clone());
        }
        let connector = tls::connector(endpoint.trusted, &settings.certificates_of(endpoint))?;
        connectors.insert(endpoint.clone(), connector.clone());
        Ok(connector)
    }

    /// A connection that is free now.
    fn take(&self, endpoint: &Endpoint) -> Option<SendRequest<Body>> {
        let mut idle = self.idle.lock();
        let list = idle.get_mut(endpoint)?;
        list.retain(|sender| !sender.is_closed());
        let free = list.iter().position(SendRequest::is_ready)?;
        Some(list.swap_remove(free))
    }

    fn keep(&self, endpoint: &Endpoint, sender: SendRequest<Body>) {
        let mut idle = self.idle.lock();
        let list = idle.entry(endpoint.clone()).or_default();
        if list.len() < IDLE_MAX {
            list.push(sender);
        }
    }
}

/// The proxy that is given whole requests for an endpoint, not asked for a way to it.
fn forwarder<'a>(endpoint: &Endpoint, settings: &'a Settings) -> Option<&'a Proxy> {
    settings.proxies.of(endpoint).filter(|proxy| !endpoint.tls && proxy.scheme != Scheme::Socks)
}

/// A request as a proxy wants it: with the whole address (RFC 9112 section 3.2.2).
fn forwarded(mut request: Request<Body>, endpoint: &Endpoint, proxy: &Proxy) -> io::Result<Request<Body>> {
    let whole = format!("{}{}", endpoint.url(), request.uri());
    *request.uri_mut() = whole.parse().map_err(io::Error::other)?;
    if let Some(value) = proxy.authorization() {
        request.headers_mut().insert(PROXY_AUTHORIZATION, value);
    }
    Ok(request)
}

fn refused(place: &dyn std::fmt::Display) -> String {
    format!("dial tcp {place}: an address of this machine is refused here")
}

async fn dial(endpoint: &Endpoint, reach: Reach) -> Result<TcpStream, String> {
    let text = format!("{}:{}", endpoint.host, endpoint.port);
    let addresses: Vec<SocketAddr> = tokio::net::lookup_host((endpoint.host.as_str(), endpoint.port))
        .await
        .map_err(|error| format!("dial tcp: lookup {}: {error}", endpoint.host))?
        .collect();
    let mut last = format!("dial tcp: lookup {}: no such host", endpoint.host);
    for address in addresses {
        if reach == Reach::Outside && is_inner(address.ip()) {
            last = refused(&address);
            continue;
        }
        match tokio::time::timeout(CONNECT_TIME, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // An upload's last piece must not wait for an acknowledgement.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Ok(Err(error)) => last = format!("dial tcp {address}: connect: {}", plain(&error)),
            Err(_) => last = format!("dial tcp {address}: i/o timeout ({text})"),
        }
    }
    Err(last)
}

/// The system's words for an error, without Rust's number behind them.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}

async fn handshake(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
) -> Result<SendRequest<Body>, String> {
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| describe(&error))?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to a registry ended");
        }
    });
    Ok(sender)
}

fn describe(error: &hyper::Error) -> String {
    use std::error::Error as _;
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
