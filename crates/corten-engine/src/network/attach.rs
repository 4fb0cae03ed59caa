use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use corten_net::dns::{Server, Upstream, View};
use corten_net::files::{HostRecord, ResolvConf};
use corten_net::netns::Namespace;
use corten_net::ports::HeldPort;
use corten_net::proxy::Proxy;
use corten_net::sandbox::{NewDevice, ResolverSockets, Sandbox as Stack};
use corten_sys::netlink::{Protocol, Socket};
use corten_types::ErrorKind;
use parking_lot::Mutex;

use super::endpoint::{self, Planned, gateway_of, gateways};
use super::host::Host;
use super::publish::{self, Leased};
use super::record::{EndpointRecord, PortRecord, SANDBOX, SandboxRecord};
use super::request::{ContainerNetworkRequest, Netns, NetworkMode, Sandbox};
use super::state::{Running, Served, State};
use super::{NetworkError, Networks, files};

/// What the blocking part of an attach made.
struct Built {
    stack: Option<Stack>,
    leased: Leased,
    resolver: Option<ResolverSockets>,
    conf: ResolvConf,
}

/// What the blocking part of an attach needs.
struct Job {
    host: Arc<Host>,
    request: ContainerNetworkRequest,
    planned: Vec<Planned>,
    netns: PathBuf,
    extra_hosts: Vec<HostRecord>,
    default_ip: IpAddr,
}

impl Networks {
    /// Gives a container that starts its stack: namespace, addresses, published ports, names, files. All or nothing.
    pub async fn attach(&self, request: &ContainerNetworkRequest) -> Result<Sandbox, NetworkError> {
        let made = match &request.mode {
            NetworkMode::Container(other) => self.shared(other),
            _ => self.attach_own(request).await,
        };
        made.map_err(|error| error.context("failed to set up container networking: "))
    }

    /// The stack of another container.
    fn shared(&self, other: &str) -> Result<Sandbox, NetworkError> {
        let running = self.state.lock().sandboxes.get(other).cloned().ok_or_else(|| {
            let text = format!("cannot join network namespace of a non running container: {other}");
            NetworkError::refused(ErrorKind::Conflict, text)
        })?;
        let netns = running.stack.as_ref().map_or(Netns::Host, |stack| Netns::Path(stack.path().to_owned()));
        Ok(Sandbox {
            id: String::new(),
            key: PathBuf::new(),
            netns,
            endpoints: BTreeMap::new(),
            ports: BTreeMap::new(),
            folder: running.request.lock().folder.clone(),
        })
    }

    async fn attach_own(&self, request: &ContainerNetworkRequest) -> Result<Sandbox, NetworkError> {
        // A run before this one that was never taken back is taken back now.
        self.detach(&request.id).await;
        publish::requests(request)?;
        let planned = endpoint::plan_all(&mut self.state.lock(), request, self.host.ipv6)?;
        let record = SandboxRecord {
            id: request.id.clone(),
            name: request.name.clone(),
            host: request.mode == NetworkMode::Host,
            endpoints: planned.iter().map(|one| one.record.clone()).collect(),
            published: Vec::new(),
        };
        let made = self.build(request, &planned, record).await;
        if made.is_err() {
            {
                let mut state = self.state.lock();
                planned.iter().for_each(|one| endpoint::release(&mut state, &one.record));
            }
            self.forget(&request.id).await;
        }
        let running = made?;
        self.state.lock().sandboxes.insert(request.id.clone(), running.clone());
        self.announce(&running, "connect");
        Ok(self.show(&running))
    }

