use std::collections::HashMap;
use std::sync::Arc;

use corten_types::Reference;
use parking_lot::{Mutex, RwLock};

use crate::auth::Auth;
use crate::endpoint::Endpoint;
use crate::repository::Repository;
use crate::settings::Settings;
use crate::sources::Sources;
use crate::transport::Transport;

/// A client of any number of registries.
pub struct Client {
    pub(crate) user_agent: String,
    pub(crate) transport: Transport,
    settings: RwLock<Arc<Settings>>,
    /// Whether registries that may do without TLS speak it, by host and port, as far as they were asked.
    speaks_tls: Mutex<HashMap<(String, u16), bool>>,
}

impl Client {
    /// A client that names itself so.
    pub fn new(user_agent: impl Into<String>, settings: Settings) -> Self {
        Self {
            user_agent: user_agent.into(),
            transport: Transport::default(),
            settings: RwLock::new(Arc::new(settings)),
            speaks_tls: Mutex::default(),
        }
    }

    /// Changes the settings for everything that begins from now on.
    pub fn configure(&self, settings: Settings) {
        *self.settings.write() = Arc::new(settings);
        self.speaks_tls.lock().clear();
        self.transport.forget();
    }

    pub(crate) fn settings(&self) -> Arc<Settings> {
        self.settings.read().clone()
    }

    /// The repository of a reference, as whoever `auth` says.
    pub async fn repository(&self, reference: &Reference, auth: Option<Auth>) -> Repository<'_> {
        let endpoint = self.settle(Endpoint::of(reference, &self.settings().insecure)).await;
        Repository::new(self, endpoint, reference.path(), auth)
    }

    /// Where a reference's repository can be read: the mirrors of its registry, then the registry. `auth` gives the
    /// credentials for a domain; a mirror gets its own or none.
    pub async fn sources(
        &self,
        reference: &Reference,
        auth: &(dyn Fn(&str) -> Option<Auth> + Sync),
    ) -> Sources<'_> {
        let mut all = Vec::new();
        for mirror in self.settings().mirrors_of(reference.domain()) {
            let auth = auth(&mirror.authority());
            all.push(Repository::new(self, mirror, reference.path(), auth));
        }
        all.push(self.repository(reference, auth(reference.domain())).await);
        Sources::new(all)
    }

    /// A registry itself, by its domain: for checking credentials, and for searching.
    pub async fn registry(&self, domain: &str, auth: Option<Auth>) -> Repository<'_> {
        let endpoint = self.settle(Endpoint::of_domain(domain, &self.settings().insecure)).await;
        Repository::new(self, endpoint, "", auth)
    }

    /// Finds out whether a registry that may do without TLS speaks it: TLS is tried first.
    async fn settle(&self, endpoint: Endpoint) -> Endpoint {
        if !endpoint.trusted || endpoint.tls {
            return endpoint;
        }
        let with_tls = endpoint.clone().with_tls();
        let place = (with_tls.host.clone(), with_tls.port);
        let known = self.speaks_tls.lock().get(&place).copied();
        let speaks = match known {
            Some(speaks) => speaks,
            None => match self.transport.speaks_tls(&with_tls, &self.settings()).await {
                Some(speaks) => {
                    self.speaks_tls.lock().insert(place, speaks);
                    speaks
                }
                // Nobody answers; it may be up the next time.
                None => false,
            },
        };
        if speaks { with_tls } else { endpoint }
    }
}
