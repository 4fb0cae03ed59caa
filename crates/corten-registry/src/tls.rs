//! TLS towards registries: the system's certificates, or any for a registry that was named as insecure.

use std::io::BufReader;
use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::TlsConnector;

/// Where distributions keep the certificates of authorities.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Checks certificates against the system's authorities.
pub(crate) fn verifying() -> Result<TlsConnector, String> {
    static CONFIG: OnceLock<Result<Arc<ClientConfig>, String>> = OnceLock::new();
    CONFIG.get_or_init(|| config(roots()?).map(Arc::new)).clone().map(TlsConnector::from)
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

fn config(roots: RootCertStore) -> Result<ClientConfig, String> {
    ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map(|builder| builder.with_root_certificates(roots).with_no_client_auth())
        .map_err(|error| format!("tls: {error}"))
}

/// Takes any certificate: for registries that somebody named as insecure.
pub(crate) fn trusting() -> Result<TlsConnector, String> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = Arc::new(Named { provider: provider.clone() });
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map(|builder| builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
        .map(|config| TlsConnector::from(Arc::new(config)))
        .map_err(|error| format!("tls: {error}"))
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
