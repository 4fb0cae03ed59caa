//! The endpoints of distribution-spec 1.1, over a socket.

mod support;

use corten_types::Digest;
use http::{Method, StatusCode};
use support::*;

#[tokio::test]
async fn a_blob_comes_in_by_every_way_and_goes_out_by_ranges() {
    let root = tempfile::tempdir().unwrap();
    let registry = open(root.path()).await;
    let api = Api::of(&registry);
    let content = noise(1, 300_000);
    let digest = Digest::of(&content);

    let begun = api.ask(Method::POST, "/v2/a/blobs/uploads/", &[], "").await;
    assert_eq!(begun.status, StatusCode::ACCEPTED);
    let at = begun.header("location").to_owned();
    let piece = |range: &'static str, bytes: &[u8]| {
        let (api, at, bytes) = (api.clone(), at.clone(), bytes.to_vec());
        async move { api.ask(Method::PATCH, &at, &[("content-range", range)], bytes).await }
    };
    let sent = piece("0-99999", &content[..100_000]).await;
    assert_eq!((sent.status, sent.header("range")), (StatusCode::ACCEPTED, "0-99999"));
    for (range, bytes) in [("0-99999", &content[..100_000]), ("150000-150009", &content[..10])] {
        let refused = piece(range, bytes).await;
        assert_eq!(refused.status, StatusCode::RANGE_NOT_SATISFIABLE);
        assert_eq!((refused.header("range"), refused.code().as_str()), ("0-99999", "RANGE_INVALID"));
    }
    let short = piece("100000-200000", &content[..10]).await;
    assert_eq!(short.status, StatusCode::RANGE_NOT_SATISFIABLE, "a length that differs from the range");
    let status = api.get(&at).await;
    assert_eq!((status.status, status.header("range")), (StatusCode::NO_CONTENT, "0-99999"));
    assert_eq!(api.get(&at.replace("/a/", "/b/")).await.code(), "BLOB_UPLOAD_UNKNOWN");
    assert_eq!(piece("100000-199999", &content[100_000..200_000]).await.status, StatusCode::ACCEPTED);
    let end = format!("{at}?digest={digest}");
    let done = api.ask(Method::PUT, &end, &[("content-range", "200000-299999")], content[200_000..].to_vec());
    let done = done.await;
    assert_eq!(
        (done.status, done.header("docker-content-digest")),
        (StatusCode::CREATED, &*digest.to_string())
    );
    assert_eq!(api.get(&at).await.code(), "BLOB_UPLOAD_UNKNOWN");

    let path = format!("/v2/a/blobs/{digest}");
    let whole = api.get(&path).await;
    assert_eq!((whole.status, &whole.body[..]), (StatusCode::OK, &content[..]));
    assert_eq!(whole.header("etag"), format!("\"{digest}\""));
    let head = api.head(&path).await;
    assert_eq!((head.status, head.header("content-length"), head.body.len()), (StatusCode::OK, "300000", 0));
    for (range, wanted) in [
        ("bytes=0-0", 0..1),
        ("bytes=1000-299999", 1000..300_000),
        ("bytes=-20000", 280_000..300_000),
        ("bytes=299990-999999", 299_990..300_000),
    ] {
        let part = api.ask(Method::GET, &path, &[("range", range)], "").await;
        assert_eq!(part.status, StatusCode::PARTIAL_CONTENT, "{range}");
        assert_eq!(&part.body[..], &content[wanted.clone()], "{range}");
        let told = format!("bytes {}-{}/300000", wanted.start, wanted.end - 1);
        assert_eq!(part.header("content-range"), told);
    }
    let beyond = api.ask(Method::GET, &path, &[("range", "bytes=300000-")], "").await;
    assert_eq!(beyond.status, StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(beyond.header("content-range"), "bytes */300000");
    let tag = format!("\"{digest}\"");
    let known = api.ask(Method::GET, &path, &[("if-none-match", &tag)], "").await;
    assert_eq!((known.status, known.body.len()), (StatusCode::NOT_MODIFIED, 0));
    let other = api.ask(Method::GET, &path, &[("if-range", "\"x\""), ("range", "bytes=0-0")], "").await;
    assert_eq!((other.status, other.body.len()), (StatusCode::OK, 300_000));

    let streamed = api.ask(Method::POST, "/v2/a/blobs/uploads/", &[], "").await;
    let wrong = format!("{}?digest={digest}", streamed.header("location"));
    let wrong = api.ask(Method::PUT, &wrong, &[], "other").await;
    assert_eq!((wrong.status, wrong.code().as_str()), (StatusCode::BAD_REQUEST, "DIGEST_INVALID"));
    let cancelled = api.ask(Method::POST, "/v2/a/blobs/uploads/", &[], "").await;
    assert_eq!(api.delete(cancelled.header("location")).await.status, StatusCode::NO_CONTENT);
    assert_eq!(api.get(cancelled.header("location")).await.code(), "BLOB_UPLOAD_UNKNOWN");
    assert_eq!(on_disk(root.path()), (1, 0), "refused and cancelled uploads leave nothing");
    registry.stop().await;
}

