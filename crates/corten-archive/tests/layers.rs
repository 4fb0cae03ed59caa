//! Layers applied as strangers make them, and made again. Needs root (device nodes, owners, trusted attributes).

use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;

use corten_archive::{
    ApplyError, ApplyOptions, ChangeKind, Entry, EntryKind, Limits, Time, Writer, apply, changes, diff,
    settle,
};
use proptest::prelude::*;
use rustix::fs::{Mode, OFlags};

fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        println!("skipped: needs root");
    }
    root
}

fn open(path: &Path) -> OwnedFd {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap()
}

/// A tar with nothing cleaned up.
struct Tar(Writer<Vec<u8>>);

impl Tar {
    fn new() -> Self {
        Self(Writer::new(Vec::new()))
    }

    fn add(mut self, entry: Entry) -> Self {
        self.0.append(&entry, &mut std::io::repeat(b'x').take(entry.size)).unwrap();
        self
    }

    fn file(self, path: &str) -> Self {
        let mut entry = Entry::new(path, EntryKind::File, 0o644);
        entry.size = 5;
        self.add(entry)
    }

    fn empty(self, path: &str) -> Self {
        self.add(Entry::new(path, EntryKind::File, 0o644))
    }

    fn dir(self, path: &str) -> Self {
        self.add(Entry::new(path, EntryKind::Directory, 0o755))
    }

    fn link(self, kind: EntryKind, path: &str, to: &str) -> Self {
        let mut entry = Entry::new(path, kind, 0o777);
        entry.link = to.into();
        self.add(entry)
    }

    fn sym(self, path: &str, to: &str) -> Self {
        self.link(EntryKind::Symlink, path, to)
    }

    fn hard(self, path: &str, to: &str) -> Self {
        self.link(EntryKind::HardLink, path, to)
    }

    fn done(self) -> Vec<u8> {
        self.0.finish().unwrap()
    }
}

struct Ground {
    dir: tempfile::TempDir,
}

impl Ground {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["layer", "canary", "canary/dir"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        std::fs::write(dir.path().join("canary/victim"), "untouched").unwrap();
        std::fs::write(dir.path().join("canary/dir/inner"), "untouched").unwrap();
        Self { dir }
    }

    fn canary(&self) -> String {
        self.dir.path().join("canary").to_str().unwrap().into()
    }

    fn layer(&self) -> std::path::PathBuf {
        self.dir.path().join("layer")
    }

    fn apply(&self, tar: &[u8]) -> Result<corten_archive::Applied, ApplyError> {
        apply(open(&self.layer()), &mut &tar[..], &ApplyOptions::layer(Limits::for_disk(open(&self.layer()))))
    }

    fn assert_untouched(&self, case: &str) {
        let canary = self.dir.path().join("canary");
        let mut names: Vec<_> =
            std::fs::read_dir(&canary).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["dir", "victim"], "{case}");
        assert_eq!(std::fs::read_to_string(canary.join("victim")).unwrap(), "untouched", "{case}");
        assert_eq!(std::fs::read_to_string(canary.join("dir/inner")).unwrap(), "untouched", "{case}");
        assert_eq!(std::fs::metadata(canary.join("victim")).unwrap().nlink(), 1, "{case}");
        let mut around: Vec<_> =
            std::fs::read_dir(self.dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        around.sort();
        assert_eq!(around, ["canary", "layer"], "{case}");
    }
}

/// Makes a tar that aims at a directory.
type Hostile = Box<dyn Fn(&str) -> Tar>;

