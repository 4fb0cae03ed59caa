//! Who we are at a registry: credentials from clients, challenges from registries (RFC 9110 section 11.6.1).

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde::Deserialize;

/// Credentials as a client sends them, `AuthConfig` of the API.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Auth {
    /// User name.
    #[serde(alias = "Username")]
    pub username: String,
    /// Password.
    #[serde(alias = "Password")]
    pub password: String,
    /// Base64 of `username:password`, of old clients.
    #[serde(alias = "Auth")]
    pub auth: String,
    /// The registry they are for, as the client knows it.
    #[serde(rename = "serveraddress", alias = "ServerAddress")]
    pub server_address: String,
    /// A token that is exchanged for others.
    #[serde(rename = "identitytoken", alias = "IdentityToken")]
    pub identity_token: String,
    /// A token that is sent as it is.
    #[serde(rename = "registrytoken", alias = "RegistryToken")]
    pub registry_token: String,
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Auth({} at {})", self.username, self.server_address)
    }
}

impl Auth {
    /// The header `X-Registry-Auth`: base64 of JSON. `None` where it is none, or says nothing.
    pub fn from_header(header: &str) -> Option<Self> {
        let bytes = decode(header)?;
        let auth: Self = serde_json::from_slice(&bytes).ok()?;
        Some(auth.with_parts()).filter(|auth| !auth.is_empty())
    }

    /// Fills user and password in from [`Self::auth`], where only that was sent.
    #[must_use]
    pub fn with_parts(mut self) -> Self {
        if self.username.is_empty()
            && let Some(text) = decode(&self.auth).and_then(|bytes| String::from_utf8(bytes).ok())
            && let Some((username, password)) = text.split_once(':')
        {
            self.username = username.into();
            self.password = password.trim_end_matches('\0').into();
        }
        self
    }

    /// Whether there is nothing to show a registry.
    pub fn is_empty(&self) -> bool {
        self.username.is_empty() && self.identity_token.is_empty() && self.registry_token.is_empty()
    }

    /// The value of an `Authorization` header with user and password.
    pub(crate) fn basic(&self) -> Option<String> {
        (!self.username.is_empty())
            .then(|| format!("Basic {}", STANDARD.encode(format!("{}:{}", self.username, self.password))))
    }
}

/// A header that holds base64, in either alphabet, padded or not.
pub fn decode_header(text: &str) -> Option<Vec<u8>> {
    decode(text)
}

fn decode(text: &str) -> Option<Vec<u8>> {
    let text = text.trim().trim_end_matches('=');
    if text.is_empty() {
        return None;
    }
    let padded = format!("{text}{}", "=".repeat((4 - text.len() % 4) % 4));
    URL_SAFE.decode(&padded).or_else(|_| STANDARD.decode(&padded)).ok()
}

/// How a registry wants us to show who we are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// User and password with every request.
    Basic,
    /// A token from somebody else.
    Bearer {
        /// Where tokens are.
        realm: String,
        /// Whom they are for.
        service: String,
        /// What they allow.
        scope: String,
    },
}

impl Challenge {
    /// Reads a `WWW-Authenticate` header.
    pub fn parse(header: &str) -> Option<Self> {
        let (scheme, rest) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return Some(Self::Basic);
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let (mut realm, mut service, mut scope) = (String::new(), String::new(), String::new());
        for (name, value) in parameters(rest) {
            match name.to_ascii_lowercase().as_str() {
                "realm" => realm = value,
                "service" => service = value,
                "scope" => scope = value,
                _ => {}
            }
        }
        (!realm.is_empty()).then_some(Self::Bearer { realm, service, scope })
    }
}

/// `name="value"` pairs between commas; a value may hold commas in its quotes.
fn parameters(text: &str) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    let mut chars = text.chars().peekable();
    loop {
        let name: String = std::iter::from_fn(|| chars.next_if(|c| *c != '=')).collect();
        if chars.next().is_none() {
            return pairs;
        }
        let mut value = String::new();
        if chars.next_if_eq(&'"').is_some() {
            while let Some(c) = chars.next() {
                match c {
                    '"' => break,
                    '\\' => value.extend(chars.next()),
                    c => value.push(c),
                }
            }
            while chars.next().is_some_and(|c| c != ',') {}
        } else {
            value.extend(std::iter::from_fn(|| chars.next_if(|c| *c != ',')));
            chars.next();
        }
        pairs.push((name.trim_matches([' ', ',']).into(), value.trim().into()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_name_realm_service_and_scope() {
        let header = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#;
        assert_eq!(
            Challenge::parse(header),
            Some(Challenge::Bearer {
                realm: "https://auth.docker.io/token".into(),
                service: "registry.docker.io".into(),
                scope: "repository:a/b:pull,push".into(),
            })
        );
        assert_eq!(Challenge::parse("Basic realm=\"x\""), Some(Challenge::Basic));
        assert_eq!(Challenge::parse("Negotiate"), None);
        assert_eq!(Challenge::parse("Bearer service=x"), None);
        assert_eq!(
            Challenge::parse("Bearer realm=\"unclosed"),
            Some(Challenge::Bearer {
                realm: "unclosed".into(),
                service: String::new(),
                scope: String::new()
            })
        );
    }

    #[test]
    fn the_header_of_clients_is_read_in_its_forms() {
        let header = URL_SAFE.encode(r#"{"username":"u","password":"p","serveraddress":"r"}"#);
        let auth = Auth::from_header(&header).unwrap();
        assert_eq!((auth.username.as_str(), auth.password.as_str()), ("u", "p"));
        let old = URL_SAFE.encode(format!(r#"{{"auth":"{}"}}"#, STANDARD.encode("a:b:c")));
        assert_eq!(Auth::from_header(&old).unwrap().password, "b:c");
        for nothing in ["", "e30=", "garbage!", "bnVsbA=="] {
            assert_eq!(Auth::from_header(nothing), None, "{nothing}");
        }
        assert!(!format!("{auth:?}").contains("\"p\""));
    }
}
