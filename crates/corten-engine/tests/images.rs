//! Images come in as other engines write them, go out again, and are removed by Docker's rules. Needs root.

use std::io::Write;
use std::sync::Arc;

use corten_archive::{Entry, EntryKind, Writer};
use corten_engine::events::Events;
use corten_engine::image::{
    Error, ImageUse, Images, ImportRequest, InspectRequest, ListRequest, RemoveRequest, State,
};
use corten_store::Store;
use corten_types::Digest;
use serde_json::{Value, json};

fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        println!("skipped: needs root");
    }
    root
}

async fn images(dir: &tempfile::TempDir) -> Arc<Images> {
    let store = Store::open(dir.path(), std::sync::Arc::new(corten_store::InProcess)).await.unwrap();
    Arc::new(Images::new(store, Arc::new(Events::new())))
}

fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for (path, content) in files {
        let mut entry = Entry::new(*path, EntryKind::File, 0o644);
        entry.size = content.len() as u64;
        writer.append(&entry, &mut &content[..]).unwrap();
    }
    writer.finish().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn layers() -> [Vec<u8>; 2] {
    [tar(&[("bin/sh", b"shell"), ("etc/old", b"x")]), tar(&[("etc/new", b"hello"), ("etc/.wh.old", b"")])]
}

fn config(architecture: &str) -> Vec<u8> {
    let diff_ids: Vec<String> = layers().iter().map(|layer| Digest::of(layer).to_string()).collect();
    serde_json::to_vec(&json!({
        "created": "2024-01-02T03:04:05.120000000Z", "architecture": architecture, "os": "linux",
        "config": { "Cmd": ["sh"], "Env": null, "Labels": { "arch": architecture } },
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
        "history": [{ "created_by": "ADD base" }, { "created_by": "ENV", "empty_layer": true }, { "created_by": "COPY" }],
    }))
    .unwrap()
}

/// What `docker save` of Docker 20 to 24 writes: a folder for each layer.
fn docker_archive(tags: &Value) -> Vec<u8> {
    let [one, two] = layers();
    let manifest =
        json!([{ "Config": "c.json", "RepoTags": tags, "Layers": ["a/layer.tar", "b/layer.tar"] }]);
    tar(&[
        ("c.json", &config("amd64")),
        ("a/VERSION", b"1.0"),
        ("a/layer.tar", &one),
        ("b/layer.tar", &two),
        ("manifest.json", &serde_json::to_vec(&manifest).unwrap()),
        ("repositories", b"{}"),
    ])
}

/// What podman and skopeo write with `docker-archive:`: layers by digest, and links for their old names.
fn podman_archive() -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    let mut names = Vec::new();
    for layer in layers() {
        let name = format!("{}.tar", Digest::of(&layer).hex());
        let mut entry = Entry::new(name.as_str(), EntryKind::File, 0o444);
        entry.size = layer.len() as u64;
        writer.append(&entry, &mut &layer[..]).unwrap();
        let mut link = Entry::new(format!("{}/layer.tar", names.len()), EntryKind::Symlink, 0o777);
        link.link = format!("../{name}").into_bytes();
        writer.append(&link, &mut std::io::empty()).unwrap();
        names.push(name);
    }
    let config = config("amd64");
    let config_name = format!("{}.json", Digest::of(&config).hex());
    let manifest =
        json!([{ "Config": config_name, "RepoTags": ["docker.io/library/app:1"], "Layers": names }]);
    for (name, content) in
        [(config_name, config), ("manifest.json".into(), serde_json::to_vec(&manifest).unwrap())]
    {
        let mut entry = Entry::new(name.as_str(), EntryKind::File, 0o444);
        entry.size = content.len() as u64;
        writer.append(&entry, &mut &content[..]).unwrap();
    }
    writer.finish().unwrap()
}

