//! The registry: what a request may do and which handler does it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use http::header::{AUTHORIZATION, HOST, USER_AGENT};
use http::{HeaderMap, HeaderName, Method, Request, StatusCode};
use hyper::body::Incoming;

use crate::access_log::{AccessLog, Exchange, Facts};
use crate::api;
use crate::auth::{Action, Guard, Principal, Wish};
use crate::cache::Cache;
use crate::error::Refusal;
use crate::http::connection::Answers;
use crate::http::{Payload, Query, Reply, Route};
use crate::metrics::{Gauges, Metrics};
use crate::name::RepositoryName;
use crate::storage::Storage;
use crate::uploads::Uploads;

/// Everything a request is answered from.
pub struct Server {
    /// The repositories.
    pub storage: Arc<Storage>,
    /// Blobs on their way in.
    pub uploads: Uploads,
    /// Who may do what.
    pub guard: Arc<Guard>,
    /// Upstreams.
    pub cache: Cache,
    /// Whether nothing may be pushed.
    pub read_only: bool,
    /// Whether nothing may be deleted.
    pub deletes: bool,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// The access log.
    pub log: Arc<AccessLog>,
    /// Whether connections are encrypted.
    pub tls: bool,
    /// When it was last written down what was used, seconds since 1970.
    pub uses_written: AtomicU64,
    /// Whether metrics are told to those who may ask for them on a socket of their own only.
    pub metrics_apart: bool,
}

/// A request, its head read.
pub struct Call<'a> {
    /// The registry.
    pub server: &'a Arc<Server>,
    /// The method.
    pub method: Method,
    /// The parameters.
    pub query: Query,
    /// The headers.
    pub headers: HeaderMap,
    /// Who asks.
    pub principal: Principal,
    /// How the client reached us: `https://host`.
    pub origin: String,
}

impl Call<'_> {
    /// A header that is text.
    pub fn header(&self, name: HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Whether this is a HEAD.
    pub fn is_head(&self) -> bool {
        self.method == Method::HEAD
    }
}

/// What is told at a socket of its own: metrics and health, to everybody.
pub struct Gauge(pub Arc<Server>);

impl Answers for Gauge {
    async fn answer(self: &Arc<Self>, request: Request<Incoming>, remote: SocketAddr) -> (Reply, Exchange) {
        let facts = facts(&request, remote);
        let mut exchange = Exchange::begin(self.0.log.clone(), self.0.metrics.clone(), facts);
        let reply = match Route::parse(request.uri().path()) {
            Ok(route @ Route::Health) => {
                exchange.facts.endpoint = route.endpoint();
                health()
            }
            Ok(route @ Route::Metrics) => {
                exchange.facts.endpoint = route.endpoint();
                self.0.metrics()
            }
            _ => Refusal::NoSuchPath.into(),
        };
        exchange.facts.status = reply.status.as_u16();
        (reply, exchange)
    }
}

fn facts(request: &Request<Incoming>, remote: SocketAddr) -> Facts {
    let agent = request.headers().get(USER_AGENT).and_then(|v| v.to_str().ok());
    Facts {
        method: request.method().to_string(),
        target: request.uri().path_and_query().map_or("", |target| target.as_str()).to_owned(),
        endpoint: "none",
        remote,
        user: String::new(),
        agent: agent.unwrap_or_default().to_owned(),
        status: 0,
    }
}

fn health() -> Reply {
    Reply::new(StatusCode::OK).json(&serde_json::json!({"status": "ok"}))
}

impl Answers for Server {
    async fn answer(self: &Arc<Self>, request: Request<Incoming>, remote: SocketAddr) -> (Reply, Exchange) {
        let facts = facts(&request, remote);
        let mut exchange = Exchange::begin(self.log.clone(), self.metrics.clone(), facts);
        let (parts, body) = request.into_parts();
        let text = |name| parts.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let origin = self.origin(text(HOST));
        let authorization = parts.headers.get(AUTHORIZATION).and_then(|v| v.to_str().ok());
        let head = parts.method == Method::HEAD;
        let answered = async {
            let route = Route::parse(parts.uri.path())?;
            exchange.facts.endpoint = route.endpoint();
            let query = Query::parse(parts.uri.query().unwrap_or_default());
            // Tokens are given out here to those who have none yet.
            let principal = match route {
                Route::Token | Route::Health => Principal::Anonymous,
                _ => self.guard.identify(authorization, &origin).await?,
            };
            exchange.facts.user = principal.name().to_owned();
            let call = Call {
                server: self,
                method: parts.method.clone(),
                query,
                headers: parts.headers.clone(),
                principal,
                origin: origin.clone(),
            };
            self.route(call, route, body).await
        }
        .await;
        let mut reply = answered.unwrap_or_else(|refusal: Refusal| {
            if let Refusal::Failed(reason) = &refusal {
                tracing::error!(reason, target = exchange.facts.target, "a request failed");
            }
            Reply::from(refusal)
        });
        if head {
            reply.payload = Payload::Empty;
        }
        exchange.facts.status = reply.status.as_u16();
        let reply = reply
            .with("docker-distribution-api-version", "registry/2.0")
            .with("x-content-type-options", "nosniff");
        (reply, exchange)
    }
}

