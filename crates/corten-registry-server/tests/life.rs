//! Restarts, collections, connections: what stays and what goes.

mod support;

use std::time::Duration;

use corten_registry_server::{Given, Registry};
use corten_types::Digest;
use http::{Method, StatusCode};
use support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[tokio::test]
async fn the_next_start_finds_what_was_there_and_removes_what_was_not_finished() {
    let root = tempfile::tempdir().unwrap();
    let registry = open(root.path()).await;
    let api = Api::of(&registry);
    let digest = api.image("a/b", "v1", &noise(1, 50_000)).await;
    let begun = api.ask(Method::POST, "/v2/a/b/blobs/uploads/", &[], "").await;
    api.ask(Method::PATCH, begun.header("location"), &[], noise(2, 50_000)).await;
    assert!(Registry::start(given(root.path()).settle().unwrap()).await.is_err(), "one registry at a time");
    registry.stop().await;
    // As a process that was killed between content and row leaves it.
    let stray = root.path().join("content/blobs/sha256").join(Digest::of(b"stray").hex());
    std::fs::write(&stray, b"stray").unwrap();
    std::fs::write(root.path().join("content/ingest/stray"), b"stray").unwrap();

    let registry = open(root.path()).await;
    let api = Api::of(&registry);
    assert_eq!(on_disk(root.path()), (3, 0));
    let got = api.get("/v2/a/b/manifests/v1").await;
    assert_eq!(got.header("docker-content-digest"), digest.to_string());
    for layer in got.json()["layers"].as_array().unwrap() {
        let blob = api.get(&format!("/v2/a/b/blobs/{}", layer["digest"].as_str().unwrap())).await;
        assert_eq!(Digest::of(&blob.body).to_string(), layer["digest"].as_str().unwrap());
    }
    assert_eq!(api.get(begun.header("location")).await.code(), "BLOB_UPLOAD_UNKNOWN");
    registry.stop().await;
}

#[tokio::test]
async fn a_collection_takes_what_nothing_needs_and_nothing_that_comes_in_meanwhile() {
    let root = tempfile::tempdir().unwrap();
    let given = Given { blob_grace: Some("0s".into()), ..given(root.path()) };
    let registry = start(given).await;
    let api = Api::of(&registry);
    api.image("keep", "v1", b"kept").await;
    let gone = api.image("gone", "v1", b"gone").await;
    api.blob("keep", b"nobody needs this").await;
    api.delete(&format!("/v2/gone/manifests/{gone}")).await;
    assert!(registry.collect().await.unwrap() > 0);
    assert_eq!(on_disk(root.path()).0, 3, "manifest, config and layer of the one that stays");
    assert_eq!(api.get("/v2/_catalog").await.json(), serde_json::json!({"repositories": ["keep"]}));

    // Pushes and collections at the same time: with a grace, no push is ever told that its blobs are gone.
    registry.stop().await;
    let registry = std::sync::Arc::new(open(root.path()).await);
    let api = Api::of(&registry);
    let pushes = (0..8_u64).map(|n| {
        let api = api.clone();
        tokio::spawn(async move {
            for round in 0..6 {
                let name = format!("r{}", n % 3);
                let digest =
                    api.image(&name, &format!("t{n}-{round}"), &noise(n * 100 + round, 20_000)).await;
                if round % 2 == 0 {
                    api.delete(&format!("/v2/{name}/manifests/{digest}")).await;
                }
            }
        })
    });
    let pushes: Vec<_> = pushes.collect();
    while !pushes.iter().all(|push| push.is_finished()) {
        registry.collect().await.unwrap();
        tokio::task::yield_now().await;
    }
    for push in pushes {
        push.await.unwrap();
    }
    for n in 0..8_u64 {
        for round in [1, 3, 5] {
            let name = format!("r{}", n % 3);
            let got = api.get(&format!("/v2/{name}/manifests/t{n}-{round}")).await.json();
            let layer = got["layers"][0]["digest"].as_str().unwrap().to_owned();
            let blob = api.get(&format!("/v2/{name}/blobs/{layer}")).await;
            assert_eq!(Digest::of(&blob.body).to_string(), layer);
        }
    }
    std::sync::Arc::into_inner(registry).unwrap().stop().await;
}

#[tokio::test]
async fn rules_of_retention_are_followed_while_the_registry_serves() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("config.toml");
    std::fs::write(
        &file,
        "[[retention]]\nrepositories = [\"ci/*\"]\nkeep-last = 1\nkeep-tags = [\"stable\"]\n",
    )
    .unwrap();
    let rules: Given = toml::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    let registry = start(given(root.path()).over(rules)).await;
    let api = Api::of(&registry);
    for (repository, tag) in
        [("ci/app", "stable"), ("ci/app", "1"), ("ci/app", "2"), ("other", "1"), ("other", "2")]
    {
        api.image(repository, tag, tag.as_bytes()).await;
    }
    registry.collect().await.unwrap();
    assert_eq!(api.get("/v2/ci/app/tags/list").await.json()["tags"], serde_json::json!(["2", "stable"]));
    assert_eq!(api.get("/v2/other/tags/list").await.json()["tags"], serde_json::json!(["1", "2"]));
    registry.stop().await;
}

/// Reads one answer of a raw connection: head and body.
async fn answer(socket: &mut TcpStream) -> (String, Vec<u8>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    socket.read_exact(&mut body).await.unwrap();
    (head, body)
}

