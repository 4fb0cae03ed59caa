//! Searching registries.

use corten_api::filters::{FilterError, Filters};
use corten_registry::{Auth, Found, RegistryError};
use corten_types::{ErrorKind, Kind};

use super::pull::Puller;

/// What a search may be filtered by.
const FILTERS: [&str; 3] = ["is-automated", "is-official", "stars"];
/// How many repositories are asked for where the client does not say.
const LIMIT: i64 = 25;

/// Why a search failed. The texts are Docker's.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    /// A filter cannot be meant.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// The term is an address.
    #[error("invalid repository name: repository name ({0}) should not have a scheme")]
    Scheme(String),
    /// So many are never given.
    #[error("limit {0} is outside the range of [1, 100]")]
    Limit(i64),
    /// The registry did not answer as it should.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

impl Kind for SearchError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Filter(error) => error.kind(),
            Self::Scheme(_) | Self::Limit(_) => ErrorKind::InvalidArgument,
            Self::Registry(error) => error.kind(),
        }
    }
}

/// What a search keeps of what it finds.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    official: Option<bool>,
    stars: i64,
    /// Automated builds are no more: whoever asks for them gets nothing.
    nothing: bool,
}

impl Wanted {
    fn plan(filters: &Filters) -> Result<Self, FilterError> {
        filters.only(&FILTERS)?;
        let mut stars = 0;
        for text in filters.get("stars") {
            let bad = || FilterError::BadValue { key: "stars".into(), values: vec![text.to_owned()] };
            stars = stars.max(text.parse().map_err(|_| bad())?);
        }
        let nothing = filters.bool("is-automated")?.unwrap_or(false);
        Ok(Self { official: filters.bool("is-official")?, stars, nothing })
    }

    fn keep(&self, found: &Found) -> bool {
        !self.nothing
            && self.official.is_none_or(|official| official == found.is_official)
            && found.star_count >= self.stars
    }
}

impl Puller {
    /// Searches the registry that `term` begins with, or Docker Hub; a `limit` of zero is the default.
    pub async fn search(
        &self,
        term: &str,
        limit: i64,
        filters: &Filters,
        auth: Option<Auth>,
    ) -> Result<Vec<Found>, SearchError> {
        let wanted = Wanted::plan(filters)?;
        if wanted.nothing {
            return Ok(Vec::new());
        }
        if term.contains("://") {
            return Err(SearchError::Scheme(term.into()));
        }
        let number = match limit {
            0 => LIMIT,
            limit => limit,
        };
        let number = u32::try_from(number).ok().filter(|number| (1..=100).contains(number));
        let number = number.ok_or(SearchError::Limit(limit))?;
        let found = self.client.search(term, number, auth).await?;
        let kept = found.results.into_iter().filter(|found| wanted.keep(found));
        Ok(kept.map(|found| Found { is_automated: false, ..found }).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_keep_what_they_say() {
        let plan = |text: &str| Wanted::plan(&Filters::parse(text).unwrap());
        let found = |stars, official| Found { star_count: stars, is_official: official, ..Found::default() };
        let wanted = plan(r#"{"stars":["3","7"],"is-official":["true"]}"#).unwrap();
        assert!(wanted.keep(&found(7, true)));
        assert!(!wanted.keep(&found(6, true)) && !wanted.keep(&found(9, false)));
        assert!(plan("").unwrap().keep(&found(0, false)));
        assert!(plan(r#"{"is-automated":["true"]}"#).unwrap().nothing);
        assert_eq!(plan(r#"{"stars":["x"]}"#).unwrap_err().to_string(), "invalid filter 'stars=[x]'");
        assert!(plan(r#"{"bogus":["x"]}"#).is_err());
    }
}