#[test]
fn nothing_gets_out_of_the_layer() {
    if !is_root() {
        return;
    }
    let up = "../".repeat(16);
    let cases: Vec<(&str, Hostile)> = vec![
        ("dotdot", Box::new(move |c| Tar::new().file(&format!("{}{}/pwn", "../".repeat(16), &c[1..])))),
        (
            "dotdot-mid",
            Box::new(|c| Tar::new().dir("a").file(&format!("a/{}{}/pwn", "../".repeat(9), &c[1..]))),
        ),
        ("absolute", Box::new(|c| Tar::new().file(&format!("{c}/pwn")))),
        ("sym-abs", Box::new(|c| Tar::new().sym("x", c).file("x/pwn"))),
        ("sym-rel", Box::new(move |c| Tar::new().sym("x", &format!("{up}{}", &c[1..])).file("x/pwn"))),
        ("sym-chain", Box::new(|c| Tar::new().sym("a", "b").sym("b", "c").sym("c", c).file("a/pwn"))),
        ("sym-dir", Box::new(|c| Tar::new().sym("x", c).dir("x").file("x/pwn"))),
        ("sym-overwrite", Box::new(|c| Tar::new().sym("x", &format!("{c}/victim")).file("x"))),
        ("hard-abs", Box::new(|c| Tar::new().hard("x", &format!("{c}/victim")).file("x"))),
        ("hard-via-sym", Box::new(|c| Tar::new().sym("d", c).hard("x", "d/victim").file("x"))),
        ("hard-to-sym", Box::new(|c| Tar::new().sym("s", &format!("{c}/victim")).hard("x", "s").file("x"))),
        ("wh-via-sym", Box::new(|c| Tar::new().sym("x", c).empty("x/.wh.victim"))),
        ("opaque-via-sym", Box::new(|c| Tar::new().sym("x", c).empty("x/.wh..wh..opq"))),
        ("chmod-via-sym", Box::new(|c| Tar::new().sym("x", c).dir("x/."))),
        ("sym-loop", Box::new(|_| Tar::new().sym("a", "b").sym("b", "a").file("a/x"))),
        ("root-is-a-link", Box::new(|c| Tar::new().sym(".", c).file("pwn"))),
        (
            "plnk",
            Box::new(|c| Tar::new().dir(".wh..wh.plnk").file(".wh..wh.plnk/1.2").sym(".wh..wh.aufs", c)),
        ),
    ];
    for (case, tar) in cases {
        let ground = Ground::new();
        let _ = ground.apply(&tar(&ground.canary()).done());
        ground.assert_untouched(case);
    }
}

#[test]
fn what_cannot_be_meant_is_refused() {
    if !is_root() {
        return;
    }
    let mut device = Entry::new("bin/sh", EntryKind::CharDevice { major: 0, minor: 0 }, 0o644);
    device.uid = 0;
    let cases = [
        ("wh-empty", Tar::new().empty(".wh.")),
        ("wh-dot", Tar::new().dir("a").empty("a/.wh..")),
        ("wh-dotdot", Tar::new().dir("a").dir("a/b").empty("a/b/.wh...")),
        ("wh-slash", Tar::new().empty("etc/.wh.passwd/x")),
        ("chr00", Tar::new().add(device)),
        ("long-name", Tar::new().file(&format!("a/{}", "b".repeat(300)))),
        ("deep", Tar::new().file(&format!("{}x", "d/".repeat(5000)))),
        ("beneath-a-file", Tar::new().file("a").file("a/b")),
        ("root-file", Tar::new().file("/")),
    ];
    for (case, tar) in cases {
        let ground = Ground::new();
        assert!(ground.apply(&tar.done()).is_err(), "{case}");
        ground.assert_untouched(case);
    }
    let ground = Ground::new();
    let cut = Tar::new().file("x").done();
    assert!(ground.apply(&cut[..514]).is_err());
    let small = ApplyOptions::layer(Limits { bytes: 4, inodes: 9 });
    let tar = Tar::new().file("x").done();
    let refused = apply(open(&ground.layer()), &mut &tar[..], &small);
    assert!(matches!(refused, Err(ApplyError::Limit { ref what, .. }) if what == "bytes"));
}

