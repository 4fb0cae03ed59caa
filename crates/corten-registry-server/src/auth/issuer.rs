//! Our own issuer of tokens: users show their password here and get a token for what the rules allow them.

use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, encode};

use super::rules::{Action, Rules};
use super::token::{Claims, Grant, Verifier};
use super::{AuthError, Wish};
use crate::error::Refusal;
use crate::time::now;

/// How long a token is good for, in seconds.
const LIFETIME: u64 = 300;

/// The issuer; its key lies in the data root.
pub struct Issuer {
    key: EncodingKey,
    id: String,
    name: String,
    service: String,
}

/// A token that was issued, and what clients want to know about it.
#[derive(Debug, Clone)]
pub struct Issued {
    /// The token.
    pub token: String,
    /// How long it is good for, in seconds.
    pub expires_in: u64,
    /// Since when, RFC 3339.
    pub issued_at: String,
}

impl Issuer {
    /// Reads the key, or makes one where there is none; with it comes who takes its tokens.
    pub fn open(path: &Path, service: &str) -> Result<(Self, Verifier), AuthError> {
        let failed = |reason: String| AuthError::File { what: "token key", path: path.to_owned(), reason };
        let der = match std::fs::read(path) {
            Ok(der) => der,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => make_key(path).map_err(failed)?,
            Err(error) => return Err(failed(error.to_string())),
        };
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der)
            .map_err(|error| failed(format!("it is no P-256 key: {error}")))?;
        let public = pair.public_key();
        let spki = public.as_der().map_err(|error| failed(error.to_string()))?;
        let id = corten_types::Digest::of(spki.as_ref()).hex()[..16].to_owned();
        let name = "corten-registry".to_owned();
        let verifier =
            Verifier::of_key(id.clone(), DecodingKey::from_ec_der(public.as_ref()), &name, service);
        let key = EncodingKey::from_ec_der(&der);
        Ok((Self { key, id, name, service: service.into() }, verifier))
    }

    /// A token for `user` (or nobody) with as much of `scopes` as the rules allow.
    pub fn issue(&self, rules: &Rules, user: Option<&str>, scopes: &[&str]) -> Result<Issued, Refusal> {
        let access: Vec<Grant> = scopes
            .iter()
            .flat_map(|scope| scope.split(' '))
            .take(32)
            .filter_map(|scope| granted(rules, user, scope))
            .collect();
        let (from, issued_at) = (now(), jiff::Timestamp::now().to_string());
        let claims = Claims {
            iss: self.name.clone(),
            sub: user.unwrap_or_default().into(),
            aud: self.service.clone().into(),
            exp: from + LIFETIME,
            nbf: from.saturating_sub(10),
            iat: from,
            jti: corten_types::random_hex(16),
            access,
        };
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(self.id.clone());
        let token = encode(&header, &claims, &self.key)
            .map_err(|error| Refusal::Failed(format!("could not sign a token: {error}")))?;
        Ok(Issued { token, expires_in: LIFETIME, issued_at })
    }
}

/// What of a scope, `repository:a/b:pull,push`, the rules allow.
fn granted(rules: &Rules, user: Option<&str>, scope: &str) -> Option<Grant> {
    let (kind, rest) = scope.split_once(':')?;
    let (name, actions) = rest.rsplit_once(':')?;
    let allowed: Vec<String> = match kind {
        "repository" => {
            let repository: crate::name::RepositoryName = name.parse().ok()?;
            let wanted = |action: Action| {
                actions.split(',').any(|word| word == action.word() || word == "*")
                    && rules.allow(user, &Wish::Repository(repository.clone(), action))
            };
            [Action::Pull, Action::Push, Action::Delete]
                .into_iter()
                .filter(|action| wanted(*action))
                .map(|action| action.word().to_owned())
                .collect()
        }
        "registry" if name == "catalog" && rules.allow(user, &Wish::Catalog) => vec!["*".into()],
        _ => return None,
    };
    Some(Grant { kind: kind.into(), name: name.into(), actions: allowed })
}

fn make_key(path: &Path) -> Result<Vec<u8>, String> {
    let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
        .map_err(|error| error.to_string())?;
    let der = document.as_ref().to_vec();
    let mut file = std::fs::File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| error.to_string())?;
    std::io::Write::write_all(&mut file, &der)
        .and_then(|()| file.sync_all())
        .map_err(|error| error.to_string())?;
    Ok(der)
}
