use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Digest;

/// An image as somebody typed it, made whole: `[domain/]path[:tag][@digest]` with Docker's defaults filled in.
///
/// The grammar is distribution's `reference` package. `busybox` is `docker.io/library/busybox`; a name with
/// neither tag nor digest has neither here, and [`Reference::or_latest`] gives it `latest`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Why a text is not a [`Reference`]. The texts are Docker's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// The text does not follow the grammar.
    #[error("invalid reference format")]
    Format,
    /// A tag alone does not follow its grammar.
    #[error("invalid tag format")]
    Tag,
    /// The repository is in upper case.
    #[error("invalid reference format: repository name ({0}) must be lowercase")]
    UpperCase(String),
    /// The text is 64 hexadecimal digits, which would be taken for an image id.
    #[error("invalid repository name ({0}), cannot specify 64-byte hexadecimal strings")]
    LooksLikeId(String),
    /// The repository has more than 255 characters.
    #[error("repository name must not be more than 255 characters")]
    TooLong,
}

impl crate::Kind for ReferenceError {
    fn kind(&self) -> crate::ErrorKind {
        crate::ErrorKind::InvalidArgument
    }
}

const DEFAULT_DOMAIN: &str = "docker.io";
const LEGACY_DOMAIN: &str = "index.docker.io";
const OFFICIAL_PREFIX: &str = "library/";
const NAME_MAX: usize = 255;

impl Reference {
    /// The registry: `docker.io`, `localhost:5000`.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The repository's path at its registry: `library/busybox`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The tag, if there is one.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, if there is one.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The same with tag `latest` where there is neither tag nor digest.
    #[must_use]
    pub fn or_latest(mut self) -> Self {
        if self.tag.is_none() && self.digest.is_none() {
            self.tag = Some("latest".into());
        }
        self
    }

    /// The same repository with this tag and no digest; an error where `tag` is not one.
    pub fn with_tag(&self, tag: &str) -> Result<Self, ReferenceError> {
        if !is_tag(tag) {
            return Err(ReferenceError::Tag);
        }
        Ok(Self { tag: Some(tag.into()), digest: None, ..self.clone() })
    }

    /// The same repository with this digest and no tag.
    #[must_use]
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self { tag: None, digest: Some(digest), ..self.clone() }
    }

    /// The repository alone.
    #[must_use]
    pub fn repository(&self) -> Self {
        Self { tag: None, digest: None, ..self.clone() }
    }

    /// The short form that people read: without `docker.io/` and `library/`.
    pub fn familiar(&self) -> String {
        let mut text = self.familiar_name();
        self.push_suffix(&mut text);
        text
    }

    /// The short form of the repository.
    pub fn familiar_name(&self) -> String {
        if self.domain == DEFAULT_DOMAIN {
            match self.path.strip_prefix(OFFICIAL_PREFIX) {
                Some(rest) if !rest.contains('/') => rest.into(),
                _ => self.path.clone(),
            }
        } else {
            format!("{}/{}", self.domain, self.path)
        }
    }

    fn push_suffix(&self, text: &mut String) {
        if let Some(tag) = &self.tag {
            text.push(':');
            text.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            text.push('@');
            text.push_str(&digest.to_string());
        }
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        if text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
            return Err(ReferenceError::LooksLikeId(text.into()));
        }
        let (rest, digest) = match text.split_once('@') {
            None => (text, None),
            Some((rest, digest)) => {
                (rest, Some(digest.parse::<Digest>().map_err(|_| ReferenceError::Format)?))
            }
        };
        // A colon after the last slash starts a tag; one before it belongs to the registry's port.
        let after_slash = rest.rfind('/').map_or(0, |i| i + 1);
        let (name, tag) = match rest[after_slash..].find(':') {
            None => (rest, None),
            Some(colon) => {
                let (name, tag) = rest.split_at(after_slash + colon);
                (name, Some(&tag[1..]))
            }
        };
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(ReferenceError::Format);
        }
        let (domain, path) = match name.split_once('/') {
            Some((first, path))
                if first.contains(['.', ':'])
                    || first == "localhost"
                    || first.bytes().any(|b| b.is_ascii_uppercase()) =>
            {
                (first, path)
            }
            _ => (DEFAULT_DOMAIN, name),
        };
        let domain = if domain == LEGACY_DOMAIN { DEFAULT_DOMAIN } else { domain };
        if !is_domain(domain) {
            return Err(ReferenceError::Format);
        }
        let path = if domain == DEFAULT_DOMAIN && !path.contains('/') {
            format!("{OFFICIAL_PREFIX}{path}")
        } else {
            path.to_owned()
        };
        if path.bytes().any(|b| b.is_ascii_uppercase()) {
            let shown = &path;
            let lower = path.to_ascii_lowercase();
            return Err(if lower.split('/').all(is_path_component) {
                ReferenceError::UpperCase(shown.clone())
            } else {
                ReferenceError::Format
            });
        }
        if !path.split('/').all(is_path_component) {
            return Err(ReferenceError::Format);
        }
        if path.len() > NAME_MAX {
            return Err(ReferenceError::TooLong);
        }
        Ok(Self { domain: domain.into(), path, tag: tag.map(Into::into), digest })
    }
}