#[tokio::test]
async fn one_connection_carries_blobs_and_small_answers_in_any_order_even_pipelined() {
    let root = tempfile::tempdir().unwrap();
    let registry = open(root.path()).await;
    let api = Api::of(&registry);
    let (small, large) = (noise(3, 100), noise(4, 3_000_000));
    let digests = [api.blob("a", &small).await, api.blob("a", &large).await];
    let mut socket = TcpStream::connect(api.address).await.unwrap();
    let requests: String = [1, 0, 1, 1, 0]
        .map(|which| format!("GET /v2/a/blobs/{} HTTP/1.1\r\nHost: r\r\n\r\n", digests[which]))
        .concat();
    socket.write_all(requests.as_bytes()).await.unwrap();
    for which in [1, 0, 1, 1, 0] {
        let (head, body) = answer(&mut socket).await;
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert_eq!(Digest::of(&body), digests[which]);
    }
    let last = format!("GET /v2/a/blobs/{} HTTP/1.1\r\nHost: r\r\nConnection: close\r\n\r\n", digests[1]);
    socket.write_all(last.as_bytes()).await.unwrap();
    let (head, body) = answer(&mut socket).await;
    assert!(head.contains("connection: close") && Digest::of(&body) == digests[1]);
    assert_eq!(socket.read(&mut [0]).await.unwrap(), 0, "and then it is closed");
    registry.stop().await;
}

#[tokio::test]
async fn an_upload_whose_client_vanished_goes_on_where_it_stands() {
    let root = tempfile::tempdir().unwrap();
    let registry = open(root.path()).await;
    let api = Api::of(&registry);
    let content = noise(5, 2_000_000);
    let begun = api.ask(Method::POST, "/v2/a/blobs/uploads/", &[], "").await;
    let at = begun.header("location").to_owned();
    let mut socket = TcpStream::connect(api.address).await.unwrap();
    let head = format!("PATCH {at} HTTP/1.1\r\nHost: r\r\nContent-Length: {}\r\n\r\n", content.len());
    socket.write_all(head.as_bytes()).await.unwrap();
    socket.write_all(&content[..1_500_000]).await.unwrap();
    drop(socket);
    let offset = tokio::time::timeout(Duration::from_secs(20), async {
        loop {
            let answer = api.ask(Method::PATCH, &at, &[], "").await;
            if answer.status == StatusCode::ACCEPTED {
                let range = answer.header("range").to_owned();
                return range.split_once('-').unwrap().1.parse::<usize>().unwrap() + 1;
            }
            assert_eq!(
                answer.status,
                StatusCode::CONFLICT,
                "another request is writing, until it is seen to have gone"
            );
            tokio::task::yield_now().await;
        }
    });
    let offset = offset.await.unwrap();
    assert!(offset <= 1_500_000);
    let end = format!("{at}?digest={}", Digest::of(&content));
    let done = api.ask(Method::PUT, &end, &[], content[offset..].to_vec()).await;
    assert_eq!(done.status, StatusCode::CREATED, "{:?}", done.body);
    registry.stop().await;
}

#[tokio::test]
async fn clients_that_send_or_take_nothing_keep_nobody_waiting() {
    let root = tempfile::tempdir().unwrap();
    let registry = open(root.path()).await;
    let api = Api::of(&registry);
    let content = noise(7, 8_000_000);
    let digest = api.blob("a", &content).await;
    let begun = api.ask(Method::POST, "/v2/a/blobs/uploads/", &[], "").await;
    let mut stalled = Vec::new();
    for n in 0..300 {
        let mut socket = TcpStream::connect(api.address).await.unwrap();
        let said = match n % 3 {
            0 => "GET /v2/ HTT".to_owned(),
            1 => format!("GET /v2/a/blobs/{digest} HTTP/1.1\r\nHost: r\r\n\r\n"),
            _ => format!("PUT /v2/a/manifests/t{n} HTTP/1.1\r\nHost: r\r\nContent-Length: 999\r\n\r\n{{"),
        };
        socket.write_all(said.as_bytes()).await.unwrap();
        stalled.push(socket);
    }
    let served = tokio::time::timeout(Duration::from_secs(20), async {
        for _ in 0..5 {
            assert_eq!(Digest::of(&api.get(&format!("/v2/a/blobs/{digest}")).await.body), digest);
        }
        let end = format!("{}?digest={digest}", begun.header("location"));
        assert_eq!(api.ask(Method::PUT, &end, &[], content).await.status, StatusCode::CREATED);
    });
    served.await.expect("those who do not wait are served");
    drop(stalled);
    registry.stop().await;
}

#[tokio::test]
async fn a_stop_waits_for_a_download_that_is_taken() {
    let root = tempfile::tempdir().unwrap();
    let registry = open(root.path()).await;
    let api = Api::of(&registry);
    let content = noise(6, 20_000_000);
    let digest = api.blob("a", &content).await;
    let mut socket = TcpStream::connect(api.address).await.unwrap();
    let request = format!("GET /v2/a/blobs/{digest} HTTP/1.1\r\nHost: r\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let first = socket.read_u8().await.unwrap();
    let stopped = tokio::spawn(registry.stop());
    let mut rest = vec![first];
    socket.read_to_end(&mut rest).await.unwrap();
    assert!(rest.ends_with(&content[content.len() - 100..]) && rest.len() > content.len());
    stopped.await.unwrap();
}
