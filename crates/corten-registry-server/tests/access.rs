//! Who may do what: passwords, tokens, rules, read-only registries, TLS.

mod support;

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use corten_registry_server::Given;
use corten_types::Digest;
use http::{Method, StatusCode};
use support::*;

fn basic(user: &str, password: &str) -> Option<String> {
    Some(format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))))
}

/// A registry with users ann and bob, passwords as names, where ann may push and everybody may read `public`.
fn guarded(root: &Path) -> Given {
    let users: Vec<String> =
        ["ann", "bob"].iter().map(|name| format!("{name}:{}", bcrypt::hash(name, 4).unwrap())).collect();
    let path = root.join("htpasswd");
    std::fs::write(&path, users.join("\n")).unwrap();
    let rules: Given = toml::from_str(
        r#"
        [[access]]
        user = "ann"
        repositories = ["**"]
        actions = ["pull", "push", "delete"]
        [[access]]
        user = "*"
        repositories = ["team/*"]
        actions = ["pull"]
        [[access]]
        user = "anonymous"
        repositories = ["public"]
        actions = ["pull"]
        "#,
    )
    .unwrap();
    Given { htpasswd: Some(path), ..given(&root.join("data")) }.over(rules)
}

#[tokio::test]
async fn users_do_what_the_rules_allow_them() {
    let root = tempfile::tempdir().unwrap();
    let registry = start(guarded(root.path())).await;
    let nobody = Api::of(&registry);
    let ann = Api { authorization: basic("ann", "ann"), ..nobody.clone() };
    let bob = Api { authorization: basic("bob", "bob"), ..nobody.clone() };
    let asked = nobody.get("/v2/").await;
    assert_eq!(asked.status, StatusCode::UNAUTHORIZED);
    assert_eq!(asked.header("www-authenticate"), r#"Basic realm="corten registry""#);
    assert_eq!(ann.get("/v2/").await.status, StatusCode::OK);
    let wrong = Api { authorization: basic("ann", "bob"), ..nobody.clone() };
    assert_eq!(wrong.get("/v2/").await.code(), "UNAUTHORIZED");
    for name in ["team/app", "public", "other"] {
        ann.image(name, "v1", b"layer").await;
    }
    let pull = |api: &Api, name: &str| {
        let (api, path) = (api.clone(), format!("/v2/{name}/manifests/v1"));
        async move { api.get(&path).await.status.as_u16() }
    };
    assert_eq!([pull(&nobody, "public").await, pull(&nobody, "team/app").await], [200, 401]);
    assert_eq!(
        [pull(&bob, "public").await, pull(&bob, "team/app").await, pull(&bob, "other").await],
        [200, 200, 403]
    );
    let push = bob.ask(Method::POST, "/v2/team/app/blobs/uploads/", &[], "").await;
    assert_eq!((push.status, push.code().as_str()), (StatusCode::FORBIDDEN, "DENIED"));
    assert_eq!(bob.delete("/v2/team/app/manifests/v1").await.status, StatusCode::FORBIDDEN);
    let listed = bob.get("/v2/_catalog").await.json();
    assert_eq!(listed, serde_json::json!({"repositories": ["public", "team/app"]}), "what bob may read");
    let secret = Digest::of(b"layer");
    let mount = format!("/v2/public/blobs/uploads/?mount={secret}&from=other");
    assert_eq!(bob.ask(Method::POST, &mount, &[], "").await.status, StatusCode::FORBIDDEN);
    registry.stop().await;
}

#[tokio::test]
async fn a_token_of_our_own_is_good_for_its_scope() {
    let root = tempfile::tempdir().unwrap();
    let registry = start(Given { issue_tokens: Some(true), ..guarded(root.path()) }).await;
    let nobody = Api::of(&registry);
    let refused = nobody.ask(Method::POST, "/v2/team/app/blobs/uploads/", &[], "").await;
    let challenge = refused.header("www-authenticate").to_owned();
    assert!(challenge.contains(r#"scope="repository:team/app:pull,push""#), "{challenge}");
    let realm = challenge.split('"').nth(1).unwrap();
    let path = realm.strip_prefix(&format!("http://{}", nobody.address)).unwrap().to_owned();
    let query = format!("{path}?service=corten-registry&scope=repository:team/app:pull,push");
    let ask = |user: Option<String>| {
        let (api, query) = (Api { authorization: user, ..nobody.clone() }, query.clone());
        async move { api.get(&query).await }
    };
    assert_eq!(ask(basic("ann", "wrong")).await.status, StatusCode::UNAUTHORIZED);
    let bearer = |answer: Answer| Some(format!("Bearer {}", answer.json()["token"].as_str().unwrap()));
    let ann = Api { authorization: bearer(ask(basic("ann", "ann")).await), ..nobody.clone() };
    ann.image("team/app", "v1", b"layer").await;
    assert_eq!(ann.get("/v2/").await.status, StatusCode::OK);
    assert_eq!(ann.get("/v2/other/tags/list").await.status, StatusCode::UNAUTHORIZED, "another scope");
    let bob = Api { authorization: bearer(ask(basic("bob", "bob")).await), ..nobody.clone() };
    assert_eq!(bob.get("/v2/team/app/manifests/v1").await.status, StatusCode::OK);
    let push = bob.ask(Method::POST, "/v2/team/app/blobs/uploads/", &[], "").await;
    assert_eq!(push.status, StatusCode::UNAUTHORIZED, "the token grants less than was asked for");
    let forged = Api { authorization: Some("Bearer a.b.c".into()), ..nobody.clone() };
    assert_eq!(forged.get("/v2/").await.status, StatusCode::UNAUTHORIZED);
    registry.stop().await;
}

#[tokio::test]
async fn a_read_only_registry_takes_nothing_and_gives_everything() {
    let root = tempfile::tempdir().unwrap();
    let registry = open(root.path()).await;
    Api::of(&registry).image("a", "v1", b"layer").await;
    registry.stop().await;
    let registry = start(Given { read_only: Some(true), ..given(root.path()) }).await;
    let api = Api::of(&registry);
    assert_eq!(api.get("/v2/a/manifests/v1").await.status, StatusCode::OK);
    for (method, path) in [
        (Method::POST, "/v2/a/blobs/uploads/"),
        (Method::PUT, "/v2/a/manifests/v2"),
        (Method::DELETE, "/v2/a/manifests/v1"),
    ] {
        let answer = api.ask(method, path, &[], "").await;
        assert_eq!((answer.status, answer.code().as_str()), (StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED"));
    }
    registry.stop().await;
    let registry = start(Given { no_delete: Some(true), ..given(root.path()) }).await;
    let api = Api::of(&registry);
    assert_eq!(api.delete("/v2/a/manifests/v1").await.status, StatusCode::METHOD_NOT_ALLOWED);
    api.image("a", "v2", b"more").await;
    registry.stop().await;
}

#[tokio::test]
async fn a_certificate_is_read_again_when_it_changes() {
    let root = tempfile::tempdir().unwrap();
    let (certificate, key) = (root.path().join("cert.pem"), root.path().join("key.pem"));
    let write = || {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        std::fs::write(&certificate, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        made.cert.der().to_vec()
    };
    let first = write();
    let given = Given {
        tls_cert: Some(certificate.clone()),
        tls_key: Some(key.clone()),
        ..given(&root.path().join("data"))
    };
    let registry = start(given).await;
    let address = registry.addresses()[0];
    assert_eq!(presented(address).await, first);
    std::fs::write(&key, "no key").unwrap();
    registry.reload();
    assert_eq!(presented(address).await, first, "files that cannot be used change nothing");
    let second = write();
    registry.reload();
    assert_eq!(presented(address).await, second);
    registry.stop().await;
}

/// The certificate that a server presents.
async fn presented(address: std::net::SocketAddr) -> Vec<u8> {
    use rustls_pki_types::ServerName;
    use std::sync::Arc;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anything(provider)))
        .with_no_client_auth();
    let socket = tokio::net::TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, socket).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

#[derive(Debug)]
struct Anything(std::sync::Arc<rustls::crypto::CryptoProvider>);

impl rustls::client::danger::ServerCertVerifier for Anything {
    fn verify_server_cert(
        &self,
        _: &rustls_pki_types::CertificateDer<'_>,
        _: &[rustls_pki_types::CertificateDer<'_>],
        _: &rustls_pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls_pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &rustls_pki_types::CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &rustls_pki_types::CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