#[test]
fn a_layer_becomes_an_overlays_lower_directory() {
    if !is_root() {
        return;
    }
    let ground = Ground::new();
    let mut suid = Entry::new("bin/su", EntryKind::File, 0o6755);
    (suid.uid, suid.gid, suid.size) = (7, 8, 3);
    suid.mtime = Time { seconds: 1_700_000_000, nanoseconds: 123_456_789 };
    suid.xattrs = vec![
        (b"user.note".to_vec(), b"kept".to_vec()),
        (b"trusted.overlay.redirect".to_vec(), b"/etc".to_vec()),
        (b"security.selinux".to_vec(), b"x".to_vec()),
    ];
    let mut old = Entry::new("old/", EntryKind::Directory, 0o1777);
    old.mtime = Time { seconds: 5, nanoseconds: 6 };
    let tar = Tar::new()
        .dir("bin")
        .add(suid)
        .hard("bin/su2", "bin/su")
        .add(old)
        .file("old/child")
        .empty("old/.wh.gone")
        .dir("hidden")
        .empty("hidden/.wh..wh..opq")
        .empty(".wh.replaced")
        .dir("replaced")
        .add(Entry::new("disk", EntryKind::BlockDevice { major: 254, minor: 3 }, 0o666))
        .add(Entry::new("pipe", EntryKind::Fifo, 0o622));
    let applied = ground.apply(&tar.done()).unwrap();
    let hiding = vec![b"hidden".to_vec(), b"replaced".to_vec()];
    assert_eq!(applied, corten_archive::Applied { opaque: hiding, ..Default::default() });
    settle(open(&ground.layer()), &applied, &[]).unwrap();
    let layer = ground.layer();
    let su = std::fs::metadata(layer.join("bin/su")).unwrap();
    assert_eq!((su.mode() & 0o7777, su.uid(), su.gid(), su.nlink()), (0o6755, 7, 8, 2));
    assert_eq!((su.mtime(), su.mtime_nsec()), (1_700_000_000, 123_456_789));
    let mut names = [0_u8; 256];
    let n = rustix::fs::listxattr(layer.join("bin/su"), &mut names).unwrap();
    assert_eq!(&names[..n], b"user.note\0");
    let gone = std::fs::symlink_metadata(layer.join("old/gone")).unwrap();
    assert!(gone.file_type().is_char_device() && gone.rdev() == 0);
    let old = std::fs::metadata(layer.join("old")).unwrap();
    assert_eq!((old.mode() & 0o7777, old.mtime(), old.mtime_nsec()), (0o1777, 5, 6));
    for opaque in ["hidden", "replaced"] {
        let mut value = [0_u8; 8];
        assert_eq!(
            rustix::fs::getxattr(layer.join(opaque), "trusted.overlay.opaque", &mut value),
            Ok(1),
            "{opaque}"
        );
    }
    let disk = std::fs::metadata(layer.join("disk")).unwrap();
    assert_eq!((disk.mode() & 0o7777, disk.rdev()), (0o666, rustix::fs::makedev(254, 3)));
    assert_eq!(std::fs::metadata(layer.join("pipe")).unwrap().permissions().mode() & 0o7777, 0o622);
}

#[test]
fn what_a_layer_does_not_name_comes_from_below() {
    if !is_root() {
        return;
    }
    let below = Ground::new();
    let mut tmp = Entry::new("tmp", EntryKind::Directory, 0o1777);
    (tmp.uid, tmp.mtime) = (42, Time { seconds: 9, nanoseconds: 0 });
    below.apply(&Tar::new().add(tmp).file("lib/tool").done()).unwrap();
    let above = Ground::new();
    let tar = Tar::new().file("tmp/sub/x").hard("tool", "lib/tool").hard("tool2", "lib/tool").done();
    let applied = above.apply(&tar).unwrap();
    assert_eq!(applied.implied, [b"tmp".to_vec(), b"tmp/sub".to_vec()]);
    settle(open(&above.layer()), &applied, &[open(&below.layer())]).unwrap();
    let tmp = std::fs::metadata(above.layer().join("tmp")).unwrap();
    assert_eq!((tmp.mode() & 0o7777, tmp.uid(), tmp.mtime()), (0o1777, 42, 9));
    assert_eq!(std::fs::metadata(above.layer().join("tmp/sub")).unwrap().mode() & 0o7777, 0o755);
    assert_eq!(std::fs::read(above.layer().join("tool")).unwrap(), b"xxxxx");
    assert_eq!(std::fs::metadata(above.layer().join("tool2")).unwrap().nlink(), 2);
    let nowhere = Tar::new().hard("a", "b").done();
    let ground = Ground::new();
    let applied = ground.apply(&nowhere).unwrap();
    assert!(settle(open(&ground.layer()), &applied, &[]).is_err());
}

#[test]
fn a_diff_applied_gives_the_same_diff() {
    if !is_root() {
        return;
    }
    let first = Ground::new();
    let mut odd = Entry::new("d/ö", EntryKind::File, 0o4711);
    (odd.uid, odd.size, odd.mtime) = (3_000_000, 70_000, Time { seconds: 1, nanoseconds: 2 });
    let tar = Tar::new()
        .dir("d")
        .add(odd)
        .hard("z", "d/ö")
        .sym("s", "/nowhere")
        .empty("d/.wh.w")
        .dir("o")
        .empty("o/.wh..wh..opq")
        .add(Entry::new("null", EntryKind::CharDevice { major: 1, minor: 3 }, 0o666));
    first.apply(&tar.done()).unwrap();
    let mut one = Vec::new();
    diff(open(&first.layer()), &mut one).unwrap();
    let second = Ground::new();
    second.apply(&one).unwrap();
    let mut two = Vec::new();
    diff(open(&second.layer()), &mut two).unwrap();
    assert!(one == two);
}

