//! A registry as the cache of another.

mod support;

use corten_registry_server::Given;
use corten_types::Digest;
use http::{Method, StatusCode};
use support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn what_is_asked_for_is_fetched_once_and_answered_when_the_upstream_is_gone() {
    let root = tempfile::tempdir().unwrap();
    let upstream = open(&root.path().join("upstream")).await;
    let origin = Api::of(&upstream);
    let layer = noise(1, 2_000_000);
    let first = origin.image("library/app", "v1", &layer).await;
    let cache = Given {
        cache: vec![format!("mirror={}", origin.address)],
        cache_fresh: Some("0s".into()),
        ..given(&root.path().join("cache"))
    };
    let registry = start(cache.clone()).await;
    let api = Api::of(&registry);

    let got = api.get("/v2/mirror/library/app/manifests/v1").await;
    assert_eq!(got.header("docker-content-digest"), first.to_string());
    let path = format!("/v2/mirror/library/app/blobs/{}", Digest::of(&layer));
    let pulls: Vec<_> = (0..6)
        .map(|_| {
            let (api, path) = (api.clone(), path.clone());
            tokio::spawn(async move { api.get(&path).await })
        })
        .collect();
    for pull in pulls {
        let pull = pull.await.unwrap();
        assert_eq!((pull.status, Digest::of(&pull.body)), (StatusCode::OK, Digest::of(&layer)));
    }
    let counted = origin.get("/metrics").await;
    let counted = String::from_utf8(counted.body.to_vec()).unwrap();
    let blobs = r#"endpoint="blob",method="get",status="200"} 1"#;
    assert!(counted.contains(blobs), "six asked at once and one was fetched:\n{counted}");

    let second = origin.image("library/app", "v1", b"newer").await;
    let got = api.get("/v2/mirror/library/app/manifests/v1").await;
    assert_eq!(got.header("docker-content-digest"), second.to_string(), "a tag that moved is followed");
    let old = api.get(&format!("/v2/mirror/library/app/manifests/{first}")).await;
    assert_eq!(old.status, StatusCode::OK);

    assert_eq!(api.get("/v2/mirror/library/app/manifests/nope").await.code(), "MANIFEST_UNKNOWN");
    assert_eq!(
        api.get(&format!("/v2/mirror/library/app/blobs/{}", Digest::of(b"?"))).await.code(),
        "BLOB_UNKNOWN"
    );
    let push = api.ask(Method::POST, "/v2/mirror/library/app/blobs/uploads/", &[], "").await;
    assert_eq!(push.status, StatusCode::METHOD_NOT_ALLOWED);
    api.image("own/app", "v1", b"not of the upstream").await;

    upstream.stop().await;
    let stale = api.get("/v2/mirror/library/app/manifests/v1").await;
    assert_eq!(stale.header("docker-content-digest"), second.to_string());
    assert_eq!(Digest::of(&api.get(&path).await.body), Digest::of(&layer));
    let unknown = api.get("/v2/mirror/library/other/manifests/v1").await;
    assert_eq!(unknown.status, StatusCode::BAD_GATEWAY);
    registry.stop().await;
    let registry = start(cache).await;
    let kept = Api::of(&registry).get(&path).await;
    assert_eq!(Digest::of(&kept.body), Digest::of(&layer), "and after a restart");
    registry.stop().await;
}

/// An upstream that answers every request for a blob with the same bytes.
async fn liar(bytes: &'static [u8]) -> std::net::SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut seen = [0; 4096];
                while socket.read(&mut seen).await.is_ok_and(|n| n > 0) {
                    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", bytes.len());
                    let _ = socket.write_all(head.as_bytes()).await;
                    let _ = socket.write_all(bytes).await;
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn nobody_gets_a_whole_blob_that_lacks_its_digest_and_nothing_of_it_is_kept() {
    let root = tempfile::tempdir().unwrap();
    let upstream = liar(b"this is not what you asked for").await;
    let given = Given { cache: vec![upstream.to_string()], ..given(root.path()) };
    let registry = start(given).await;
    let api = Api::of(&registry);
    let mut socket = tokio::net::TcpStream::connect(api.address).await.unwrap();
    let request =
        format!("GET /v2/a/blobs/{} HTTP/1.1\r\nHost: r\r\nConnection: close\r\n\r\n", Digest::of(b"asked"));
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // The connection may be reset: what matters is what came before.
    let _ = socket.read_to_end(&mut answer).await;
    assert!(!String::from_utf8_lossy(&answer).contains("asked for"));
    let page = api.get("/v2/a/manifests/v1").await;
    assert_eq!((page.status, page.code().as_str()), (StatusCode::BAD_GATEWAY, "UNAVAILABLE"));
    registry.stop().await;
    assert_eq!(on_disk(root.path()), (0, 0));
}
