//! Networks and the stacks of containers, as the engine makes them: each test in a network namespace of its own, with
//! roots of its own. Needs root.

use std::collections::BTreeMap;
use std::future::Future;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use corten_api::container::PortBinding;
use corten_api::endpoint::{EndpointIpamConfig, EndpointSettings};
use corten_api::filters::Filters;
use corten_api::network::{Ipam, IpamConfig, NetworkCreate};
use corten_engine::events::Events;
use corten_engine::network::{ContainerNetworkRequest, Netns, NetworkMode, Networks};
use corten_engine::{EngineConfig, Paths};
use corten_net::bridge::set_sysctl;
use corten_net::netns::Namespace;
use corten_store::{Durability, Records};
use corten_sys::netlink::{Batch, Protocol, Socket};
use corten_types::{ContainerId, Kind};

struct Bed {
    folder: tempfile::TempDir,
}

impl Bed {
    fn config(&self) -> EngineConfig {
        EngineConfig::new(self.folder.path().join("data"), self.folder.path().join("exec"), "/nonexistent")
    }

    async fn open(&self, config: EngineConfig) -> Networks {
        let paths = Paths { data_root: config.data_root.clone(), exec_root: config.exec_root.clone() };
        std::fs::create_dir_all(paths.netns("")).unwrap();
        std::fs::create_dir_all(&paths.data_root).unwrap();
        let records = Records::open(&paths.database(), Durability::Full).unwrap();
        let runtime = Records::open(&paths.runtime_database(), Durability::None).unwrap();
        let events = Arc::new(Events::new());
        Networks::open(Arc::new(config), Arc::new(paths), records, runtime, events).await.unwrap()
    }

    fn request(&self, name: &str, mode: &str) -> ContainerNetworkRequest {
        let id = ContainerId::random().as_str().to_owned();
        ContainerNetworkRequest {
            folder: self.folder.path().join("data/containers").join(&id),
            namespace: None,
            hostname: id[..12].to_owned(),
            id,
            name: name.to_owned(),
            domainname: String::new(),
            mode: mode.parse().unwrap(),
            endpoints: BTreeMap::new(),
            port_bindings: BTreeMap::new(),
            exposed_ports: Vec::new(),
            publish_all: false,
            dns: Vec::new(),
            dns_search: Vec::new(),
            dns_options: Vec::new(),
            extra_hosts: Vec::new(),
            links: Vec::new(),
            mac_address: String::new(),
            sysctls: BTreeMap::new(),
        }
    }

    /// Names bound below the exec root's `netns`.
    fn bound(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.folder.path().join("exec/netns")).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

/// Runs a test as the only user of a fresh network namespace: its runtime's threads are born there.
fn alone<F: Future<Output = ()>>(test: impl FnOnce(Bed) -> F + Send) {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    Namespace::create(|_| {
        let mut batch = Batch::new();
        batch.set_up_by_name("lo");
        Socket::open(Protocol::Route).unwrap().transact(&batch).unwrap();
        set_sysctl("net.ipv4.ip_forward", "0").unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(test(Bed { folder: tempfile::tempdir().unwrap() }));
    })
    .unwrap();
}

fn text<T>(result: Result<T, corten_engine::network::NetworkError>) -> String {
    result.err().map(|error| format!("{} {:?}", error, error.kind())).unwrap_or_default()
}

fn named(name: &str) -> NetworkCreate {
    NetworkCreate { name: name.into(), ..NetworkCreate::default() }
}

fn with_subnet(name: &str, subnet: &str) -> NetworkCreate {
    let config = vec![IpamConfig { subnet: subnet.into(), ..IpamConfig::default() }];
    NetworkCreate { ipam: Some(Ipam { config: Some(config), ..Ipam::default() }), ..named(name) }
}

fn publish(request: &mut ContainerNetworkRequest, key: &str, host_port: &str) {
    let binding = PortBinding { host_ip: String::new(), host_port: host_port.into() };
    request.port_bindings.insert(key.into(), Some(vec![binding]));
}

fn serve_in(path: &Path) {
    let listener = Namespace::open(path).unwrap().enter(|| TcpListener::bind("0.0.0.0:80").unwrap()).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = stream.unwrap().write_all(b"hello");
        }
    });
}

async fn reaches(address: &str) -> bool {
    let address: SocketAddr = address.parse().unwrap();
    let asked = tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        Some(text == "hello")
    });
    asked.await.unwrap() == Some(true)
}

