//! What a store promises, whatever keeps its trees. Needs root (overlay, device nodes).

use std::collections::BTreeMap;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::Path;

use corten_archive::{Entry, EntryKind, Writer};
use corten_store::oci::{Descriptor, ImageConfig, Manifest, RootFs, media};
use corten_store::{ChangeKind, ImageError, IntakeError, Layer, Name, Store, Sync, Upper};
use corten_types::Digest;
use rustix::fs::{Mode, OFlags};

#[path = "contract/check.rs"]
mod check;

fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        println!("skipped: needs root");
    }
    root
}

fn tar(files: &[(&str, &str)]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for (path, content) in files {
        let kind = if path.ends_with('/') { EntryKind::Directory } else { EntryKind::File };
        let mut entry = Entry::new(*path, kind, 0o755);
        entry.size = content.len() as u64;
        writer.append(&entry, &mut content.as_bytes()).unwrap();
    }
    writer.finish().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn name(text: &str) -> Name {
    Name::Reference(text.parse().unwrap())
}

/// Takes an image of these layers in, unpacked, and gives its target.
fn take(store: &Store, names: &[&str], layers: &[Vec<u8>]) -> Descriptor {
    let intake = store.intake();
    let diff_ids: Vec<Digest> = layers.iter().map(|layer| Digest::of(layer)).collect();
    let blobs: Vec<Descriptor> =
        layers.iter().map(|layer| intake.bytes(media::LAYER_GZIP, &gzip(layer)).unwrap()).collect();
    let config = ImageConfig {
        architecture: "amd64".into(),
        os: "linux".into(),
        rootfs: RootFs { kind: "layers".into(), diff_ids: diff_ids.clone() },
        ..ImageConfig::default()
    };
    let chain = config.chain_ids();
    let layers: Vec<Layer> = blobs
        .iter()
        .zip(diff_ids.iter().zip(chain))
        .map(|(blob, (diff_id, chain_id))| Layer { descriptor: blob.clone(), diff_id: *diff_id, chain_id })
        .collect();
    intake.unpack(&layers).unwrap();
    let config = intake.bytes(media::CONFIG, &serde_json::to_vec(&config).unwrap()).unwrap();
    let manifest = Manifest {
        schema_version: 2,
        media_type: media::MANIFEST.into(),
        artifact_type: String::new(),
        config,
        layers: blobs,
        subject: None,
        annotations: BTreeMap::new(),
    };
    let target = intake.bytes(media::MANIFEST, &serde_json::to_vec(&manifest).unwrap()).unwrap();
    for text in names {
        intake.name(name(text), target.clone(), BTreeMap::new());
    }
    intake.commit().unwrap();
    target
}

fn two_layers() -> Vec<Vec<u8>> {
    vec![
        tar(&[("etc/", ""), ("etc/a", "below"), ("etc/b", "gone"), ("bin/", ""), ("bin/sh", "shell")]),
        tar(&[("etc/a", "above"), ("etc/.wh.b", ""), ("new", "new")]),
    ]
}

/// Reads through a detached mount.
fn read(mount: &OwnedFd, path: &str) -> Option<String> {
    let file = rustix::fs::openat(mount, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    Some(std::io::read_to_string(std::fs::File::from(file)).unwrap())
}

fn write(mount: &OwnedFd, path: &str, content: &str) {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
    let file = rustix::fs::openat(mount, path, flags, Mode::from_raw_mode(0o644)).unwrap();
    std::fs::File::from(file).write_all(content.as_bytes()).unwrap();
}

fn count(path: &Path) -> usize {
    std::fs::read_dir(path).unwrap().count()
}

#[tokio::test]
async fn an_image_is_found_by_name_id_and_prefix() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), std::sync::Arc::new(corten_store::InProcess)).await.unwrap();
    let target = take(&store, &["app:1", "me/app:2"], &two_layers());
    let images = store.images();
    let hex = target.digest.hex();
    for text in
        ["app:1", "me/app:2", &target.digest.to_string(), &hex, &hex[..12], &format!("app@{}", target.digest)]
    {
        assert_eq!(images.resolve(text).unwrap().id, target.digest, "{text}");
    }
    let image = images.resolve("app:1").unwrap();
    assert_eq!(image.layers.len(), 2);
    assert_eq!(image.names.len(), 2);
    let texts = [
        ("nothing", "No such image: nothing:latest"),
        ("app", "No such image: app:latest"),
        ("deadbeef", "No such image: deadbeef:latest"),
    ];
    for (text, error) in texts {
        assert_eq!(images.resolve(text).unwrap_err().to_string(), error);
    }
    assert!(matches!(images.resolve("A b"), Err(ImageError::Reference(_))));
    assert!(store.snapshots().chain_usage(&image.chain_id().unwrap()).size > 0);
}

