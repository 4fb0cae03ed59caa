//! One repository at one registry: requests with authorization and redirects, and what can be read.

use std::io;
use std::sync::Mutex;

use bytes::{Bytes, BytesMut};
use corten_types::{Digest, Digester};
use http::header::{
    ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST, LOCATION, USER_AGENT, WWW_AUTHENTICATE,
};
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;

use crate::auth::{Auth, Challenge};
use crate::blob::{Blob, STANDSTILL};
use crate::client::Client;
use crate::endpoint::Endpoint;
use crate::error::{RegistryError, message, shown};
use crate::patience::Patience;
use crate::transport::{Body, Reach};

/// The types of manifests that are understood.
const MANIFEST_TYPES: &str = "application/vnd.docker.distribution.manifest.v2+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.oci.image.manifest.v1+json, \
     application/vnd.oci.image.index.v1+json, */*";
/// The largest manifest that is read.
const MANIFEST_LIMIT: usize = 4 << 20;
/// The largest answer of a token server or list of tags that is read.
const ANSWER_LIMIT: usize = 4 << 20;
/// The largest text of a refusal that is read.
const REFUSAL_LIMIT: usize = 64 << 10;
/// How many redirects are followed.
const REDIRECTS: usize = 10;

/// What a tag or digest leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// Type of the manifest or index.
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its size.
    pub size: u64,
}

/// A manifest or index, its digest verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Its type.
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its bytes.
    pub bytes: Bytes,
}

/// One repository at one registry.
pub struct Repository<'a> {
    pub(crate) client: &'a Client,
    pub(crate) endpoint: Endpoint,
    pub(crate) path: String,
    auth: Option<Auth>,
    /// The `Authorization` header that worked last.
    authorization: Mutex<Option<String>>,
}

/// Makes the body of a request; asked again when the request is.
pub(crate) type MakeBody<'a> = &'a (dyn Fn() -> io::Result<Body> + Send + Sync);

/// What a request asks for.
pub(crate) struct Ask<'a> {
    pub method: Method,
    /// A path at the registry, or an address.
    pub target: String,
    pub headers: Vec<(HeaderName, String)>,
    pub body: Option<MakeBody<'a>>,
    /// Whether it may be sent again where the registry is busy or failed.
    pub again: bool,
}

impl<'a> Ask<'a> {
    pub fn new(method: Method, target: String) -> Self {
        Self { method, target, headers: Vec::new(), body: None, again: true }
    }
}

pub(crate) fn full(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed()
}

pub(crate) fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed()
}

pub(crate) fn name(method: &Method) -> &'static str {
    match method.as_str() {
        "HEAD" => "Head",
        "POST" => "Post",
        "PUT" => "Put",
        "PATCH" => "Patch",
        "DELETE" => "Delete",
        _ => "Get",
    }
}

/// Where a request goes: an endpoint and what stands behind it.
pub(crate) struct Place {
    pub endpoint: Endpoint,
    pub path: String,
}

impl Place {
    pub fn url(&self) -> String {
        format!("{}{}", self.endpoint.url(), self.path)
    }

    /// The address without its query, which may hold a signature.
    fn shown(&self) -> String {
        shown(self.url().split('?').next().unwrap_or_default())
    }
}

impl<'a> Repository<'a> {
    pub(crate) fn new(client: &'a Client, endpoint: Endpoint, path: &str, auth: Option<Auth>) -> Self {
        // A token that was handed in is used from the first request on.
        let authorization = auth
            .as_ref()
            .filter(|auth| !auth.registry_token.is_empty())
            .map(|auth| format!("Bearer {}", auth.registry_token));
        Self { client, endpoint, path: path.into(), auth, authorization: Mutex::new(authorization) }
    }

    /// Where the registry is.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Whether the registry answers and takes the credentials.
    pub async fn ping(&self) -> Result<(), RegistryError> {
        self.ask(Ask::new(Method::GET, "/v2/".into()), "registry:catalog:*").await.map(drop)
    }

    /// What a tag or digest leads to, without fetching it where the registry allows that.
    pub async fn resolve(&self, reference: &str) -> Result<Resolved, RegistryError> {
        let mut ask = Ask::new(Method::HEAD, self.manifest_path(reference));
        ask.headers.push((ACCEPT, MANIFEST_TYPES.into()));
        let response = self.ask(ask, &self.scope("pull")).await?;
        let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
        let digest = header("docker-content-digest").and_then(|text| text.parse::<Digest>().ok());
        let size = header("content-length").and_then(|text| text.parse().ok());
        match (digest, size, header("content-type")) {
            (Some(digest), Some(size), Some(media_type)) => {
                Ok(Resolved { media_type: essence(media_type), digest, size })
            }
            _ => {
                let document = self.manifest(reference).await?;
                let size = document.bytes.len() as u64;
                Ok(Resolved { media_type: document.media_type, digest: document.digest, size })
            }
        }
    }

