use std::fmt;
use std::io::Read;
use std::str::FromStr;

use corten_types::Digest;
use serde::de::Error as _;
use sha2::Digest as _;

/// A digest as clients write it (image-spec, descriptor.md): sha256, which the store knows too, or sha512.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ContentDigest {
    /// `sha256:` and 64 hexadecimal digits.
    Sha256(Digest),
    /// `sha512:` and 128 hexadecimal digits.
    Sha512(Box<[u8; 64]>),
}

/// Why a text is no [`ContentDigest`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a digest is sha256:<64 lower case hexadecimal digits> or sha512:<128>")]
pub struct DigestInvalid;

impl ContentDigest {
    /// The digest, with the algorithm of `self`, of what `reader` gives.
    pub fn of_same_kind(&self, reader: &mut dyn Read) -> std::io::Result<Self> {
        match self {
            Self::Sha256(_) => {
                let mut digester = corten_types::Digester::new();
                std::io::copy(reader, &mut digester)?;
                Ok(Self::Sha256(digester.finish()))
            }
            Self::Sha512(_) => {
                let mut hash = sha2::Sha512::new();
                std::io::copy(reader, &mut hash)?;
                Ok(Self::Sha512(Box::new(hash.finalize().into())))
            }
        }
    }
}

impl From<Digest> for ContentDigest {
    fn from(digest: Digest) -> Self {
        Self::Sha256(digest)
    }
}

impl FromStr for ContentDigest {
    type Err = DigestInvalid;

    fn from_str(text: &str) -> Result<Self, DigestInvalid> {
        match text.strip_prefix("sha512:") {
            None => text.parse().map(Self::Sha256).map_err(|_| DigestInvalid),
            Some(hex) => {
                let bytes = data_encoding::HEXLOWER.decode(hex.as_bytes()).map_err(|_| DigestInvalid)?;
                let bytes: [u8; 64] = bytes.try_into().map_err(|_| DigestInvalid)?;
                Ok(Self::Sha512(Box::new(bytes)))
            }
        }
    }
}

impl fmt::Display for ContentDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sha256(digest) => digest.fmt(f),
            Self::Sha512(bytes) => write!(f, "sha512:{}", data_encoding::HEXLOWER.encode(&bytes[..])),
        }
    }
}

impl fmt::Debug for ContentDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl serde::Serialize for ContentDigest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for ContentDigest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_algorithms_are_read_as_they_are_written() {
        for text in [Digest::of(b"steel").to_string(), ContentDigest::Sha512(Box::new([7; 64])).to_string()] {
            assert_eq!(text.parse::<ContentDigest>().unwrap().to_string(), text);
        }
        for text in ["", "sha256:", "sha512:00", "sha384:00", "md5:x", "sha256:../../../etc/passwd"] {
            assert_eq!(text.parse::<ContentDigest>(), Err(DigestInvalid), "{text}");
        }
    }

    #[test]
    fn content_is_hashed_with_the_algorithm_that_was_asked_for() {
        let asked = ContentDigest::Sha512(Box::new([0; 64]));
        let found = asked.of_same_kind(&mut &b""[..]).unwrap().to_string();
        assert!(found.starts_with("sha512:cf83e1357eefb8bdf1542850d66d8007"), "{found}");
    }
}
