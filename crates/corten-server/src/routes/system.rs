//! `_ping`, version, info, events and disk usage.

use crate::{ApiError, Request, Response, Router};
use http::header::{CACHE_CONTROL, PRAGMA};
use http::{HeaderName, Method, StatusCode};

/// Registers them.
pub fn routes(r: &mut Router) {
    r.get("/_ping", ping);
    r.head("/_ping", ping);
}

async fn ping(req: Request) -> Result<Response, ApiError> {
    let head = req.method() == Method::HEAD;
    let response = Response::text(StatusCode::OK, if head { "" } else { "OK" })
        .header(HeaderName::from_static("builder-version"), "1")
        .header(HeaderName::from_static("swarm"), "inactive")
        .header(CACHE_CONTROL, "no-cache, no-store, must-revalidate")
        .header(PRAGMA, "no-cache");
    Ok(if head { response.content_length(0) } else { response })
}
