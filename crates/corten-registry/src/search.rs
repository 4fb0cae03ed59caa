//! Searching a registry by the old index API (`/v1/search`), which Docker Hub still speaks.

use http::Method;
use serde::{Deserialize, Serialize};

use crate::auth::Auth;
use crate::client::Client;
use crate::endpoint::Endpoint;
use crate::error::RegistryError;
use crate::repository::{Ask, Repository, escape, read};

/// Where Docker Hub is searched.
const HUB: &str = "https://index.docker.io";
/// The largest answer that is read, in bytes.
const ANSWER_LIMIT: usize = 4 << 20;

/// A repository that was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Found {
    /// How many users marked it.
    pub star_count: i64,
    /// Whether the registry's owner stands for it.
    pub is_official: bool,
    /// Its name, without the domain.
    pub name: String,
    /// Whether it was built by the registry; nothing is any more.
    pub is_automated: bool,
    /// A line about it.
    pub description: String,
}

/// What a search gives.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct SearchResults {
    /// The repositories, as the registry orders them.
    pub results: Vec<Found>,
}

impl Client {
    /// Searches the registry that `term` begins with, or Docker Hub, for at most `limit` repositories.
    pub async fn search(
        &self,
        term: &str,
        limit: u32,
        auth: Option<Auth>,
    ) -> Result<SearchResults, RegistryError> {
        let (domain, term) = split(term);
        let registry = match (domain, Endpoint::of_address(HUB, &[])) {
            (None, Some(hub)) => Repository::new(self, hub, "", None),
            (domain, _) => self.registry(domain.unwrap_or_default(), auth).await,
        };
        let path = format!("/v1/search?q={}&n={limit}", escape(term));
        let url = format!("{}/v1/search", registry.endpoint().url());
        let response = registry.ask(Ask::new(Method::GET, path), "").await?;
        let bytes = read(response, ANSWER_LIMIT, &url).await?;
        serde_json::from_slice(&bytes).map_err(|error| RegistryError::Answer {
            url,
            reason: format!("it is no search result: {error}"),
        })
    }
}

/// The domain that a term begins with, if it begins with one, and the rest.
fn split(term: &str) -> (Option<&str>, &str) {
    match term.split_once('/') {
        Some(("docker.io" | "index.docker.io", rest)) => (None, rest.trim_start_matches("library/")),
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (Some(first), rest),
        _ => (None, term.trim_start_matches("library/")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_term_may_begin_with_a_registry() {
        assert_eq!(split("busybox"), (None, "busybox"));
        assert_eq!(split("library/busybox"), (None, "busybox"));
        assert_eq!(split("docker.io/a/b"), (None, "a/b"));
        assert_eq!(split("someone/thing"), (None, "someone/thing"));
        assert_eq!(split("localhost:5000/a"), (Some("localhost:5000"), "a"));
    }
}