    /// The manifest or index of a tag or digest.
    pub async fn manifest(&self, reference: &str) -> Result<Document, RegistryError> {
        let mut ask = Ask::new(Method::GET, self.manifest_path(reference));
        ask.headers.push((ACCEPT, MANIFEST_TYPES.into()));
        let response = self.ask(ask, &self.scope("pull")).await?;
        let media_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let media_type = essence(media_type.unwrap_or_default());
        let url = format!("{}{}", self.endpoint.url(), self.manifest_path(reference));
        let bytes = read(response, MANIFEST_LIMIT, &url).await?;
        let mut digester = Digester::new();
        digester.update(&bytes);
        let digest = digester.finish();
        if let Ok(wanted) = reference.parse::<Digest>()
            && wanted != digest
        {
            let reason = format!("the manifest has the digest {digest}, not {wanted}");
            return Err(RegistryError::Answer { url, reason });
        }
        Ok(Document { media_type, digest, bytes })
    }

    /// A blob from byte `offset` on, also where the registry cannot begin there. The caller verifies it.
    pub async fn blob(&self, digest: &Digest, offset: u64) -> Result<Blob, RegistryError> {
        let mut ask = Ask::new(Method::GET, format!("/v2/{}/blobs/{digest}", self.path));
        if offset > 0 {
            ask.headers.push((http::header::RANGE, format!("bytes={offset}-")));
        }
        let response = self.ask(ask, &self.scope("pull")).await?;
        let whole = offset > 0 && response.status() != StatusCode::PARTIAL_CONTENT;
        Ok(Blob::new(response, if whole { offset } else { 0 }))
    }

    /// The tags of the repository, all pages.
    pub async fn tags(&self) -> Result<Vec<String>, RegistryError> {
        #[derive(serde::Deserialize)]
        struct Page {
            #[serde(default)]
            tags: Option<Vec<String>>,
        }
        let mut tags = Vec::new();
        let mut next = Some(format!("/v2/{}/tags/list", self.path));
        while let Some(path) = next.take() {
            let url = format!("{}{path}", self.endpoint.url());
            let response = self.ask(Ask::new(Method::GET, path), &self.scope("pull")).await?;
            let link = response.headers().get(http::header::LINK).and_then(|value| value.to_str().ok());
            // `</v2/…?last=x>; rel="next"`; only a path at the same registry is followed.
            next = link
                .and_then(|link| link.split_once('<')?.1.split_once('>'))
                .map(|(path, _)| path.to_owned())
                .filter(|path| path.starts_with('/') && tags.len() < 100_000);
            let bytes = read(response, ANSWER_LIMIT, &url).await?;
            let page: Page = serde_json::from_slice(&bytes)
                .map_err(|error| RegistryError::Answer { url, reason: error.to_string() })?;
            tags.extend(page.tags.unwrap_or_default());
        }
        Ok(tags)
    }

    pub(crate) fn manifest_path(&self, reference: &str) -> String {
        format!("/v2/{}/manifests/{reference}", self.path)
    }

    /// The scope of a token for this repository.
    pub(crate) fn scope(&self, actions: &str) -> String {
        format!("repository:{}:{actions}", self.path)
    }

    /// Sends a request, shows who we are where that is asked for, follows redirects, and refuses what is no success.
    pub(crate) async fn ask(&self, ask: Ask<'_>, scope: &str) -> Result<Response<Incoming>, RegistryError> {
        let what = ask.target.clone();
        let method = name(&ask.method);
        let mut place = self.place(&ask.target)?;
        let mut redirects = 0;
        let mut challenged = false;
        let mut patience = Patience::default();
        loop {
            let response = self.send(&ask, &place).await?;
            let status = response.status();
            if status.is_success() {
                return Ok(response);
            }
            if ask.again
                && let Some(pause) = patience.after(&response)
            {
                tokio::time::sleep(pause).await;
                continue;
            }
            if status.is_redirection() && status != StatusCode::NOT_MODIFIED {
                redirects += 1;
                place = self.redirected(&place, &response, redirects)?;
                continue;
            }
            let own = place.endpoint == self.endpoint;
            if status == StatusCode::UNAUTHORIZED && own && !challenged {
                challenged = true;
                if self.authorize(&response, scope).await? {
                    continue;
                }
            }
            let url = place.shown();
            let text = message(&read(response, REFUSAL_LIMIT, &url).await.unwrap_or_default());
            return Err(match status {
                StatusCode::NOT_FOUND => RegistryError::NotFound { what },
                StatusCode::UNAUTHORIZED => RegistryError::Unauthorized { message: text },
                StatusCode::FORBIDDEN => RegistryError::Denied { message: text },
                status => RegistryError::Status { method, url, status: status.as_u16(), message: text },
            });
        }
    }

