//! What the client was told about registries: which may do without TLS, which have mirrors, where certificates lie,
//! and which proxies lead to them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::endpoint::Endpoint;
use crate::proxy::Proxies;

/// Settings of a client. Read anew for every pull and push.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// Registries whose certificates are not checked and that may speak plain HTTP: `host[:port]` or networks
    /// (`10.0.0.0/8`). Those on this machine always may.
    pub insecure: Vec<String>,
    /// Addresses (`http[s]://host[:port]`) that are asked before the registry of a domain itself, in this order.
    pub mirrors: BTreeMap<String, Vec<String>>,
    /// Directories that hold one directory per `host[:port]` with authorities (`*.crt`) and client certificates
    /// (`*.cert` with `*.key`), as `/etc/docker/certs.d`.
    pub certificates: Vec<PathBuf>,
    /// Proxies on the way.
    pub proxies: Proxies,
}

impl Settings {
    /// The mirrors of a registry, by its domain.
    pub(crate) fn mirrors_of(&self, domain: &str) -> Vec<Endpoint> {
        let mirrors = self.mirrors.get(domain).into_iter().flatten();
        mirrors.filter_map(|address| Endpoint::of_address(address, &self.insecure)).collect()
    }

    /// The directories with certificates for a registry that are there.
    pub(crate) fn certificates_of(&self, endpoint: &Endpoint) -> Vec<PathBuf> {
        let with_port = format!("{}:{}", endpoint.host, endpoint.port);
        let mut names = vec![with_port, endpoint.authority()];
        names.dedup();
        let in_root = |root: &Path| -> Vec<PathBuf> { names.iter().map(|name| root.join(name)).collect() };
        self.certificates.iter().flat_map(|root| in_root(root)).filter(|path| path.is_dir()).collect()
    }
}