#[tokio::test]
async fn a_blob_is_mounted_from_a_repository_that_has_it() {
    let root = tempfile::tempdir().unwrap();
    let registry = open(root.path()).await;
    let api = Api::of(&registry);
    let digest = api.blob("a", b"content").await;
    let mount = |from: &str| {
        let path = format!("/v2/b/blobs/uploads/?mount={digest}{from}");
        let api = api.clone();
        async move { api.ask(Method::POST, &path, &[], "").await.status }
    };
    assert_eq!(mount("&from=nowhere").await, StatusCode::ACCEPTED, "an upload begins instead");
    assert_eq!(api.get(&format!("/v2/b/blobs/{digest}")).await.code(), "BLOB_UNKNOWN");
    assert_eq!(mount("&from=a").await, StatusCode::CREATED);
    assert_eq!(api.get(&format!("/v2/b/blobs/{digest}")).await.body, "content");
    assert_eq!(api.delete(&format!("/v2/a/blobs/{digest}")).await.status, StatusCode::ACCEPTED);
    assert_eq!(api.delete(&format!("/v2/a/blobs/{digest}")).await.code(), "BLOB_UNKNOWN");
    assert_eq!(api.get(&format!("/v2/b/blobs/{digest}")).await.body, "content", "the other keeps it");
    assert_eq!(mount("").await, StatusCode::CREATED, "from wherever it is");
    registry.stop().await;
}