    pub(crate) fn place(&self, target: &str) -> Result<Place, RegistryError> {
        if target.starts_with('/') {
            return Ok(Place { endpoint: self.endpoint.clone(), path: target.into() });
        }
        self.parse(target).ok_or_else(|| RegistryError::Answer {
            url: self.endpoint.url(),
            reason: format!("{} is no address", shown(target)),
        })
    }

    /// An absolute address.
    fn parse(&self, text: &str) -> Option<Place> {
        let uri: Uri = text.parse().ok()?;
        let tls = match uri.scheme_str()? {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let host = uri.host()?.trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let same = host == self.endpoint.host && port == self.endpoint.port && tls == self.endpoint.tls;
        let endpoint = Endpoint { tls, host, port, trusted: same && self.endpoint.trusted };
        let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str).to_owned();
        Some(Place { endpoint, path })
    }

    fn redirected(
        &self,
        from: &Place,
        response: &Response<Incoming>,
        count: usize,
    ) -> Result<Place, RegistryError> {
        let to = response.headers().get(LOCATION).and_then(|value| value.to_str().ok()).unwrap_or("");
        let refuse = |reason| RegistryError::Forbidden { from: from.shown(), to: shown(to), reason };
        if count > REDIRECTS {
            return Err(refuse("too many redirects"));
        }
        if to.starts_with('/') && !to.starts_with("//") {
            return Ok(Place { endpoint: from.endpoint.clone(), path: to.into() });
        }
        let place = self.parse(to).ok_or_else(|| refuse("it is no address"))?;
        if from.endpoint.tls && !place.endpoint.tls {
            return Err(refuse("it is not encrypted"));
        }
        Ok(place)
    }

    async fn send(&self, ask: &Ask<'_>, place: &Place) -> Result<Response<Incoming>, RegistryError> {
        let own = place.endpoint == self.endpoint;
        let authorization = self.authorization.lock().ok().and_then(|kept| kept.clone()).filter(|_| own);
        let make = || -> io::Result<Request<Body>> {
            let mut request = Request::builder()
                .method(ask.method.clone())
                .uri(place.path.as_str())
                .header(HOST, place.endpoint.authority())
                .header(USER_AGENT, self.client.user_agent.as_str());
            for (name, value) in &ask.headers {
                request = request.header(name, value);
            }
            if let Some(authorization) = &authorization {
                let mut value = HeaderValue::from_str(authorization).map_err(io::Error::other)?;
                value.set_sensitive(true);
                request = request.header(AUTHORIZATION, value);
            }
            let body = match ask.body {
                Some(make) => make()?,
                None => {
                    if ask.method == Method::POST || ask.method == Method::PUT {
                        request = request.header(CONTENT_LENGTH, 0);
                    }
                    empty()
                }
            };
            request.body(body).map_err(io::Error::other)
        };
        let settings = self.client.settings();
        let (endpoint, transport) = (&place.endpoint, &self.client.transport);
        let sent = transport.send(endpoint, self.reach(endpoint), &settings, ask.again, &make).await;
        sent.map_err(|reason| RegistryError::Connect {
            method: name(&ask.method),
            url: place.shown(),
            reason,
        })
    }

    /// Where an endpoint may be. The registry itself is where the user says. One that is on this machine may send us
    /// around it; a public one may not.
    fn reach(&self, endpoint: &Endpoint) -> Reach {
        let inner = || self.client.transport.is_inner(&self.endpoint);
        let anywhere = *endpoint == self.endpoint || self.endpoint.trusted || inner();
        if anywhere { Reach::Anywhere } else { Reach::Outside }
    }

