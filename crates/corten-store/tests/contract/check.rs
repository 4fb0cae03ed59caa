//! Damage: found, mended, forgotten.

use std::path::Path;

use corten_store::{Damaged, Image, Repair, Store};

use super::{is_root, take, tar};

fn load(store: &Store, name: &str, layers: &[&[(&str, &str)]]) -> Image {
    let layers: Vec<Vec<u8>> = layers.iter().map(|files| tar(files)).collect();
    take(store, &[name], &layers);
    store.images().resolve(name).unwrap()
}

#[tokio::test]
async fn a_check_finds_what_was_damaged_and_a_repair_mends_it() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), std::sync::Arc::new(corten_store::InProcess)).await.unwrap();
    let image = load(&store, "a:1", &[&[("etc/", ""), ("etc/one", "1")], &[("etc/two", "22")]]);
    let whole = store.check(Repair::No).await.unwrap();
    assert_eq!((whole.layers, whole.unchecked, whole.damaged.len()), (2, 0, 0), "{whole:?}");

    // One byte of a tree, and the whole content of a blob.
    let damaged = find(&dir.path().join("snapshots"), "two");
    std::fs::write(&damaged, "23").unwrap();
    let blob = dir.path().join("content/blobs/sha256").join(image.layers[0].descriptor.digest.hex());
    let size = std::fs::metadata(&blob).unwrap().len();
    std::fs::write(&blob, vec![0; usize::try_from(size).unwrap()]).unwrap();

    let found = store.check(Repair::No).await.unwrap();
    let what: Vec<_> = found.damaged.iter().map(|damage| (damage.what, damage.repaired)).collect();
    assert_eq!(what, [(Damaged::Blob, false), (Damaged::Layer, false)], "{found:?}");
    let mended = store.check(Repair::Yes).await.unwrap();
    assert!(mended.damaged.iter().all(|damage| damage.repaired), "{mended:?}");
    assert!(!store.content().contains(&image.layers[0].descriptor.digest));
    assert_eq!(std::fs::read_to_string(find(&dir.path().join("snapshots"), "two")).unwrap(), "22");
    // Taking the image in again brings the blob back.
    load(&store, "a:1", &[&[("etc/", ""), ("etc/one", "1")], &[("etc/two", "22")]]);
    assert_eq!(store.check(Repair::No).await.unwrap().damaged, []);
}

#[tokio::test]
async fn what_lies_beneath_a_container_is_not_replaced() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), std::sync::Arc::new(corten_store::InProcess)).await.unwrap();
    let image = load(&store, "a:1", &[&[("one", "1")]]);
    store.snapshots().prepare("container", Some(&image.layers[0].chain_id)).await.unwrap();
    std::fs::write(find(&dir.path().join("snapshots"), "one"), "2").unwrap();
    let found = store.check(Repair::Yes).await.unwrap();
    assert_eq!((found.damaged.len(), found.damaged[0].repaired), (1, false));
    assert!(found.damaged[0].reason.ends_with("a container lies on it"), "{found:?}");
}

#[tokio::test]
async fn after_the_machine_went_down_what_has_lost_its_bytes_is_forgotten_and_comes_back() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let image = {
        let store = Store::open(dir.path(), std::sync::Arc::new(corten_store::InProcess)).await.unwrap();
        load(&store, "a:1", &[&[("one", "1")]])
    };
    let blobs = dir.path().join("content/blobs/sha256");
    std::fs::write(blobs.join(image.layers[0].descriptor.digest.hex()), "").unwrap();
    let config = blobs.join(image.manifest.config.digest.hex());
    let size = usize::try_from(std::fs::metadata(&config).unwrap().len()).unwrap();
    std::fs::write(config, vec![0; size]).unwrap();
    std::fs::write(dir.path().join("boot"), "another boot").unwrap();
    let store = Store::open(dir.path(), std::sync::Arc::new(corten_store::InProcess)).await.unwrap();
    assert!(!store.content().contains(&image.layers[0].descriptor.digest));
    assert!(!store.content().contains(&image.manifest.config.digest));
    load(&store, "a:1", &[&[("one", "1")]]);
    assert_eq!(store.check(Repair::No).await.unwrap().damaged, []);
}

#[tokio::test]
async fn a_tree_that_may_not_have_reached_the_disk_is_unpacked_again_after_a_power_loss() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let volatile = tempfile::tempdir().unwrap();
    let open = || {
        let unpacker = std::sync::Arc::new(corten_store::InProcess);
        Store::open_beside(dir.path(), Some(volatile.path()), unpacker)
    };
    let two: &[&[(&str, &str)]] = &[&[("etc/", ""), ("etc/one", "1")], &[("etc/two", "22")]];
    let store = open().await.unwrap();
    load(&store, "a:1", two);
    drop(store);
    // What a power loss makes of a file that was not synced; the seal was lost with it.
    let lose = || {
        for name in ["one", "two"] {
            std::fs::write(find(&dir.path().join("snapshots"), name), "").unwrap();
        }
        let rows = rusqlite::Connection::open(dir.path().join("corten.db")).unwrap();
        rows.execute("UPDATE layers SET sealed = 0", []).unwrap();
    };
    lose();
    let store = open().await.unwrap();
    assert_eq!(store.check(Repair::No).await.unwrap().damaged.len(), 2, "the machine was not lost");
    drop(store);
    lose();
    for note in std::fs::read_dir(volatile.path()).unwrap() {
        std::fs::remove_file(note.unwrap().path()).unwrap();
    }
    let store = open().await.unwrap();
    assert_eq!(store.check(Repair::No).await.unwrap().damaged, []);
    assert_eq!(std::fs::read_to_string(find(&dir.path().join("snapshots"), "two")).unwrap(), "22");
}

#[tokio::test]
async fn trees_are_sealed_behind_the_acknowledgement() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), std::sync::Arc::new(corten_store::InProcess)).await.unwrap();
    load(&store, "a:1", &[&[("one", "1")]]);
    let rows = rusqlite::Connection::open(dir.path().join("corten.db")).unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    // The row is all there is to see of it from outside.
    loop {
        let unsealed: i64 =
            rows.query_row("SELECT count(*) FROM layers WHERE sealed = 0", [], |row| row.get(0)).unwrap();
        if unsealed == 0 {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "not sealed");
        tokio::task::yield_now().await;
    }
}

/// The file of that name somewhere beneath `root`.
fn find(root: &Path, name: &str) -> std::path::PathBuf {
    let mut pending = vec![root.to_owned()];
    while let Some(directory) = pending.pop() {
        for entry in std::fs::read_dir(directory).unwrap().flatten() {
            if entry.file_name() == name {
                return entry.path();
            }
            if entry.file_type().unwrap().is_dir() {
                pending.push(entry.path());
            }
        }
    }
    panic!("no {name} beneath {}", root.display());
}
