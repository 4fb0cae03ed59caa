//! Who asks, and what they may do.
//!
//! ```text
//!  Authorization: Basic  ──▶ users (htpasswd) ──▶ User ──▶ rules ──┐
//!  Authorization: Bearer ──▶ keys (signature, issuer, audience) ──▶ grants of the token ──▶ allowed or not
//!  nothing               ──▶ Anonymous ──▶ rules ─────────────────┘
//! ```
//!
//! Without users and keys everybody may do everything. With them and without rules, users may do everything and
//! nobody else anything.

mod issuer;
mod pattern;
mod rules;
mod token;
mod users;

use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

pub use issuer::Issuer;
pub use pattern::Pattern;
pub use rules::{Action, Rule, Rules};
pub use token::{Grant, Verifier};
pub use users::Users;

use crate::error::Refusal;
use crate::name::RepositoryName;

/// Why authorization could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// A file cannot be read or holds something else.
    #[error("{what} {}: {reason}", path.display())]
    File {
        /// What it should be.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principal {
    /// Nobody showed who they are.
    Anonymous,
    /// A user whose password was right.
    User(String),
    /// The bearer of a token: its subject, and what it grants.
    Bearer(String, Vec<Grant>),
}

impl Principal {
    /// A name for the log; empty for nobody.
    pub fn name(&self) -> &str {
        match self {
            Self::Anonymous => "",
            Self::User(name) | Self::Bearer(name, _) => name,
        }
    }
}

/// What somebody wants to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// Something in a repository.
    Repository(RepositoryName, Action),
    /// List the repositories.
    Catalog,
    /// See that there is a registry.
    Base,
}

impl Wish {
    /// The scope of a token for it (distribution's token specification).
    fn scope(&self) -> Option<String> {
        match self {
            Self::Repository(name, Action::Pull) => Some(format!("repository:{name}:pull")),
            Self::Repository(name, Action::Push) => Some(format!("repository:{name}:pull,push")),
            Self::Repository(name, Action::Delete) => Some(format!("repository:{name}:delete")),
            Self::Catalog => Some("registry:catalog:*".into()),
            Self::Base => None,
        }
    }
}

/// How users are told to ask for tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Realm {
    /// At an address.
    Address(String),
    /// Here.
    Own,
}

/// The guard at the door.
#[derive(Default)]
pub struct Guard {
    /// Users with passwords.
    pub users: Option<Users>,
    /// Keys of token issuers.
    pub verifier: Option<Verifier>,
    /// Where tokens are to be had, and the service they are for.
    pub realm: Option<(Realm, String)>,
    /// Our own issuer.
    pub issuer: Option<Issuer>,
    /// What who may do.
    pub rules: Rules,
}

impl Guard {
    /// Whether anybody is kept out at all.
    pub fn is_open(&self) -> bool {
        self.users.is_none() && self.verifier.is_none()
    }

    /// Who asks, by the `Authorization` header. `origin` is how the client reached us: `https://host`.
    pub async fn identify(
        self: &Arc<Self>,
        authorization: Option<&str>,
        origin: &str,
    ) -> Result<Principal, Refusal> {
        let Some(authorization) = authorization.filter(|_| !self.is_open()) else {
            return Ok(Principal::Anonymous);
        };
        let refused = |reason| self.unauthorized(reason, &Wish::Base, origin);
        let (scheme, value) = authorization.split_once(' ').unwrap_or((authorization, ""));
        if scheme.eq_ignore_ascii_case("basic") {
            let Some(users) = &self.users else { return Err(refused("this registry takes tokens only")) };
            let credentials = decode_basic(value).ok_or_else(|| refused("the credentials cannot be read"))?;
            let (user, password) = credentials;
            if users.check(&user, &password).await {
                return Ok(Principal::User(user));
            }
            return Err(refused("user or password is wrong"));
        }
        if scheme.eq_ignore_ascii_case("bearer") {
            let Some(verifier) = &self.verifier else { return Err(refused("this registry takes no tokens")) };
            return match verifier.verify(value.trim()) {
                Ok((subject, grants)) => Ok(Principal::Bearer(subject, grants)),
                Err(error) => {
                    tracing::debug!(%error, "a token is refused");
                    Err(refused("the token is not valid here, or no longer"))
                }
            };
        }
        Err(refused("this way of showing who you are is not known here"))
    }

    /// Whether `principal` may do what is wished.
    pub fn allows(&self, principal: &Principal, wish: &Wish) -> bool {
        if self.is_open() {
            return true;
        }
        match principal {
            Principal::Bearer(_, grants) => token::grants(grants, wish),
            Principal::User(name) => self.rules.allow(Some(name), wish),
            Principal::Anonymous => match wish {
                // A client asks here whether it must say who it is.
                Wish::Base => false,
                wish => self.rules.allow(None, wish),
            },
        }
    }

    /// [`Guard::allows`], as a refusal.
    pub fn admit(&self, principal: &Principal, wish: &Wish, origin: &str) -> Result<(), Refusal> {
        if self.allows(principal, wish) {
            return Ok(());
        }
        match principal {
            Principal::Anonymous => Err(self.unauthorized("authentication required", wish, origin)),
            // A bearer can come back with another token; a user is who they are.
            Principal::Bearer(..) => Err(self.unauthorized("the token does not grant this", wish, origin)),
            Principal::User(name) => Err(Refusal::Denied(format!("{name} may not do this here"))),
        }
    }

    fn unauthorized(&self, reason: &'static str, wish: &Wish, origin: &str) -> Refusal {
        let challenge = match &self.realm {
            None => r#"Basic realm="corten registry""#.to_owned(),
            Some((realm, service)) => {
                let realm = match realm {
                    Realm::Address(address) => address.clone(),
                    Realm::Own => format!("{origin}/auth/token"),
                };
                let scope = wish.scope().map(|scope| format!(r#",scope="{scope}""#)).unwrap_or_default();
                format!(r#"Bearer realm="{realm}",service="{service}"{scope}"#)
            }
        };
        Refusal::Unauthorized { reason, challenge }
    }
}

/// `user:password` of a Basic header.
pub fn decode_basic(value: &str) -> Option<(String, String)> {
    let bytes = STANDARD.decode(value.trim()).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

#[cfg(test)]
mod tests;