    /// Gets what a challenge asks for; says whether it is worth trying again.
    async fn authorize(&self, response: &Response<Incoming>, scope: &str) -> Result<bool, RegistryError> {
        let challenges = response.headers().get_all(WWW_AUTHENTICATE).into_iter();
        let challenge = challenges.filter_map(|value| Challenge::parse(value.to_str().ok()?)).next_back();
        let header = match challenge {
            None => None,
            Some(Challenge::Basic) => self.auth.as_ref().and_then(Auth::basic),
            Some(Challenge::Bearer { realm, service, scope: asked }) => {
                let scope = if asked.is_empty() { scope } else { asked.as_str() };
                Some(format!("Bearer {}", self.token(&realm, &service, scope).await?))
            }
        };
        let Some(header) = header else { return Ok(false) };
        if let Ok(mut kept) = self.authorization.lock() {
            *kept = Some(header);
        }
        Ok(true)
    }

    /// A token of the server `realm`.
    async fn token(&self, realm: &str, service: &str, scope: &str) -> Result<String, RegistryError> {
        #[derive(serde::Deserialize)]
        struct Token {
            #[serde(default)]
            token: String,
            #[serde(default)]
            access_token: String,
        }
        let refuse =
            |reason| RegistryError::Forbidden { from: self.endpoint.url(), to: shown(realm), reason };
        let place = self.parse(realm).ok_or_else(|| refuse("it is no address"))?;
        if self.endpoint.tls && !place.endpoint.tls {
            return Err(refuse("it is not encrypted"));
        }
        let auth = self.auth.as_ref().filter(|_| self.endpoint.shares_domain_with(&place.endpoint));
        let mut ask = Ask::new(Method::GET, String::new());
        let parameters = format!("service={}&scope={}", escape(service), escape(scope));
        let form;
        let body;
        let path = match auth.filter(|auth| !auth.identity_token.is_empty()) {
            Some(auth) => {
                form = Bytes::from(format!(
                    "grant_type=refresh_token&client_id=corten&{parameters}&refresh_token={}",
                    escape(&auth.identity_token)
                ));
                body = || Ok(full(form.clone()));
                ask.method = Method::POST;
                ask.headers.push((CONTENT_TYPE, "application/x-www-form-urlencoded".into()));
                ask.body = Some(&body);
                place.path.clone()
            }
            None => {
                if let Some(basic) = auth.and_then(Auth::basic) {
                    ask.headers.push((AUTHORIZATION, basic));
                }
                let separator = if place.path.contains('?') { '&' } else { '?' };
                format!("{}{separator}{parameters}", place.path)
            }
        };
        let place = Place { path, ..place };
        let url = place.shown();
        let without = Repository::new(self.client, self.endpoint.clone(), &self.path, None);
        let response = without.send(&ask, &place).await?;
        let status = response.status();
        let bytes = read(response, ANSWER_LIMIT, &url).await?;
        if !status.is_success() {
            let message = message(&bytes);
            return Err(match status {
                StatusCode::UNAUTHORIZED | StatusCode::BAD_REQUEST => RegistryError::Unauthorized { message },
                StatusCode::FORBIDDEN => RegistryError::Denied { message },
                status => RegistryError::Status { method: "Get", url, status: status.as_u16(), message },
            });
        }
        let token: Token = serde_json::from_slice(&bytes)
            .map_err(|error| RegistryError::Answer { url: url.clone(), reason: error.to_string() })?;
        match (token.token, token.access_token) {
            (token, _) if !token.is_empty() => Ok(token),
            (_, token) if !token.is_empty() => Ok(token),
            _ => Err(RegistryError::Answer { url, reason: "the server gave no token".into() }),
        }
    }
}

/// A media type without its parameters.
fn essence(media_type: &str) -> String {
    media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Percent-encodes a value for a query or form.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// A whole body of at most `limit` bytes.
pub(crate) async fn read(
    response: Response<Incoming>,
    limit: usize,
    url: &str,
) -> Result<Bytes, RegistryError> {
    let mut body = response.into_body();
    let mut bytes = BytesMut::new();
    let refuse = |reason| RegistryError::Answer { url: url.into(), reason };
    loop {
        let next = tokio::time::timeout(STANDSTILL, body.frame()).await;
        let next = next.map_err(|_| refuse("the registry stopped in the middle of its answer".into()))?;
        let Some(frame) = next else { return Ok(bytes.freeze()) };
        let frame = frame.map_err(|error| refuse(error.to_string()))?;
        if let Ok(data) = frame.into_data() {
            if bytes.len() + data.len() > limit {
                return Err(refuse(format!("the answer has more than {limit} bytes")));
            }
            bytes.extend_from_slice(&data);
        }
    }
}