    /// Remembers the intent, makes everything, and serves it.
    async fn build(
        &self,
        request: &ContainerNetworkRequest,
        planned: &[Planned],
        mut record: SandboxRecord,
    ) -> Result<Arc<Running>, NetworkError> {
        self.remember(&record).await?;
        let job = Job {
            host: self.host.clone(),
            request: request.clone(),
            planned: planned.to_vec(),
            netns: self.paths.netns(&request.id),
            extra_hosts: self.extra_hosts(request)?,
            default_ip: self.default_ip(planned),
        };
        let built =
            tokio::task::spawn_blocking(move || job.run()).await.map_err(|_| NetworkError::BrokenOff)??;
        record.published.clone_from(&built.leased.records);
        let served = Served {
            proxies: Vec::new(),
            resolver: None,
            resolv_conf: built.conf.render(),
            held: Vec::new(),
        };
        let running = Arc::new(Running {
            record: Mutex::new(record.clone()),
            stack: built.stack,
            served: Mutex::new(served),
            request: Mutex::new(request.clone()),
        });
        let served = self.serve(&running, built.leased.held, built.resolver, &built.conf);
        let remembered = if record.published.is_empty() { Ok(()) } else { self.remember(&record).await };
        if let Err(error) = served.and(remembered) {
            self.take_back(&running).await;
            return Err(error);
        }
        Ok(running)
    }

    /// Starts what the daemon does for a stack: names, resolver, and the ports that no rule leads to.
    pub(super) fn serve(
        &self,
        running: &Running,
        held: Vec<HeldPort>,
        resolver: Option<ResolverSockets>,
        conf: &ResolvConf,
    ) -> Result<(), NetworkError> {
        let record = running.record.lock().clone();
        for one in &record.endpoints {
            self.add_names(one);
        }
        let mut served = running.served.lock();
        for mut port in held {
            let own = |record: &&PortRecord| {
                record.host == port.host
                    && record.host_port == port.host_port
                    && corten_net::firewall::Protocol::from(record.protocol) == port.protocol
            };
            let target = record.published.iter().find(own);
            // What rules lead to the container never arrives at the socket; IPv6's ::1 always does.
            let by_rule = self.host.has_rules() && port.host.is_ipv4();
            if let Some(target) = target
                && Proxy::carries(port.protocol)
                && !(by_rule && target.rule().is_some())
                && let Some(socket) = port.socket.take()
            {
                let target = (target.target, target.container_port).into();
                let proxy = Proxy::start(port.protocol, socket, target).map_err(device)?;
                served.proxies.push(proxy);
            }
            served.held.push(port);
        }
        if let Some(sockets) = resolver {
            let stack = running.stack.as_ref().map(|stack| stack.path().to_owned());
            let upstream = upstream(conf, stack.as_deref());
            let view = self.view(&record.endpoints, conf.sets_ndots());
            let server =
                Server::start(sockets, self.host.directory.clone(), view, upstream).map_err(device)?;
            served.resolver = Some(server);
        }
        Ok(())
    }

    /// Makes an endpoint's names known on its network.
    pub(super) fn add_names(&self, one: &EndpointRecord) {
        if let Some(names) = &one.settings.dns_names {
            let addresses: Vec<_> = one.addresses.iter().map(ipnet::IpNet::addr).collect();
            self.host.directory.add_endpoint(&one.network, &one.id, names, &addresses);
        }
    }

    /// What the container's resolver sees.
    pub(super) fn view(&self, endpoints: &[EndpointRecord], ndots_set: bool) -> View {
        let state = self.state.lock();
        let mut view = View { ndots_set, ..View::default() };
        for one in endpoints {
            let Some(network) = state.networks.get(&one.network) else { continue };
            view.forward |= !network.record.internal;
            if network.record.has_names() {
                view.networks.push(one.network.clone());
            }
            for link in one.settings.links.iter().flatten() {
                let (target, alias) = link.split_once(':').unwrap_or((link, link));
                let target = target.trim_start_matches('/').to_lowercase();
                view.links.push((alias.to_lowercase(), one.network.clone(), target));
            }
        }
        view
    }

