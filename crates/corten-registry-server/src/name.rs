use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The longest name of a repository.
const NAME_MAX: usize = 255;
/// The longest tag.
const TAG_MAX: usize = 128;

/// The name of a repository (distribution-spec, "Pulling manifests"): path components in lower case, at most 255 bytes.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RepositoryName(Arc<str>);

/// A tag (distribution-spec, "Pulling manifests"): `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(Arc<str>);

/// Why a text is neither.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameInvalid {
    /// Not a repository's name.
    #[error(
        "the name of a repository is made of components like [a-z0-9]+([._-][a-z0-9]+)*, separated by slashes, \
         255 bytes at most"
    )]
    Repository,
    /// Not a tag.
    #[error("a tag is made of letters, digits, _ . -, does not begin with . or -, and has 128 bytes at most")]
    Tag,
}

impl FromStr for RepositoryName {
    type Err = NameInvalid;

    fn from_str(text: &str) -> Result<Self, NameInvalid> {
        let fits = text.len() <= NAME_MAX && text.split('/').all(is_component);
        if fits { Ok(Self(text.into())) } else { Err(NameInvalid::Repository) }
    }
}

impl FromStr for Tag {
    type Err = NameInvalid;

    fn from_str(text: &str) -> Result<Self, NameInvalid> {
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        let bytes = text.as_bytes();
        let fits = bytes.len() <= TAG_MAX
            && bytes.first().copied().is_some_and(word)
            && bytes.iter().all(|&b| word(b) || b == b'.' || b == b'-');
        if fits { Ok(Self(text.into())) } else { Err(NameInvalid::Tag) }
    }
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_component(component: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = component.as_bytes();
    bytes.first().copied().is_some_and(alphanumeric)
        && bytes.last().copied().is_some_and(alphanumeric)
        && component.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit()).all(|separator| {
            matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|b| b == b'-')
        })
}

macro_rules! text {
    ($name:ident) => {
        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

text!(RepositoryName);
text!(Tag);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_repositories_follow_the_grammar() {
        for text in ["a", "library/busybox", "a/b/c/d", "a-b_c.d__e---f/0", &"a".repeat(255)] {
            assert!(text.parse::<RepositoryName>().is_ok(), "{text}");
        }
        for text in [
            "",
            "/",
            "a/",
            "/a",
            "a//b",
            "A",
            "a/../b",
            "..",
            "a..b",
            "a___b",
            "a_",
            ".a",
            "a b",
            "a\0",
            "é",
            "a%2fb",
            "a\n",
            &"a".repeat(256),
        ] {
            assert_eq!(text.parse::<RepositoryName>(), Err(NameInvalid::Repository), "{text}");
        }
    }

    #[test]
    fn tags_follow_the_grammar() {
        for text in ["a", "_", "1.0-rc_2", "A", &"a".repeat(128)] {
            assert!(text.parse::<Tag>().is_ok(), "{text}");
        }
        for text in ["", ".", "-a", ".INVALID", "a/b", "a:b", "a b", "é", &"a".repeat(129)] {
            assert_eq!(text.parse::<Tag>(), Err(NameInvalid::Tag), "{text}");
        }
    }
}
