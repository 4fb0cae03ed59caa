use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

/// Why TLS cannot be spoken with these files.
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

/// Certificate and key; read again when the files change.
pub struct Certificates {
    files: (PathBuf, PathBuf),
    current: Mutex<(TlsAcceptor, [Option<SystemTime>; 2])>,
}

impl Certificates {
    /// Reads the files.
    pub fn open(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let acceptor = read(certificate, key)?;
        let files = (certificate.to_owned(), key.to_owned());
        let stamps = stamps(&files);
        Ok(Self { files, current: Mutex::new((acceptor, stamps)) })
    }

    /// What new connections are accepted with.
    pub fn acceptor(&self) -> TlsAcceptor {
        self.current.lock().0.clone()
    }

    /// Reads the files again if they changed. Files that cannot be used change nothing.
    pub fn refresh(&self) {
        let stamps = stamps(&self.files);
        if self.current.lock().1 == stamps {
            return;
        }
        match read(&self.files.0, &self.files.1) {
            Ok(acceptor) => {
                *self.current.lock() = (acceptor, stamps);
                tracing::info!("the TLS certificate was read again");
            }
            Err(error) => {
                // Not again until they change once more: a certificate is often written before its key.
                self.current.lock().1 = stamps;
                tracing::warn!(%error, "the new TLS certificate cannot be used; the old one stays");
            }
        }
    }
}

fn stamps(files: &(PathBuf, PathBuf)) -> [Option<SystemTime>; 2] {
    [&files.0, &files.1].map(|path| std::fs::metadata(path).and_then(|meta| meta.modified()).ok())
}

fn read(certificate: &Path, key: &Path) -> Result<TlsAcceptor, TlsError> {
    let file = |what, path: &Path, reason: String| TlsError::File { what, path: path.to_owned(), reason };
    let refused = |error: &dyn std::fmt::Display| TlsError::Refused(error.to_string());
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| file("TLS certificate", certificate, error.to_string()))?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(|error| file("TLS key", key, error.to_string()))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| refused(&error))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| refused(&error))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