#[tokio::test]
async fn a_container_sees_the_image_and_keeps_its_writes_to_itself() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), std::sync::Arc::new(corten_store::InProcess)).await.unwrap();
    take(&store, &["app:1"], &two_layers());
    let chain = store.images().resolve("app:1").unwrap().chain_id();
    let snapshots = store.snapshots();
    let one = snapshots.prepare("one", chain.as_ref()).await.unwrap();
    let two = snapshots.prepare("two", chain.as_ref()).await.unwrap();
    assert!(snapshots.prepare("one", None).await.is_err());
    {
        let (one, two) = (one.mount(Sync::Normal).unwrap(), two.mount(Sync::Volatile).unwrap());
        assert_eq!(read(&one, "etc/a").as_deref(), Some("above"));
        assert_eq!(read(&one, "etc/b"), None);
        assert_eq!(read(&one, "bin/sh").as_deref(), Some("shell"));
        assert_eq!(read(&one, ".dockerenv").as_deref(), Some(""));
        write(&one, "etc/a", "mine");
        write(&one, "fresh", "mine");
        rustix::fs::unlinkat(&one, "new", rustix::fs::AtFlags::empty()).unwrap();
        assert_eq!(read(&two, "etc/a").as_deref(), Some("above"));
        assert_eq!(read(&two, "fresh"), None);
    }
    let changes: Vec<(String, ChangeKind)> = snapshots
        .changes("one")
        .unwrap()
        .into_iter()
        .map(|change| (String::from_utf8(change.path).unwrap(), change.kind))
        .collect();
    let expected = [
        ("/etc", ChangeKind::Modified),
        ("/etc/a", ChangeKind::Modified),
        ("/fresh", ChangeKind::Added),
        ("/new", ChangeKind::Deleted),
    ];
    assert_eq!(changes, expected.map(|(path, kind)| (path.to_owned(), kind)));
    assert!(snapshots.changes("two").unwrap().is_empty());
    assert!(snapshots.usage("one").unwrap().size > snapshots.usage("two").unwrap().size);

    let intake = store.intake();
    assert_eq!(intake.commit_snapshot("two", Upper::Stays).unwrap(), None);
    let made = intake.commit_snapshot("one", Upper::Stays).unwrap().unwrap();
    intake.commit().unwrap();
    assert_eq!(made.chain, Digest::chain(chain.as_ref(), &made.diff_id));
    assert_eq!(made.descriptor.media_type, media::LAYER_GZIP);
    let mut plain = Vec::new();
    snapshots.diff("one", &mut plain).unwrap();
    assert_eq!(made.diff_id, Digest::of(&plain));
    let view = snapshots.view(Some(&made.chain)).unwrap();
    assert_eq!(read(&view, "etc/a").as_deref(), Some("mine"));
    assert_eq!(read(&view, "new"), None);
    assert_eq!(read(&view, "fresh").as_deref(), Some("mine"));
    drop(view);

    // The same changes give the same layer; this time there is one already.
    let intake = store.intake();
    assert_eq!(intake.commit_snapshot("one", Upper::Becomes).unwrap(), Some(made));
    intake.commit().unwrap();
    snapshots.remove("one").await.unwrap();
    assert!(snapshots.get("one").is_err());
    assert!(snapshots.remove("one").await.is_err());
    {
        let again = snapshots.get("two").unwrap().mount(Sync::Volatile).unwrap();
        write(&again, "more", "2");
    }
    let again = snapshots.get("two").unwrap().mount(Sync::Volatile).unwrap();
    assert_eq!(read(&again, "more").as_deref(), Some("2"));
    let scratch = snapshots.prepare("scratch", None).await.unwrap().mount(Sync::Normal).unwrap();
    write(&scratch, "x", "y");
    assert_eq!(read(&scratch, "x").as_deref(), Some("y"));
}

