//! The kernel takes our plans. Everything happens in network namespaces of the test's own; needs root.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use corten_net::firewall::{BridgeRules, Firewall, Protocol, PublishedPort, Rules};
use corten_net::netns::Namespace;
use corten_sys::netlink::Socket;
use corten_sys::nft::table_exists;

fn root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: needs root");
    }
    root
}

fn port(host: &str, host_port: u16, target: &str) -> PublishedPort {
    let target: SocketAddr = target.parse().unwrap();
    PublishedPort { protocol: Protocol::Tcp, host: host.parse().unwrap(), host_port, target }
}

#[test]
fn the_kernel_takes_every_plan_and_its_undoing() {
    if !root() {
        return;
    }
    let ((), ()) = Namespace::create(|_| {
        let firewall = Firewall::open("corten-test", Rules::default()).unwrap();
        let rules = BridgeRules {
            masquerade: true,
            internal: true,
            icc: false,
            subnets: vec!["10.0.0.0/24".parse().unwrap(), "fd00::/64".parse().unwrap()],
        };
        firewall.add_bridge("br0", rules.clone()).unwrap();
        firewall.add_bridge("br0", rules.clone()).unwrap();
        let ports = [
            port("0.0.0.0", 8080, "172.17.0.2:80"),
            port("127.0.0.1", 8081, "172.17.0.2:81"),
            port("::", 8080, "[fd00::2]:80"),
            port("fd01::1", 53, "[fd00::2]:53"),
        ];
        firewall.add_ports(&ports).unwrap();
        firewall.remove_ports(&ports[1..]).unwrap();
        firewall.remove_ports(&ports).unwrap();
        firewall.remove_bridge("br0").unwrap();
        firewall.repair().unwrap();
        let many: Vec<_> = (1..3000).map(|n| port("0.0.0.0", n, "10.0.0.2:80")).collect();
        firewall.add_ports(&many).unwrap();
        firewall.remove_ports(&many).unwrap();
        let bridges = BTreeMap::from([("br1".to_owned(), rules)]);
        firewall.restore(Rules { bridges, ports: many.into_iter().collect() }).unwrap();
        let socket = Socket::open_netfilter().unwrap();
        assert!(table_exists(&socket, "corten-test").unwrap());
        firewall.close().unwrap();
        assert!(!table_exists(&socket, "corten-test").unwrap());
    })
    .map(|(_, done)| ((), done))
    .unwrap();
}

#[test]
fn a_flushed_table_is_made_again_by_the_next_change() {
    if !root() {
        return;
    }
    Namespace::create(|_| {
        let firewall = Firewall::open("corten", Rules::default()).unwrap();
        let mut flush = corten_sys::nft::Transaction::new("corten");
        flush.delete_table();
        let socket = Socket::open_netfilter().unwrap();
        flush.commit(&socket).unwrap();
        firewall.add_ports(&[port("0.0.0.0", 1, "10.0.0.1:1")]).unwrap();
        assert!(table_exists(&socket, "corten").unwrap());
    })
    .unwrap();
}

#[test]
fn a_flushed_table_is_made_again_within_a_second() {
    if !root() {
        return;
    }
    Namespace::create(|_| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let firewall = Firewall::open("corten", Rules::default()).unwrap();
            firewall.add_ports(&[port("0.0.0.0", 1, "10.0.0.1:1")]).unwrap();
            let socket = Socket::open_netfilter().unwrap();
            let disturb = async {
                // The guard is listening once it has been polled.
                tokio::task::yield_now().await;
                let mut flush = corten_sys::nft::Transaction::new("corten");
                flush.delete_table();
                flush.commit(&socket).unwrap();
                assert!(!table_exists(&socket, "corten").unwrap());
                let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
                while !table_exists(&socket, "corten").unwrap() {
                    assert!(std::time::Instant::now() < deadline, "the table does not come back");
                    tokio::task::yield_now().await;
                }
            };
            tokio::select! {
                biased;
                ended = firewall.guard() => panic!("{ended:?}"),
                () = disturb => {}
            }
            firewall.close().unwrap();
        });
    })
    .unwrap();
}
