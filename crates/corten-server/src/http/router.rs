//! Which handler answers which path.
//!
//! A pattern is a path whose segments are literal or a parameter: `{id}` takes one segment, `{name:*}` takes one or more, slashes
//! included (image names). A literal before a parameter wins, so `/images/json` is never an image called "json".

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use http::Method;

use super::query::{Plus, decode};
use super::{Request, Response};
use crate::ApiError;

type Answer = Pin<Box<dyn Future<Output = Result<Response, ApiError>> + Send>>;
type Handler = Arc<dyn Fn(Request) -> Answer + Send + Sync>;

/// The table of routes.
#[derive(Default)]
pub struct Router {
    /// By method and first segment, in the order in which they were added.
    routes: HashMap<(Method, &'static str), Vec<Route>>,
}

/// One route.
#[derive(Clone)]
pub struct Route {
    segments: Arc<[Segment]>,
    handler: Handler,
    /// See [`Router::get`] and [`Router::post_until_client_leaves`].
    pub(crate) ends_with_client: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Segment {
    Literal(&'static str),
    One(&'static str),
    Rest(&'static str),
}

/// A route that matched, with the values of its parameters.
pub struct Found {
    pub(crate) route: Route,
    pub(crate) params: Vec<(&'static str, String)>,
}

impl Found {
    /// Runs the handler.
    pub fn call(
        &self,
        request: Request,
    ) -> impl Future<Output = Result<Response, ApiError>> + Send + 'static {
        (self.route.handler)(request)
    }
}

impl Router {
    /// Answers `GET pattern`, and `HEAD` where no route of its own exists. The handler's future is dropped when the client goes away.
    pub fn get<H, F>(&mut self, pattern: &'static str, handler: H)
    where
        H: Fn(Request) -> F + Send + Sync + 'static,
        F: Future<Output = Result<Response, ApiError>> + Send + 'static,
    {
        self.add(Method::GET, pattern, handler, true);
    }

    /// Answers `HEAD pattern`.
    pub fn head<H, F>(&mut self, pattern: &'static str, handler: H)
    where
        H: Fn(Request) -> F + Send + Sync + 'static,
        F: Future<Output = Result<Response, ApiError>> + Send + 'static,
    {
        self.add(Method::HEAD, pattern, handler, true);
    }

    /// Answers `POST pattern`. The handler runs to its end even when the client goes away.
    pub fn post<H, F>(&mut self, pattern: &'static str, handler: H)
    where
        H: Fn(Request) -> F + Send + Sync + 'static,
        F: Future<Output = Result<Response, ApiError>> + Send + 'static,
    {
        self.add(Method::POST, pattern, handler, false);
    }

    /// [`Router::post`] for a handler that only waits or reads: its future is dropped when the client goes away.
    pub fn post_until_client_leaves<H, F>(&mut self, pattern: &'static str, handler: H)
    where
        H: Fn(Request) -> F + Send + Sync + 'static,
        F: Future<Output = Result<Response, ApiError>> + Send + 'static,
    {
        self.add(Method::POST, pattern, handler, true);
    }

    /// Answers `PUT pattern`; see [`Router::post`].
    pub fn put<H, F>(&mut self, pattern: &'static str, handler: H)
    where
        H: Fn(Request) -> F + Send + Sync + 'static,
        F: Future<Output = Result<Response, ApiError>> + Send + 'static,
    {
        self.add(Method::PUT, pattern, handler, false);
    }

    /// Answers `DELETE pattern`; see [`Router::post`].
    pub fn delete<H, F>(&mut self, pattern: &'static str, handler: H)
    where
        H: Fn(Request) -> F + Send + Sync + 'static,
        F: Future<Output = Result<Response, ApiError>> + Send + 'static,
    {
        self.add(Method::DELETE, pattern, handler, false);
    }

    /// Answers `pattern` with 501 and a text that names `what`.
    pub fn missing(&mut self, method: Method, pattern: &'static str, what: &'static str) {
        self.add(method, pattern, move |_| async move { Err(ApiError::not_implemented(what)) }, true);
    }

    fn add<H, F>(&mut self, method: Method, pattern: &'static str, handler: H, ends_with_client: bool)
    where
        H: Fn(Request) -> F + Send + Sync + 'static,
        F: Future<Output = Result<Response, ApiError>> + Send + 'static,
    {
        let segments: Arc<[Segment]> =
            pattern.trim_start_matches('/').split('/').map(Segment::parse).collect();
        let Segment::Literal(first) = segments[0] else {
            panic!("the first segment of {pattern} must be literal")
        };
        let handler: Handler = Arc::new(move |request| Box::pin(handler(request)));
        let bucket = self.routes.entry((method, first)).or_default();
        bucket.push(Route { segments, handler, ends_with_client });
        // Literals first, so that they win over parameters at the same place.
        bucket.sort_by_key(|route| route.segments.iter().map(Segment::rank).collect::<Vec<_>>());
    }

    /// The route for a path without version prefix, still percent-encoded.
    pub fn find(&self, method: &Method, path: &str) -> Option<Found> {
        self.find_exact(method, path)
            .or_else(|| if method == Method::HEAD { self.find_exact(&Method::GET, path) } else { None })
    }

    fn find_exact(&self, method: &Method, path: &str) -> Option<Found> {
        let parts: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
        let (_, bucket) = self.routes.iter().find(|((m, first), _)| m == method && *first == parts[0])?;
        bucket
            .iter()
            .find_map(|route| Some(Found { params: matches(&route.segments, &parts)?, route: route.clone() }))
    }
}

impl Segment {
    fn parse(text: &'static str) -> Self {
        match text.strip_prefix('{').and_then(|t| t.strip_suffix('}')) {
            None => Self::Literal(text),
            Some(inner) => inner.strip_suffix(":*").map_or(Self::One(inner), Self::Rest),
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Literal(_) => 0,
            Self::One(_) => 1,
            Self::Rest(_) => 2,
        }
    }
}

/// The parameters' values if the parts fit the segments. A `Rest` takes as many parts as the segments after it leave.
fn matches(segments: &[Segment], parts: &[&str]) -> Option<Vec<(&'static str, String)>> {
    let mut params = Vec::new();
    let mut at = 0;
    for (i, segment) in segments.iter().enumerate() {
        match *segment {
            Segment::Literal(text) => {
                if *parts.get(at)? != text {
                    return None;
                }
                at += 1;
            }
            Segment::One(name) => {
                let part = parts.get(at).filter(|p| !p.is_empty())?;
                params.push((name, decode(part, Plus::IsPlus)?));
                at += 1;
            }
            Segment::Rest(name) => {
                let after = segments.len() - i - 1;
                let end = parts.len().checked_sub(after).filter(|&end| end > at)?;
                let value = decode(&parts[at..end].join("/"), Plus::IsPlus)?;
                if value.is_empty() {
                    return None;
                }
                params.push((name, value));
                at = end;
            }
        }
    }
    (at == parts.len()).then_some(params)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn router() -> Router {
        let mut r = Router::default();
        async fn nothing(_: Request) -> Result<Response, ApiError> {
            Err(ApiError::not_implemented("nothing"))
        }
        r.get("/images/{name:*}/json", nothing);
        r.get("/images/json", nothing);
        r.get("/images/{name:*}/get", nothing);
        r.delete("/images/{name:*}", nothing);
        r.get("/containers/{id}/json", nothing);
        r.get("/containers/json", nothing);
        r.post("/containers/{id}/start", nothing);
        r
    }

    fn found(method: Method, path: &str) -> Option<Vec<(&'static str, String)>> {
        router().find(&method, path).map(|f| f.params)
    }

    #[test]
    fn image_names_keep_their_slashes() {
        let name = |text: &str| Some(vec![("name", text.to_owned())]);
        assert_eq!(found(Method::GET, "/images/a/b/c:1/json"), name("a/b/c:1"));
        assert_eq!(found(Method::GET, "/images/busybox/json"), name("busybox"));
        assert_eq!(found(Method::GET, "/images/localhost:5000%2Fx/json"), name("localhost:5000/x"));
        assert_eq!(found(Method::DELETE, "/images/a/b"), name("a/b"));
    }

    #[test]
    fn literals_win_and_parts_must_fit() {
        assert_eq!(found(Method::GET, "/images/json"), Some(vec![]));
        assert_eq!(found(Method::GET, "/containers/json"), Some(vec![]));
        assert_eq!(found(Method::GET, "/containers//json"), None);
        assert_eq!(found(Method::GET, "/containers/a/b/json"), None);
        assert_eq!(found(Method::GET, "/containers/a/json/"), None);
        assert_eq!(found(Method::GET, "/"), None);
        assert_eq!(found(Method::POST, "/containers/a%zz/start"), None);
    }

    #[test]
    fn head_falls_back_to_get_and_other_methods_are_unknown() {
        assert!(router().find(&Method::HEAD, "/containers/json").is_some());
        assert!(router().find(&Method::PATCH, "/containers/json").is_none());
    }
}