#[tokio::test]
async fn what_a_step_wrote_becomes_the_layer_where_it_lies() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), std::sync::Arc::new(corten_store::InProcess)).await.unwrap();
    take(&store, &["app:1"], &two_layers());
    let chain = store.images().resolve("app:1").unwrap().chain_id();
    let snapshots = store.snapshots();
    for key in ["given up", "step"] {
        let snapshot = snapshots.prepare(key, chain.as_ref()).await.unwrap();
        write(&snapshot.mount(Sync::Volatile).unwrap(), "made", key);
        let intake = store.intake();
        let made = intake.commit_snapshot(key, Upper::Becomes).unwrap().unwrap();
        if key == "given up" {
            // Without a commit it is the snapshot's still.
            drop(intake);
            snapshots.remove(key).await.unwrap();
            assert!(!snapshots.has_chain(&made.chain));
            continue;
        }
        let upper = snapshot.upper().to_owned();
        let inode = |path: &std::path::Path| std::os::unix::fs::MetadataExt::ino(&path.metadata().unwrap());
        let before = inode(&upper.join("made"));
        let lease = store.intake();
        intake.commit_under(&lease).unwrap();
        assert!(snapshots.get(key).is_err() && snapshots.has_chain(&made.chain));
        assert_eq!(inode(&upper.join("made")), before);
        assert!(!snapshot.work().exists());
        let view = snapshots.view(Some(&made.chain)).unwrap();
        assert_eq!(read(&view, "made").as_deref(), Some(key));
        assert_eq!(read(&view, "etc/a").as_deref(), Some("above"));
        assert_eq!(store.collect().await.unwrap(), corten_store::Collected::default());
        drop(lease);
        assert_eq!(
            store.collect().await.unwrap().layers.iter().map(|(chain, _)| *chain).collect::<Vec<_>>(),
            [made.chain]
        );
    }
}

#[tokio::test]
async fn the_collector_takes_what_nothing_names() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), std::sync::Arc::new(corten_store::InProcess)).await.unwrap();
    let mut layers = two_layers();
    let first = take(&store, &["app:1"], &layers);
    layers.push(tar(&[("third", "3")]));
    take(&store, &["app:2"], &layers);
    let chain = store.images().resolve("app:2").unwrap().chain_id();
    store.snapshots().prepare("user", chain.as_ref()).await.unwrap();
    assert_eq!(store.collect().await.unwrap(), corten_store::Collected::default());

    // The name goes, the target stays without one until that goes too; the container keeps its layers.
    store.images().untag(&name("app:2")).await.unwrap();
    assert_eq!(store.collect().await.unwrap(), corten_store::Collected::default());
    let dangling: Vec<_> =
        store.images().list().into_iter().filter(|image| image.name.is_dangling()).collect();
    assert_eq!(dangling.len(), 1);
    store.images().delete(&dangling[0].name).await.unwrap();
    let collected = store.collect().await.unwrap();
    assert_eq!((collected.blobs.len(), collected.layers.len()), (3, 0));
    store.snapshots().remove("user").await.unwrap();
    let collected = store.collect().await.unwrap();
    assert_eq!((collected.blobs.len(), collected.layers.len()), (0, 1));

    let lease = store.intake();
    assert!(lease.hold(&first.digest));
    store.images().delete(&name("app:1")).await.unwrap();
    let collected = store.collect().await.unwrap();
    assert!(!collected.blobs.iter().any(|(digest, _)| *digest == first.digest));
    drop(lease);
    assert_eq!(store.collect().await.unwrap().blobs, [(first.digest, first.size)]);
    assert_eq!(count(&dir.path().join("content/blobs/sha256")), 0);
    assert_eq!(count(&dir.path().join("snapshots")), 1);
}

#[tokio::test]
async fn what_is_published_under_a_lease_lives_as_long_as_the_lease() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), std::sync::Arc::new(corten_store::InProcess)).await.unwrap();
    let lease = store.intake();
    let intake = store.intake();
    let blob = intake.bytes("text/plain", b"a step of a build").unwrap();
    intake.commit_under(&lease).unwrap();
    assert_eq!(store.collect().await.unwrap(), corten_store::Collected::default());
    assert!(store.content().contains(&blob.digest));
    drop(lease);
    assert_eq!(store.collect().await.unwrap().blobs, [(blob.digest, blob.size)]);
}

#[tokio::test]
async fn a_plain_layer_and_its_tree_have_one_digest_and_lives_of_their_own() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), std::sync::Arc::new(corten_store::InProcess)).await.unwrap();
    let layer = tar(&[("a", "b")]);
    let intake = store.intake();
    let blob = intake.bytes(media::LAYER, &layer).unwrap();
    let (diff_id, chain) = intake.unpack_unknown(None, &blob.digest).unwrap();
    assert_eq!(diff_id, chain);
    intake.keep_only(&Default::default());
    intake.commit().unwrap();
    // The tree is there, and the tar is not: it must be taken.
    let intake = store.intake();
    let blob = intake.bytes(media::LAYER, &layer).unwrap();
    assert_eq!(blob.digest, chain);
    intake.commit().unwrap();
    assert!(store.content().contains(&blob.digest));
}

