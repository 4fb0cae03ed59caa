//! A registry on a port of its own, and a client that says what it gets.
#![allow(dead_code, reason = "each test file uses a part")]

use std::net::SocketAddr;
use std::path::Path;

use bytes::Bytes;
use corten_registry_server::{Given, Registry};
use corten_types::Digest;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// What a test says about a registry; the rest is for tests.
pub fn given(root: &Path) -> Given {
    Given {
        listen: vec!["127.0.0.1:0".into()],
        data_root: Some(root.to_owned()),
        access_log: Some("off".into()),
        shutdown_timeout: Some("5s".into()),
        ..Given::default()
    }
}

pub async fn start(given: Given) -> Registry {
    Registry::start(given.settle().expect("the settings make sense")).await.expect("the registry starts")
}

/// A registry in `root`.
pub async fn open(root: &Path) -> Registry {
    start(given(root)).await
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("a header is text"))
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("the body is JSON")
    }

    /// The code of the first error.
    pub fn code(&self) -> String {
        self.json()["errors"][0]["code"].as_str().unwrap_or_default().to_owned()
    }
}

/// A client of one registry.
#[derive(Clone)]
pub struct Api {
    pub address: SocketAddr,
    pub authorization: Option<String>,
}

impl Api {
    pub fn of(registry: &Registry) -> Self {
        Self { address: registry.addresses()[0], authorization: None }
    }

    pub async fn ask(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let socket = TcpStream::connect(self.address).await.expect("the registry listens");
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(socket)).await.expect("it speaks HTTP");
        tokio::spawn(connection);
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", self.address.to_string())
            .body(Full::new(body.into()))
            .expect("the request is one");
        if let Some(authorization) = &self.authorization {
            request.headers_mut().insert("authorization", authorization.parse().expect("a header"));
        }
        for (name, value) in headers {
            let name: http::HeaderName = name.parse().expect("a name");
            request.headers_mut().append(name, value.parse().expect("a header"));
        }
        let response = sender.send_request(request).await.expect("an answer comes");
        let (parts, body) = response.into_parts();
        let body = body.collect().await.expect("the body comes").to_bytes();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, &[], "").await
    }

    pub async fn head(&self, path: &str) -> Answer {
        self.ask(Method::HEAD, path, &[], "").await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.ask(Method::DELETE, path, &[], "").await
    }

    /// Pushes a blob in one request; its digest.
    pub async fn blob(&self, name: &str, content: &[u8]) -> Digest {
        let digest = Digest::of(content);
        let path = format!("/v2/{name}/blobs/uploads/?digest={digest}");
        let answer = self.ask(Method::POST, &path, &[], content.to_vec()).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{:?}", answer.body);
        digest
    }

    pub async fn put_manifest(&self, name: &str, reference: &str, kind: &str, text: &str) -> Answer {
        let path = format!("/v2/{name}/manifests/{reference}");
        self.ask(Method::PUT, &path, &[("content-type", kind)], text.to_owned()).await
    }

    /// Pushes an image of one layer; the digest of its manifest.
    pub async fn image(&self, name: &str, tag: &str, layer: &[u8]) -> Digest {
        let config = self.blob(name, format!("{{\"of\":\"{tag}\"}}").as_bytes()).await;
        let layer_digest = self.blob(name, layer).await;
        let text = manifest(&config, &[(layer_digest, layer.len())], "");
        let answer = self.put_manifest(name, tag, MANIFEST, &text).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{:?}", answer.body);
        Digest::of(text.as_bytes())
    }
}

pub fn descriptor(kind: &str, digest: &Digest, size: usize) -> String {
    format!(r#"{{"mediaType":"{kind}","digest":"{digest}","size":{size}}}"#)
}

/// A manifest; `more` is added to its fields.
pub fn manifest(config: &Digest, layers: &[(Digest, usize)], more: &str) -> String {
    let layers: Vec<String> = layers.iter().map(|(digest, size)| descriptor(LAYER, digest, *size)).collect();
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{},"layers":[{}]{more}}}"#,
        descriptor(CONFIG, config, 2),
        layers.join(",")
    )
}

/// Bytes that compress badly and differ by seed.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// How many blobs lie on disk, finished or not.
pub fn on_disk(root: &Path) -> (usize, usize) {
    let count = |path: &str| std::fs::read_dir(root.join(path)).expect("the directory is there").count();
    (count("content/blobs/sha256"), count("content/ingest"))
}
