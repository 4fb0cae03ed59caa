//! From a parsed HTTP request to a handler's answer: paths, versions, refusals, panics.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use corten_engine::Engine;
use corten_engine::events::{Requester, acting};
use futures_util::FutureExt;
use http::header::{EXPECT, HeaderName, HeaderValue, LOCATION, SERVER, USER_AGENT};
use http::{Method, StatusCode, Uri};
use tokio::sync::Notify;

use super::Origins;
use super::connection::Answers;
use super::socket::Peer;
use crate::http::{ApiVersion, Content, Hijack, Query, Request, RequestBody, RequestHead, Response, Router};
use crate::{ApiError, routes};

/// The API over one engine: what every connection shares.
pub struct Server {
    engine: Arc<Engine>,
    router: Router,
    origins: Origins,
    panics: AtomicU64,
    requests: AtomicU64,
    running: AtomicU64,
    /// Told whenever the last running handler ends.
    idle: Notify,
}

/// What becomes of a handler when its client goes away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is dropped with the connection.
    EndsWithClient,
    /// It runs to its end.
    RunsOn,
}

/// `Server`'s value: our name where Docker says its own.
const SERVER_NAME: &str = concat!("Corten/", env!("CARGO_PKG_VERSION"), " (linux)");

impl Server {
    /// All routes over this engine.
    pub fn new(engine: Arc<Engine>, origins: Origins) -> Self {
        Self {
            engine,
            router: routes::all(),
            origins,
            panics: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            running: AtomicU64::new(0),
            idle: Notify::new(),
        }
    }

    /// The engine.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// How many handlers have panicked.
    pub fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }

    /// How many requests have come.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Resolves when no handler of the running-on kind is at work.
    pub async fn drained(&self) {
        loop {
            let idle = self.idle.notified();
            if self.running.load(Ordering::Acquire) == 0 {
                return;
            }
            idle.await;
        }
    }
}

impl Answers for Server {
    async fn answer(
        self: &Arc<Self>,
        request: http::Request<hyper::body::Incoming>,
        check_host: bool,
        began: impl FnOnce(Fate) + Send,
    ) -> Response {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let (parts, body) = request.into_parts();
        // A client that asks before it sends need not be read from.
        let drains = !parts.headers.contains_key(EXPECT);
        let (body, leftover) = RequestBody::new(body);
        let response = self.answer_parts(parts, body, check_host, began).await;
        if drains {
            leftover.drain().await;
        }
        response
    }
}