#[tokio::test]
async fn what_lies_is_refused_and_leaves_nothing() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), std::sync::Arc::new(corten_store::InProcess)).await.unwrap();
    let intake = store.intake();
    let refused = intake.copy(&mut &b"content"[..], Some(&Digest::of(b"other")), None);
    assert!(matches!(refused, Err(IntakeError::Digest { .. })));
    assert!(matches!(intake.copy(&mut &b"content"[..], None, Some(3)), Err(IntakeError::Size { .. })));
    let layer = tar(&[("a", "b")]);
    let unpack = |bytes: &[u8]| {
        let other = Digest::of(b"other");
        let descriptor = intake.bytes(media::LAYER, bytes).unwrap();
        intake.unpack(&[Layer { descriptor, diff_id: other, chain_id: other }])
    };
    assert!(matches!(unpack(&layer), Err(IntakeError::DiffId { .. })));
    assert!(matches!(unpack(&layer[..700]), Err(IntakeError::Apply { .. })));
    intake.bytes(media::CONFIG, b"{}").unwrap();
    drop(intake);
    assert_eq!(count(&dir.path().join("content/blobs/sha256")), 0);
    assert_eq!(count(&dir.path().join("content/ingest")), 0);
    assert_eq!(count(&dir.path().join("snapshots")), 1);
}

#[tokio::test]
async fn a_download_that_broke_off_is_resumed_by_the_next_store_and_only_if_it_is_right() {
    let dir = tempfile::tempdir().unwrap();
    let blob: Vec<u8> = (0..3_u32 << 20).map(|i| (i % 251) as u8).collect();
    let (digest, size) = (Digest::of(&blob), blob.len() as u64);
    let half = blob.len() / 2;
    for spoilt in [false, true] {
        {
            let store = Store::open(dir.path(), std::sync::Arc::new(corten_store::InProcess)).await.unwrap();
            let intake = store.intake();
            let mut writer = intake.download(&digest, size).unwrap();
            assert_eq!(writer.resumed(), 0);
            writer.write_all(&blob[..half]).unwrap();
            // A second one of the same does not touch the first one's file.
            let second = intake.download(&digest, size).unwrap();
            assert_eq!(second.resumed(), 0);
            drop(second);
            drop(writer);
        }
        let part = dir.path().join(format!("content/ingest/{}.part", digest.hex()));
        if spoilt {
            std::fs::write(&part, vec![0; half]).unwrap();
        }
        let store = Store::open(dir.path(), std::sync::Arc::new(corten_store::InProcess)).await.unwrap();
        let intake = store.intake();
        let mut writer = intake.download(&digest, size).unwrap();
        assert_eq!(writer.resumed(), half as u64);
        writer.write_all(&blob[half..]).unwrap();
        let finished = writer.finish(Some(&digest), Some(size));
        assert_eq!(finished.is_err(), spoilt);
        drop(intake);
        assert_eq!(count(&dir.path().join("content/ingest")), 0);
    }
}

#[tokio::test]
async fn opening_removes_what_no_row_names_and_forgets_what_is_lost() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), std::sync::Arc::new(corten_store::InProcess)).await.unwrap();
    let target = take(&store, &["app:1"], &two_layers());
    let image = store.images().resolve("app:1").unwrap();
    store.snapshots().prepare("kept", image.chain_id().as_ref()).await.unwrap();
    let upper = store.snapshots().get("kept").unwrap().upper().to_owned();
    let lost = dir.path().join("content/blobs/sha256").join(image.layers[0].descriptor.digest.hex());
    drop(store);
    for rubbish in ["content/ingest/x", "content/blobs/sha256/x"] {
        std::fs::write(dir.path().join(rubbish), "x").unwrap();
    }
    std::fs::create_dir_all(dir.path().join("snapshots/999/fs")).unwrap();
    std::fs::remove_file(&lost).unwrap();
    std::fs::remove_dir_all(upper.parent().unwrap()).unwrap();
    let store = Store::open(dir.path(), std::sync::Arc::new(corten_store::InProcess)).await.unwrap();
    assert_eq!(count(&dir.path().join("content/ingest")), 0);
    assert!(!dir.path().join("snapshots/999").exists());
    assert!(!store.content().contains(&image.layers[0].descriptor.digest));
    assert!(upper.exists());
    assert_eq!(store.images().resolve("app:1").unwrap().id, target.digest);
    take(&store, &["app:1"], &two_layers());
    assert!(store.content().contains(&image.layers[0].descriptor.digest));
}
