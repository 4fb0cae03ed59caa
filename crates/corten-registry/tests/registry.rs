//! The client against a registry that lives in this file.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use corten_registry::{Auth, Client, Mounted, RegistryError, Repository, Settings};
use corten_types::{Digest, Reference};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// A registry, and how it behaves.
#[derive(Default)]
struct Toy {
    blobs: Mutex<BTreeMap<String, Bytes>>,
    /// By tag or digest: type and bytes.
    manifests: Mutex<BTreeMap<String, (String, Bytes)>>,
    /// Asks for a token of this realm.
    realm: Mutex<Option<String>>,
    /// Sends blobs' readers here.
    redirect: Mutex<Option<String>>,
    /// How many requests are refused as busy before one is answered.
    busy: Mutex<u32>,
    /// Answers with whole blobs only.
    without_ranges: Mutex<bool>,
    /// Every `Authorization` header that came, with its path.
    seen: Mutex<Vec<(String, String)>>,
}

impl Toy {
    async fn start(address: &str) -> (Arc<Self>, SocketAddr) {
        let toy = Arc::new(Self::default());
        let listener = TcpListener::bind((address, 0)).await.unwrap();
        let bound = listener.local_addr().unwrap();
        let served = toy.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let toy = served.clone();
                let service = service_fn(move |request| {
                    let toy = toy.clone();
                    async move { Ok::<_, std::convert::Infallible>(toy.answer(request).await) }
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        (toy, bound)
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let path = parts.uri.path().to_owned();
        let query = parts.uri.query().unwrap_or("").to_owned();
        {
            let mut busy = self.busy.lock().unwrap();
            if *busy > 0 {
                *busy -= 1;
                return Response::builder()
                    .status(StatusCode::SERVICE_UNAVAILABLE)
                    .body(Full::default())
                    .unwrap();
            }
        }
        let authorization =
            parts.headers.get("authorization").map(|value| value.to_str().unwrap().to_owned());
        if let Some(value) = &authorization {
            self.seen.lock().unwrap().push((path.clone(), value.clone()));
        }
        let status = |status: StatusCode| Response::builder().status(status);
        let plain = |status: StatusCode, text: &str| {
            Response::builder().status(status).body(Full::from(text.to_owned())).unwrap()
        };
        if path == "/token" {
            return match authorization.as_deref() {
                // user:good
                Some("Basic dXNlcjpnb29k") | None => plain(StatusCode::OK, r#"{"token":"T"}"#),
                Some(_) => plain(StatusCode::UNAUTHORIZED, r#"{"details":"incorrect username or password"}"#),
            };
        }
        if let Some(realm) = self.realm.lock().unwrap().clone()
            && authorization.as_deref() != Some("Bearer T")
        {
            let challenge =
                format!("Bearer realm=\"{realm}\",service=\"toy\",scope=\"repository:a/b:pull,push\"");
            let refused = status(StatusCode::UNAUTHORIZED).header("www-authenticate", challenge);
            return refused
                .body(Full::from(r#"{"errors":[{"code":"UNAUTHORIZED","message":"no"}]}"#))
                .unwrap();
        }
        let last = path.rsplit('/').next().unwrap_or_default().to_owned();
        if path.contains("/manifests/") {
            if parts.method == Method::PUT {
                let media_type = parts.headers["content-type"].to_str().unwrap().to_owned();
                let digest = Digest::of(&body).to_string();
                let mut manifests = self.manifests.lock().unwrap();
                manifests.insert(digest, (media_type.clone(), body.clone()));
                manifests.insert(last, (media_type, body));
                return plain(StatusCode::CREATED, "");
            }
            return match self.manifests.lock().unwrap().get(&last) {
                None => {
                    plain(StatusCode::NOT_FOUND, r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"x"}]}"#)
                }
                Some((media_type, bytes)) => {
                    let found = status(StatusCode::OK)
                        .header("content-type", media_type)
                        .header("content-length", bytes.len())
                        .header("docker-content-digest", Digest::of(bytes).to_string());
                    let head = parts.method == Method::HEAD;
                    found.body(Full::from(if head { Bytes::new() } else { bytes.clone() })).unwrap()
                }
            };
        }
        if path.ends_with("/blobs/uploads/") {
            let location = format!("/v2/a/b/blobs/uploads/1?state=x&{query}");
            let mounted = query.contains("mount=") && query.contains("from=known");
            let answer = if mounted { StatusCode::CREATED } else { StatusCode::ACCEPTED };
            return status(answer).header("location", location).body(Full::default()).unwrap();
        }
        if parts.method == Method::PUT {
            let digest = query.rsplit("digest=").next().unwrap().replace("%3A", ":");
            if Digest::of(&body).to_string() != digest {
                return plain(
                    StatusCode::BAD_REQUEST,
                    r#"{"errors":[{"code":"DIGEST_INVALID","message":"x"}]}"#,
                );
            }
            self.blobs.lock().unwrap().insert(digest, body);
            return plain(StatusCode::CREATED, "");
        }
        if path.contains("/blobs/") {
            if let Some(to) = self.redirect.lock().unwrap().clone() {
                let moved = status(StatusCode::TEMPORARY_REDIRECT).header("location", format!("{to}{path}"));
                return moved.body(Full::default()).unwrap();
            }
            let Some(blob) = self.blobs.lock().unwrap().get(&last).cloned() else {
                return plain(StatusCode::NOT_FOUND, "");
            };
            let without = *self.without_ranges.lock().unwrap();
            let range = parts.headers.get("range").filter(|_| !without).and_then(|range| {
                range.to_str().ok()?.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok()
            });
            return match range {
                Some(from) => {
                    status(StatusCode::PARTIAL_CONTENT).body(Full::from(blob.slice(from..))).unwrap()
                }
                None => status(StatusCode::OK).body(Full::from(blob)).unwrap(),
            };
        }
        if path.ends_with("/tags/list") {
            let page = if query.contains("last=") { r#"{"tags":["c"]}"# } else { r#"{"tags":["a","b"]}"# };
            let mut answer = status(StatusCode::OK);
            if !query.contains("last=") {
                answer = answer.header("link", "</v2/a/b/tags/list?last=b>; rel=\"next\"");
            }
            return answer.body(Full::from(page)).unwrap();
        }
        plain(StatusCode::OK, "{}")
    }
}

async fn repository<'a>(client: &'a Client, address: SocketAddr, auth: Option<Auth>) -> Repository<'a> {
    let reference: Reference = format!("{address}/a/b:t").parse().unwrap();
    client.repository(&reference, auth).await
}

fn user(password: &str) -> Option<Auth> {
    Some(Auth { username: "user".into(), password: password.into(), ..Auth::default() })
}

async fn content(repository: &Repository<'_>, digest: &Digest, offset: u64) -> Vec<u8> {
    let mut blob = repository.blob(digest, offset).await.unwrap();
    let mut bytes = Vec::new();
    while let Some(piece) = blob.next().await {
        bytes.extend_from_slice(&piece.unwrap());
    }
    bytes
}

#[tokio::test]
async fn what_is_pushed_can_be_pulled() {
    let (_toy, address) = Toy::start("127.0.0.1").await;
    let client = Client::new("test", Settings::default());
    let repository = repository(&client, address, None).await;
    let blob = vec![7_u8; 300_000];
    let digest = Digest::of(&blob);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &blob).unwrap();

    assert!(!repository.has_blob(&digest).await.unwrap());
    let Mounted::No { location } = repository.begin(&digest, Some("unknown")).await.unwrap() else {
        panic!("mounted from a repository that does not exist");
    };
    let open = || std::fs::File::open(file.path());
    let sent = Arc::new(Mutex::new(0));
    let count: Arc<dyn Fn(u64) + Send + Sync> = {
        let sent = sent.clone();
        Arc::new(move |n| *sent.lock().unwrap() += n)
    };
    repository.upload(&location, &digest, blob.len() as u64, &open, &count).await.unwrap();
    assert_eq!(*sent.lock().unwrap(), blob.len() as u64);
    assert!(repository.has_blob(&digest).await.unwrap());
    assert_eq!(repository.begin(&digest, Some("known")).await.unwrap(), Mounted::Yes);

    let manifest = Bytes::from_static(b"{\"schemaVersion\":2}");
    repository.put_manifest("t", MANIFEST, manifest.clone()).await.unwrap();
    let resolved = repository.resolve("t").await.unwrap();
    assert_eq!((resolved.digest, resolved.media_type.as_str()), (Digest::of(&manifest), MANIFEST));
    assert_eq!(repository.manifest(&resolved.digest.to_string()).await.unwrap().bytes, manifest);
    assert_eq!(content(&repository, &digest, 0).await, blob);
    assert_eq!(content(&repository, &digest, 299_990).await, blob[299_990..]);
    assert_eq!(repository.tags().await.unwrap(), ["a", "b", "c"]);
    assert!(matches!(repository.resolve("none").await, Err(RegistryError::NotFound { .. })));
}

#[tokio::test]
async fn a_token_is_fetched_with_the_password_and_used_from_then_on() {
    let (toy, address) = Toy::start("127.0.0.1").await;
    *toy.realm.lock().unwrap() = Some(format!("http://{address}/token"));
    let client = Client::new("test", Settings::default());
    let good = repository(&client, address, user("good")).await;
    good.put_manifest("t", MANIFEST, Bytes::from_static(b"{}")).await.unwrap();
    good.resolve("t").await.unwrap();
    let seen: Vec<_> = toy.seen.lock().unwrap().clone();
    let tokens = seen.iter().filter(|(path, _)| path == "/token").count();
    assert_eq!(tokens, 1, "{seen:?}");
    assert!(seen.iter().all(|(path, value)| path == "/token" || value == "Bearer T"), "{seen:?}");

    let bad = repository(&client, address, user("bad")).await.resolve("t").await.unwrap_err();
    assert_eq!(bad.to_string(), "authorization failed: incorrect username or password");
}

#[tokio::test]
async fn a_password_goes_to_no_token_server_of_another_domain() {
    let (toy, address) = Toy::start("127.0.0.1").await;
    let (foreign, elsewhere) = Toy::start("127.0.0.2").await;
    *toy.realm.lock().unwrap() = Some(format!("http://{elsewhere}/token"));
    toy.manifests.lock().unwrap().insert("t".into(), (MANIFEST.into(), Bytes::from_static(b"{}")));
    let client = Client::new("test", Settings::default());
    // The foreign server gives a token to anybody, and is asked as anybody.
    repository(&client, address, user("good")).await.resolve("t").await.unwrap();
    assert!(foreign.seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_redirect_carries_no_credentials_and_ends() {
    let (toy, address) = Toy::start("127.0.0.1").await;
    let (other, elsewhere) = Toy::start("127.0.0.1").await;
    let digest = Digest::of(b"blob");
    other.blobs.lock().unwrap().insert(digest.to_string(), Bytes::from_static(b"blob"));
    *toy.realm.lock().unwrap() = Some(format!("http://{address}/token"));
    *toy.redirect.lock().unwrap() = Some(format!("http://{elsewhere}"));
    let client = Client::new("test", Settings::default());
    assert_eq!(content(&repository(&client, address, user("good")).await, &digest, 0).await, b"blob");
    assert!(other.seen.lock().unwrap().is_empty());

    *toy.redirect.lock().unwrap() = Some(format!("http://{address}"));
    let circle = repository(&client, address, user("good")).await.blob(&digest, 0).await.err().unwrap();
    assert!(circle.to_string().ends_with("too many redirects"), "{circle}");
    *toy.redirect.lock().unwrap() = Some("file:///etc/passwd?".into());
    let strange = repository(&client, address, user("good")).await.blob(&digest, 0).await.err().unwrap();
    assert!(matches!(strange, RegistryError::Forbidden { .. }), "{strange}");
}

#[tokio::test]
async fn manifests_that_are_too_long_or_not_what_was_asked_for_are_refused() {
    let (toy, address) = Toy::start("127.0.0.1").await;
    let wanted = Digest::of(b"wanted").to_string();
    {
        let mut manifests = toy.manifests.lock().unwrap();
        manifests.insert("long".into(), (MANIFEST.into(), Bytes::from(vec![b' '; 5 << 20])));
        manifests.insert(wanted.clone(), (MANIFEST.into(), Bytes::from_static(b"another")));
    }
    let client = Client::new("test", Settings::default());
    let repository = repository(&client, address, None).await;
    for reference in ["long", &wanted] {
        let refused = repository.manifest(reference).await.unwrap_err();
        assert!(matches!(refused, RegistryError::Answer { .. }), "{refused}");
    }
}

#[tokio::test]
async fn a_registry_that_is_not_there_is_named() {
    let client = Client::new("test", Settings::default());
    // Nobody listens on a port that was just given back.
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let error = repository(&client, address, None).await.resolve("t").await.unwrap_err().to_string();
    assert!(
        error.starts_with(&format!("failed to do request: Head \"http://{address}/v2/a/b/manifests/t\"")),
        "{error}"
    );
    assert!(error.ends_with("connection refused"), "{error}");
}

#[tokio::test]
async fn a_registry_that_is_busy_is_asked_again_but_not_for_ever() {
    let (toy, address) = Toy::start("127.0.0.1").await;
    let client = Client::new("test", Settings::default());
    let repository = repository(&client, address, None).await;
    *toy.busy.lock().unwrap() = 2;
    repository.ping().await.unwrap();
    *toy.busy.lock().unwrap() = u32::MAX;
    assert!(matches!(repository.ping().await, Err(RegistryError::Status { status: 503, .. })));
}

#[tokio::test]
async fn a_blob_goes_on_where_it_stopped_even_at_a_registry_without_ranges() {
    let (toy, address) = Toy::start("127.0.0.1").await;
    let client = Client::new("test", Settings::default());
    let repository = repository(&client, address, None).await;
    let blob: Vec<u8> = (0..200_000_u32).map(|i| (i % 251) as u8).collect();
    let digest = Digest::of(&blob);
    toy.blobs.lock().unwrap().insert(digest.to_string(), blob.clone().into());
    for without in [false, true] {
        *toy.without_ranges.lock().unwrap() = without;
        assert!(content(&repository, &digest, 70_001).await == blob[70_001..]);
    }
}

#[tokio::test]
async fn mirrors_are_asked_first_and_never_get_the_registrys_credentials() {
    let (mirror, mirror_address) = Toy::start("127.0.0.1").await;
    let (origin, origin_address) = Toy::start("127.0.0.1").await;
    let domain = origin_address.to_string();
    let dead = "http://127.0.0.1:1".to_owned();
    let mirrors = BTreeMap::from([(domain.clone(), vec![dead, format!("http://{mirror_address}/")])]);
    let client = Client::new("test", Settings { mirrors, ..Settings::default() });
    let manifest = Bytes::from_static(b"{}");
    mirror.manifests.lock().unwrap().insert("t".into(), (MANIFEST.into(), manifest.clone()));
    let only_here = Bytes::from_static(b"only at the origin");
    let digest = Digest::of(&only_here);
    origin.blobs.lock().unwrap().insert(digest.to_string(), only_here.clone());
    let reference: Reference = format!("{domain}/a/b:t").parse().unwrap();
    let basic = |for_domain: &str| (for_domain == domain).then(|| user("secret")).flatten();
    let sources = client.sources(&reference, &basic).await;
    assert_eq!(sources.resolve("t").await.unwrap().digest, Digest::of(&manifest));
    let mut blob = sources.blob(&digest, 0).await.unwrap();
    assert_eq!(blob.next().await.unwrap().unwrap(), only_here);
    assert!(mirror.seen.lock().unwrap().is_empty());
    assert!(matches!(sources.resolve("none").await, Err(RegistryError::NotFound { .. })));
}
