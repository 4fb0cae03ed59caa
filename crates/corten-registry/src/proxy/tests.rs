//! Which proxy a host is reached through, and the ways through one.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::tls::tests::{Authority, serve_as};
use crate::{Client, RegistryError, Settings};

/// Asks a registry at a name that nobody can look up, through these proxies.
async fn ping(domain: &str, settings: Settings) -> Result<(), RegistryError> {
    let client = Client::new("test", settings);
    let registry = client.registry(domain, None).await;
    registry.ping().await
}

/// A proxy that speaks HTTP: what comes is kept; tunnels end at `end`, other requests are answered with 200.
async fn http_proxy(end: SocketAddr) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let heads = Arc::new(Mutex::new(Vec::new()));
    let kept = heads.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let kept = kept.clone();
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
                kept.lock().unwrap().push(head.clone());
                if !head.contains("proxy-authorization: basic dtpw\r\n") {
                    let refused = b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n";
                    stream.write_all(refused).await.unwrap();
                } else if head.starts_with("connect ") {
                    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
                    let mut end = TcpStream::connect(end).await.unwrap();
                    let _ = copy_bidirectional(&mut stream, &mut end).await;
                } else {
                    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await.unwrap();
                }
            });
        }
    });
    (address, heads)
}

/// A SOCKS 5 proxy without passwords; gives the name that was asked for.
async fn socks_proxy(end: SocketAddr) -> (SocketAddr, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut greeting = [0; 3];
        stream.read_exact(&mut greeting).await.unwrap();
        assert_eq!(greeting, [5, 1, 0]);
        stream.write_all(&[5, 0]).await.unwrap();
        let mut head = [0; 5];
        stream.read_exact(&mut head).await.unwrap();
        assert_eq!(head[..4], [5, 1, 0, 3], "a connection to a name");
        let mut place = vec![0; usize::from(head[4]) + 2];
        stream.read_exact(&mut place).await.unwrap();
        stream.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await.unwrap();
        place.truncate(place.len() - 2);
        let mut end = TcpStream::connect(end).await.unwrap();
        tokio::spawn(async move {
            let _ = copy_bidirectional(&mut stream, &mut end).await;
        });
        String::from_utf8(place).unwrap()
    });
    (address, asked)
}

/// A registry under a name that leads nowhere, and settings that believe it.
async fn registry() -> (SocketAddr, tempfile::TempDir, Settings) {
    let authority = Authority::new();
    let end = serve_as("registry.invalid", &authority, None).await;
    let root = tempfile::tempdir().unwrap();
    let own = root.path().join("registry.invalid");
    std::fs::create_dir(&own).unwrap();
    std::fs::write(own.join("ca.crt"), authority.0.pem()).unwrap();
    let settings = Settings { certificates: vec![root.path().to_owned()], ..Settings::default() };
    (end, root, settings)
}

#[tokio::test]
async fn a_registry_with_tls_is_reached_through_a_tunnel() {
    let (end, _root, settings) = registry().await;
    let (proxy, heads) = http_proxy(end).await;
    let through =
        |address: String| Settings { proxies: Proxies::new("", &address, "").unwrap(), ..settings.clone() };
    ping("registry.invalid", through(format!("http://u:p@{proxy}"))).await.unwrap();
    let head = heads.lock().unwrap().remove(0);
    assert!(head.starts_with("connect registry.invalid:443 http/1.1\r\n"), "{head}");

    let refused = ping("registry.invalid", through(format!("http://{proxy}"))).await.unwrap_err().to_string();
    assert!(refused.contains("Proxy Authentication Required"), "{refused}");
    let nobody =
        ping("registry.invalid", through("http://127.0.0.1:1".into())).await.unwrap_err().to_string();
    assert!(nobody.contains("proxyconnect tcp: dial tcp 127.0.0.1:1"), "{nobody}");
}

#[tokio::test]
async fn a_registry_without_tls_is_asked_for_with_its_whole_address() {
    let (proxy, heads) = http_proxy(SocketAddr::from(([127, 0, 0, 1], 1))).await;
    let settings = Settings {
        insecure: vec!["registry.invalid:5000".into()],
        proxies: Proxies::new(&format!("u:p@{proxy}"), "", "").unwrap(),
        ..Settings::default()
    };
    ping("registry.invalid:5000", settings.clone()).await.unwrap();
    let head = heads.lock().unwrap().pop().unwrap();
    assert!(head.starts_with("get http://registry.invalid:5000/v2/ http/1.1\r\n"), "{head}");
    assert!(head.contains("host: registry.invalid:5000\r\n"), "{head}");
    let proxies = Proxies::new(&format!("u:p@{proxy}"), "", "invalid").unwrap();
    ping("registry.invalid:5000", Settings { proxies, ..settings }).await.unwrap_err();
}

