//! The client against a registry that lives in this file.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use corten_registry::{Auth, Client, RegistryError, Repository, Settings, Upload, Uploaded};
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
    /// Uploads that are under way.
    uploads: Mutex<BTreeMap<String, Vec<u8>>>,
    /// Breaks the connection after so many bytes of an upload's request, so many times.
    cut: Mutex<(usize, u32)>,
    /// Keeps nothing of a request that broke.
    forgets: Mutex<bool>,
    /// The largest request that is taken.
    largest: Mutex<Option<usize>>,
    /// Methods and sizes of the uploads' requests.
    requests: Mutex<Vec<(Method, usize)>>,
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
                    async move { toy.answer(request).await.ok_or("the connection breaks") }
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        (toy, bound)
    }

    /// The answer to a request; `None` breaks the connection.
    async fn answer(&self, request: Request<Incoming>) -> Option<Response<Full<Bytes>>> {
        let (parts, mut body) = request.into_parts();
        let path = parts.uri.path().to_owned();
        if path.contains("/blobs/uploads/") && parts.method != Method::POST {
            return self.upload(&parts, &mut body).await;
        }
        let body = body.collect().await.unwrap().to_bytes();
        Some(self.plain_answer(&parts, body))
    }

    /// What an upload's request brings is kept as it comes.
    async fn upload(
        &self,
        parts: &http::request::Parts,
        body: &mut Incoming,
    ) -> Option<Response<Full<Bytes>>> {
        let id = parts.uri.path().rsplit('/').next().unwrap().to_owned();
        let status = |status: StatusCode| Response::builder().status(status);
        let limit = *self.largest.lock().unwrap();
        let length: usize =
            parts.headers.get("content-length").map_or(0, |v| v.to_str().unwrap().parse().unwrap());
        if limit.is_some_and(|limit| length > limit) {
            // Whoever closes while a client still writes may not be heard.
            while body.frame().await.is_some() {}
            return status(StatusCode::PAYLOAD_TOO_LARGE).body(Full::default()).ok();
        }
        let Some(mut kept) = self.uploads.lock().unwrap().get(&id).cloned() else {
            return status(StatusCode::NOT_FOUND).body(Full::default()).ok();
        };
        if let Some(range) = parts.headers.get("content-range") {
            let (from, to) = range.to_str().unwrap().split_once('-').unwrap();
            assert_eq!(to.parse::<usize>().unwrap() - from.parse::<usize>().unwrap() + 1, length);
            if from.parse() != Ok(kept.len()) {
                return status(StatusCode::RANGE_NOT_SATISFIABLE).body(Full::default()).ok();
            }
        }
        let before = kept.len();
        let cut = {
            let mut cut = self.cut.lock().unwrap();
            (cut.1 > 0 && length > cut.0).then(|| {
                cut.1 -= 1;
                cut.0
            })
        };
        while let Some(frame) = body.frame().await {
            kept.extend_from_slice(&frame.unwrap().into_data().unwrap());
            if let Some(cut) = cut.filter(|cut| kept.len() - before >= *cut) {
                kept.truncate(before + cut);
                self.requests.lock().unwrap().push((parts.method.clone(), cut));
                let mut uploads = self.uploads.lock().unwrap();
                if *self.forgets.lock().unwrap() {
                    uploads.remove(&id);
                } else {
                    uploads.insert(id, kept);
                }
                return None;
            }
        }
        if parts.method != Method::GET {
            self.requests.lock().unwrap().push((parts.method.clone(), kept.len() - before));
        }
        let kept = Bytes::from(kept);
        if parts.method == Method::PUT {
            let query = parts.uri.query().unwrap_or("");
            let digest = query.rsplit("digest=").next().unwrap().replace("%3A", ":");
            if Digest::of(&kept).to_string() != digest {
                let refused = r#"{"errors":[{"code":"DIGEST_INVALID","message":"x"}]}"#;
                return status(StatusCode::BAD_REQUEST).body(Full::from(refused)).ok();
            }
            self.uploads.lock().unwrap().remove(&id);
            self.blobs.lock().unwrap().insert(digest, kept);
            return status(StatusCode::CREATED).body(Full::default()).ok();
        }
        self.uploads.lock().unwrap().insert(id.clone(), kept.to_vec());
        let answer = if parts.method == Method::GET { StatusCode::NO_CONTENT } else { StatusCode::ACCEPTED };
        let location = format!("/v2/a/b/blobs/uploads/{id}?state={}", kept.len());
        let range = format!("0-{}", kept.len().saturating_sub(1));
        status(answer).header("location", location).header("range", range).body(Full::default()).ok()
    }

    fn plain_answer(&self, parts: &http::request::Parts, body: Bytes) -> Response<Full<Bytes>> {
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
            let mut uploads = self.uploads.lock().unwrap();
            let id = uploads.len().to_string();
            let location = format!("/v2/a/b/blobs/uploads/{id}?state=x&{query}");
            uploads.insert(id, Vec::new());
            let mounted = query.contains("mount=") && query.contains("from=known");
            let answer = if mounted { StatusCode::CREATED } else { StatusCode::ACCEPTED };
            return status(answer).header("location", location).body(Full::default()).unwrap();
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

/// Uploads a blob; how many of its bytes were told as sent must be right at the end.
async fn upload(
    repository: &Repository<'_>,
    blob: &[u8],
    from: Option<&str>,
) -> Result<Uploaded, RegistryError> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), blob).unwrap();
    let open = || std::fs::File::open(file.path());
    let sent = Arc::new(AtomicU64::new(0));
    let (digest, size) = (Digest::of(blob), blob.len() as u64);
    let how =
        repository.upload(&Upload { digest, size, from, open: &open, sent: &sent, attempts: 3 }).await?;
    if how == Uploaded::Sent {
        assert_eq!(sent.load(Ordering::Relaxed), size);
    }
    Ok(how)
}