#[test]
fn holes_cost_neither_disk_nor_archive() {
    if !is_root() {
        return;
    }
    let size = 64_u64 << 20;
    let ground = Ground::new();
    let mut zeros = Entry::new("zeros", EntryKind::File, 0o644);
    zeros.size = size;
    let mut tar = Writer::new(Vec::new());
    tar.append(&zeros, &mut std::io::repeat(0)).unwrap();
    ground.apply(&tar.finish().unwrap()).unwrap();
    let path = ground.layer().join("zeros");
    assert!(std::fs::metadata(&path).unwrap().blocks() * 512 < 1 << 20);
    for (at, byte) in [(3_u64 << 20, b'a'), (size - 1, b'z')] {
        std::os::unix::fs::FileExt::write_at(
            &std::fs::File::options().write(true).open(&path).unwrap(),
            &[byte],
            at,
        )
        .unwrap();
    }
    let mut layer = Vec::new();
    diff(open(&ground.layer()), &mut layer).unwrap();
    assert!(layer.len() < 1 << 20, "{}", layer.len());
    let other = Ground::new();
    other.apply(&layer).unwrap();
    assert!(std::fs::read(&path).unwrap() == std::fs::read(other.layer().join("zeros")).unwrap());
    let names = std::fs::read_dir(other.layer()).unwrap().count();
    assert_eq!(names, 1);
}

#[test]
fn changes_are_told_as_docker_tells_them() {
    if !is_root() {
        return;
    }
    let lower = Ground::new();
    lower
        .apply(
            &Tar::new().dir("etc").file("etc/a").file("etc/b").dir("opt").file("opt/c").file("keep").done(),
        )
        .unwrap();
    let upper = Ground::new();
    let mut longer = Entry::new("etc/a", EntryKind::File, 0o644);
    longer.size = 9;
    let tar = Tar::new()
        .dir("etc")
        .add(longer)
        .empty("etc/.wh.b")
        .file("etc/new")
        .dir("opt")
        .empty("opt/.wh..wh..opq")
        .dir("var")
        .file("var/x")
        .file("keep");
    let applied = upper.apply(&tar.done()).unwrap();
    settle(open(&upper.layer()), &applied, &[open(&lower.layer())]).unwrap();
    let found: Vec<(String, ChangeKind)> = changes(open(&upper.layer()), &[open(&lower.layer())])
        .unwrap()
        .into_iter()
        .map(|change| (String::from_utf8(change.path).unwrap(), change.kind))
        .collect();
    let expected = [
        ("/etc", ChangeKind::Modified),
        ("/etc/a", ChangeKind::Modified),
        ("/etc/b", ChangeKind::Deleted),
        ("/etc/new", ChangeKind::Added),
        ("/opt", ChangeKind::Modified),
        ("/opt/c", ChangeKind::Deleted),
        ("/var", ChangeKind::Added),
        ("/var/x", ChangeKind::Added),
    ];
    assert_eq!(found, expected.map(|(path, kind)| (path.to_owned(), kind)));
}

/// Entries over a few names, so that they meet each other in every order.
fn any_layer() -> impl Strategy<Value = Vec<(u8, String, String)>> {
    let name = prop_oneof![
        "[abc]",
        "[abc]/[abc]",
        "[abc]/[abc]/[ab]",
        "[abc]/\\.wh\\.[abc]",
        "[abc]/\\.wh\\.\\.wh\\.\\.opq"
    ];
    let target = prop_oneof!["[abc]", "[abc]/[abc]", "\\.\\./[abc]", "/[abc]", "\\.\\./\\.\\./canary"];
    proptest::collection::vec((0..5_u8, name, target), 1..14)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn any_layer_stays_inside_and_comes_out_as_it_went_in(entries in any_layer()) {
        if !is_root() {
            return Ok(());
        }
        let mut tar = Tar::new();
        for (kind, path, target) in &entries {
            let is_whiteout = path.contains(".wh.");
            tar = match kind {
                _ if is_whiteout => tar.empty(path),
                0 => tar.dir(path),
                1 => tar.sym(path, target),
                2 => tar.hard(path, target),
                _ => tar.file(path),
            };
        }
        let first = Ground::new();
        let applied = first.apply(&tar.done());
        first.assert_untouched("any");
        // What was implied has the time of now, which is nobody's to compare.
        if applied.is_ok_and(|applied| applied.implied.is_empty()) {
            let (mut one, mut two) = (Vec::new(), Vec::new());
            diff(open(&first.layer()), &mut one).unwrap();
            let second = Ground::new();
            second.apply(&one).unwrap();
            diff(open(&second.layer()), &mut two).unwrap();
            prop_assert!(one == two);
        }
    }
}