#[tokio::test]
async fn a_manifest_needs_what_it_names_and_is_found_by_tag_and_digest() {
    let root = tempfile::tempdir().unwrap();
    let registry = open(root.path()).await;
    let api = Api::of(&registry);
    let (config, layer) = (Digest::of(b"{}"), Digest::of(b"layer"));
    let text = manifest(&config, &[(layer, 5)], "");
    let early = api.put_manifest("a", "v1", MANIFEST, &text).await;
    assert_eq!((early.status, early.code().as_str()), (StatusCode::NOT_FOUND, "MANIFEST_BLOB_UNKNOWN"));
    assert_eq!(api.get("/v2/a/tags/list").await.code(), "NAME_UNKNOWN");
    api.blob("a", b"{}").await;
    api.blob("a", b"layer").await;
    let digest = Digest::of(text.as_bytes());
    let put = api.put_manifest("a", "v1", MANIFEST, &text).await;
    assert_eq!(put.status, StatusCode::CREATED);
    assert_eq!(put.header("location"), format!("/v2/a/manifests/{digest}"));
    for reference in ["v1".to_owned(), digest.to_string()] {
        let got = api.get(&format!("/v2/a/manifests/{reference}")).await;
        assert_eq!(
            (got.status, got.header("content-type"), &got.body[..]),
            (StatusCode::OK, MANIFEST, text.as_bytes())
        );
        let head = api.head(&format!("/v2/a/manifests/{reference}")).await;
        assert_eq!(head.header("docker-content-digest"), digest.to_string());
        assert_eq!(head.header("content-length"), text.len().to_string());
    }
    let index =
        format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, descriptor(MANIFEST, &digest, text.len()));
    assert_eq!(api.put_manifest("b", "x", INDEX, &index).await.code(), "MANIFEST_BLOB_UNKNOWN");
    assert_eq!(api.put_manifest("a", "x", INDEX, &index).await.status, StatusCode::CREATED);
    let wrong = api.put_manifest("a", &Digest::of(b"").to_string(), MANIFEST, &text).await;
    assert_eq!(wrong.code(), "DIGEST_INVALID");

    assert_eq!(api.delete("/v2/a/manifests/v1").await.status, StatusCode::ACCEPTED);
    assert_eq!(api.get("/v2/a/manifests/v1").await.code(), "MANIFEST_UNKNOWN");
    assert_eq!(api.get(&format!("/v2/a/manifests/{digest}")).await.status, StatusCode::OK);
    api.put_manifest("a", "v1", MANIFEST, &text).await;
    api.put_manifest("a", "v2", MANIFEST, &text).await;
    assert_eq!(api.delete(&format!("/v2/a/manifests/{digest}")).await.status, StatusCode::ACCEPTED);
    assert_eq!(api.get("/v2/a/tags/list").await.json()["tags"], serde_json::json!(["x"]));
    registry.stop().await;
}

