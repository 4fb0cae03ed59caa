use std::sync::{Arc, Mutex, PoisonError};

use http::{HeaderValue, Method, StatusCode, header};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{
    Body, Endpoint, Error, Hijacked, JsonLines, NEWEST_API, Request, Response, Result, TlsFiles, connection,
};

/// Whose daemon is looked for; decides what is said where nobody answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Product {
    /// Docker: its client's text.
    #[default]
    Docker,
    /// Corten: how to start it.
    Corten,
}

impl Product {
    pub(crate) fn unreachable(self, host: String, source: std::io::Error) -> Error {
        let (product, cure) = match self {
            Self::Docker => ("Docker", "Is the docker daemon running?"),
            Self::Corten => ("Corten", "Start it with: sudo systemctl start corten (or: sudo corten daemon)"),
        };
        Error::Unreachable { product, host, cure, source }
    }
}

/// How a [`Client`] speaks, beside where to.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Whose daemon is looked for.
    pub product: Product,
    /// Certificates, where the connection is encrypted.
    pub tls: Option<TlsFiles>,
    /// Headers of every request, such as `HttpHeaders` of the configuration.
    pub headers: Vec<(String, String)>,
    /// The version to use whatever the daemon speaks (`DOCKER_API_VERSION`).
    pub fixed_version: Option<String>,
    /// What `User-Agent` says.
    pub user_agent: String,
}

/// A daemon's first words: what `_ping` tells in its headers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ping {
    /// The newest API version the daemon speaks.
    pub api_version: String,
    /// The daemon's system: `linux`.
    pub os_type: String,
    /// The builder the daemon proposes: `1` or `2`.
    pub builder_version: String,
    /// Whether experimental features are on.
    pub experimental: bool,
}

/// A client of one daemon. Connections are kept while they are idle.
pub struct Client {
    endpoint: Endpoint,
    tls: Option<Arc<rustls::ClientConfig>>,
    options: Options,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    version: Option<String>,
    idle: Vec<SendRequest<Body>>,
}

impl Client {
    /// A client that connects at its first request.
    pub fn new(endpoint: Endpoint, options: Options) -> Result<Self> {
        let tls = options.tls.as_ref().map(TlsFiles::config).transpose()?;
        let state = Mutex::new(State { version: options.fixed_version.clone(), idle: Vec::new() });
        Ok(Self { endpoint, tls, options, state })
    }

    /// Where this client connects to.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The API version in use: the negotiated one, or the newest while nothing said otherwise.
    pub fn version(&self) -> String {
        self.state().version.clone().unwrap_or_else(|| NEWEST_API.to_owned())
    }

    /// Asks the daemon what it speaks, and speaks that from now on.
    pub async fn negotiate(&self) -> Result<Ping> {
        let ping = self.ping().await?;
        let mut state = self.state();
        if self.options.fixed_version.is_none() {
            state.version = Some(lower(&ping.api_version, NEWEST_API));
        }
        Ok(ping)
    }

    /// Asks whether the daemon is there.
    pub async fn ping(&self) -> Result<Ping> {
        let response = self.exchange(Request::head("/_ping"), Versioned::No).await?;
        let text = |name: &str| {
            response.headers().get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned()
        };
        Ok(Ping {
            api_version: text("api-version"),
            os_type: text("ostype"),
            builder_version: text("builder-version"),
            experimental: text("docker-experimental") == "true",
        })
    }

    /// Sends a request; an answer that is no success becomes an error with the daemon's message.
    pub async fn send(&self, request: Request) -> Result<Response> {
        let operation = request.operation();
        if request.body.is_stream() {
            if self.state().version.is_none() {
                self.negotiate().await?;
            }
            let response = self.exchange(request, Versioned::Yes).await?;
            return checked(response, operation).await;
        }
        let again = repeat(&request);
        let response = self.exchange(request, Versioned::Yes).await?;
        match checked(response, operation.clone()).await {
            Err(Error::Response { status: 400, message }) if self.adopt_older(&message) => {
                checked(self.exchange(again, Versioned::Yes).await?, operation).await
            }
            other => other,
        }
    }

