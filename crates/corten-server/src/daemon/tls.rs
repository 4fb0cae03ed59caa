//! TLS of the TCP sockets, from the files that `--tls*` names.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use super::settings::Tls;

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
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
    /// Certificate and key do not belong together, or are not acceptable.
    #[error("the TLS certificate cannot be used: {0}")]
    Refused(String),
}

/// Reads the files.
pub fn acceptor(tls: &Tls) -> Result<TlsAcceptor, TlsError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let refused = |error: &dyn std::fmt::Display| TlsError::Refused(error.to_string());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|e| refused(&e))?;
    let builder = match &tls.clients {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates("CA certificate", path)? {
                roots.add(certificate).map_err(|e| refused(&e))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.map_err(|e| refused(&e))?)
        }
    };
    let key = PrivateKeyDer::from_pem_file(&tls.key).map_err(|e| TlsError::File {
        what: "TLS key",
        path: tls.key.clone(),
        reason: e.to_string(),
    })?;
    let mut config = builder
        .with_single_cert(certificates("TLS certificate", &tls.certificate)?, key)
        .map_err(|e| refused(&e))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |reason: String| TlsError::File { what, path: path.to_owned(), reason };
    let found: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(path).map_err(|e| failed(e.to_string()))?.collect();
    let found = found.map_err(|e| failed(e.to_string()))?;
    if found.is_empty() {
        Err(failed(io::Error::other("it holds no certificate").to_string()))
    } else {
        Ok(found)
    }
}
