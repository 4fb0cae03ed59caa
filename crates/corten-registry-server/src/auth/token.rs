//! Tokens of distribution's token specification: JSON web tokens that grant actions in repositories.

use std::path::Path;

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::{Deserialize, Serialize};

use super::rules::Action;
use super::{AuthError, Wish};

/// The longest token that is looked at, in bytes.
const TOKEN_MAX: usize = 16 << 10;
/// The algorithms that are taken: signatures only, so that a public key never serves as a shared secret.
const ALGORITHMS: [Algorithm; 9] = [
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];

/// Something a token grants: `{"type":"repository","name":"a/b","actions":["pull"]}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// `repository` or `registry`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The repository, or `catalog`.
    pub name: String,
    /// `pull`, `push`, `delete`, `*`.
    #[serde(default)]
    pub actions: Vec<String>,
}

/// What a token says.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Claims {
    /// Who issued it.
    #[serde(default)]
    pub iss: String,
    /// For whom.
    #[serde(default)]
    pub sub: String,
    /// For which service: one text, or several.
    #[serde(default)]
    pub aud: serde_json::Value,
    /// Until when, seconds since 1970.
    pub exp: u64,
    /// From when on.
    #[serde(default)]
    pub nbf: u64,
    /// Since when.
    #[serde(default)]
    pub iat: u64,
    /// A random id.
    #[serde(default)]
    pub jti: String,
    /// What it grants.
    #[serde(default)]
    pub access: Vec<Grant>,
}

/// Whether grants allow what is wished.
pub(super) fn grants(grants: &[Grant], wish: &Wish) -> bool {
    let has = |kind: &str, name: &str, action: &str| {
        grants.iter().any(|grant| {
            grant.kind == kind
                && grant.name == name
                && grant.actions.iter().any(|granted| granted == action || granted == "*")
        })
    };
    match wish {
        Wish::Base => true,
        Wish::Catalog => has("registry", "catalog", "*"),
        Wish::Repository(name, Action::Delete) => has("repository", name.as_str(), "delete"),
        Wish::Repository(name, action) => has("repository", name.as_str(), action.word()),
    }
}

/// The keys of the issuers whose tokens are taken.
pub struct Verifier {
    keys: Vec<(Option<String>, Family, DecodingKey)>,
    issuer: String,
    service: String,
}

/// Which algorithms a key can check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    Rsa,
    Ec,
    Ed,
}

impl Family {
    fn of(algorithm: Algorithm) -> Option<Self> {
        match algorithm {
            Algorithm::ES256 | Algorithm::ES384 => Some(Self::Ec),
            Algorithm::EdDSA => Some(Self::Ed),
            Algorithm::RS256 | Algorithm::RS384 | Algorithm::RS512 => Some(Self::Rsa),
            Algorithm::PS256 | Algorithm::PS384 | Algorithm::PS512 => Some(Self::Rsa),
            _ => None,
        }
    }
}

impl Verifier {
    /// Takes tokens of `issuer` for `service` that are signed with a key in `path`: a JSON web key set, or PEM public
    /// keys.
    pub fn open(path: &Path, issuer: &str, service: &str) -> Result<Self, AuthError> {
        let failed = |reason| AuthError::File { what: "token key file", path: path.to_owned(), reason };
        let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
        let keys = if text.trim_start().starts_with('{') {
            let set: JwkSet = serde_json::from_str(&text).map_err(|error| failed(error.to_string()))?;
            set.keys
                .iter()
                .filter_map(|jwk| {
                    let family = match &jwk.algorithm {
                        jsonwebtoken::jwk::AlgorithmParameters::RSA(_) => Family::Rsa,
                        jsonwebtoken::jwk::AlgorithmParameters::EllipticCurve(_) => Family::Ec,
                        jsonwebtoken::jwk::AlgorithmParameters::OctetKeyPair(_) => Family::Ed,
                        jsonwebtoken::jwk::AlgorithmParameters::OctetKey(_) => return None,
                    };
                    let key = DecodingKey::from_jwk(jwk).ok()?;
                    Some((jwk.common.key_id.clone(), family, key))
                })
                .collect()
        } else {
            pem_keys(&text)
        };
        if keys.is_empty() {
            return Err(failed("it holds no public key that can be used".into()));
        }
        Ok(Self { keys, issuer: issuer.into(), service: service.into() })
    }

    /// Takes tokens that are signed with one key.
    pub(super) fn of_key(id: String, key: DecodingKey, issuer: &str, service: &str) -> Self {
        Self { keys: vec![(Some(id), Family::Ec, key)], issuer: issuer.into(), service: service.into() }
    }

    /// Whose token this is and what it grants.
    pub fn verify(&self, token: &str) -> Result<(String, Vec<Grant>), jsonwebtoken::errors::Error> {
        use jsonwebtoken::errors::ErrorKind;
        let invalid = || jsonwebtoken::errors::Error::from(ErrorKind::InvalidToken);
        if token.len() > TOKEN_MAX {
            return Err(invalid());
        }
        let header = decode_header(token)?;
        let family =
            Family::of(header.alg).filter(|_| ALGORITHMS.contains(&header.alg)).ok_or_else(invalid)?;
        let mut validation = Validation::new(header.alg);
        validation.set_issuer(&[&self.issuer]);
        validation.set_audience(&[&self.service]);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        validation.validate_nbf = true;
        validation.leeway = 60;
        let named = |id: &Option<String>| id.is_some() && *id == header.kid;
        let fits = |known: &&(Option<String>, Family, DecodingKey)| known.1 == family;
        let mut keys: Vec<_> = self.keys.iter().filter(fits).filter(|(id, ..)| named(id)).collect();
        if keys.is_empty() {
            keys = self.keys.iter().filter(fits).collect();
        }
        let mut last = invalid();
        for (_, _, key) in keys {
            match decode::<Claims>(token, key, &validation) {
                Ok(data) => return Ok((data.claims.sub, data.claims.access)),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

fn pem_keys(text: &str) -> Vec<(Option<String>, Family, DecodingKey)> {
    let mut keys = Vec::new();
    for block in text.split_inclusive("-----END PUBLIC KEY-----") {
        let Some(start) = block.find("-----BEGIN") else { continue };
        let pem = &block.as_bytes()[start..];
        let known = DecodingKey::from_ec_pem(pem)
            .map(|key| (None, Family::Ec, key))
            .or_else(|_| DecodingKey::from_rsa_pem(pem).map(|key| (None, Family::Rsa, key)))
            .or_else(|_| DecodingKey::from_ed_pem(pem).map(|key| (None, Family::Ed, key)));
        keys.extend(known);
    }
    keys
}