/// An OCI layout with an index of two platforms, compressed as a whole.
fn layout() -> Vec<u8> {
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    let mut put = |media_type: &str, bytes: Vec<u8>| {
        let digest = Digest::of(&bytes);
        let descriptor =
            json!({ "mediaType": media_type, "digest": digest.to_string(), "size": bytes.len() });
        files.push((format!("blobs/sha256/{}", digest.hex()), bytes));
        descriptor
    };
    let mut manifests = Vec::new();
    for architecture in ["arm64", "amd64"] {
        let config = put("application/vnd.oci.image.config.v1+json", config(architecture));
        let layers: Vec<Value> = layers()
            .iter()
            .map(|layer| put("application/vnd.oci.image.layer.v1.tar+gzip", gzip(layer)))
            .collect();
        let manifest = json!({ "schemaVersion": 2, "config": config, "layers": layers });
        let mut descriptor =
            put("application/vnd.oci.image.manifest.v1+json", serde_json::to_vec(&manifest).unwrap());
        descriptor["platform"] = json!({ "architecture": architecture, "os": "linux" });
        manifests.push(descriptor);
    }
    let index = json!({ "schemaVersion": 2, "manifests": manifests });
    let mut target = put("application/vnd.oci.image.index.v1+json", serde_json::to_vec(&index).unwrap());
    target["annotations"] = json!({ "org.opencontainers.image.ref.name": "example.com/multi:1" });
    let top = json!({ "schemaVersion": 2, "manifests": [target] });
    files.push(("index.json".into(), serde_json::to_vec(&top).unwrap()));
    files.push(("oci-layout".into(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()));
    let files: Vec<(&str, &[u8])> = files.iter().map(|(name, bytes)| (name.as_str(), &bytes[..])).collect();
    gzip(&tar(&files))
}

async fn load(images: &Arc<Images>, archive: Vec<u8>) -> Result<Vec<String>, Error> {
    let loaded = images.load(Box::new(std::io::Cursor::new(archive)), None).await?;
    Ok(loaded.iter().map(|image| image.message()).collect())
}

fn id(images: &Images, name: &str) -> String {
    let request = InspectRequest { name: name.into(), ..InspectRequest::default() };
    images.inspect(&request).unwrap().id
}

#[tokio::test]
async fn archives_of_other_engines_are_loaded() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let images = images(&dir).await;
    let said = load(&images, docker_archive(&json!(["app:1", "me/app"]))).await.unwrap();
    assert_eq!(said, ["Loaded image: app:1\n", "Loaded image: me/app:latest\n"]);
    assert_eq!(id(&images, "app:1"), id(&images, "me/app"));
    let first = id(&images, "app:1");
    assert_eq!(load(&images, podman_archive()).await.unwrap(), ["Loaded image: app:1\n"]);
    assert_eq!(id(&images, "app:1"), first);
    assert_eq!(load(&images, layout()).await.unwrap(), ["Loaded image: example.com/multi:1\n"]);
    let nameless = load(&images, docker_archive(&Value::Null)).await.unwrap();
    assert_eq!(nameless, [format!("Loaded image ID: {first}\n")]);

    let list = images.list(&ListRequest { manifests: true, ..ListRequest::default() }).unwrap();
    assert_eq!(list.len(), 2);
    let multi =
        list.iter().find(|image| image.repo_tags == Some(vec!["example.com/multi:1".into()])).unwrap();
    assert_eq!(multi.manifests.as_ref().unwrap().len(), 2);
    assert_eq!(multi.labels.as_ref().unwrap()["arch"], "amd64");
    let history = images.history("app:1", None).unwrap();
    assert_eq!(history.len(), 3);
    assert_eq!(history[0].id, first);
    assert!(history[1].size == 0 && history[2].size > 0);
}

#[tokio::test]
async fn what_is_saved_is_the_same_when_loaded_and_saved_again() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let images = images(&dir).await;
    load(&images, docker_archive(&json!(["app:1", "app:2"]))).await.unwrap();
    load(&images, layout()).await.unwrap();
    let names = ["app".to_owned(), "example.com/multi:1".to_owned()];
    let mut one = Vec::new();
    images.plan_save(&names, None).unwrap().write(&mut one).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let others = self::images(&elsewhere).await;
    let said = load(&others, one.clone()).await.unwrap();
    assert_eq!(said.len(), 3);
    assert_eq!(id(&others, "app:2"), id(&images, "app:2"));
    let mut two = Vec::new();
    others.plan_save(&names, None).unwrap().write(&mut two).unwrap();
    assert!(one == two);
    let missing = images.plan_save(&["nothing".to_owned()], None).err().map(|error| error.to_string());
    assert_eq!(missing.as_deref(), Some("No such image: nothing:latest"));
}