/// `[\w][\w.-]{0,127}`
fn is_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let bytes = tag.as_bytes();
    !bytes.is_empty()
        && bytes.len() <= 128
        && word(bytes[0])
        && bytes.iter().all(|&b| word(b) || b == b'.' || b == b'-')
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_path_component(component: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = component.as_bytes();
    if !bytes.first().copied().is_some_and(alphanumeric) || !bytes.last().copied().is_some_and(alphanumeric) {
        return false;
    }
    component
        .split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        .all(|separator| matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|b| b == b'-'))
}

/// Labels of letters, digits and inner hyphens, or an IPv6 address in brackets; then an optional port.
fn is_domain(domain: &str) -> bool {
    let (host, port) = if let Some(rest) = domain.strip_prefix('[') {
        let Some((address, port)) = rest.split_once(']') else { return false };
        if address.parse::<std::net::Ipv6Addr>().is_err() {
            return false;
        }
        return port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
    } else {
        match domain.split_once(':') {
            None => (domain, None),
            Some((host, port)) => (host, Some(port)),
        }
    };
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    host.split('.').all(label) && port.is_none_or(is_port)
}

fn is_port(port: &str) -> bool {
    !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit())
}

impl fmt::Display for Reference {
    /// The whole name: `docker.io/library/busybox:latest`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = format!("{}/{}", self.domain, self.path);
        self.push_suffix(&mut text);
        f.write_str(&text)
    }
}

impl fmt::Debug for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Reference {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(text: &str) -> String {
        text.parse::<Reference>().unwrap_or_else(|e| panic!("{text}: {e}")).to_string()
    }

    #[test]
    fn dockers_defaults_are_filled_in() {
        assert_eq!(whole("busybox"), "docker.io/library/busybox");
        assert_eq!(whole("me/app:1"), "docker.io/me/app:1");
        assert_eq!(whole("localhost/app"), "localhost/app");
        assert_eq!(whole("localhost:5000/a/b:t"), "localhost:5000/a/b:t");
        assert_eq!(whole("index.docker.io/busybox"), "docker.io/library/busybox");
        assert_eq!(whole("[::1]:5000/app"), "[::1]:5000/app");
    }

    #[test]
    fn the_familiar_form_is_what_was_typed() {
        for text in ["busybox:1", "me/app", "localhost:5000/a:b", "reg.example.com/library/x:1"] {
            assert_eq!(text.parse::<Reference>().unwrap().familiar(), text);
        }
    }

    #[test]
    fn names_out_of_grammar_are_refused_with_dockers_words() {
        let refused = |text: &str| text.parse::<Reference>().unwrap_err();
        for text in ["", ":tag", "a//b", "a:", "-a", "a_", "a___b", "a@sha256:00", "a b", "a/../b", "x:-t"] {
            assert_eq!(refused(text), ReferenceError::Format, "{text}");
        }
        assert_eq!(
            refused("Busybox").to_string(),
            "invalid reference format: repository name (library/Busybox) must be lowercase"
        );
        assert!(matches!(refused(&"a".repeat(64)), ReferenceError::LooksLikeId(_)));
        assert_eq!(refused(&"x".repeat(300)), ReferenceError::TooLong);
    }
}