impl Server {
    fn origin(&self, host: &str) -> String {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b);
        let host = if !host.is_empty() && host.bytes().all(plain) { host } else { "localhost" };
        format!("{}://{host}", if self.tls { "https" } else { "http" })
    }

    async fn route(self: &Arc<Self>, call: Call<'_>, route: Route, body: Incoming) -> Result<Reply, Refusal> {
        let method = call.method.clone();
        let wish = self.wish(&route, &method)?;
        if let Some(wish) = &wish {
            self.guard.admit(&call.principal, wish, &call.origin)?;
            self.forbid_changes(wish)?;
        }
        match (route, method.as_str()) {
            (Route::Base, _) => Ok(Reply::new(StatusCode::OK).json(&serde_json::json!({}))),
            (Route::Health, _) => Ok(health()),
            (Route::Metrics, _) => {
                if self.metrics_apart || !self.guard.is_open() {
                    return Err(Refusal::NoSuchPath);
                }
                Ok(self.metrics())
            }
            (Route::Token, _) => api::token::issue(call).await,
            (Route::Catalog, _) => api::lists::repositories(&call),
            (Route::Tags(name), _) => api::lists::tags(&call, &name),
            (Route::Referrers(name, digest), _) => api::referrers::list(&call, name, digest).await,
            (Route::Blob(name, digest), "DELETE") => api::blobs::delete(&call, name, digest).await,
            (Route::Blob(name, digest), _) => api::blobs::get(&call, name, digest).await,
            (Route::Manifest(name, target), "PUT") => api::manifests::put(&call, name, target, body).await,
            (Route::Manifest(name, target), "DELETE") => api::manifests::delete(&call, name, target).await,
            (Route::Manifest(name, target), _) => api::manifests::get(&call, name, target).await,
            (Route::Uploads(name), _) => api::uploads::begin(&call, name, body).await,
            (Route::Upload(name, id), "PATCH") => api::uploads::append(&call, &name, &id, body).await,
            (Route::Upload(name, id), "PUT") => api::uploads::finish(&call, name, &id, body).await,
            (Route::Upload(name, id), "DELETE") => api::uploads::cancel(&call, &name, &id),
            (Route::Upload(name, id), _) => api::uploads::status(&call, &name, &id),
        }
    }

    /// What a request wishes to do; `None` where everybody may.
    fn wish(&self, route: &Route, method: &Method) -> Result<Option<Wish>, Refusal> {
        let refused = || Refusal::Method { method: method.to_string() };
        let on = |name: &RepositoryName, action| Some(Wish::Repository(name.clone(), action));
        match (route, method.as_str()) {
            (Route::Token, "GET") => Ok(None),
            (Route::Health | Route::Metrics, "GET" | "HEAD") => Ok(None),
            (Route::Base, "GET" | "HEAD") => Ok(Some(Wish::Base)),
            (Route::Catalog, "GET" | "HEAD") => Ok(Some(Wish::Catalog)),
            (Route::Uploads(name), "POST") => Ok(on(name, Action::Push)),
            (Route::Upload(name, _), "GET" | "HEAD" | "PATCH" | "PUT" | "DELETE") => {
                Ok(on(name, Action::Push))
            }
            (Route::Manifest(name, _), "PUT") => Ok(on(name, Action::Push)),
            (Route::Manifest(name, _) | Route::Blob(name, _), "DELETE") => Ok(on(name, Action::Delete)),
            (
                Route::Manifest(name, _)
                | Route::Blob(name, _)
                | Route::Tags(name)
                | Route::Referrers(name, _),
                "GET" | "HEAD",
            ) => Ok(on(name, Action::Pull)),
            _ => Err(refused()),
        }
    }

    fn forbid_changes(&self, wish: &Wish) -> Result<(), Refusal> {
        let Wish::Repository(name, action) = wish else { return Ok(()) };
        match action {
            Action::Pull => Ok(()),
            _ if self.read_only => Err(Refusal::ReadOnly("this registry is read-only")),
            Action::Delete if !self.deletes => Err(Refusal::ReadOnly("nothing can be deleted here")),
            Action::Push if self.cache.upstream_of(name).is_some() => {
                Err(Refusal::ReadOnly("this repository is a cache of another registry: push there"))
            }
            _ => Ok(()),
        }
    }

    /// The metrics, now.
    pub fn metrics(&self) -> Reply {
        let (blobs, bytes) = self.storage.usage();
        let repositories = self.storage.look(|catalog| catalog.repositories("").count()) as u64;
        let gauges = Gauges { blobs, bytes, repositories, uploads: self.uploads.len() as u64 };
        Reply::new(StatusCode::OK).bytes("text/plain; version=0.0.4", self.metrics.render(gauges))
    }
}
