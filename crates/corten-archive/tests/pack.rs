//! Packing what somebody else changes.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use corten_archive::{PackOptions, pack};
use rustix::fs::{Mode, OFlags};

fn locate(path: &Path) -> OwnedFd {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).unwrap()
}

/// Names, kinds and contents of what is packed.
fn packed(object: &OwnedFd, name: Option<&str>) -> Vec<(String, tar::EntryType, String)> {
    let mut bytes = Vec::new();
    let name = name.map(|name| name.as_bytes().to_vec());
    pack(object, &PackOptions { name, ..PackOptions::default() }, &mut bytes).unwrap();
    let mut archive = tar::Archive::new(&bytes[..]);
    let read = |entry: std::io::Result<tar::Entry<'_, &[u8]>>| {
        let mut entry = entry.unwrap();
        let mut content = String::new();
        std::io::Read::read_to_string(&mut entry, &mut content).unwrap();
        if let Some(link) = entry.link_name().unwrap() {
            content = link.to_string_lossy().into_owned();
        }
        let path = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
        (path, entry.header().entry_type(), content)
    };
    archive.entries().unwrap().map(read).collect()
}

#[test]
fn what_was_opened_is_packed_whatever_becomes_of_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::write(at("file"), "content").unwrap();
    std::os::unix::fs::symlink("../somewhere", at("link")).unwrap();
    std::fs::create_dir(at("folder")).unwrap();
    std::fs::write(at("folder/a"), "a").unwrap();
    std::fs::hard_link(at("folder/a"), at("folder/b")).unwrap();
    let (file, link, folder) = (locate(&at("file")), locate(&at("link")), locate(&at("folder")));
    std::fs::rename(at("folder"), at("elsewhere")).unwrap();
    std::os::unix::fs::symlink("/", at("folder")).unwrap();
    std::fs::remove_file(at("file")).unwrap();
    std::fs::remove_file(at("link")).unwrap();

    use tar::EntryType;
    let entry = |path: &str, kind, content: &str| (path.to_owned(), kind, content.to_owned());
    assert_eq!(packed(&file, Some("f")), [entry("f", EntryType::Regular, "content")]);
    assert_eq!(packed(&link, Some("l")), [entry("l", EntryType::Symlink, "../somewhere")]);
    let inside = |prefix: &str| {
        [
            entry(&format!("{prefix}a"), EntryType::Regular, "a"),
            entry(&format!("{prefix}b"), EntryType::Link, &format!("{prefix}a")),
        ]
    };
    let whole = |root: &str, prefix: &str| {
        let mut all = vec![entry(root, EntryType::Directory, "")];
        all.extend(inside(prefix));
        all
    };
    assert_eq!(packed(&folder, Some("d")), whole("d/", "d/"));
    assert_eq!(packed(&folder, Some(".")), whole("./", "./"));
    assert_eq!(packed(&folder, None), whole("./", ""));
}

#[test]
fn a_tree_that_changes_is_packed_as_far_as_it_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let tree = dir.path().join("tree");
    std::fs::create_dir(&tree).unwrap();
    let object = locate(&tree);
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // Names that are files, links, folders and nothing in turn.
            while !ended.load(Ordering::Relaxed) {
                for n in 0..20 {
                    let path = tree.join(n.to_string());
                    std::fs::write(&path, "x").unwrap();
                    std::fs::remove_file(&path).unwrap();
                    std::fs::create_dir(&path).unwrap();
                    std::fs::remove_dir(&path).unwrap();
                    std::os::unix::fs::symlink("nowhere", &path).unwrap();
                    std::fs::remove_file(&path).unwrap();
                }
            }
        });
        let mut entries = 0;
        for _ in 0..2000 {
            entries += packed(&object, Some("t")).len();
        }
        ended.store(true, Ordering::Relaxed);
        assert!(entries > 2000, "nothing but the tree itself was seen");
    });
}
