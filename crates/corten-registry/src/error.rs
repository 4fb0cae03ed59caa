use corten_types::{ErrorKind, Kind};

/// Why a registry did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// There is no such manifest, blob or repository.
    #[error("{what}: not found")]
    NotFound {
        /// What was asked for.
        what: String,
    },
    /// The registry wants credentials, or does not take those that were given.
    #[error("{}", denied(message))]
    Unauthorized {
        /// What the registry says.
        message: String,
    },
    /// The registry knows who asks and refuses.
    #[error("{}", denied(message))]
    Denied {
        /// What the registry says.
        message: String,
    },
    /// The registry refuses for another reason.
    #[error("unexpected status from {method} request to {url}: {status}{}", detail(message))]
    Status {
        /// The request's method.
        method: &'static str,
        /// The request's address, without credentials.
        url: String,
        /// The status.
        status: u16,
        /// What the registry says.
        message: String,
    },
    /// The registry cannot be reached.
    #[error("failed to do request: {method} \"{url}\": {reason}")]
    Connect {
        /// The request's method.
        method: &'static str,
        /// The request's address, without credentials.
        url: String,
        /// Why.
        reason: String,
    },
    /// The answer makes no sense, or is too long.
    #[error("{url}: {reason}")]
    Answer {
        /// Where it came from.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// The registry points somewhere it may not.
    #[error("refused to follow {from} to {to}: {reason}")]
    Forbidden {
        /// Who points.
        from: String,
        /// Where to.
        to: String,
        /// Why not.
        reason: &'static str,
    },
}

fn denied(message: &str) -> String {
    let text = "authorization failed";
    if message.is_empty() { text.into() } else { format!("{text}: {message}") }
}

fn detail(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(": {message}") }
}

impl Kind for RegistryError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound { .. } => ErrorKind::NotFound,
            Self::Unauthorized { .. } => ErrorKind::Unauthorized,
            Self::Denied { .. } => ErrorKind::Forbidden,
            Self::Status { status: 400..=499, .. } => ErrorKind::InvalidArgument,
            Self::Status { .. } | Self::Connect { .. } | Self::Answer { .. } | Self::Forbidden { .. } => {
                ErrorKind::Unavailable
            }
        }
    }
}

/// The longest text of a registry that is shown.
const MESSAGE_LIMIT: usize = 512;

/// A text of a registry, fit for a terminal: no control characters, not too long.
pub(crate) fn shown(text: &str) -> String {
    let clean = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    clean.take(MESSAGE_LIMIT).collect::<String>().trim().to_owned()
}

/// What the body of a refusal says: `{"errors":[{"code":…,"message":…}]}`, or `{"details":…}` of old token servers.
pub(crate) fn message(body: &[u8]) -> String {
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(body) else { return String::new() };
    let text = |value: &serde_json::Value, key: &str| {
        value.get(key).and_then(|v| v.as_str()).unwrap_or("").to_owned()
    };
    if let Some(errors) = value.get("errors").and_then(|errors| errors.as_array()) {
        let all: Vec<String> = errors
            .iter()
            .take(4)
            .map(|error| {
                let (code, message) = (text(error, "code"), text(error, "message"));
                match (code.as_str(), message.as_str()) {
                    ("", message) => message.to_owned(),
                    (code, "") => code.to_owned(),
                    (code, message) => format!("{}: {message}", code.to_lowercase().replace('_', " ")),
                }
            })
            .collect();
        return shown(&all.join("; "));
    }
    shown(&text(&value, "details"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_registries_say_is_made_fit_to_be_shown() {
        let body = br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown\u001b[31m"}]}"#;
        assert_eq!(message(body), "manifest unknown: manifest unknown [31m");
        assert_eq!(message(br#"{"details":"no"}"#), "no");
        assert_eq!(message(b"<html>"), "");
        assert_eq!(shown(&"x".repeat(9999)).len(), MESSAGE_LIMIT);
    }
}
