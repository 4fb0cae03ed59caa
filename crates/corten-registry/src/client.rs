use corten_types::Reference;

use crate::auth::Auth;
use crate::endpoint::Endpoint;
use crate::repository::Repository;
use crate::transport::Transport;

/// A client of any number of registries.
pub struct Client {
    pub(crate) user_agent: String,
    pub(crate) transport: Transport,
}

impl Client {
    /// A client that names itself so.
    pub fn new(user_agent: impl Into<String>) -> Self {
        Self { user_agent: user_agent.into(), transport: Transport::default() }
    }

    /// The repository of a reference, as whoever `auth` says.
    pub fn repository(
        &self,
        reference: &Reference,
        insecure: &[String],
        auth: Option<Auth>,
    ) -> Repository<'_> {
        Repository::new(self, Endpoint::of(reference, insecure), reference.path(), auth)
    }

    /// A registry itself, by its domain: for checking credentials.
    pub fn registry(&self, domain: &str, insecure: &[String], auth: Option<Auth>) -> Repository<'_> {
        Repository::new(self, Endpoint::of_domain(domain, insecure), "", auth)
    }
}