#[tokio::test]
async fn bad_archives_leave_the_store_as_it_was() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let images = images(&dir).await;
    let manifest = |config: &str, layer: &str, tag: &str| {
        serde_json::to_vec(&json!([{ "Config": config, "RepoTags": [tag], "Layers": [layer] }])).unwrap()
    };
    let config = config("amd64");
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("garbage", b"garbage".repeat(1000)),
        ("empty", Vec::new()),
        ("deep", tar(&[("manifest.json", "[".repeat(200_000).as_bytes())])),
        ("no array", tar(&[("manifest.json", br#"{"a":1}"#)])),
        ("config path", tar(&[("c", &config), ("manifest.json", &manifest("../../c", "l", "x"))])),
        ("layer path", tar(&[("c", &config), ("manifest.json", &manifest("c", "/etc/hostname", "x"))])),
        ("tag", tar(&[("c", &config), ("l", b""), ("manifest.json", &manifest("c", "l", "../x:1"))])),
        ("few layers", tar(&[("c", &config), ("l", b""), ("manifest.json", &manifest("c", "l", "x"))])),
        ("version", tar(&[("oci-layout", br#"{"imageLayoutVersion":"9"}"#)])),
        ("no index", tar(&[("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)])),
    ];
    for (case, archive) in cases {
        let refused = load(&images, archive).await;
        assert!(matches!(refused, Err(Error::Archive(_) | Error::Intake(_))), "{case}: {refused:?}");
    }
    assert!(images.list(&ListRequest { all: true, ..ListRequest::default() }).unwrap().is_empty());
    let blobs = std::fs::read_dir(dir.path().join("content/blobs/sha256")).unwrap().count();
    assert_eq!(blobs, 0);
}

#[tokio::test]
async fn names_go_one_by_one_and_the_image_with_the_last() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let images = images(&dir).await;
    load(&images, docker_archive(&json!(["app:1", "app:2"]))).await.unwrap();
    let whole = id(&images, "app:1");
    let image: Digest = whole.parse().unwrap();
    let user = ImageUse {
        container: "c".repeat(64),
        state: State::Stopped,
        image,
        manifest: Some(image),
        reference: "app:1".into(),
        platform: None,
        mounted: Vec::new(),
    };
    images.ask_users(Box::new(move || vec![user.clone()]));
    let remove = |name: &str, force| {
        let request = RemoveRequest { name: name.into(), force, prune: true, platforms: Vec::new() };
        let images = images.clone();
        async move {
            images.remove(&request).await.map(|done| {
                let words = done.into_iter().map(|done| format!("{}{}", done.untagged, done.deleted));
                words.collect::<Vec<_>>()
            })
        }
    };
    assert_eq!(remove("app:1", false).await.unwrap(), ["app:1"]);
    let short = image.hex()[..12].to_owned();
    assert_eq!(
        remove("app:2", false).await.unwrap_err().to_string(),
        format!(
            "conflict: unable to delete app:2 (must be forced) - container cccccccccccc is using its referenced image {short}"
        )
    );
    assert_eq!(
        remove(&short, false).await.unwrap_err().to_string(),
        format!(
            "conflict: unable to delete {short} (must be forced) - image is being used by stopped container cccccccccccc"
        )
    );
    // By force the name goes, and the image stays without one.
    assert_eq!(remove("app:2", true).await.unwrap(), ["app:2"]);
    assert_eq!(images.list(&ListRequest::default()).unwrap()[0].repo_tags, None);
    assert_eq!(images.prune(&Default::default()).await.unwrap().images_deleted, None);
    assert_eq!(remove(&short, true).await.unwrap(), [whole]);
    assert!(images.list(&ListRequest::default()).unwrap().is_empty());
    assert!(images.store().content().size(&image).is_none());
}

#[tokio::test]
async fn one_platform_goes_and_the_image_stays_for_the_other() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let images = images(&dir).await;
    load(&images, layout()).await.unwrap();
    let remove = |force| {
        let platforms = vec!["linux/arm64".parse().unwrap()];
        let request = RemoveRequest { name: "example.com/multi:1".into(), force, prune: true, platforms };
        let images = images.clone();
        async move { images.remove(&request).await }
    };
    assert!(matches!(remove(false).await, Err(Error::PlatformsNeedForce)));
    assert_eq!(remove(true).await.unwrap().len(), 1);
    let list = images.list(&ListRequest { manifests: true, ..ListRequest::default() }).unwrap();
    let available: Vec<bool> = list[0].manifests.as_ref().unwrap().iter().map(|one| one.available).collect();
    assert_eq!(available, [false, true]);
    assert!(remove(true).await.is_err());
    assert!(images.store().images().resolve("example.com/multi:1").is_ok());
}

#[tokio::test]
async fn a_plain_tar_becomes_an_image() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let images = images(&dir).await;
    let request = ImportRequest {
        archive: Box::new(std::io::Cursor::new(tar(&[("bin/sh", b"shell")]))),
        name: Some("made:1".parse().unwrap()),
        platform: None,
        message: "by hand".into(),
        changes: vec!["CMD [\"sh\"]".into(), "ENV A=b".into()],
    };
    let id = images.import(request).await.unwrap();
    let inspect =
        images.inspect(&InspectRequest { name: "made:1".into(), ..InspectRequest::default() }).unwrap();
    assert_eq!(inspect.id, id.to_string());
    assert_eq!(inspect.comment, "by hand");
    assert_eq!(inspect.config["Cmd"], json!(["sh"]));
    assert_eq!(inspect.config["Env"], json!(["A=b"]));
    images.tag("made:1", "other".parse().unwrap()).await.unwrap();
    let refused = images.tag("made:1", "sha256:abc".parse().unwrap()).await;
    assert!(matches!(refused, Err(Error::AmbiguousTag)));
    assert_eq!(images.list(&ListRequest::default()).unwrap()[0].repo_tags.as_ref().unwrap().len(), 2);
}
