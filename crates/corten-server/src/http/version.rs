//! The version prefix of a path (`/v1.44/…`) and which versions are served.

use std::fmt;
use std::str::FromStr;

use http::StatusCode;

use crate::ApiError;

/// An Engine API version, such as 1.44.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ApiVersion {
    /// Always 1 so far.
    pub major: u32,
    /// What is compared in practice.
    pub minor: u32,
}

impl ApiVersion {
    /// The newest version served, and the one that a path without a prefix means.
    pub const NEWEST: Self = Self::new(1, 51);
    /// The oldest version served.
    pub const OLDEST: Self = Self::new(1, 24);

    /// A version from its two numbers.
    pub const fn new(major: u32, minor: u32) -> Self {
        Self { major, minor }
    }

    /// Whether this is version 1.`minor` or newer.
    pub fn at_least(self, minor: u32) -> bool {
        self >= Self::new(1, minor)
    }

    /// Splits a leading `/vX.Y` off a path: the prefix's text without the `v`, and the rest with its slash.
    ///
    /// As in Docker, only digits and dots count as a prefix; `/version` is not one.
    pub fn split_prefix(path: &str) -> Option<(&str, &str)> {
        let rest = path.strip_prefix("/v")?;
        let end = rest.find('/')?;
        let (text, rest) = rest.split_at(end);
        let valid = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        valid.then_some((text, rest))
    }

    /// The version that a prefix's text asks for, or Docker's refusal.
    pub fn served(text: &str) -> Result<Self, ApiError> {
        let too_old = || {
            ApiError::with_status(
                StatusCode::BAD_REQUEST,
                format!(
                    "client version {text} is too old. Minimum supported API version is {}, please upgrade your client to a newer version",
                    Self::OLDEST
                ),
            )
            .in_plain_text()
        };
        let version: Self = text.parse().map_err(|_| too_old())?;
        if version < Self::OLDEST {
            return Err(too_old());
        }
        if version > Self::NEWEST {
            let newest = Self::NEWEST;
            return Err(ApiError::invalid(format!(
                "client version {text} is too new. Maximum supported API version is {newest}"
            )));
        }
        Ok(version)
    }
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// Why a text is not a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VersionError;

impl FromStr for ApiVersion {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        let (major, minor) = text.split_once('.').unwrap_or((text, "0"));
        let number = |t: &str| t.parse::<u32>().map_err(|_| VersionError);
        Ok(Self::new(number(major)?, number(minor)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_split_only_when_they_are_versions() {
        assert_eq!(ApiVersion::split_prefix("/v1.41/info"), Some(("1.41", "/info")));
        assert_eq!(ApiVersion::split_prefix("/v1/info"), Some(("1", "/info")));
        assert_eq!(ApiVersion::split_prefix("/version"), None);
        assert_eq!(ApiVersion::split_prefix("/volumes/x"), None);
        assert_eq!(ApiVersion::split_prefix("/info"), None);
    }

    #[test]
    fn the_ladder_ends_with_dockers_texts() {
        assert_eq!(ApiVersion::served("1.24").unwrap(), ApiVersion::OLDEST);
        assert_eq!(ApiVersion::served("1.51").unwrap(), ApiVersion::NEWEST);
        let new = ApiVersion::served("1.99").unwrap_err();
        assert_eq!(new.message(), "client version 1.99 is too new. Maximum supported API version is 1.51");
        assert!(!new.is_plain());
        for text in ["1.10", "1", "0.9", "1.", "1.2.3"] {
            let old = ApiVersion::served(text).unwrap_err();
            assert_eq!(old.status(), StatusCode::BAD_REQUEST);
            assert!(old.is_plain());
            assert_eq!(
                old.message(),
                format!(
                    "client version {text} is too old. Minimum supported API version is 1.24, please upgrade your client to a newer version"
                )
            );
        }
    }
}
