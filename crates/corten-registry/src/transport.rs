//! HTTP/1.1 to one host at a time: connections, kept while they are good, and requests on them.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::BoxBody;
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::endpoint::{Endpoint, is_inner};
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
    /// Sends a request and gives the head of the answer. `make` is asked again where a kept connection turned out to
    /// be closed.
    pub async fn send(
        &self,
        endpoint: &Endpoint,
        reach: Reach,
        settings: &Settings,
        make: &(dyn Fn() -> io::Result<Request<Body>> + Send + Sync),
    ) -> Result<Response<Incoming>, String> {
        if let Some(mut sender) = self.take(endpoint) {
            let request = make().map_err(|error| error.to_string())?;
            match tokio::time::timeout(HEAD_TIME, sender.send_request(request)).await {
                Ok(Ok(response)) => {
                    self.keep(endpoint, sender);
                    return Ok(response);
                }
                Ok(Err(_)) => {}
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
        let stream = dial(endpoint, Reach::Anywhere).await.ok()?;
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
        let stream = dial(endpoint, reach).await?;
        let inner = stream.peer_addr().is_ok_and(|address| is_inner(address.ip()));
        // An upload's last piece must not wait for an acknowledgement.
        let _ = stream.set_nodelay(true);
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

    async fn shake_hands(
        &self,
        endpoint: &Endpoint,
        stream: TcpStream,
        settings: &Settings,
    ) -> Result<tokio_rustls::client::TlsStream<TcpStream>, HandshakeError> {
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

async fn dial(endpoint: &Endpoint, reach: Reach) -> Result<TcpStream, String> {
    let text = format!("{}:{}", endpoint.host, endpoint.port);
    let addresses: Vec<SocketAddr> = tokio::net::lookup_host((endpoint.host.as_str(), endpoint.port))
        .await
        .map_err(|error| format!("dial tcp: lookup {}: {error}", endpoint.host))?
        .collect();
    let mut last = format!("dial tcp: lookup {}: no such host", endpoint.host);
    for address in addresses {
        if reach == Reach::Outside && is_inner(address.ip()) {
            last = format!("dial tcp {address}: an address of this machine is refused here");
            continue;
        }
        match tokio::time::timeout(CONNECT_TIME, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
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
    stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
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
