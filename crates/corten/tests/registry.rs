//! The registry as a process: killed in the middle of everything, and out of room.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use corten_types::Digest;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const DEADLINE: Duration = Duration::from_secs(60);

/// A registry's process.
struct Registry {
    child: Child,
    address: String,
}

impl Registry {
    fn start(root: &Path, more: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_corten"))
            .args(["registry", "serve", "--listen", "127.0.0.1:0", "--access-log", "off", "--data-root"])
            .arg(root)
            .args(more)
            .stderr(Stdio::piped())
            .spawn()
            .expect("corten starts");
        let mut log = BufReader::new(child.stderr.take().expect("its log is piped"));
        let mut line = String::new();
        while !line.contains("the registry listens") {
            line.clear();
            assert!(log.read_line(&mut line).expect("its log is text") > 0, "the registry ended");
        }
        let address = line.rsplit("address=").next().expect("the address is said").trim().to_owned();
        // Whatever it says later must not fill the pipe.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Self { child, address }
    }

    fn kill(&mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it ends");
    }

    /// One request on a connection of its own; an error where the registry went away.
    fn ask(&self, method: &str, path: &str, kind: &str, body: &[u8]) -> std::io::Result<(u16, Vec<u8>)> {
        let mut socket = TcpStream::connect(&self.address)?;
        socket.set_read_timeout(Some(DEADLINE))?;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: r\r\nConnection: close\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        socket.write_all(head.as_bytes())?;
        socket.write_all(body)?;
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer)?;
        let cut = answer.windows(4).position(|four| four == b"\r\n\r\n");
        let cut = cut.ok_or(std::io::ErrorKind::UnexpectedEof)?;
        let head = String::from_utf8_lossy(&answer[..cut]).into_owned();
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let body = answer.split_off(cut + 4);
        if length.is_some_and(|length| length.parse() != Ok(body.len())) {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        Ok((status.ok_or(std::io::ErrorKind::InvalidData)?, body))
    }

    fn blob(&self, name: &str, content: &[u8]) -> std::io::Result<u16> {
        let path = format!("/v2/{name}/blobs/uploads/?digest={}", Digest::of(content));
        Ok(self.ask("POST", &path, "application/octet-stream", content)?.0)
    }

    /// Pushes an image of one layer; the status that ended it, and the manifest's digest.
    fn image(&self, name: &str, tag: &str, layer: &[u8]) -> std::io::Result<(u16, Digest)> {
        let config = format!("{{\"of\":\"{name}:{tag}\"}}");
        let text = format!(
            r#"{{"schemaVersion":2,"config":{},"layers":[{}]}}"#,
            descriptor("application/vnd.oci.image.config.v1+json", config.as_bytes()),
            descriptor("application/vnd.oci.image.layer.v1.tar", layer)
        );
        let digest = Digest::of(text.as_bytes());
        for content in [config.as_bytes(), layer] {
            let status = self.blob(name, content)?;
            if status != 201 {
                return Ok((status, digest));
            }
        }
        let (status, _) =
            self.ask("PUT", &format!("/v2/{name}/manifests/{tag}"), MANIFEST, text.as_bytes())?;
        Ok((status, digest))
    }

    /// Whether a tag is there; one that is must be whole.
    fn is_whole(&self, name: &str, tag: &str) -> bool {
        let (status, manifest) = self.ask("GET", &format!("/v2/{name}/manifests/{tag}"), "", b"").unwrap();
        if status == 404 {
            return false;
        }
        assert_eq!(status, 200);
        let text = String::from_utf8(manifest).unwrap();
        for digest in text.split("\"digest\":\"").skip(1).map(|rest| &rest[..71]) {
            let (status, blob) = self.ask("GET", &format!("/v2/{name}/blobs/{digest}"), "", b"").unwrap();
            assert_eq!((status, Digest::of(&blob).to_string().as_str()), (200, digest), "{name}:{tag}");
        }
        true
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // It may have been killed already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn descriptor(kind: &str, content: &[u8]) -> String {
    format!(r#"{{"mediaType":"{kind}","digest":"{}","size":{}}}"#, Digest::of(content), content.len())
}

fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        })
        .collect()
}

fn blobs(root: &Path) -> usize {
    std::fs::read_dir(root.join("content/blobs/sha256")).unwrap().count()
}

