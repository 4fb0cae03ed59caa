//! Published ports, isolation and outbound masquerade, with real packets between network namespaces of the test's own.
//!
//! ```text
//! outside 192.0.2.2 ── 192.0.2.1 host ── br-a 10.1.0.1 ── a1 10.1.0.2, a2 10.1.0.3
//!                                    └── br-b 10.2.0.1 ── b1 10.2.0.2
//! ```

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

use corten_net::bridge::{Bridge, random_mac, set_sysctl};
use corten_net::firewall::{BridgeRules, Firewall, Protocol, PublishedPort, Rules};
use corten_net::netns::Namespace;
use corten_net::sandbox::{NewDevice, Sandbox};
use corten_sys::netlink::{Protocol as Netlink, Socket};

fn root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: needs root");
    }
    root
}

/// A server inside `sandbox` that answers each connection with the address it came from.
fn serve(sandbox: &Sandbox) {
    let listener = sandbox.namespace().enter(|| TcpListener::bind("0.0.0.0:80").unwrap()).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let peer = stream.peer_addr().unwrap().ip();
            let _ = write!(stream, "{peer}");
        }
    });
}

/// What the server says to a client in `from`, or `None` when it cannot be reached within `patience`.
fn ask_within(patience: Duration, from: &Namespace, to: &str) -> Option<String> {
    let to: SocketAddr = to.parse().unwrap();
    from.enter(|| {
        let mut stream = TcpStream::connect_timeout(&to, patience).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        Some(text)
    })
    .unwrap()
}

/// What the server says to a client in `from`; waits long, as it must be reached.
fn ask(from: &Namespace, to: &str) -> Option<String> {
    ask_within(Duration::from_secs(20), from, to)
}

/// Whether nobody can be reached there; a packet that is dropped is waited for only so long.
fn silent(from: &Namespace, to: &str) -> bool {
    ask_within(Duration::from_millis(400), from, to).is_none()
}

struct Bed {
    host: Namespace,
    netlink: Socket,
    folder: tempfile::TempDir,
}

impl Bed {
    /// A host whose bridges pass their packets through the packet filter, or do not; `None` where the kernel cannot.
    fn with_bridge_filter(filter: &str) -> Option<Self> {
        let bed = Self::new();
        let name = "net.bridge.bridge-nf-call-iptables";
        let possible = bed.host.enter(|| set_sysctl(name, filter)).unwrap().is_ok();
        (possible || filter == "0").then_some(bed)
    }

    fn new() -> Self {
        let (host, netlink) = Namespace::create(|_| {
            let socket = Socket::open(Netlink::Route).unwrap();
            let mut batch = corten_sys::netlink::Batch::new();
            batch.set_up_by_name("lo");
            socket.transact(&batch).unwrap();
            set_sysctl("net.ipv4.ip_forward", "1").unwrap();
            socket
        })
        .unwrap();
        Self { host, netlink, folder: tempfile::tempdir().unwrap() }
    }

    fn bridge(&self, name: &str, address: &str) -> u32 {
        let bridge = Bridge {
            name: name.into(),
            mtu: 1400,
            addresses: vec![address.parse().unwrap()],
            route_localnet: true,
        };
        self.host.enter(|| bridge.ensure(&self.netlink).unwrap()).unwrap()
    }

    fn sandbox(&self, name: &str, bridge: u32, address: &str, gateway: &str, isolated: bool) -> Sandbox {
        let sandbox = Sandbox::create(&self.folder.path().join(name), &BTreeMap::new(), None).unwrap();
        let device = NewDevice {
            host_name: &format!("veth{name}"),
            alias: &format!("corten:{name}"),
            bridge,
            mtu: 1400,
            isolated,
            name: "eth0",
            mac: random_mac(),
            addresses: &[address.parse().unwrap()],
            sysctls: &[],
        };
        sandbox.add_device(&self.netlink, &device).unwrap();
        sandbox.set_default_routes(&[gateway.parse().unwrap()]).unwrap();
        sandbox
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        for entry in std::fs::read_dir(self.folder.path()).into_iter().flatten().flatten() {
            Namespace::unbind(&entry.path()).ok();
        }
    }
}

fn rules(masquerade: bool, internal: bool, icc: bool, subnet: &str) -> BridgeRules {
    BridgeRules { masquerade, internal, icc, subnets: vec![subnet.parse().unwrap()] }
}

fn published(host: Ipv4Addr, host_port: u16, target: &str) -> PublishedPort {
    PublishedPort { protocol: Protocol::Tcp, host: host.into(), host_port, target: target.parse().unwrap() }
}

#[test]
fn what_is_published_is_reached_and_nothing_else() {
    if root() {
        reach(Bed::with_bridge_filter("0").unwrap());
    }
}

#[test]
fn so_it_is_when_bridges_pass_the_packet_filter() {
    if root()
        && let Some(bed) = Bed::with_bridge_filter("1")
    {
        reach(bed);
    }
}

