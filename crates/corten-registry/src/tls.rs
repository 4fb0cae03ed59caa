//! TLS towards registries: the system's authorities and those of `certs.d`, client certificates, and any certificate of
//! a registry that was named as insecure.

use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::TlsConnector;

/// Where distributions keep the certificates of authorities.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// How TLS is spoken with a registry: with the authorities and client certificates of `directories`, and with any
/// certificate of its own where it is `trusted`.
pub(crate) fn connector(trusted: bool, directories: &[PathBuf]) -> Result<TlsConnector, String> {
    let mut own = Own::default();
    for directory in directories {
        own.read(directory)?;
    }
    if !trusted && own.is_empty() {
        static PLAIN: OnceLock<Result<TlsConnector, String>> = OnceLock::new();
        return PLAIN.get_or_init(|| Own::default().connector(false)).clone();
    }
    own.connector(trusted)
}

/// The files of a registry.
#[derive(Default)]
struct Own {
    authorities: Vec<CertificateDer<'static>>,
    client: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
}

impl Own {
    fn is_empty(&self) -> bool {
        self.authorities.is_empty() && self.client.is_none()
    }

    /// Reads the `*.crt`, `*.cert` and `*.key` of a directory.
    fn read(&mut self, directory: &Path) -> Result<(), String> {
        let failed = |path: &Path, error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let entries = std::fs::read_dir(directory).map_err(|error| failed(directory, &error))?;
        let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        files.sort();
        for path in files {
            let read =
                || CertificateDer::pem_file_iter(&path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("crt") => self.authorities.extend(read().map_err(|error| failed(&path, &error))?),
                Some("cert") => {
                    let key = path.with_extension("key");
                    if !key.is_file() {
                        let (key, path) = (file_name(&key), file_name(&path));
                        return Err(format!(
                            "missing key {key} for client certificate {path}. CA certificates must use the extension .crt"
                        ));
                    }
                    let chain = read().map_err(|error| failed(&path, &error))?;
                    let secret = PrivateKeyDer::from_pem_file(&key).map_err(|error| failed(&key, &error))?;
                    self.client = Some((chain, secret));
                }
                Some("key") if !path.with_extension("cert").is_file() => {
                    let (key, path) = (file_name(&path), file_name(&path.with_extension("cert")));
                    return Err(format!("missing client certificate {path} for key {key}"));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn connector(self, trusted: bool) -> Result<TlsConnector, String> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let failed = |error: rustls::Error| format!("tls: {error}");
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(failed)?;
        let builder = if trusted {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Named { provider }))
        } else {
            let mut roots = match roots() {
                Err(error) if self.authorities.is_empty() => return Err(error),
                roots => roots.unwrap_or_else(|_| RootCertStore::empty()),
            };
            for authority in self.authorities {
                roots.add(authority).map_err(failed)?;
            }
            builder.with_root_certificates(roots)
        };
        let config = match self.client {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => builder.with_client_auth_cert(chain, key).map_err(failed)?,
        };
        Ok(TlsConnector::from(Arc::new(config)))
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn roots() -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let own = std::env::var_os("SSL_CERT_FILE").map(std::path::PathBuf::from);
    let paths = own.into_iter().chain(BUNDLES.iter().map(std::path::PathBuf::from));
    for path in paths {
        let Ok(file) = std::fs::File::open(&path) else { continue };
        for certificate in CertificateDer::pem_reader_iter(BufReader::new(file)).flatten() {
            // One that rustls cannot read only makes its own authority unknown.
            let _ = roots.add(certificate);
        }
        if !roots.is_empty() {
            return Ok(roots);
        }
    }
    Err("tls: no certificate authorities are installed on this machine (package ca-certificates)".into())
}

/// Believes whoever answers, but not that a signature fits where it does not.
#[derive(Debug)]
struct Named {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Named {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
pub(crate) mod tests;