#[tokio::test]
async fn a_broken_upload_goes_on_where_the_registry_stopped() {
    let (toy, address) = Toy::start("127.0.0.1").await;
    let client = Client::new("test", Settings::default());
    let repository = repository(&client, address, None).await;
    let blob: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_be_bytes()[3]).collect();
    // More breaks than attempts: each comes forward.
    *toy.cut.lock().unwrap() = (1_100_000, 2);
    upload(&repository, &blob, None).await.unwrap();
    let requests = std::mem::take(&mut *toy.requests.lock().unwrap());
    let wanted =
        [(Method::PUT, 1_100_000), (Method::PATCH, 1_100_000), (Method::PATCH, 800_000), (Method::PUT, 0)];
    assert_eq!(requests, wanted);
    assert_eq!(toy.blobs.lock().unwrap().remove(&Digest::of(&blob).to_string()).unwrap(), blob);

    // A registry that forgets what broke gets it from the beginning, in pieces that last.
    *toy.forgets.lock().unwrap() = true;
    *toy.cut.lock().unwrap() = (1_100_000, 1);
    upload(&repository, &blob, None).await.unwrap();
    let requests = std::mem::take(&mut *toy.requests.lock().unwrap());
    let wanted =
        [(Method::PUT, 1_100_000), (Method::PATCH, 1_500_000), (Method::PATCH, 1_500_000), (Method::PUT, 0)];
    assert_eq!(requests, wanted);

    *toy.cut.lock().unwrap() = (10, 100);
    let failed = upload(&repository, &blob[1..], None).await.unwrap_err();
    assert!(matches!(failed, RegistryError::Connect { .. }), "{failed}");
    assert_eq!(toy.requests.lock().unwrap().len(), 3, "it is tried three times");
}

#[tokio::test]
async fn what_is_too_large_for_one_request_goes_in_pieces() {
    let (toy, address) = Toy::start("127.0.0.1").await;
    let client = Client::new("test", Settings::default());
    let repository = repository(&client, address, None).await;
    let blob = vec![3; 10 << 20];
    *toy.largest.lock().unwrap() = Some(4 << 20);
    upload(&repository, &blob, None).await.unwrap();
    let sizes: Vec<usize> = toy.requests.lock().unwrap().iter().map(|request| request.1 >> 9).collect();
    assert_eq!(sizes, [5 << 10, 5 << 10, 5 << 10, 5 << 10, 0]);
    assert_eq!(toy.blobs.lock().unwrap()[&Digest::of(&blob).to_string()], blob);

    *toy.largest.lock().unwrap() = Some(1000);
    let refused = upload(&repository, &blob[1..], None).await.unwrap_err();
    assert!(matches!(refused, RegistryError::Status { status: 413, .. }), "{refused}");
}

#[tokio::test]
async fn what_is_pushed_can_be_pulled() {
    let (toy, address) = Toy::start("127.0.0.1").await;
    let client = Client::new("test", Settings::default());
    let repository = repository(&client, address, None).await;
    let blob = vec![7_u8; 300_000];
    let digest = Digest::of(&blob);
    assert!(!repository.has_blob(&digest).await.unwrap());
    assert_eq!(upload(&repository, &blob, Some("unknown")).await.unwrap(), Uploaded::Sent);
    assert!(repository.has_blob(&digest).await.unwrap());
    assert_eq!(*toy.requests.lock().unwrap(), [(Method::PUT, blob.len())]);
    assert_eq!(upload(&repository, &blob, Some("known")).await.unwrap(), Uploaded::Mounted);
    assert!(repository.mount(&digest, "known").await.unwrap());
    assert!(!repository.mount(&digest, "unknown").await.unwrap());

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