    /// Sends a request and reads a JSON answer.
    pub async fn json<T: DeserializeOwned>(&self, request: Request) -> Result<T> {
        self.send(request).await?.json().await
    }

    /// GET of a JSON value.
    pub async fn get<T: DeserializeOwned>(&self, path: impl Into<String>) -> Result<T> {
        self.json(Request::get(path)).await
    }

    /// POST of a JSON value, with a JSON answer.
    pub async fn post<T: DeserializeOwned>(
        &self,
        path: impl Into<String>,
        body: &impl Serialize,
    ) -> Result<T> {
        self.json(Request::post(path).json(body)).await
    }

    /// Sends a request whose answer has nothing to read.
    pub async fn done(&self, request: Request) -> Result<()> {
        self.send(request).await?.bytes().await.map(drop)
    }

    /// Sends a request whose answer is a stream of JSON values.
    pub async fn stream<T: DeserializeOwned>(&self, request: Request) -> Result<JsonLines<T>> {
        Ok(self.send(request).await?.json_lines())
    }

    /// Sends a request that turns the connection into a plain stream (attach, exec start).
    pub async fn hijack(&self, request: Request) -> Result<Hijacked> {
        let operation = request.operation();
        let again = repeat(&request);
        let upgrade = |request: Request| request.header("Connection", "Upgrade").header("Upgrade", "tcp");
        let mut response = self.exchange(upgrade(request), Versioned::Yes).await?;
        if response.status() == StatusCode::BAD_REQUEST {
            match checked(response, operation.clone()).await {
                Err(Error::Response { status: 400, message }) if self.adopt_older(&message) => {
                    response = self.exchange(upgrade(again), Versioned::Yes).await?;
                }
                Err(error) => return Err(error),
                Ok(response) => return Err(Error::NotUpgraded(response.status)),
            }
        }
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            let status = response.status().as_u16();
            checked(response, operation).await?;
            return Err(Error::NotUpgraded(status));
        }
        let framed = response
            .headers()
            .get(header::CONTENT_TYPE)
            .map(|kind| kind.as_bytes() == b"application/vnd.docker.multiplexed-stream");
        let upgraded =
            hyper::upgrade::on(response).await.map_err(|source| Error::Transport { operation, source })?;
        let (reader, writer) = tokio::io::split(TokioIo::new(upgraded));
        Ok(Hijacked { reader, writer, framed })
    }

    async fn exchange(&self, request: Request, versioned: Versioned) -> Result<hyper::Response<Incoming>> {
        let operation = request.operation();
        let mut sender = self.connection().await?;
        let base = match &self.endpoint {
            Endpoint::Tcp { base, .. } => base.as_str(),
            Endpoint::Unix(_) | Endpoint::Ssh { .. } => "",
        };
        let uri = match versioned {
            Versioned::Yes => format!("{base}/v{}{}", self.version(), request.path),
            Versioned::No => format!("{base}{}", request.path),
        };
        let empty_post = matches!(request.body, Body::Empty) && request.method == Method::POST;
        let mut message = hyper::Request::builder().method(request.method).uri(uri).body(request.body)?;
        let headers = message.headers_mut();
        let host = match &self.endpoint {
            Endpoint::Tcp { authority, .. } => HeaderValue::try_from(authority.as_str()),
            Endpoint::Unix(_) | Endpoint::Ssh { .. } => Ok(HeaderValue::from_static("api.moby.localhost")),
        };
        headers.insert(header::HOST, host.map_err(http::Error::from)?);
        if let Ok(agent) = HeaderValue::try_from(self.options.user_agent.as_str()) {
            headers.insert(header::USER_AGENT, agent);
        }
        for (name, value) in &self.options.headers {
            if let (Ok(name), Ok(value)) =
                (header::HeaderName::try_from(name.as_str()), HeaderValue::try_from(value.as_str()))
            {
                headers.insert(name, value);
            }
        }
        if empty_post {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        headers.extend(request.headers);
        let response =
            sender.send_request(message).await.map_err(|source| Error::Transport { operation, source })?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            self.state().idle.push(sender);
        }
        Ok(response)
    }

    /// A connection that waits for a request: one at hand, or a new one.
    async fn connection(&self) -> Result<SendRequest<Body>> {
        let kept = {
            let mut state = self.state();
            state.idle.retain(|sender| !sender.is_closed());
            let ready = state.idle.iter().position(SendRequest::is_ready);
            ready.map(|at| state.idle.swap_remove(at))
        };
        match kept {
            Some(sender) => Ok(sender),
            None => connection::open(&self.endpoint, self.tls.as_ref(), self.options.product).await,
        }
    }

    /// Where `message` says that the daemon is older than the version used, takes the daemon's.
    fn adopt_older(&self, message: &str) -> bool {
        let mut state = self.state();
        if state.version.is_some() {
            return false;
        }
        let Some(version) = maximum_supported(message) else { return false };
        state.version = Some(version.to_owned());
        true
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Versioned {
    Yes,
    No,
}

/// The same request once more; a stream cannot be, and comes without its body.
fn repeat(request: &Request) -> Request {
    let body = match &request.body {
        Body::Bytes(bytes) => Body::Bytes(bytes.clone()),
        Body::Empty | Body::Stream(_) => Body::Empty,
    };
    Request {
        method: request.method.clone(),
        path: request.path.clone(),
        headers: request.headers.clone(),
        body,
    }
}

async fn checked(response: hyper::Response<Incoming>, operation: String) -> Result<Response> {
    let (parts, body) = response.into_parts();
    let status = parts.status.as_u16();
    let response = Response { status, headers: parts.headers, body, operation };
    if status < 400 {
        return Ok(response);
    }
    let text = response.bytes().await?;
    Err(Error::Response { status, message: message_of(status, &text) })
}

/// The daemon's message in an error's body: of `{"message": …}`, or the plain text.
fn message_of(status: u16, body: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Message {
        message: String,
    }
    let message = match serde_json::from_slice::<Message>(body) {
        Ok(Message { message }) => message,
        Err(_) => String::from_utf8_lossy(body).into_owned(),
    };
    let message = message.trim();
    if message.is_empty() {
        let reason =
            StatusCode::from_u16(status).ok().and_then(|s| s.canonical_reason()).unwrap_or("unknown status");
        return format!("the daemon answered {status} {reason} and said nothing");
    }
    message.to_owned()
}

/// The version in `client version 1.51 is too new. Maximum supported API version is 1.41`.
fn maximum_supported(message: &str) -> Option<&str> {
    let (_, rest) = message.split_once("is too new. Maximum supported API version is ")?;
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
    let version = rest[..end].trim_end_matches('.');
    (!version.is_empty()).then_some(version)
}

fn lower(theirs: &str, ours: &str) -> String {
    let parse = |text: &str| -> Option<(u32, u32)> {
        let (major, minor) = text.split_once('.')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    };
    match (parse(theirs), parse(ours)) {
        (Some(a), Some(b)) if a < b => theirs.to_owned(),
        // A daemon that names no version is older than the negotiation itself.
        (None, _) => "1.24".to_owned(),
        _ => ours.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_daemon_s_maximum_is_read_from_its_refusal() {
        let refusal = "client version 1.51 is too new. Maximum supported API version is 1.41";
        assert_eq!(maximum_supported(refusal), Some("1.41"));
        assert_eq!(maximum_supported("something else"), None);
    }

    #[test]
    fn the_lower_version_wins() {
        assert_eq!(lower("1.41", "1.51"), "1.41");
        assert_eq!(lower("1.99", "1.51"), "1.51");
        assert_eq!(lower("1.9", "1.51"), "1.9");
        assert_eq!(lower("", "1.51"), "1.24");
    }

    #[test]
    fn messages_come_from_json_or_plain_text() {
        assert_eq!(message_of(404, br#"{"message":"No such image: x"}"#), "No such image: x");
        assert_eq!(message_of(500, b"plain\n"), "plain");
        assert!(message_of(404, b"").contains("404 Not Found"));
    }
}
