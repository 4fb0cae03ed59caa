use http::StatusCode;
use http::header::LINK;
use serde_json::json;

use crate::auth::{Action, Wish};
use crate::error::Refusal;
use crate::http::{Reply, encode};
use crate::name::{RepositoryName, Tag};
use crate::server::Call;

/// The most entries on one page.
const PAGE: usize = 1000;

/// GET of a repository's tags, in order, a page at a time.
pub fn tags(call: &Call<'_>, name: &RepositoryName) -> Result<Reply, Refusal> {
    use std::ops::Bound::{Excluded, Unbounded};
    // Old clients do not follow pages and expect all.
    let n = if call.query.get("n").is_some() { call.query.page(PAGE)? } else { usize::MAX };
    let last = call.query.get("last").unwrap_or_default();
    let found = call.server.storage.repository(name, |repository| {
        let mut after = repository.tags.range::<str, _>((Excluded(last), Unbounded)).map(|(tag, _)| tag);
        let page: Vec<Tag> = after.by_ref().take(n).cloned().collect();
        (page, after.next().is_some())
    });
    let (page, more) = found.ok_or_else(|| Refusal::NoSuchRepository(name.to_string()))?;
    let tags: Vec<&str> = page.iter().map(Tag::as_str).collect();
    let reply = Reply::new(StatusCode::OK).json(&json!({"name": name.as_str(), "tags": tags}));
    Ok(linked(reply, &format!("/v2/{name}/tags/list"), n, tags.last().copied(), more))
}

/// GET of the repositories that the caller may read, in order, a page at a time.
pub fn repositories(call: &Call<'_>) -> Result<Reply, Refusal> {
    let n = call.query.page(PAGE)?;
    let last = call.query.get("last").unwrap_or_default();
    let guard = &call.server.guard;
    // A token for the whole list names no repository.
    let may = |name: &RepositoryName| match &call.principal {
        crate::auth::Principal::Bearer(..) => true,
        principal => guard.allows(principal, &Wish::Repository(name.clone(), Action::Pull)),
    };
    let (page, more) = call.server.storage.look(|catalog| {
        let mut after = catalog.repositories(last).map(|(name, _)| name).filter(|name| may(name));
        let page: Vec<RepositoryName> = after.by_ref().take(n).cloned().collect();
        (page, after.next().is_some())
    });
    let names: Vec<&str> = page.iter().map(RepositoryName::as_str).collect();
    let reply = Reply::new(StatusCode::OK).json(&json!({"repositories": names}));
    Ok(linked(reply, "/v2/_catalog", n, names.last().copied(), more))
}

fn linked(reply: Reply, path: &str, n: usize, last: Option<&str>, more: bool) -> Reply {
    match last {
        Some(last) if more => reply.with(LINK, format!("<{path}?last={}&n={n}>; rel=\"next\"", encode(last))),
        _ => reply,
    }
}
