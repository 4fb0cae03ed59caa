use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an id has 64 lower-case hexadecimal digits")]
pub struct IdError;

/// `bytes` random bytes from the kernel as lower-case hexadecimal digits.
pub fn random_hex(bytes: usize) -> String {
    let mut buffer = vec![0_u8; bytes];
    let mut filled = 0;
    while filled < bytes {
        // getrandom(2) without flags fails only by EINTR once the pool is initialised.
        if let Ok(n) = rustix::rand::getrandom(&mut buffer[filled..], rustix::rand::GetRandomFlags::empty()) {
            filled += n;
        }
    }
    data_encoding::HEXLOWER.encode(&buffer)
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
        #[serde(transparent)]
        pub struct $name(std::sync::Arc<str>);

        impl $name {
            /// A new random id whose short form is not a number (Docker takes an all-digit name for a pid or a port).
            pub fn random() -> Self {
                loop {
                    let hex = random_hex(32);
                    if hex.as_bytes()[..12].iter().any(u8::is_ascii_alphabetic) {
                        return Self(hex.into());
                    }
                }
            }

            /// All 64 digits.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The first 12 digits, as lists show them.
            pub fn short(&self) -> &str {
                &self.0[..12]
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
                if text.len() == 64 && text.bytes().all(hex) { Ok(Self(text.into())) } else { Err(IdError) }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

id!(
    /// The id of a container.
    ContainerId
);
id!(
    /// The id of one exec instance in a container.
    ExecId
);
id!(
    /// The id of a network (or of an endpoint on one).
    NetworkId
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_random_id_parses_and_its_short_form_is_no_number() {
        for _ in 0..200 {
            let id = ContainerId::random();
            assert_eq!(id.as_str().parse::<ContainerId>(), Ok(id.clone()));
            assert!(id.short().parse::<u64>().is_err());
        }
    }

    #[test]
    fn paths_and_prefixes_are_no_ids() {
        for text in ["", "../../etc", "abc", &"g".repeat(64), &"A".repeat(64)] {
            assert!(text.parse::<ContainerId>().is_err(), "{text}");
        }
    }
}
