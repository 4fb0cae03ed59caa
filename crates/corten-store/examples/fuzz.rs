//! Throws damaged input at what reads strangers' bytes, for a while: `fuzz archives|documents|references [SECONDS] [SEED]`.
//!
//! A mutator without coverage: seeds of our own making, cut, spliced, flipped and repeated. What is looked for is a panic,
//! an endless run, or an archive that reaches out of its tree; the seed of a finding is printed first, so that it can be
//! run again.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use corten_archive::{ApplyOptions, Entry, EntryKind, Limits, Writer, apply_layer, settle};
use corten_store::{parse_config, parse_index, parse_manifest};
use corten_types::{Digest, Platform, Reference};

/// Small, fast, and the same for the same seed (xorshift64*).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit.max(1) as u64).unwrap_or(0)
    }
}

fn mutate(random: &mut Random, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = seeds[random.below(seeds.len())].clone();
    for _ in 0..=random.below(6) {
        let at = random.below(bytes.len());
        match random.below(7) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
            1 if !bytes.is_empty() => {
                bytes[at] = [0, 0xff, b'/', b'.', b'"', b'{', b'9', 0x80][random.below(8)]
            }
            2 => bytes.truncate(at),
            3 => {
                let other = &seeds[random.below(seeds.len())];
                let from = random.below(other.len());
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
            4 => {
                let end = (at + random.below(600)).min(bytes.len());
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            5 if bytes.len() >= 512 => {
                // A whole block of a tar, with a checksum that is right, so that it gets further.
                let block = random.below(bytes.len() / 512) * 512;
                let field = block + [0, 100, 108, 124, 136, 156, 157, 345][random.below(8)];
                bytes[field + random.below(8)] = (random.next() & 0xff) as u8;
                seal(&mut bytes[block..block + 512]);
            }
            _ => bytes.insert(at, (random.next() & 0xff) as u8),
        }
    }
    bytes
}

/// Puts the checksum of a tar header right.
fn seal(block: &mut [u8]) {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

fn archives() -> Vec<Vec<u8>> {
    let mut tar = Writer::new(Vec::new());
    let mut add = |path: &str, kind, link: &str, content: &[u8]| {
        let mut entry = Entry::new(path, kind, 0o755);
        entry.link = link.into();
        entry.size = content.len() as u64;
        entry.xattrs = vec![(b"user.a".to_vec(), b"b".to_vec())];
        tar.append(&entry, &mut &content[..]).expect("memory takes it");
    };
    add("d", EntryKind::Directory, "", b"");
    add("d/file", EntryKind::File, "", b"content");
    add("link", EntryKind::Symlink, "/../../d", b"");
    add("hard", EntryKind::HardLink, "d/file", b"");
    add("link/through", EntryKind::File, "", b"x");
    add(&"long/".repeat(60), EntryKind::Directory, "", b"");
    add(".wh.gone", EntryKind::File, "", b"");
    add("d/.wh..wh..opq", EntryKind::File, "", b"");
    let mut sparse = Entry::new("sparse", EntryKind::File, 0o644);
    (sparse.size, sparse.pieces) = (1 << 20, Some(vec![(4096, 3), (9000, 2)]));
    tar.append(&sparse, &mut &b"abcde"[..]).expect("memory takes it");
    let plain = tar.finish().expect("memory takes it");
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&plain).expect("memory takes it");
    vec![plain, gzip.finish().expect("memory takes it")]
}

fn documents() -> Vec<Vec<u8>> {
    let digest = Digest::of(b"x");
    let descriptor = format!(
        r#"{{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"{digest}","size":7}}"#
    );
    [
        format!(r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{descriptor},"layers":[{descriptor}],"annotations":{{"a":"b"}}}}"#),
        format!(r#"{{"schemaVersion":2,"manifests":[{descriptor}]}}"#),
        format!(r#"{{"architecture":"amd64","os":"linux","config":{{"Env":["A=b"],"Cmd":["x"]}},"rootfs":{{"type":"layers","diff_ids":["{digest}"]}},"history":[{{"created_by":"x"}}]}}"#),
    ]
    .map(String::into_bytes)
    .to_vec()
}

fn references() -> Vec<Vec<u8>> {
    let digest = Digest::of(b"x");
    ["busybox", "localhost:5000/a/b:tag", "[::1]:5000/x", "ghcr.io/a-b/c_d__e.f:1.2-3", "linux/arm64/v8"]
        .iter()
        .map(|text| text.as_bytes().to_vec())
        .chain([format!("a@{digest}").into_bytes()])
        .collect()
}

fn try_archive(ground: &Path, bytes: &[u8]) {
    let tree = ground.join("tree");
    std::fs::create_dir(&tree).expect("a tree");
    let root = std::fs::File::open(&tree).expect("a tree");
    let options = ApplyOptions::layer(Limits { bytes: 64 << 20, inodes: 10_000 });
    if let Ok((applied, _)) = apply_layer(&root, bytes, None, &options) {
        let _ = settle(&root, &applied, &[]);
    }
    let ground_fd = std::fs::File::open(ground).expect("the ground");
    corten_archive::remove_all(&ground_fd, "tree".as_ref()).expect("a tree that can be removed");
    let around: Vec<_> = std::fs::read_dir(ground).expect("the ground").flatten().collect();
    assert!(around.is_empty(), "something got out: {around:?}");
}

fn main() {
    let mut args = std::env::args().skip(1);
    let target = args.next().unwrap_or_default();
    let seconds = args.next().and_then(|text| text.parse().ok()).unwrap_or(60);
    let start: u64 = args.next().and_then(|text| text.parse().ok()).unwrap_or(1);
    let seeds = match target.as_str() {
        "archives" => archives(),
        "documents" => documents(),
        "references" => references(),
        other => {
            eprintln!("fuzz: {other:?} is none of archives, documents, references");
            std::process::exit(2);
        }
    };
    let ground = std::env::temp_dir().join(format!("corten-fuzz-{}", std::process::id()));
    std::fs::create_dir(&ground).expect("a folder for trees");
    let (begun, mut slowest, mut runs) = (Instant::now(), Duration::ZERO, 0_u64);
    let until = Duration::from_secs(seconds);
    while begun.elapsed() < until {
        let seed = start + runs;
        let bytes = mutate(&mut Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1), &seeds);
        let one = Instant::now();
        let outcome = std::panic::catch_unwind(|| match target.as_str() {
            "archives" => try_archive(&ground, &bytes),
            "documents" => {
                let digest = Digest::of(&bytes);
                let _ = (
                    parse_manifest(digest, &bytes),
                    parse_index(digest, &bytes),
                    parse_config(digest, &bytes),
                );
            }
            _ => {
                let text = String::from_utf8_lossy(&bytes);
                if let Ok(reference) = text.parse::<Reference>() {
                    let again: Reference = reference.to_string().parse().expect("what was printed is one");
                    assert_eq!(again, reference);
                }
                let _ = (text.parse::<Digest>(), text.parse::<Platform>());
            }
        });
        slowest = slowest.max(one.elapsed());
        if outcome.is_err() || one.elapsed() > Duration::from_secs(10) {
            eprintln!("fuzz: {target}: finding with seed {seed} after {:?}", one.elapsed());
            std::process::exit(1);
        }
        runs += 1;
    }
    let _ = std::fs::remove_dir(&ground);
    println!("{target}: {runs} runs in {seconds} s, slowest {slowest:?}, no finding");
}