fn until(what: &str, check: impl Fn() -> bool) {
    let start = Instant::now();
    while !check() {
        assert!(start.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// What is known about an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    /// Its push, or its deletion, was not answered.
    Unsure,
    There,
    Gone,
}

#[test]
fn a_registry_that_is_killed_anywhere_loses_nothing_and_shows_nothing_by_halves() {
    const ROUNDS: u64 = 10;
    let root = tempfile::tempdir().unwrap();
    let collecting = ["--collect-every", "1s", "--blob-grace", "1h"];
    let known: Mutex<BTreeMap<(String, String), Known>> = Mutex::default();
    for round in 0..ROUNDS {
        let mut registry = Registry::start(root.path(), &collecting);
        for ((name, tag), state) in known.lock().unwrap().iter_mut() {
            let there = registry.is_whole(name, tag);
            match state {
                Known::Unsure => *state = if there { Known::There } else { Known::Gone },
                state => assert_eq!(*state == Known::There, there, "{name}:{tag} in round {round}"),
            }
        }
        let answered = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for worker in 0..3 {
                let (registry, known, answered) = (&registry, &known, &answered);
                scope.spawn(move || {
                    for turn in 0.. {
                        let key = (format!("r{worker}"), format!("t{round}-{turn}"));
                        let seed = round * 1000 + worker * 100 + turn;
                        known.lock().unwrap().insert(key.clone(), Known::Unsure);
                        let Ok((201, digest)) = registry.image(&key.0, &key.1, &noise(seed, 200_000)) else {
                            return;
                        };
                        known.lock().unwrap().insert(key.clone(), Known::There);
                        answered.fetch_add(1, Ordering::Release);
                        if turn % 3 == 1 {
                            known.lock().unwrap().insert(key.clone(), Known::Unsure);
                            let path = format!("/v2/{}/manifests/{digest}", key.0);
                            let Ok((202, _)) = registry.ask("DELETE", &path, "", b"") else { return };
                            known.lock().unwrap().insert(key, Known::Gone);
                        }
                    }
                });
            }
            // At another place each time; the workers end when nobody answers.
            let enough = 1 + usize::try_from(round).unwrap() * 2 % 7;
            until("images are pushed", || answered.load(Ordering::Acquire) >= enough);
            let pid = rustix::process::Pid::from_child(&registry.child);
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        });
        registry.kill();
    }
    let registry = Registry::start(root.path(), &["--collect-every", "1s", "--blob-grace", "0s"]);
    let mut kept = 0;
    for ((name, tag), state) in known.lock().unwrap().iter() {
        let there = registry.is_whole(name, tag);
        assert!(*state == Known::Unsure || (*state == Known::There) == there, "{name}:{tag} {state:?}");
        kept += usize::from(there);
    }
    assert!(kept > 5, "{kept}");
    until("nothing is orphaned", || blobs(root.path()) == 3 * kept);
    assert_eq!(std::fs::read_dir(root.path().join("content/ingest")).unwrap().count(), 0);
}

/// A small file system of its own.
struct Small(tempfile::TempDir);

impl Small {
    fn mount(options: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let options = std::ffi::CString::new(options).unwrap();
        let flags = rustix::mount::MountFlags::empty();
        match rustix::mount::mount("corten-test", dir.path(), "tmpfs", flags, Some(options.as_c_str())) {
            Ok(()) => Some(Self(dir)),
            Err(error) => {
                println!("skipped: a file system cannot be mounted here: {error}");
                None
            }
        }
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(self.0.path(), rustix::mount::UnmountFlags::DETACH);
    }
}

#[test]
fn a_registry_on_a_full_disk_says_so_goes_on_serving_and_deletes() {
    let Some(disk) = Small::mount("size=24m") else { return };
    let root = disk.0.path().join("registry");
    let registry = Registry::start(&root, &["--collect-every", "1s", "--blob-grace", "0s"]);
    let layer = |n: u64| noise(n, 3_000_000);
    let (status, first) = registry.image("a", "t0", &layer(0)).unwrap();
    assert_eq!(status, 201);
    let mut full = None;
    for n in 1..20 {
        let (status, _) = registry.image("a", &format!("t{n}"), &layer(n)).unwrap();
        if status != 201 {
            full = Some((n, status));
            break;
        }
    }
    let (n, status) = full.expect("24 MiB do not hold 60 MB");
    assert_eq!(status, 507);
    assert!(n > 1 && !registry.is_whole("a", &format!("t{n}")));
    assert!((0..n).all(|n| registry.is_whole("a", &format!("t{n}"))), "what was taken is served");
    let (status, _) = registry.ask("DELETE", &format!("/v2/a/manifests/{first}"), "", b"").unwrap();
    assert_eq!(status, 202);
    until("there is room again", || registry.image("a", "again", &layer(100)).unwrap().0 == 201);
    assert!(registry.is_whole("a", "again") && !registry.is_whole("a", "t0"));
}
