//! Layers unpacked by the confined worker: the program under its other name.

use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::Path;

use corten_archive::{ApplyError, Entry, EntryKind, Limits, Writer};
use corten_store::{InProcess, Source, Unpack};
use corten_types::Digest;
use corten_worker::Workers;
use rustix::fs::{Mode, OFlags};

fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        println!("skipped: needs root");
    }
    root
}

fn workers() -> Workers {
    Workers::of(env!("CARGO_BIN_EXE_corten"))
}

fn open(path: &Path) -> OwnedFd {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap()
}

fn layer() -> Vec<u8> {
    let mut tar = Writer::new(Vec::new());
    let mut add = |mut entry: Entry, content: &[u8]| {
        entry.size = content.len() as u64;
        tar.append(&entry, &mut &content[..]).unwrap();
    };
    let mut suid = Entry::new("bin/su", EntryKind::File, 0o4755);
    suid.xattrs = vec![(b"user.note".to_vec(), b"x".to_vec())];
    (suid.uid, suid.gid) = (7, 8);
    add(Entry::new("bin", EntryKind::Directory, 0o755), b"");
    add(Entry::new("dev", EntryKind::Directory, 0o755), b"");
    add(suid, &vec![7; 3 << 20]);
    add(Entry::new("dev/null", EntryKind::CharDevice { major: 1, minor: 3 }, 0o6666), b"");
    add(Entry::new("bin/.wh..wh..opq", EntryKind::File, 0), b"");
    add(Entry::new(".wh.gone", EntryKind::File, 0), b"");
    let mut link = Entry::new("link", EntryKind::Symlink, 0o777);
    link.link = b"/etc/passwd".to_vec();
    add(link, b"");
    let mut hard = Entry::new("hard", EntryKind::HardLink, 0o777);
    hard.link = b"below".to_vec();
    add(hard, b"");
    tar.finish().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Unpacks `blob` into a new tree beneath `dir`.
fn unpack(
    who: &dyn Unpack,
    dir: &Path,
    blob: &[u8],
    limits: Limits,
) -> Result<(corten_archive::Applied, Digest), ApplyError> {
    let (tree, file) = (dir.join("tree"), dir.join("blob"));
    std::fs::create_dir(&tree).unwrap();
    std::fs::write(&file, blob).unwrap();
    let blob = Some(Digest::of(blob));
    who.unpack(open(&tree), Source::Whole(std::fs::File::open(file).unwrap()), blob, limits)
}

fn picture(root: &Path) -> Vec<u8> {
    let mut out = Vec::new();
    corten_archive::diff(open(root), &mut out).unwrap();
    out
}

#[test]
fn a_worker_makes_what_this_process_would_make() {
    if !is_root() {
        return;
    }
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let tar = layer();
    for blob in [tar.clone(), gzip(&tar)] {
        let own = unpack(&InProcess, here.path(), &blob, Limits::NONE).unwrap();
        let confined = unpack(&workers(), there.path(), &blob, Limits::NONE).unwrap();
        assert_eq!(own, confined);
        assert_eq!(own.1, Digest::of(&tar));
        assert_eq!((own.0.opaque.len(), own.0.links.len()), (1, 1));
        let (own, confined) = (here.path().join("tree"), there.path().join("tree"));
        assert!(picture(&own) == picture(&confined));
        std::fs::remove_dir_all(own).unwrap();
        std::fs::remove_dir_all(confined).unwrap();
    }
}

#[test]
fn a_worker_says_what_is_wrong_and_keeps_to_its_limits() {
    if !is_root() {
        return;
    }
    let refused = |blob: &[u8], limits| {
        let dir = tempfile::tempdir().unwrap();
        unpack(&workers(), dir.path(), blob, limits).unwrap_err().to_string()
    };
    let tar = layer();
    assert_eq!(
        refused(&tar, Limits { bytes: 1 << 20, inodes: 99 }),
        "no space left on device: the archive needs more than the 1048576 bytes that are free"
    );
    assert_eq!(
        refused(&tar, Limits { bytes: 1 << 30, inodes: 2 }),
        "no space left on device: the archive needs more than the 2 files that are free"
    );
    assert_eq!(refused(&[b'x'; 512], Limits::NONE), "archive/tar: invalid tar header");
    let gzip = gzip(&tar);
    assert!(refused(&gzip[..gzip.len() - 9], Limits::NONE).starts_with("could not read the archive"));
}

#[test]
fn a_program_that_is_no_worker_is_an_error() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let failed = unpack(&Workers::of("/proc/self/no-such-program"), dir.path(), &layer(), Limits::NONE);
    assert!(failed.is_err());
}

#[test]
fn a_worker_follows_a_blob_that_grows_and_ends_with_one_that_does_not() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let unpacker: std::sync::Arc<dyn Unpack> = std::sync::Arc::new(workers());
    let store = corten_store::Store::open_blocking(&dir.path().join("data"), unpacker).unwrap();
    let blob = gzip(&layer());
    let (digest, size) = (Digest::of(&blob), blob.len() as u64);
    let diff_id = Digest::of(&layer());
    let descriptor = corten_store::oci::Descriptor::new(corten_store::oci::media::LAYER, digest, size);
    let wanted = corten_store::Layer { descriptor, diff_id, chain_id: diff_id };
    for whole in [false, true] {
        let intake = store.intake();
        let mut writer = intake.download(&digest, size).unwrap();
        let source = writer.follow().unwrap();
        let unpacked = std::thread::scope(|scope| {
            let unpacking = scope.spawn(|| intake.unpack_from(&wanted, source));
            for piece in blob[..blob.len() / 2].chunks(1000) {
                writer.write_all(piece).unwrap();
            }
            if whole {
                writer.write_all(&blob[blob.len() / 2..]).unwrap();
                writer.finish(Some(&digest), Some(size)).unwrap();
            } else {
                drop(writer);
            }
            unpacking.join().unwrap()
        });
        assert_eq!(unpacked.is_ok(), whole, "{unpacked:?}");
    }
}