#[test]
fn networks_are_made_listed_and_removed_in_dockers_words() {
    alone(|bed| async move {
        let networks = bed.open(bed.config()).await;
        let names = |filters: &str| {
            let list = networks.list(&Filters::parse(filters).unwrap()).unwrap();
            list.into_iter().map(|network| network.name).collect::<Vec<_>>()
        };
        assert_eq!(names(""), ["none", "host", "bridge"]);
        let id = networks.create(named("u1")).await.unwrap();
        let shown = networks.inspect(&id[..12], "").unwrap();
        assert_eq!((shown.driver.as_str(), shown.enable_ipv4, shown.options.len()), ("bridge", true, 0));
        let config = &shown.ipam.config.as_ref().unwrap()[0];
        assert_eq!((config.subnet.as_str(), config.gateway.as_str()), ("172.18.0.0/16", "172.18.0.1"));
        assert_eq!(text(networks.create(named("u1")).await), "network with name u1 already exists Conflict");
        assert_eq!(
            text(networks.create(with_subnet("u2", "172.18.4.0/24")).await),
            "invalid pool request: Pool overlaps with other one on this address space Forbidden"
        );
        assert_eq!(
            text(networks.create(named("bridge")).await),
            "operation is not permitted on predefined bridge network  Forbidden"
        );
        assert_eq!(
            text(networks.remove("none").await),
            "none is a pre-defined network and cannot be removed Forbidden"
        );
        assert_eq!(text(networks.remove("nope").await), "network nope not found NotFound");
        assert_eq!(names(r#"{"type":["custom"]}"#), ["u1"]);
        assert_eq!(names(r#"{"dangling":["true"]}"#), ["u1"]);
        assert_eq!(
            text(networks.list(&Filters::parse(r#"{"x":["y"]}"#).unwrap())),
            "invalid filter 'x' InvalidArgument"
        );
        assert_eq!(networks.prune(&Filters::default()).await.unwrap(), ["u1"]);
        networks.create(named("again")).await.unwrap();
        networks.remove("again").await.unwrap();
        networks.close().await;
        let links = Socket::open(Protocol::Route).unwrap().links().unwrap();
        assert!(!links.iter().any(|link| link.kind == "bridge"), "{links:?}");
    });
}

#[test]
fn a_container_is_reached_by_its_port_and_leaves_nothing() {
    alone(|bed| async move {
        let networks = bed.open(bed.config()).await;
        let mut request = bed.request("web", "bridge");
        publish(&mut request, "80/tcp", "8080");
        request.exposed_ports = vec!["81/tcp".into()];
        request.extra_hosts = vec!["gw:host-gateway".into()];
        let sandbox = networks.attach(&request).await.unwrap();
        let endpoint = &sandbox.endpoints["bridge"];
        assert_eq!((endpoint.ip_address.as_str(), endpoint.gateway.as_str()), ("172.17.0.2", "172.17.0.1"));
        let shown: Vec<_> =
            sandbox.ports["80/tcp"].iter().flatten().map(|port| port.host_ip.as_str()).collect();
        assert_eq!(shown, ["0.0.0.0", "::"]);
        assert_eq!(sandbox.ports["81/tcp"], None);
        let hosts = std::fs::read_to_string(request.folder.join("hosts")).unwrap();
        assert!(hosts.ends_with(&format!("172.17.0.1\tgw\n172.17.0.2\t{}\n", request.hostname)), "{hosts}");
        serve_in(&sandbox.key);
        for address in ["127.0.0.1:8080", "172.17.0.1:8080", "[::1]:8080", "172.17.0.2:80"] {
            assert!(reaches(address).await, "{address}");
        }
        let mut second = bed.request("second", "");
        publish(&mut second, "80/tcp", "8080");
        let refused = text(networks.attach(&second).await);
        assert!(
            refused.starts_with("failed to set up container networking: driver failed programming external connectivity on endpoint second ("),
            "{refused}"
        );
        assert!(
            refused.ends_with("): Bind for 0.0.0.0:8080 failed: port is already allocated Conflict"),
            "{refused}"
        );
        assert_eq!(networks.inspect("bridge", "").unwrap().containers.len(), 1);
        assert_eq!(bed.bound(), [request.id.clone()]);
        networks.detach(&request.id).await;
        assert!(!reaches("127.0.0.1:8080").await);
        assert_eq!(networks.inspect("bridge", "").unwrap().containers.len(), 0);
        assert_eq!(bed.bound(), [""; 0]);
        // Address and port are free at once.
        let sandbox = networks.attach(&second).await.unwrap();
        assert_eq!(sandbox.endpoints["bridge"].ip_address, "172.17.0.2");
        networks.detach(&second.id).await;
        networks.close().await;
        let socket = Socket::open(Protocol::Route).unwrap();
        let deadline = Instant::now() + Duration::from_secs(120);
        while socket.links().unwrap().len() > 1 {
            assert!(Instant::now() < deadline, "{:?}", socket.links());
            tokio::task::yield_now().await;
        }
    });
}

#[test]
fn the_next_daemon_serves_what_runs_and_sweeps_the_rest() {
    alone(|bed| async move {
        let networks = bed.open(bed.config()).await;
        networks.create(with_subnet("front", "10.9.0.0/24")).await.unwrap();
        let mut web = bed.request("web", "front");
        publish(&mut web, "80/tcp", "");
        let before = networks.attach(&web).await.unwrap();
        let gone = bed.request("gone", "front");
        networks.attach(&gone).await.unwrap();
        serve_in(&before.key);
        let port = before.ports["80/tcp"].as_ref().unwrap()[0].host_port.clone();
        drop(networks);
        // As after a crash: nothing was taken back.
        let networks = bed.open(bed.config()).await;
        assert!(reaches(&format!("127.0.0.1:{port}")).await);
        let after = networks.restore(std::slice::from_ref(&web)).await.unwrap();
        assert_eq!((after.len(), &after[0].endpoints), (1, &before.endpoints));
        assert_eq!(after[0].ports, before.ports);
        assert!(reaches(&format!("127.0.0.1:{port}")).await);
        assert_eq!(bed.bound(), [web.id.clone()]);
        let refused = text(networks.remove("front").await);
        assert!(
            refused.starts_with(
                "error while removing network: network front has active endpoints (name:\"web\""
            ),
            "{refused}"
        );
        // The address of what is gone is free, that of what runs is not.
        let next = networks.attach(&bed.request("next", "front")).await.unwrap();
        assert_eq!(next.endpoints["front"].ip_address, "10.9.0.3");
        for running in [&web.id, &next.id] {
            networks.detach(running).await;
        }
        networks.remove("front").await.unwrap();
        networks.close().await;
    });
}

#[test]
fn containers_join_and_leave_networks_while_they_run() {
    alone(|bed| async move {
        let networks = bed.open(bed.config()).await;
        networks.create(with_subnet("front", "10.9.0.0/24")).await.unwrap();
        let mut internal = with_subnet("inside", "10.8.0.0/24");
        internal.internal = true;
        networks.create(internal).await.unwrap();
        let mut request = bed.request("web", "bridge");
        let sandbox = networks.attach(&request).await.unwrap();
        request.endpoints = sandbox.endpoints.clone();
        let wanted = |address: &str| EndpointSettings {
            ipam_config: Some(EndpointIpamConfig { ipv4_address: address.into(), ..Default::default() }),
            aliases: Some(vec!["alias".into()]),
            ..EndpointSettings::default()
        };
        assert_eq!(
            text(networks.connect("front", &request, wanted("10.7.0.9")).await),
            "invalid endpoint settings:\nno configured subnet or ip-range contain the IP address 10.7.0.9 InvalidArgument"
        );
        assert_eq!(
            text(networks.connect("front", &request, wanted("10.9.0.1")).await),
            "Address already in use Forbidden"
        );
        let (name, made) = networks.connect("front", &request, wanted("10.9.0.77")).await.unwrap();
        assert_eq!((name.as_str(), made.ip_address.as_str()), ("front", "10.9.0.77"));
        let names = made.dns_names.clone().unwrap();
        assert_eq!(names, ["web", "alias", &request.id[..12]]);
        request.endpoints.insert(name, made);
        let again = text(networks.connect("front", &request, EndpointSettings::default()).await);
        assert_eq!(again, "endpoint with name web already exists in network front Forbidden");
        let file = |name: &str| std::fs::read_to_string(request.folder.join(name)).unwrap();
        assert!(file("resolv.conf").contains("nameserver 127.0.0.11\n"));
        assert!(file("hosts").contains("10.9.0.77\t"));
        networks.connect("inside", &request, EndpointSettings::default()).await.unwrap();
        assert_eq!(networks.disconnect("front", &request).await.unwrap(), "front");
        assert!(!file("hosts").contains("10.9.0.77\t"));
        request.endpoints.remove("front");
        let refused = text(networks.disconnect("front", &request).await);
        assert_eq!(refused, format!("container {} is not connected to network front NotFound", request.id));
        let refused = text(networks.connect("none", &request, EndpointSettings::default()).await);
        assert!(refused.contains("private (none) mode"), "{refused}");
        networks.detach(&request.id).await;
        networks.close().await;
    });
}

#[test]
fn the_other_modes() {
    alone(|bed| async move {
        let networks = bed.open(bed.config()).await;
        let none = bed.request("none", "none");
        let sandbox = networks.attach(&none).await.unwrap();
        assert_eq!(sandbox.endpoints.keys().collect::<Vec<_>>(), ["none"]);
        let mut joined = bed.request("joined", "");
        joined.mode = NetworkMode::Container(none.id.clone());
        let shared = networks.attach(&joined).await.unwrap();
        assert_eq!(
            (shared.netns, shared.folder, shared.endpoints.len()),
            (sandbox.netns, none.folder.clone(), 0)
        );
        let host = bed.request("host", "host");
        let sandbox = networks.attach(&host).await.unwrap();
        assert_eq!((sandbox.netns, sandbox.ports.len()), (Netns::Host, 0));
        assert!(sandbox.key.ends_with("netns/default") && sandbox.key.exists());
        let missing = text(networks.attach(&bed.request("x", "nope")).await);
        assert_eq!(missing, "failed to set up container networking: network nope not found NotFound");
        for id in [&none.id, &joined.id, &host.id] {
            networks.detach(id).await;
        }
        assert_eq!(bed.bound(), [""; 0]);
        networks.close().await;
    });
}
