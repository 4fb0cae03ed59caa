//! TLS with a registry: whom it is believed, and whom it believes.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::{PrivateKeyDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::connector;
use crate::endpoint::Endpoint;
use crate::repository::Repository;
use crate::transport::Reach;
use crate::{Client, Settings};

/// An authority and what it signed.
pub(crate) struct Authority(pub(crate) CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn sign(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.0).unwrap(), key)
    }
}

/// A server for `localhost` that answers everything with 200; with `clients`, only to those it has signed.
async fn serve(authority: &Authority, clients: Option<&Authority>) -> SocketAddr {
    serve_as("localhost", authority, clients).await
}

/// The same under another name.
pub(crate) async fn serve_as(name: &str, authority: &Authority, clients: Option<&Authority>) -> SocketAddr {
    let (certificate, key) = authority.sign(name);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(clients) => {
            let mut roots = RootCertStore::empty();
            roots.add(clients.0.der().clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = builder.with_single_cert(vec![certificate.der().clone()], key).unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let service = service_fn(|_| async {
                    Ok::<_, std::convert::Infallible>(Response::new(Full::new(Bytes::from_static(b"{}"))))
                });
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    address
}

/// Shakes hands as with a registry whose files are in `directory`, and asks something.
async fn ask(directory: &Path, port: u16) -> Result<(), String> {
    let connector = connector(false, &[directory.to_owned()])?;
    let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = connector.connect(name, stream).await.map_err(|error| error.to_string())?;
    // A server that does not believe its client says so when the handshake is over here.
    let mut answer = String::new();
    let asked = async {
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await?;
        stream.read_to_string(&mut answer).await
    };
    match asked.await {
        Err(error) if !answer.starts_with("HTTP/1") => Err(error.to_string()),
        _ => Ok(()),
    }
}

#[tokio::test]
async fn a_registry_is_believed_by_the_authorities_of_its_directory() {
    let (authority, other) = (Authority::new(), Authority::new());
    let address = serve(&authority, None).await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ca.crt");
    std::fs::write(&file, other.0.pem()).unwrap();
    let refused = ask(directory.path(), address.port()).await.unwrap_err();
    assert!(refused.contains("invalid peer certificate"), "{refused}");
    std::fs::write(&file, authority.0.pem()).unwrap();
    ask(directory.path(), address.port()).await.unwrap();
}

#[tokio::test]
async fn a_client_shows_its_certificate_and_misses_a_key() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let address = serve(&authority, Some(&clients)).await;
    let directory = tempfile::tempdir().unwrap();
    let own = directory.path();
    std::fs::write(own.join("ca.crt"), authority.0.pem()).unwrap();
    assert!(ask(own, address.port()).await.is_err());
    let (certificate, key) = clients.sign("somebody");
    std::fs::write(own.join("client.cert"), certificate.pem()).unwrap();
    let missing = ask(own, address.port()).await.unwrap_err();
    assert!(missing.contains("missing key client.key for client certificate client.cert"), "{missing}");
    std::fs::write(own.join("client.key"), key.serialize_pem()).unwrap();
    ask(own, address.port()).await.unwrap();
}

#[tokio::test]
async fn a_registry_that_may_do_without_tls_is_asked_for_it_first() {
    let address = serve(&Authority::new(), None).await;
    let client = Client::new("test", Settings::default());
    let registry = client.registry(&address.to_string(), None).await;
    assert!(registry.endpoint().tls);
    registry.ping().await.unwrap();
}

#[tokio::test]
async fn a_registry_with_a_certificate_may_be_on_this_machine_and_others_may_not_send_there() {
    let authority = Authority::new();
    let port = serve(&authority, None).await.port();
    let root = tempfile::tempdir().unwrap();
    let own = root.path().join(format!("localhost:{port}"));
    std::fs::create_dir(&own).unwrap();
    std::fs::write(own.join("ca.crt"), authority.0.pem()).unwrap();
    let settings = Settings { certificates: vec![root.path().to_owned()], ..Settings::default() };
    let client = Client::new("test", settings);
    // As if the name were a public one that the machine's hosts file leads here.
    let endpoint = Endpoint { tls: true, host: "localhost".into(), port, trusted: false };

    let make = || http::Request::get("/v2/").body(crate::repository::empty()).map_err(std::io::Error::other);
    let sent = client.transport.send(&endpoint, Reach::Outside, &client.settings(), true, &make).await;
    assert!(sent.unwrap_err().contains("an address of this machine is refused here"));
    assert!(!client.transport.is_inner(&endpoint));

    Repository::new(&client, endpoint.clone(), "a/b", None).ping().await.unwrap();
    assert!(client.transport.is_inner(&endpoint));
}