#[tokio::test]
async fn a_registry_is_reached_through_socks_by_its_name() {
    let (end, _root, settings) = registry().await;
    let (proxy, asked) = socks_proxy(end).await;
    let proxies = Proxies::new("", &format!("socks5://{proxy}"), "").unwrap();
    ping("registry.invalid", Settings { proxies, ..settings }).await.unwrap();
    assert_eq!(asked.await.unwrap(), "registry.invalid");
}

#[tokio::test]
async fn nobody_is_sent_to_an_inner_address_by_way_of_a_proxy() {
    let (proxy, _) = http_proxy(SocketAddr::from(([127, 0, 0, 1], 1))).await;
    let proxies = Proxies::new("", &format!("http://u:p@{proxy}"), "").unwrap();
    let client = Client::new("test", Settings { proxies, ..Settings::default() });
    let endpoint = Endpoint { tls: true, host: "169.254.169.254".into(), port: 443, trusted: false };
    let make = || Request::get("/").body(crate::repository::empty()).map_err(std::io::Error::other);
    let outside = crate::transport::Reach::Outside;
    let sent = client.transport.send(&endpoint, outside, &client.settings(), true, &make).await;
    assert!(sent.unwrap_err().contains("is refused here"));
}

#[test]
fn hosts_that_need_no_proxy() {
    let list =
        "example.com, .sub.org,*.star.net,10.1.2.3,10.2.0.0/16,reg.lan:5000,[fd00::1]:443,x:y,,fd01::/16";
    let exceptions = Exceptions::parse(list);
    for (host, port, wanted) in [
        ("example.com", 443, true),
        ("EXAMPLE.com.", 443, true),
        ("a.example.com", 80, true),
        ("notexample.com", 443, false),
        ("sub.org", 443, false),
        ("a.sub.org", 443, true),
        ("star.net", 443, false),
        ("a.b.star.net", 443, true),
        ("10.1.2.3", 1, true),
        ("10.1.2.4", 1, false),
        ("10.2.255.1", 1, true),
        ("10.3.0.1", 1, false),
        ("reg.lan", 5000, true),
        ("reg.lan", 5001, false),
        ("fd00::1", 443, true),
        ("fd00::1", 444, false),
        ("fd01::2", 80, true),
        ("x", 80, false),
        ("localhost", 5000, true),
        ("127.0.0.9", 5000, true),
        ("::1", 5000, true),
    ] {
        assert_eq!(exceptions.has(host, port), wanted, "{host}:{port}");
    }
    assert!(Exceptions::parse("a, *").has("anything", 1));
    assert!(!Exceptions::parse("").has("anything", 1));
}

#[test]
fn addresses_of_proxies() {
    let shown = |text: &str| Proxy::parse(text).map(|proxy| format!("{:?}", proxy.unwrap()));
    assert_eq!(shown("proxy.lan:3128").unwrap(), "Http://proxy.lan:3128");
    assert_eq!(shown("http://proxy.lan/").unwrap(), "Http://proxy.lan:80");
    assert_eq!(shown("https://u:p@proxy.lan").unwrap(), "Https://xxxxx:xxxxx@proxy.lan:443");
    assert_eq!(shown("socks5h://[fd00::1]").unwrap(), "Socks://fd00::1:1080");
    assert_eq!(Proxy::parse("").unwrap(), None);
    for wrong in ["ftp://u:secret@x", "http://", "http://u:secret@h:port", "http://u:secret@a b", "http://h:"]
    {
        let error = Proxy::parse(wrong).unwrap_err().to_string();
        assert!(error.contains("is not a proxy's address") && !error.contains("secret"), "{error}");
    }
    let proxy = Proxy::parse("http://us%40er:p%3A%zz@h").unwrap().unwrap();
    assert_eq!(proxy.user, Some(("us@er".into(), "p:%zz".into())));
    assert_eq!(proxy.authorization().unwrap(), "Basic dXNAZXI6cDoleno=");
}

#[test]
fn each_scheme_has_its_own_proxy() {
    let proxies = Proxies::new("http://one:1", "socks5://two:2", "ghcr.io").unwrap();
    let of = |domain: &str| {
        let endpoint = Endpoint::of_domain(domain, &["plain.lan".into()]);
        proxies.of(&endpoint).map(|proxy| proxy.host.clone())
    };
    assert_eq!(of("docker.io").as_deref(), Some("two"));
    assert_eq!(of("plain.lan").as_deref(), Some("one"));
    assert_eq!(of("ghcr.io"), None);
    assert_eq!(of("localhost:5000"), None);
}
