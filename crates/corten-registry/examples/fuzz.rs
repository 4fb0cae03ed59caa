//! A registry that answers with damaged answers, for a while: `fuzz [SECONDS] [SEED]`.
//!
//! Each run is one conversation of the client (a pull's requests, a search, a login, an upload) with a server whose
//! answers, heads and bodies, are cut, spliced and flipped ones of a real registry. What is looked for is a panic, a
//! conversation that does not end, or bytes that were taken for what they are not; the seed of a finding is printed, so
//! that it can be run again. The answers name hosts: run it where there is no network (`unshare -n`, with `lo` up).

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use corten_registry::{Auth, Client, Settings, Upload, decode_header};
use corten_types::{Digest, Reference};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// How long a conversation may take: the client's patience with a registry that is busy, and the machine's.
const LONGEST: Duration = Duration::from_secs(90);
/// Conversations at the same time: most of each is waiting.
const AT_ONCE: usize = 64;
const BLOB: &[u8] = b"the bytes of a blob";
const MANIFEST: &str = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json"}"#;

/// Small, fast, and the same for the same seed (xorshift64*).
struct Random(u64);

impl Random {
    fn of(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

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

/// Answers as registries give them.
fn answers(address: &str) -> Vec<Vec<u8>> {
    let with = |head: &str, body: &str| {
        format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
    };
    let (blob, manifest) = (Digest::of(BLOB), Digest::of(MANIFEST.as_bytes()));
    vec![
        with("200 OK", "{}"),
        with(&format!("200 OK\r\ncontent-type: application/vnd.oci.image.manifest.v1+json\r\ndocker-content-digest: {manifest}"), MANIFEST),
        with("200 OK", std::str::from_utf8(BLOB).unwrap_or_default()),
        with("206 Partial Content\r\ncontent-range: bytes 4-18/19", "bytes of a blob"),
        with("200 OK\r\nlink: </v2/a/b/tags/list?last=b&n=2>; rel=\"next\"", r#"{"name":"a/b","tags":["a","b",null]}"#),
        with("200 OK", r#"{"name":"a/b","tags":["c"]}"#),
        with("200 OK", r#"{"token":"T","access_token":"A","expires_in":300,"issued_at":"2026-01-01T00:00:00Z"}"#),
        with("200 OK", r#"{"num_results":1,"results":[{"name":"x","star_count":9,"is_official":true,"description":"y"}]}"#),
        with(&format!("401 Unauthorized\r\nwww-authenticate: Bearer realm=\"http://{address}/token\",service=\"s\",scope=\"repository:a/b:pull\""), r#"{"errors":[{"code":"UNAUTHORIZED","message":"no","detail":[{"Type":"repository"}]}]}"#),
        with("401 Unauthorized\r\nwww-authenticate: Basic realm=\"x\"", ""),
        with("404 Not Found", r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#),
        with("413 Payload Too Large", "<html>too large</html>"),
        with("429 Too Many Requests\r\nretry-after: 0", ""),
        with("307 Temporary Redirect\r\nlocation: /v2/elsewhere", ""),
        with(&format!("302 Found\r\nlocation: http://{address}/elsewhere?sig=x"), ""),
        with("202 Accepted\r\nlocation: /v2/a/b/blobs/uploads/1?_state=x\r\nrange: 0-4\r\noci-chunk-min-length: 8", ""),
        with("201 Created\r\nlocation: /v2/a/b/blobs/x", ""),
        format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ndocker-content-digest: {blob}\r\n\r\n4\r\n{{\"ta\r\n7\r\ngs\":[]}}\r\n0\r\n\r\n").into_bytes(),
    ]
}

fn mutate(random: &mut Random, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = seeds[random.below(seeds.len())].clone();
    // Half of what is said is as it should be, so that a conversation gets further.
    if random.below(2) == 0 {
        return bytes;
    }
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len());
        match random.below(6) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
            1 if !bytes.is_empty() => bytes[at] = b"\0\xff\r\n\"{}[]:,;=/0-9"[random.below(17)],
            2 => bytes.truncate(at),
            3 => {
                let other = &seeds[random.below(seeds.len())];
                let from = random.below(other.len());
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
            4 => {
                let end = (at + random.below(200)).min(bytes.len());
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            _ => bytes.insert(at, (random.next() & 0xff) as u8),
        }
    }
    bytes
}

/// Answers every request on a connection, and closes one in eight after an answer.
async fn serve(mut stream: TcpStream, random: Arc<parking_lot::Mutex<Random>>, seeds: Arc<Vec<Vec<u8>>>) {
    let mut head = vec![0; 16 << 10];
    let patience =
        if random.lock().below(500) == 0 { Duration::from_secs(35) } else { Duration::from_millis(200) };
    // An answer that promises more than it brings ends here, but for one in some hundreds, where the client must give up.
    while let Ok(Ok(read)) = tokio::time::timeout(patience, stream.read(&mut head)).await {
        if read == 0 {
            return;
        }
        let (answer, close) = {
            let mut random = random.lock();
            (mutate(&mut random, &seeds), random.below(8) == 0)
        };
        if stream.write_all(&answer).await.is_err() || close {
            return;
        }
    }
}

/// One conversation; the text says what is wrong.
async fn converse(seed: u64) -> Result<(), String> {
    let listener = TcpListener::bind("127.0.0.1:0").await.map_err(|error| error.to_string())?;
    let address = listener.local_addr().map_err(|error| error.to_string())?.to_string();
    let seeds = Arc::new(answers(&address));
    let random = Arc::new(parking_lot::Mutex::new(Random::of(seed)));
    let kind = random.lock().below(8);
    let served = {
        let random = random.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, random.clone(), seeds.clone()));
            }
        })
    };
    let client = Client::new("fuzz", Settings::default());
    let auth = Auth { username: "u".into(), password: "p".into(), ..Auth::default() };
    let reference: Reference = format!("{address}/a/b:t").parse().map_err(|_| "no reference".to_owned())?;
    let repository = client.repository(&reference, Some(auth.clone())).await;
    let wanted = Digest::of(MANIFEST.as_bytes());
    match kind {
        0 => drop(repository.resolve("t").await),
        1 => {
            if let Ok(document) = repository.manifest(&wanted.to_string()).await
                && Digest::of(&document.bytes) != wanted
            {
                return Err("a manifest that is another one".into());
            }
        }
        2 => {
            if let Ok(mut blob) = repository.blob(&Digest::of(BLOB), 4).await {
                while let Some(Ok(_)) = blob.next().await {}
            }
        }
        3 => drop(repository.tags().await),
        4 => drop(client.search(&format!("{address}/x"), 25, Some(auth)).await),
        5 => drop(client.registry(&address, Some(auth)).await.ping().await),
        6 => {
            let open = || -> io::Result<File> { File::open("/proc/self/exe") };
            let (sent, digest) = (Arc::new(AtomicU64::new(0)), Digest::of(BLOB));
            let size = 3 << 20;
            let upload = Upload { digest, size, from: Some("c/d"), open: &open, sent: &sent, attempts: 3 };
            drop(repository.upload(&upload).await);
        }
        _ => {
            let header =
                { mutate(&mut random.lock(), &[b"eyJ1c2VybmFtZSI6InUiLCJwYXNzd29yZCI6InAifQ==".to_vec()]) };
            let header = String::from_utf8_lossy(&header).into_owned();
            let _ = (Auth::from_header(&header), decode_header(&header));
        }
    }
    served.abort();
    Ok(())
}

#[tokio::main]
async fn main() {
    let mut args = std::env::args().skip(1);
    let seconds = args.next().and_then(|text| text.parse().ok()).unwrap_or(60);
    let start: u64 = args.next().and_then(|text| text.parse().ok()).unwrap_or(1);
    let (begun, runs) = (Instant::now(), Arc::new(AtomicU64::new(0)));
    let until = Duration::from_secs(seconds);
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..AT_ONCE {
        let runs = runs.clone();
        workers.spawn(async move {
            let mut slowest = Duration::ZERO;
            while begun.elapsed() < until {
                let seed = start + runs.fetch_add(1, Ordering::Relaxed);
                let one = Instant::now();
                let talk = tokio::time::timeout(LONGEST, tokio::spawn(converse(seed)));
                let finding = match talk.await {
                    Ok(Ok(Ok(()))) => None,
                    Ok(Ok(Err(reason))) => Some(reason),
                    Ok(Err(error)) => Some(error.to_string()),
                    Err(_) => Some("it does not end".into()),
                };
                if let Some(finding) = finding {
                    eprintln!("fuzz: finding with seed {seed} after {:?}: {finding}", one.elapsed());
                    std::process::exit(1);
                }
                slowest = slowest.max(one.elapsed());
            }
            slowest
        });
    }
    let slowest = workers.join_all().await.into_iter().max().unwrap_or_default();
    let runs = runs.load(Ordering::Relaxed);
    println!("registry: {runs} conversations in {seconds} s, slowest {slowest:?}, no finding");
}