#[tokio::test]
async fn lists_come_a_page_at_a_time() {
    let root = tempfile::tempdir().unwrap();
    let registry = open(root.path()).await;
    let api = Api::of(&registry);
    for tag in ["c", "a", "b", "B", "d"] {
        api.image("r/one", tag, b"layer").await;
    }
    api.image("r/two", "x", b"layer").await;
    api.image("s", "x", b"layer").await;
    let mut next = "/v2/r/one/tags/list?n=2".to_owned();
    let mut pages = Vec::new();
    loop {
        let page = api.get(&next).await;
        pages.push(page.json()["tags"].to_string());
        let Some((path, _)) = page.header("link").split_once('>') else { break };
        next = path[1..].to_owned();
        assert!(page.header("link").ends_with("rel=\"next\""));
    }
    assert_eq!(pages, [r#"["B","a"]"#, r#"["b","c"]"#, r#"["d"]"#]);
    assert_eq!(api.get("/v2/r/one/tags/list?n=0").await.json()["tags"], serde_json::json!([]));
    assert_eq!(api.get("/v2/r/one/tags/list?n=x").await.code(), "PAGINATION_NUMBER_INVALID");
    let first = api.get("/v2/_catalog?n=2").await;
    assert_eq!(first.json(), serde_json::json!({"repositories": ["r/one", "r/two"]}));
    assert_eq!(first.header("link"), "</v2/_catalog?last=r/two&n=2>; rel=\"next\"");
    let rest = api.get("/v2/_catalog?last=r/two&n=2").await;
    assert_eq!((rest.json()["repositories"].to_string(), rest.header("link")), ("[\"s\"]".into(), ""));
    registry.stop().await;
}

#[tokio::test]
async fn referrers_are_listed_by_type_whether_their_subject_is_there_or_not() {
    let root = tempfile::tempdir().unwrap();
    let registry = open(root.path()).await;
    let api = Api::of(&registry);
    let config = api.blob("a", b"{}").await;
    let subject = Digest::of(b"nothing yet");
    let path = format!("/v2/a/referrers/{subject}");
    assert_eq!(api.get(&path).await.json()["manifests"], serde_json::json!([]));
    let mut digests = Vec::new();
    for kind in ["signature", "sbom", "signature"] {
        let more = format!(
            r#","artifactType":"application/{kind}","annotations":{{"n":"{}"}},"subject":{}"#,
            digests.len(),
            descriptor(MANIFEST, &subject, 3)
        );
        let text = manifest(&config, &[], &more);
        let put = api.put_manifest("a", &Digest::of(text.as_bytes()).to_string(), MANIFEST, &text).await;
        assert_eq!(put.header("oci-subject"), subject.to_string());
        digests.push(Digest::of(text.as_bytes()));
    }
    let all = api.get(&path).await;
    assert_eq!(all.header("content-type"), INDEX);
    assert_eq!(all.json()["manifests"].as_array().unwrap().len(), 3);
    let some = api.get(&format!("{path}?artifactType=application%2Fsbom")).await;
    assert_eq!(some.header("oci-filters-applied"), "artifactType");
    let listed = &some.json()["manifests"];
    assert_eq!(listed.as_array().unwrap().len(), 1);
    assert_eq!(listed[0]["digest"], digests[1].to_string());
    assert_eq!(listed[0]["artifactType"], "application/sbom");
    assert_eq!(listed[0]["annotations"]["n"], "1");
    api.delete(&format!("/v2/a/manifests/{}", digests[1])).await;
    assert_eq!(api.get(&path).await.json()["manifests"].as_array().unwrap().len(), 2);
    registry.stop().await;
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_in_the_specification_s_words() {
    let root = tempfile::tempdir().unwrap();
    let registry = open(root.path()).await;
    let api = Api::of(&registry);
    let huge = "x".repeat((4 << 20) + 1);
    let put = |kind: &'static str, text: &str| {
        let (api, text) = (api.clone(), text.to_owned());
        async move {
            let answer = api.put_manifest("a", "v1", kind, &text).await;
            (answer.status.as_u16(), answer.code())
        }
    };
    assert_eq!(put(MANIFEST, &huge).await, (413, "SIZE_INVALID".into()));
    assert_eq!(put(MANIFEST, "<html>").await, (400, "MANIFEST_INVALID".into()));
    assert_eq!(put("text/html", "{}").await, (415, "MANIFEST_INVALID".into()));
    assert_eq!(put(MANIFEST, &"[".repeat(1 << 20)).await, (400, "MANIFEST_INVALID".into()));
    let schema1 = "application/vnd.docker.distribution.manifest.v1+prettyjws";
    assert_eq!(put(schema1, r#"{"schemaVersion":1}"#).await, (415, "MANIFEST_INVALID".into()));
    let deep = format!("/v2/{}/manifests/x", ["a"; 400].join("/"));
    for (method, path, status, code) in [
        (Method::GET, "/v2/A/manifests/x", 400, "NAME_INVALID"),
        (Method::GET, "/v2/a/../b/manifests/x", 400, "NAME_INVALID"),
        (Method::GET, "/v2/a/manifests/-x", 400, "TAG_INVALID"),
        (Method::GET, "/v2/a/manifests/%2e%2e", 400, "TAG_INVALID"),
        (Method::GET, "/v2/a/blobs/sha256:x", 400, "DIGEST_INVALID"),
        (Method::GET, "/v2/a/manifests/x", 404, "MANIFEST_UNKNOWN"),
        (Method::GET, "/elsewhere", 404, "UNSUPPORTED"),
        (Method::POST, "/v2/a/manifests/x", 405, "UNSUPPORTED"),
        (Method::PUT, "/v2/", 405, "UNSUPPORTED"),
        (Method::POST, "/v2/a/blobs/uploads/?digest=x", 400, "DIGEST_INVALID"),
        (Method::POST, "/v2/a/blobs/uploads/?mount=x&from=b", 400, "DIGEST_INVALID"),
        (Method::PATCH, "/v2/a/blobs/uploads/nope", 404, "BLOB_UPLOAD_UNKNOWN"),
        (Method::GET, deep.as_str(), 400, "NAME_INVALID"),
    ] {
        let answer = api.ask(method, path, &[], "").await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (status, code), "{path:.80}");
    }
    assert_eq!(on_disk(root.path()), (0, 0));
    registry.stop().await;
}