    /// Takes everything back that [`Self::attach`] gave. Does nothing for a container that has no sandbox.
    pub async fn detach(&self, container: &str) {
        let running = self.state.lock().sandboxes.remove(container);
        match running {
            Some(running) => {
                self.take_back(&running).await;
                {
                    let mut state = self.state.lock();
                    let record = running.record.lock();
                    record.endpoints.iter().for_each(|one| endpoint::release(&mut state, one));
                }
                self.announce(&running, "disconnect");
                self.forget(container).await;
            }
            None => {
                // What a daemon before this one left.
                if let Err(error) = Namespace::unbind(&self.paths.netns(container)) {
                    tracing::warn!(container, %error, "network namespace not removed");
                }
            }
        }
    }

    /// Ends what is served and removes what was made; every step is tried.
    async fn take_back(&self, running: &Arc<Running>) {
        let (record, served) = {
            let record = running.record.lock().clone();
            (record, std::mem::take(&mut *running.served.lock()))
        };
        for one in &record.endpoints {
            self.host.directory.remove_endpoint(&one.network, &one.id);
        }
        drop(served.resolver);
        let host = self.host.clone();
        let (running, netns) = (running.clone(), self.paths.netns(&record.id));
        let ended = tokio::task::spawn_blocking(move || {
            let rules: Vec<_> = record.published.iter().filter_map(PortRecord::rule).collect();
            let unpublished = host.unpublish(&rules);
            // The port is free for others only when no rule leads away from it any more.
            drop((served.held, served.proxies));
            let closed = match &running.stack {
                Some(stack) => stack.close(),
                None => Namespace::unbind(&netns),
            };
            (unpublished, closed)
        });
        match ended.await {
            Ok((unpublished, closed)) => {
                if let Err(error) = unpublished {
                    tracing::warn!(%error, "published ports not withdrawn");
                }
                if let Err(error) = closed {
                    tracing::warn!(%error, "network namespace not removed");
                }
            }
            Err(error) => tracing::error!(%error, "taking a network stack back"),
        }
        let last_of_host = {
            let state = self.state.lock();
            !state.sandboxes.values().any(|running| running.stack.is_none())
        };
        if last_of_host {
            // Bound for containers with the host's stack; nobody needs it now.
            let _ = Namespace::unbind(&self.paths.netns("default"));
        }
    }

    /// The sandbox as containers show it.
    pub(super) fn show(&self, running: &Running) -> Sandbox {
        let record = running.record.lock();
        let request = running.request.lock();
        let endpoints =
            record.endpoints.iter().map(|one| (one.network_name.clone(), one.settings.clone())).collect();
        let key = match &running.stack {
            Some(stack) => stack.path().to_owned(),
            None => self.paths.netns("default"),
        };
        let with_ports = matches!(request.mode, NetworkMode::Bridge | NetworkMode::Network(_));
        Sandbox {
            id: record.id.clone(),
            netns: if running.stack.is_some() { Netns::Path(key.clone()) } else { Netns::Host },
            key,
            endpoints,
            ports: if with_ports { publish::port_map(&request, &record.published) } else { BTreeMap::new() },
            folder: request.folder.clone(),
        }
    }

    /// Events about every attachment of a stack.
    fn announce(&self, running: &Running, action: &str) {
        let record = running.record.lock().clone();
        for one in &record.endpoints {
            self.announce_endpoint(&record.id, one, action);
        }
    }

    pub(super) fn announce_endpoint(&self, container: &str, one: &EndpointRecord, action: &str) {
        let driver = {
            let state = self.state.lock();
            state.networks.get(&one.network).map_or("bridge", |network| network.record.driver.name())
        };
        let attributes = [("container", container), ("name", &one.network_name), ("type", driver)]
            .map(|(key, value)| (key.to_owned(), value.to_owned()));
        self.events.emit("network", action, &one.network, attributes.into());
    }

    pub(super) async fn remember(&self, record: &SandboxRecord) -> Result<(), NetworkError> {
        let text = serde_json::to_vec(record).unwrap_or_default();
        Ok(self.runtime.put(SANDBOX, &record.id, text).await?)
    }

    async fn forget(&self, container: &str) {
        if let Err(error) = self.runtime.delete(SANDBOX, container).await {
            tracing::warn!(container, %error, "sandbox not forgotten");
        }
    }