impl Server {
    async fn answer_parts(
        self: &Arc<Self>,
        parts: http::request::Parts,
        body: RequestBody,
        check_host: bool,
        began: impl FnOnce(Fate) + Send,
    ) -> Response {
        tracing::debug!(method = %parts.method, path = %parts.uri.path().escape_debug(), "request");
        if let Err(error) = self.origins.check(&parts.headers, check_host) {
            return Response::error(&error);
        }
        let path = parts.uri.path();
        if let Some(clean) = clean_path(path) {
            return Response::status(StatusCode::MOVED_PERMANENTLY)
                .header(LOCATION, with_query(&clean, &parts.uri));
        }
        let (prefix, route) = match ApiVersion::split_prefix(path) {
            Some((version, rest)) => (Some(version), rest),
            None => (None, path),
        };
        if parts.method == Method::OPTIONS {
            // Docker answers this for any path; without headers that would allow anything to a web page.
            return with_version_headers(Response::status(StatusCode::OK));
        }
        let Some(mut found) = self.router.find(&parts.method, route) else {
            return Response::error(&ApiError::not_found("page not found"));
        };
        let version = match prefix.map_or(Ok(ApiVersion::NEWEST), ApiVersion::served) {
            Ok(version) => version,
            Err(error) => return with_version_headers(Response::error(&error)),
        };
        let requester = requester(&parts);
        let head = RequestHead {
            engine: self.engine.clone(),
            method: parts.method,
            params: std::mem::take(&mut found.params),
            version,
            query: Query::parse(parts.uri.query().unwrap_or("")),
            headers: parts.headers,
        };
        let is_head = head.method == Method::HEAD;
        let request = Request { head, body };
        let fate = if found.route.ends_with_client { Fate::EndsWithClient } else { Fate::RunsOn };
        began(fate);
        let work = AssertUnwindSafe(acting(Some(requester.clone()), found.call(request))).catch_unwind();
        let server = self.clone();
        let work = async move {
            work.await.unwrap_or_else(|panic| {
                let panics = server.panics.fetch_add(1, Ordering::Relaxed) + 1;
                let warning = format!(
                    "WARNING: {panics} requests failed by a defect of the daemon; its log says where"
                );
                server.engine.system.warn("defects", vec![warning]);
                tracing::error!(panic = panic_text(&*panic), "a handler panicked");
                Err(ApiError::new(
                    corten_types::ErrorKind::Internal,
                    "the daemon failed on this request; its log says where",
                ))
            })
        };
        let result = match fate {
            Fate::EndsWithClient => work.await,
            Fate::RunsOn => match tokio::spawn(self.clone().counted(work)).await {
                Ok(result) => result,
                Err(_) => {
                    Err(ApiError::new(corten_types::ErrorKind::Unavailable, "the daemon is shutting down"))
                }
            },
        };
        let mut response = result.unwrap_or_else(|error| {
            if error.status().is_server_error() && error.status() != StatusCode::NOT_IMPLEMENTED {
                tracing::error!(error = %error, "request failed");
            }
            Response::error(&error)
        });
        if is_head {
            response = response.without_body();
        }
        if let Content::Hijack(hijack) = response.content {
            let mut hijack = hijack.acting(requester);
            if !version.at_least(42) {
                // Older clients know one type for both kinds of stream.
                hijack.content_type = hijack.content_type.map(|_| Hijack::RAW);
            }
            response.content = Content::Hijack(hijack);
        }
        with_version_headers(response).header(HeaderName::from_static("docker-experimental"), "false")
    }

    async fn counted<T>(self: Arc<Self>, work: impl Future<Output = T>) -> T {
        self.running.fetch_add(1, Ordering::AcqRel);
        let result = work.await;
        if self.running.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.idle.notify_waiters();
        }
        result
    }
}

/// Who asks, for the events that come of it.
fn requester(parts: &http::request::Parts) -> Requester {
    let Peer { uid, pid, address } = parts.extensions.get().cloned().unwrap_or_default();
    let client = parts.headers.get(USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    Requester { uid, pid, address, client: client.to_owned() }
}

fn with_version_headers(mut response: Response) -> Response {
    let headers = &mut response.headers;
    headers.insert(HeaderName::from_static("api-version"), HeaderValue::from_static("1.51"));
    headers.insert(HeaderName::from_static("ostype"), HeaderValue::from_static("linux"));
    headers.insert(SERVER, HeaderValue::from_static(SERVER_NAME));
    response
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("")
}

/// The path without empty and dot segments, when it has any: Docker redirects there.
fn clean_path(path: &str) -> Option<String> {
    let dirty = |segment: &str| matches!(segment, "" | "." | "..");
    let mut segments = path.strip_prefix('/')?.split('/').peekable();
    let mut clean: Vec<&str> = Vec::new();
    let mut changed = false;
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        // One slash at the end stays, as does the bare root.
        if dirty(segment) && !(segment.is_empty() && last) {
            changed = true;
            if segment == ".." {
                clean.pop();
            }
        } else {
            clean.push(segment);
        }
    }
    changed.then(|| format!("/{}", clean.join("/")))
}

fn with_query(path: &str, uri: &Uri) -> String {
    uri.query().map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dirty_paths_are_cleaned_and_clean_ones_left_alone() {
        for path in ["/", "/info", "/v1.41/containers/a/json", "/info/", "/images/a%2Fb/json"] {
            assert_eq!(clean_path(path), None, "{path}");
        }
        assert_eq!(clean_path("/containers//json").as_deref(), Some("/containers/json"));
        assert_eq!(clean_path("/containers/../info").as_deref(), Some("/info"));
        assert_eq!(clean_path("/../../x/./y/").as_deref(), Some("/x/y/"));
    }
}