fn reach(bed: Bed) {
    let (br_a, br_b, wan) = (
        bed.bridge("br-a", "10.1.0.1/24"),
        bed.bridge("br-b", "10.2.0.1/24"),
        bed.bridge("wan", "192.0.2.1/24"),
    );
    let a1 = bed.sandbox("a1", br_a, "10.1.0.2/24", "10.1.0.1", false);
    let a2 = bed.sandbox("a2", br_a, "10.1.0.3/24", "10.1.0.1", false);
    let b1 = bed.sandbox("b1", br_b, "10.2.0.2/24", "10.2.0.1", false);
    let outside = bed.sandbox("out", wan, "192.0.2.2/24", "192.0.2.1", false);
    for sandbox in [&a1, &b1, &outside] {
        serve(sandbox);
    }
    let firewall = bed.host.enter(|| Firewall::open("corten-reach", Rules::default()).unwrap()).unwrap();
    let open = |subnet| rules(true, false, true, subnet);
    firewall.add_bridge("br-a", open("10.1.0.0/24")).unwrap();
    firewall.add_bridge("br-b", open("10.2.0.0/24")).unwrap();
    let any = published(Ipv4Addr::UNSPECIFIED, 8080, "10.1.0.2:80");
    let local = published(Ipv4Addr::LOCALHOST, 8081, "10.1.0.2:80");
    firewall.add_ports(&[any, local]).unwrap();

    let says =
        |from: &Namespace, to: &str, answer: &str| assert_eq!(ask(from, to).as_deref(), Some(answer), "{to}");
    // Published on all addresses: from outside, from the host's own addresses, from 127.0.0.1.
    says(outside.namespace(), "192.0.2.1:8080", "192.0.2.2");
    says(&bed.host, "192.0.2.1:8080", "192.0.2.1");
    says(&bed.host, "10.1.0.1:8080", "10.1.0.1");
    says(&bed.host, "127.0.0.1:8080", "10.1.0.1");
    // Published on 127.0.0.1 alone.
    says(&bed.host, "127.0.0.1:8081", "10.1.0.1");
    assert!(silent(outside.namespace(), "192.0.2.1:8081"));
    assert!(silent(a2.namespace(), "10.1.0.1:8081"));
    // Through the host back to the same bridge, to oneself, and from another bridge.
    assert!(ask(a2.namespace(), "192.0.2.1:8080").is_some());
    says(a1.namespace(), "192.0.2.1:8080", "10.1.0.1");
    assert!(ask(b1.namespace(), "192.0.2.1:8080").is_some());
    // Within a bridge, and out of the host with the host's address.
    says(a2.namespace(), "10.1.0.2:80", "10.1.0.3");
    says(a1.namespace(), "192.0.2.2:80", "192.0.2.1");
    // What is not published: other bridges and routes from outside.
    assert!(silent(a1.namespace(), "10.2.0.2:80"));
    assert!(silent(outside.namespace(), "10.1.0.2:80"));
    // Taken back.
    firewall.remove_ports(&[any]).unwrap();
    assert!(silent(outside.namespace(), "192.0.2.1:8080"));
    assert!(silent(&bed.host, "127.0.0.1:8080"));
    says(&bed.host, "127.0.0.1:8081", "10.1.0.1");
}

#[test]
fn internal_and_quiet_bridges_keep_to_themselves() {
    if !root() {
        return;
    }
    let bed = Bed::new();
    let (br_i, br_q, wan) = (
        bed.bridge("br-i", "10.3.0.1/24"),
        bed.bridge("br-q", "10.4.0.1/24"),
        bed.bridge("wan", "192.0.2.1/24"),
    );
    let i1 = bed.sandbox("i1", br_i, "10.3.0.2/24", "10.3.0.1", false);
    let i2 = bed.sandbox("i2", br_i, "10.3.0.3/24", "10.3.0.1", false);
    let q1 = bed.sandbox("q1", br_q, "10.4.0.2/24", "10.4.0.1", true);
    let q2 = bed.sandbox("q2", br_q, "10.4.0.3/24", "10.4.0.1", true);
    let outside = bed.sandbox("o2", wan, "192.0.2.2/24", "192.0.2.1", false);
    for sandbox in [&i2, &q2, &outside] {
        serve(sandbox);
    }
    let firewall = bed.host.enter(|| Firewall::open("corten-quiet", Rules::default()).unwrap()).unwrap();
    firewall.add_bridge("br-i", rules(false, true, true, "10.3.0.0/24")).unwrap();
    firewall.add_bridge("br-q", rules(true, false, false, "10.4.0.0/24")).unwrap();
    assert!(ask(i1.namespace(), "10.3.0.3:80").is_some());
    assert!(silent(i1.namespace(), "192.0.2.2:80"));
    assert!(silent(q1.namespace(), "10.4.0.3:80"));
    assert!(ask(q1.namespace(), "192.0.2.2:80").is_some());
    assert!(ask(&bed.host, "10.4.0.3:80").is_some());
}

#[test]
fn a_closed_sandbox_leaves_nothing_behind() {
    if !root() {
        return;
    }
    let bed = Bed::new();
    let bridge = bed.bridge("br-c", "10.5.0.1/24");
    let sandbox = bed.sandbox("c1", bridge, "10.5.0.2/24", "10.5.0.1", false);
    let resolver = sandbox.open_resolver().unwrap();
    let again = Sandbox::open(sandbox.path()).unwrap();
    assert_eq!(again.free_name("eth").unwrap(), "eth1");
    drop((again, resolver));
    let link = bed.netlink.link("vethc1").unwrap().unwrap();
    assert_eq!(
        (link.alias.as_str(), link.master, link.kind.as_str(), link.mtu),
        ("corten:c1", bridge, "veth", 1400)
    );
    let path = sandbox.path().to_owned();
    sandbox.close().unwrap();
    drop(sandbox);
    assert!(!path.exists());
    wait_until("the kernel removes the devices", || bed.netlink.link("vethc1").unwrap().is_none());
}

/// The kernel removes a namespace in its own time; this asks again and again, with a deadline.
fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(120);
    while !done() {
        assert!(std::time::Instant::now() < deadline, "{what}");
        std::thread::yield_now();
    }
    assert!(Path::new("/proc/self").exists());
}