    /// Lines of the hosts file before the container's own: what was asked for, and linked containers.
    pub(super) fn extra_hosts(
        &self,
        request: &ContainerNetworkRequest,
    ) -> Result<Vec<HostRecord>, NetworkError> {
        let state = self.state.lock();
        let gateway = self.host_gateway(&state);
        let mut records = files::extra_hosts(&request.extra_hosts, &gateway)?;
        // Elsewhere our resolver knows them.
        let on_bridge = request.mode == NetworkMode::Bridge;
        for link in request.links.iter().filter(|_| on_bridge) {
            records.extend(linked(&state, link));
        }
        Ok(records)
    }

    fn host_gateway(&self, state: &State) -> Vec<IpAddr> {
        let configured: Vec<_> =
            self.config.host_gateway_ips.iter().filter_map(|ip| ip.parse().ok()).collect();
        if !configured.is_empty() {
            return configured;
        }
        let bridge = state.by_name("bridge");
        bridge
            .iter()
            .flat_map(|network| &network.record.subnets)
            .filter_map(|subnet| subnet.gateway)
            .collect()
    }

    /// Where ports are published that name no address: the network's choice, else the daemon's.
    fn default_ip(&self, planned: &[Planned]) -> IpAddr {
        let records: Vec<_> = planned.iter().map(|one| one.record.clone()).collect();
        let way_out = gateway_of(&records, false).map(|(one, _)| one.id.clone());
        let device = planned.iter().find(|one| Some(&one.record.id) == way_out.as_ref());
        device
            .and_then(|one| one.device.as_ref())
            .and_then(|device| device.options.host_binding)
            .unwrap_or(self.config.network.default_ip)
    }
}

/// The line for a legacy link on the default bridge, `<id>:<alias>`: alias, host name and name of the other container. One that does
/// not run has none.
fn linked(state: &State, link: &str) -> Vec<HostRecord> {
    let (target, alias) = link.split_once(':').unwrap_or((link, link));
    let Some(running) = state.sandboxes.get(target) else { return Vec::new() };
    let record = running.record.lock();
    let mut names = format!("{alias} {}", running.request.lock().hostname);
    if alias != record.name {
        names = format!("{names} {}", record.name);
    }
    let on_bridge = record.endpoints.iter().filter(|one| one.network_name == "bridge");
    let addresses = on_bridge.flat_map(|one| &one.addresses);
    addresses.map(|net| HostRecord { address: net.addr(), names: names.clone() }).collect()
}

pub(super) fn device(error: std::io::Error) -> NetworkError {
    NetworkError::Device(corten_net::bridge::DeviceError::Namespace(error))
}

/// The servers a container's resolver asks.
pub(super) fn upstream(conf: &ResolvConf, netns: Option<&Path>) -> Vec<Upstream> {
    let server = |(address, from_host): &(IpAddr, bool)| Upstream {
        address: (*address, 53).into(),
        netns: if *from_host { None } else { netns.map(Path::to_owned) },
    };
    conf.upstream().iter().map(server).collect()
}

impl Job {
    fn run(self) -> Result<Built, NetworkError> {
        files::folder(&self.request.folder)?;
        let records: Vec<_> = self.planned.iter().map(|one| one.record.clone()).collect();
        let with_resolver = self.planned.iter().any(|one| one.network.has_names());
        let ipv6 = self.planned.iter().any(|one| one.network.ipv6);
        let conf = files::resolv_conf(&self.request, with_resolver, ipv6)?;
        files::write(&self.request.folder.join("resolv.conf"), &conf.render())?;
        files::write(&self.request.folder.join("hostname"), &format!("{}\n", self.request.hostname))?;
        files::write_hosts(&self.request, &records, self.extra_hosts.clone(), self.host.ipv6)?;
        if self.request.mode == NetworkMode::Host {
            let default = self.netns.with_file_name("default");
            if !default.exists() {
                Namespace::current().and_then(|host| host.bind(&default)).map_err(device)?;
            }
            return Ok(Built { stack: None, leased: Leased::default(), resolver: None, conf });
        }
        Namespace::unbind(&self.netns).map_err(device)?;
        let given = self.request.namespace.as_ref().map(|fd| fd.try_clone()).transpose().map_err(device)?;
        let stack = Stack::create(&self.netns, &self.request.sysctls, given)?;
        match self.fill(&stack, &records, with_resolver) {
            Ok((leased, resolver)) => Ok(Built { stack: Some(stack), leased, resolver, conf }),
            Err(error) => {
                if let Err(error) = stack.close() {
                    tracing::warn!(%error, "network namespace not removed");
                }
                Err(error)
            }
        }
    }

    fn fill(
        &self,
        stack: &Stack,
        records: &[EndpointRecord],
        with_resolver: bool,
    ) -> Result<(Leased, Option<ResolverSockets>), NetworkError> {
        for one in &self.planned {
            add_device(&self.host, stack, one, &self.request.id)?;
        }
        let gateways = gateways(records);
        if !gateways.is_empty() {
            stack.set_default_routes(&gateways)?;
        }
        let resolver = with_resolver.then(|| stack.open_resolver()).transpose().map_err(device)?;
        let requests = publish::requests(&self.request)?;
        let way_out = gateway_of(records, false).or_else(|| gateway_of(records, true));
        let Some((way_out, _)) = way_out.filter(|_| !requests.is_empty()) else {
            return Ok((Leased::default(), resolver));
        };
        let leased =
            publish::lease(&self.host.ports, &requests, way_out, &self.request.name, self.default_ip)?;
        let rules: Vec<_> = leased.records.iter().filter_map(PortRecord::rule).collect();
        self.host.publish(&rules)?;
        Ok((leased, resolver))
    }
}

/// Makes the device of one attachment.
pub(super) fn add_device(
    host: &Host,
    stack: &Stack,
    one: &Planned,
    container: &str,
) -> Result<(), NetworkError> {
    let Some(device) = &one.device else { return Ok(()) };
    let bridge = host.bridge_index(&one.network, &device.options)?;
    let sysctls = device_sysctls(&one.record)?;
    let mut addresses = one.record.addresses.clone();
    addresses.extend(endpoint::link_local(&one.record.settings));
    let new = NewDevice {
        host_name: &one.record.host_name,
        alias: &host.alias(container),
        bridge,
        mtu: device.options.mtu,
        isolated: !device.options.icc,
        name: &one.record.device,
        mac: device.mac,
        addresses: &addresses,
        sysctls: &sysctls,
    };
    // A socket of its own: containers start beside each other.
    let socket = Socket::open(Protocol::Route).map_err(corten_net::bridge::DeviceError::from)?;
    Ok(stack.add_device(&socket, &new)?)
}

/// `com.docker.network.endpoint.sysctls`: `net.ipv4.conf.IFNAME.forwarding=1,…`.
fn device_sysctls(record: &EndpointRecord) -> Result<Vec<(String, String)>, NetworkError> {
    const OPTION: &str = "com.docker.network.endpoint.sysctls";
    let options = record.settings.driver_opts.as_ref();
    let Some(text) = options.and_then(|options| options.get(OPTION)).filter(|text| !text.is_empty()) else {
        return Ok(Vec::new());
    };
    let bad = |pair: &str| {
        let text = format!("invalid sysctl {pair:?} in {OPTION}");
        NetworkError::refused(ErrorKind::InvalidArgument, text)
    };
    let one = |pair: &str| {
        let (name, value) = pair.split_once('=').ok_or_else(|| bad(pair))?;
        let parts: Vec<_> = name.split('.').collect();
        // Only a device's own settings: `net.<family>.<conf or neigh>.IFNAME.<key>`.
        let own = matches!(parts[..], ["net", "ipv4" | "ipv6" | "mpls", "conf" | "neigh", "IFNAME", key]
            if !key.is_empty() && !key.contains('/'));
        if own { Ok((name.to_owned(), value.to_owned())) } else { Err(bad(pair)) }
    };
    text.split(',').map(one).collect()
}
