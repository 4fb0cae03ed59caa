//! What the values mean: the daemon's settings, checked.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};

use corten_engine::EngineConfig;
use corten_engine::config::{CgroupDriver, Live};
use serde_json::Value as Json;
use tracing::level_filters::LevelFilter;

use super::options::{Effect, OPTIONS};
use super::values::{ConfigError, Value, Values};

mod defaults;
mod registry;
mod runtimes;
mod userns;

/// Under which name the daemon was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Persona {
    /// `corten daemon`.
    Corten,
    /// `dockerd`: Docker's socket, group, bridge and configuration file.
    Docker,
}

impl Persona {
    /// The configuration file that is read when none is named.
    pub fn config_file(self) -> &'static Path {
        Path::new(match self {
            Self::Corten => "/etc/corten/daemon.json",
            Self::Docker => "/etc/docker/daemon.json",
        })
    }

    fn socket(self) -> PathBuf {
        PathBuf::from(match self {
            Self::Corten => "/run/corten.sock",
            Self::Docker => "/run/docker.sock",
        })
    }

    fn group(self) -> &'static str {
        match self {
            Self::Corten => "corten",
            Self::Docker => "docker",
        }
    }

    fn bridge(self) -> &'static str {
        match self {
            Self::Corten => "corten0",
            Self::Docker => "docker0",
        }
    }
}

/// Where the state lies when nothing else is said.
const DATA_ROOT: &str = "/var/lib/corten";
/// Where what dies with the machine lies when nothing else is said.
const EXEC_ROOT: &str = "/run/corten";

/// One place to listen at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// A unix socket.
    Unix(PathBuf),
    /// A TCP address.
    Tcp(SocketAddr),
    /// The sockets a service manager passed; all of them, or the one with this name or number.
    Activation(Option<String>),
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
            Self::Activation(name) => write!(f, "fd://{}", name.as_deref().unwrap_or("")),
        }
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// `time="…" level=info msg="…"`.
    Text,
    /// One JSON object a line.
    Json,
}

/// TLS on the TCP sockets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// The certificate chain, PEM.
    pub certificate: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
    /// Whom clients' certificates must be signed by; `None` admits every client.
    pub clients: Option<PathBuf>,
}

/// Everything the daemon was told, checked.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What the engine needs.
    pub engine: EngineConfig,
    /// Where to listen; never empty.
    pub hosts: Vec<Host>,
    /// Owner group of unix sockets.
    pub group: String,
    /// Whether the group was named by the user, so that its absence is an error.
    pub group_is_explicit: bool,
    /// The pid file.
    pub pidfile: PathBuf,
    /// TLS of TCP sockets.
    pub tls: Option<Tls>,
    /// The log's threshold.
    pub log_level: LevelFilter,
    /// The log's look.
    pub log_format: LogFormat,
    /// Never colour the log.
    pub raw_logs: bool,
    /// What `info` warns about, because of how the daemon is reached.
    pub warnings: Vec<String>,
    /// Options that were given and do nothing.
    pub without_effect: Vec<&'static str>,
}

/// Reads values out of [`Values`] with the option's name in every refusal.
struct Reader<'a>(&'a Values);

impl Reader<'_> {
    fn text(&self, name: &str) -> Option<&str> {
        match self.0.get(name) {
            Some(Value::Text(text)) if !text.is_empty() => Some(text),
            _ => None,
        }
    }

    fn bool(&self, name: &str) -> Option<bool> {
        match self.0.get(name) {
            Some(Value::Bool(value)) => Some(*value),
            _ => None,
        }
    }

    fn list(&self, name: &str) -> Vec<String> {
        match self.0.get(name) {
            Some(Value::List(list)) => list.clone(),
            _ => Vec::new(),
        }
    }

    fn number<T: TryFrom<i64>>(&self, name: &str, reason: &str) -> Result<Option<T>, ConfigError> {
        match self.0.get(name) {
            Some(Value::Int(n)) => T::try_from(*n).map(Some).map_err(|_| bad(name, n, reason)),
            _ => Ok(None),
        }
    }

    fn path(&self, name: &str) -> Result<Option<PathBuf>, ConfigError> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let path = std::path::absolute(text).map_err(|e| bad(name, text, &e.to_string()))?;
        Ok(Some(path))
    }
}

fn bad(name: &str, value: impl fmt::Display, reason: &str) -> ConfigError {
    ConfigError::BadValue { option: name.to_owned(), value: value.to_string(), reason: reason.to_owned() }
}

impl Settings {
    /// Understands the merged values. `shim` is the monitor's program.
    /// `driver` makes the cgroups where nothing else is said; see [`usual_driver`].
    pub fn from_values(
        values: &Values,
        persona: Persona,
        shim: PathBuf,
        driver: CgroupDriver,
    ) -> Result<Self, ConfigError> {
        let read = Reader(values);
        let data_root = read.path("data-root")?.unwrap_or_else(|| DATA_ROOT.into());
        let exec_root = read.path("exec-root")?.unwrap_or_else(|| EXEC_ROOT.into());
        let tls = tls(&read)?;
        let group = read.text("group").unwrap_or(persona.group()).to_owned();
        let default_pidfile = match persona {
            Persona::Corten => exec_root.join("corten.pid"),
            Persona::Docker => PathBuf::from("/run/docker.pid"),
        };
        let (log_level, debug) = log_level(&read)?;
        let log_format = match read.text("log-format") {
            None | Some("text") => LogFormat::Text,
            Some("json") => LogFormat::Json,
            Some(other) => return Err(bad("log-format", other, "it is neither text nor json")),
        };
        let without_effect = OPTIONS
            .iter()
            .filter(|o| o.effect == Effect::None && values.contains_key(o.name()))
            .map(|o| o.name());
        let hosts = hosts(&read, persona, tls.is_some())?;
        Ok(Self {
            warnings: reach_warnings(&hosts, tls.as_ref()),
            hosts,
            group_is_explicit: read.text("group").is_some(),
            group,
            pidfile: read.path("pidfile")?.unwrap_or(default_pidfile),
            tls,
            log_level,
            log_format,
            raw_logs: read.bool("raw-logs").unwrap_or(false),
            without_effect: without_effect.collect(),
            engine: engine(&read, persona, [data_root, exec_root, shim], driver, debug)?,
        })
    }
}

/// Who makes the cgroups on this machine where nothing is said, by Docker's rule: systemd where it was booted by systemd
/// and has the newer cgroups alone, for there two who manage one tree would be in each other's way.
pub fn usual_driver() -> CgroupDriver {
    let alone = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    let booted = std::fs::symlink_metadata("/run/systemd/system").is_ok_and(|folder| folder.is_dir());
    if alone && booted { CgroupDriver::Systemd } else { CgroupDriver::Cgroupfs }
}

fn engine(
    read: &Reader<'_>,
    persona: Persona,
    [data_root, exec_root, shim]: [PathBuf; 3],
    driver: CgroupDriver,
    debug: bool,
) -> Result<EngineConfig, ConfigError> {
    check_fixed_choices(read)?;
    let mut config = EngineConfig::new(data_root, exec_root, shim);
    // This very program; the link stays right when the file was replaced by a newer version.
    config.worker = Some("/proc/self/exe".into());
    let instance = instance_suffix(&config.data_root);
    config.network.bridge = match (&instance, persona) {
        (Some(suffix), Persona::Corten) => format!("corten-{suffix}"),
        _ => persona.bridge().to_owned(),
    };
    config.cgroup_driver = match read.list("exec-opts").last().map(String::as_str) {
        Some("native.cgroupdriver=systemd") => CgroupDriver::Systemd,
        Some(_) => CgroupDriver::Cgroupfs,
        None => driver,
    };
    config.cgroup_parent = match (read.text("cgroup-parent"), instance) {
        (Some(parent), _) if config.cgroup_driver == CgroupDriver::Systemd && !parent.ends_with(".slice") => {
            return Err(bad(
                "cgroup-parent",
                parent,
                "cgroup-parent for systemd cgroup should be a valid slice named as \"xxx.slice\"",
            ));
        }
        (Some(parent), _) => parent.to_owned(),
        (None, _) if config.cgroup_driver == CgroupDriver::Systemd => "system.slice".to_owned(),
        (None, Some(suffix)) => format!("/corten-{suffix}"),
        (None, None) => "/corten".to_owned(),
    };
    config.default_address_pools = pools(read.0.get("default-address-pools"))?;
    defaults::read(read, &mut config)?;
    config.dns = addresses(read, "dns")?;
    config.host_gateway_ips = addresses(read, "host-gateway-ips")?;
    config.dns_search = read.list("dns-search");
    config.dns_options = read.list("dns-opts");
    config.bip = read.text("bip").map(str::to_owned);
    if let Some(bip) = &config.bip {
        bip.parse::<ipnet::IpNet>().map_err(|_| {
            bad("bip", bip, "it is not an address with a prefix length, such as 172.30.0.1/16")
        })?;
    }
    config.network.iptables = read.bool("iptables").unwrap_or(true);
    config.network.ip_forward = read.bool("ip-forward").unwrap_or(true);
    config.network.ip_masq = read.bool("ip-masq").unwrap_or(true);
    config.network.icc = read.bool("icc").unwrap_or(true);
    if let Some(address) = read.text("ip") {
        config.network.default_ip =
            address.parse().map_err(|_| bad("ip", address, "it is not an IP address"))?;
    }
    if let Some(mtu) = read.number("mtu", "it is not an MTU")? {
        config.mtu = mtu;
    }
    userns::read(read, &mut config)?;
    config.live = live(read, debug)?;
    config.live_restore = config.live.live_restore;
    config.shutdown_timeout = config.live.shutdown_timeout;
    Ok(config)
}

/// The settings that a reload changes.
pub fn live(read_values: &impl AsValues, debug: bool) -> Result<Live, ConfigError> {
    let read = Reader(read_values.as_values());
    Ok(Live {
        debug,
        labels: labels(&read)?,
        insecure_registries: read.list("insecure-registries"),
        registry_mirrors: registry::mirrors(&read)?,
        proxies: registry::proxies(&read)?,
        transfers: registry::transfers(&read)?,
        live_restore: read.bool("live-restore").unwrap_or(false),
        shutdown_timeout: read.number("shutdown-timeout", "it is not a number of seconds")?.unwrap_or(15),
        runtimes: runtimes::read(&read)?.into(),
    })
}

/// What can be read as merged values.
pub trait AsValues {
    /// The values.
    fn as_values(&self) -> &Values;
}

impl AsValues for Values {
    fn as_values(&self) -> &Values {
        self
    }
}

impl AsValues for Reader<'_> {
    fn as_values(&self) -> &Values {
        self.0
    }
}

/// A short name for a daemon that is not the machine's main one, so that several do not meet in bridge or cgroup names.
fn instance_suffix(data_root: &Path) -> Option<String> {
    if data_root == Path::new(DATA_ROOT) {
        return None;
    }
    // FNV-1a: stable across builds, and nobody gains anything by a collision.
    let hash = data_root
        .as_os_str()
        .as_encoded_bytes()
        .iter()
        .fold(0x811c_9dc5_u32, |h, b| (h ^ u32::from(*b)).wrapping_mul(0x0100_0193));
    Some(format!("{hash:08x}"))
}

/// Refuses choices that cannot be honoured and must not be ignored.
fn check_fixed_choices(read: &Reader<'_>) -> Result<(), ConfigError> {
    match read.text("storage-driver") {
        None | Some("overlay2" | "overlayfs" | "overlay") => {}
        Some(other) => return Err(bad("storage-driver", other, "overlayfs is the only storage driver")),
    }
    for option in read.list("exec-opts") {
        match option.split_once('=') {
            Some(("native.cgroupdriver", "cgroupfs" | "systemd")) => {}
            Some(("native.cgroupdriver", other)) => {
                let reason =
                    format!("native.cgroupdriver option {other} not supported: it is cgroupfs or systemd");
                return Err(bad("exec-opts", &option, &reason));
            }
            _ => return Err(bad("exec-opts", &option, "it is not a known option")),
        }
    }
    Ok(())
}

fn log_level(read: &Reader<'_>) -> Result<(LevelFilter, bool), ConfigError> {
    let debug = read.bool("debug").unwrap_or(false);
    let level = match read.text("log-level").unwrap_or("info").to_ascii_lowercase().as_str() {
        "trace" => LevelFilter::TRACE,
        "debug" => LevelFilter::DEBUG,
        "info" => LevelFilter::INFO,
        "warn" => LevelFilter::WARN,
        "error" | "fatal" | "panic" => LevelFilter::ERROR,
        other => return Err(bad("log-level", other, "it is none of debug, info, warn, error, fatal")),
    };
    Ok((if debug { level.max(LevelFilter::DEBUG) } else { level }, debug))
}

/// The log's threshold for these values.
pub fn level_of(values: &Values) -> Result<(LevelFilter, bool), ConfigError> {
    log_level(&Reader(values))
}

fn labels(read: &Reader<'_>) -> Result<Vec<String>, ConfigError> {
    let mut seen: BTreeMap<String, String> = BTreeMap::new();
    let labels = read.list("labels");
    for label in &labels {
        let (key, value) =
            label.split_once('=').ok_or_else(|| bad("labels", label, "it is not of the form key=value"))?;
        if let Some(other) = seen.insert(key.to_owned(), value.to_owned()).filter(|other| other != value) {
            return Err(bad(
                "labels",
                label,
                &format!("conflict labels for {key}={value} and {key}={other}"),
            ));
        }
    }
    let mut unique = Vec::new();
    labels.into_iter().for_each(|label| {
        if !unique.contains(&label) {
            unique.push(label)
        }
    });
    Ok(unique)
}

fn addresses(read: &Reader<'_>, name: &str) -> Result<Vec<String>, ConfigError> {
    let list = read.list(name);
    for text in &list {
        text.parse::<IpAddr>().map_err(|_| bad(name, text, "it is not an IP address"))?;
    }
    Ok(list)
}

fn pools(value: Option<&Value>) -> Result<Vec<(String, u8)>, ConfigError> {
    const NAME: &str = "default-address-pools";
    let parse = |base: &str, size: u64| {
        let net: ipnet::IpNet =
            base.parse().map_err(|_| bad(NAME, base, "the base is not a network such as 10.10.0.0/16"))?;
        let size = u8::try_from(size).ok().filter(|s| (net.prefix_len()..=net.max_prefix_len()).contains(s));
        let size = size.ok_or_else(|| bad(NAME, base, "the size is not a prefix length within the base"))?;
        Ok((net.to_string(), size))
    };
    match value {
        None => Ok(Vec::new()),
        Some(Value::List(list)) => list
            .iter()
            .map(|text| {
                let field = |name: &str| {
                    text.split(',')
                        .filter_map(|f| f.split_once('='))
                        .find(|(n, _)| n.trim() == name)
                        .map(|(_, v)| v.trim())
                };
                let size = field("size").and_then(|s| s.parse().ok());
                match (field("base"), size) {
                    (Some(base), Some(size)) => parse(base, size),
                    _ => Err(bad(NAME, text, "it is not of the form base=10.10.0.0/16,size=24")),
                }
            })
            .collect(),
        Some(Value::Json(Json::Array(list))) => list
            .iter()
            .map(|pool| match (pool["base"].as_str(), pool["size"].as_u64()) {
                (Some(base), Some(size)) => parse(base, size),
                _ => Err(bad(NAME, pool, "it has no base and size")),
            })
            .collect(),
        Some(other) => Err(bad(NAME, other, "it is not a list of pools")),
    }
}

fn tls(read: &Reader<'_>) -> Result<Option<Tls>, ConfigError> {
    let verify = read.bool("tlsverify").unwrap_or(false);
    let wanted = verify
        || read.bool("tls").unwrap_or(false)
        || (read.text("tlscacert").is_some() && read.bool("tls") != Some(false));
    if !wanted {
        return Ok(None);
    }
    let folder = std::env::var_os("DOCKER_CERT_PATH").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/root".into())).join(".docker"),
        PathBuf::from,
    );
    let file = |name: &str, default: &str| Ok(read.path(name)?.unwrap_or_else(|| folder.join(default)));
    Ok(Some(Tls {
        certificate: file("tlscert", "cert.pem")?,
        key: file("tlskey", "key.pem")?,
        clients: if verify { Some(file("tlscacert", "ca.pem")?) } else { None },
    }))
}

fn hosts(read: &Reader<'_>, persona: Persona, tls: bool) -> Result<Vec<Host>, ConfigError> {
    let texts = read.list("hosts");
    if texts.is_empty() {
        return Ok(vec![Host::Unix(persona.socket())]);
    }
    let plain_is_meant = read.bool("tls") == Some(false);
    let mut hosts = Vec::new();
    for text in &texts {
        let host = parse_host(text, persona, tls)?;
        if let Host::Tcp(address) = &host
            && !tls
            && !plain_is_meant
            && !address.ip().is_loopback()
        {
            return Err(bad(
                "hosts",
                text,
                "anyone who reaches this address would be root here: use --tlsverify, or say --tls=false if that is meant",
            ));
        }
        if !hosts.contains(&host) {
            hosts.push(host);
        }
    }
    Ok(hosts)
}

/// What is to be said of TCP sockets that do not ask who comes.
fn reach_warnings(hosts: &[Host], tls: Option<&Tls>) -> Vec<String> {
    let how = match tls {
        None => ("http", "without encryption"),
        Some(Tls { clients: None, .. }) => ("https", "without TLS client verification"),
        Some(_) => return Vec::new(),
    };
    let tcp =
        hosts.iter().filter_map(|host| if let Host::Tcp(address) = host { Some(address) } else { None });
    tcp.map(|address| {
        let (scheme, lack) = how;
        format!("WARNING: API is accessible on {scheme}://{address} {lack}: whoever reaches it is root on this host")
    })
    .collect()
}

fn parse_host(text: &str, persona: Persona, tls: bool) -> Result<Host, ConfigError> {
    let text = text.trim();
    let (scheme, rest) = match text.split_once("://") {
        Some(parts) => parts,
        None if text.starts_with('/') => ("unix", text),
        None => ("tcp", text),
    };
    match scheme {
        "unix" if rest.is_empty() => Ok(Host::Unix(persona.socket())),
        "unix" if rest.starts_with('/') => Ok(Host::Unix(rest.into())),
        "unix" => Err(bad("hosts", text, "the path of a unix socket is absolute")),
        "fd" => Ok(Host::Activation(Some(rest).filter(|r| !r.is_empty() && *r != "*").map(str::to_owned))),
        "tcp" => {
            let (default_host, port) = ("127.0.0.1", if tls { 2376 } else { 2375 });
            let rest = rest.trim_end_matches('/');
            let (host, port) = match rest.rsplit_once(':') {
                Some((host, number))
                    if !host.ends_with(':') && (!host.contains(':') || host.ends_with(']')) =>
                {
                    (host, number.parse().map_err(|_| bad("hosts", text, "the port is not a number"))?)
                }
                _ => (rest, port),
            };
            let host = host.trim_start_matches('[').trim_end_matches(']');
            let host = if host.is_empty() { default_host } else { host };
            let mut found = (host, port).to_socket_addrs().map_err(|e| bad("hosts", text, &e.to_string()))?;
            found.next().map(Host::Tcp).ok_or_else(|| bad("hosts", text, "the name has no address"))
        }
        _ => Err(bad("hosts", text, "it begins with none of unix://, tcp:// and fd://")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::values::{CommandLine, parse_file, parse_flags};
    use super::*;

    fn settings(persona: Persona, args: &[&str]) -> Result<Settings, String> {
        let args: Vec<String> = args.iter().map(|a| (*a).to_owned()).collect();
        let CommandLine::Run(values) = parse_flags(&args).unwrap() else { panic!("not a run") };
        Settings::from_values(&values, persona, "/shim".into(), CgroupDriver::Cgroupfs)
            .map_err(|e| e.to_string())
    }

    pub(super) fn from_file(text: &str) -> Result<Settings, String> {
        let values = parse_file("f", text).unwrap();
        Settings::from_values(&values, Persona::Corten, "/shim".into(), CgroupDriver::Cgroupfs)
            .map_err(|e| e.to_string())
    }

    #[test]
    fn defaults_of_both_names() {
        let corten = settings(Persona::Corten, &[]).unwrap();
        assert_eq!(corten.engine.data_root, Path::new("/var/lib/corten"));
        assert_eq!(corten.hosts, [Host::Unix("/run/corten.sock".into())]);
        assert_eq!(corten.engine.network.bridge, "corten0");
        assert_eq!(corten.engine.cgroup_parent, "/corten");
        assert_eq!(corten.pidfile, Path::new("/run/corten/corten.pid"));
        assert!(!corten.engine.live_restore);
        let docker = settings(Persona::Docker, &[]).unwrap();
        assert_eq!(docker.hosts, [Host::Unix("/run/docker.sock".into())]);
        assert_eq!((docker.group.as_str(), docker.engine.network.bridge.as_str()), ("docker", "docker0"));
    }

    #[test]
    fn daemons_with_own_roots_do_not_share_names() {
        let a = settings(Persona::Corten, &["--data-root", "/a"]).unwrap().engine;
        let b = settings(Persona::Corten, &["--data-root", "/b"]).unwrap().engine;
        assert_ne!(a.network.bridge, b.network.bridge);
        assert_ne!(a.cgroup_parent, b.cgroup_parent);
        assert!(a.network.bridge.len() <= 15, "{}", a.network.bridge);
    }

    #[test]
    fn hosts_in_every_form() {
        let hosts = settings(
            Persona::Corten,
            &["-H", "fd://", "-H", "tcp://[::1]:9", "-H", "unix://", "-H", "tcp://127.0.0.1"],
        )
        .unwrap()
        .hosts;
        let texts: Vec<String> = hosts.iter().map(Host::to_string).collect();
        assert_eq!(texts, ["fd://", "tcp://[::1]:9", "unix:///run/corten.sock", "tcp://127.0.0.1:2375"]);
        for host in ["http://x", "unix://relative", "tcp://127.0.0.1:notaport"] {
            assert!(settings(Persona::Corten, &["-H", host]).is_err(), "{host}");
        }
    }

    #[test]
    fn plain_tcp_beyond_loopback_must_be_meant() {
        assert!(settings(Persona::Corten, &["-H", "tcp://0.0.0.0:1"]).unwrap_err().contains("--tlsverify"));
        assert!(settings(Persona::Corten, &["-H", "tcp://0.0.0.0:1", "--tls=false"]).is_ok());
        let tls =
            settings(Persona::Corten, &["-H", "tcp://0.0.0.0", "--tlsverify", "--tlscacert", "/ca"]).unwrap();
        assert_eq!(tls.hosts, [Host::Tcp("0.0.0.0:2376".parse().unwrap())]);
        assert_eq!(tls.tls.unwrap().clients.as_deref(), Some(Path::new("/ca")));
    }

    #[test]
    fn structured_options_mean_the_same_in_both_places() {
        let flags = settings(
            Persona::Corten,
            &[
                "--default-ulimit",
                "nofile=1:2",
                "--default-address-pool",
                "base=10.10.0.0/16,size=24",
                "--dns",
                "1.1.1.1",
            ],
        )
        .unwrap()
        .engine;
        let file = from_file(
            r#"{"default-ulimits":{"nofile":{"Name":"nofile","Hard":2,"Soft":1}},
                "default-address-pools":[{"base":"10.10.0.0/16","size":24}],"dns":["1.1.1.1"]}"#,
        )
        .unwrap()
        .engine;
        assert_eq!(flags.default_ulimits, file.default_ulimits);
        assert_eq!(flags.default_ulimits["nofile"], (1, 2));
        assert_eq!(flags.default_address_pools, file.default_address_pools);
        assert_eq!(flags.dns, file.dns);
    }

    #[test]
    fn meaningless_values_are_refused_by_name() {
        for (args, part) in [
            (["--storage-driver", "btrfs"], "overlayfs is the only"),
            (["--default-runtime", "runsc"], "does not exist"),
            (["--exec-opt", "native.cgroupdriver=none"], "cgroupfs or systemd"),
            (["--log-level", "loud"], "none of debug"),
            (["--log-format", "xml"], "neither text nor json"),
            (["--label", "novalue"], "key=value"),
            (["--registry-mirror", "ftp://x"], "http or https"),
            (["--bip", "10.0.0.1"], "prefix length"),
            (["--mtu", "-1"], "not an MTU"),
            (["--default-ulimit", "nofile=5:2"], "soft limit"),
            (["--default-address-pool", "base=10.0.0.0/24,size=16"], "within the base"),
            (["--dns", "localhost"], "not an IP address"),
            (["--ip", "everywhere"], "not an IP address"),
        ] {
            let error = settings(Persona::Corten, &args).unwrap_err();
            assert!(error.contains(part), "{args:?}: {error}");
        }
        let conflict = settings(Persona::Corten, &["--label", "a=1", "--label", "a=2"]).unwrap_err();
        assert!(conflict.contains("conflict labels for a=2 and a=1"), "{conflict}");
    }

    #[test]
    fn options_without_effect_are_listed() {
        let settings = settings(Persona::Corten, &["--userland-proxy=false", "--debug"]).unwrap();
        assert_eq!(settings.without_effect, ["userland-proxy"]);
        assert_eq!(settings.log_level, LevelFilter::DEBUG);
    }

    #[test]
    fn the_driver_of_cgroups_decides_what_their_parent_is() {
        let of = |more: &[&str]| {
            let args = [&["--exec-opt", "native.cgroupdriver=systemd"], more].concat();
            settings(Persona::Corten, &args).map(|settings| settings.engine)
        };
        let engine = of(&[]).unwrap();
        assert_eq!(
            (engine.cgroup_driver, engine.cgroup_parent.as_str()),
            (CgroupDriver::Systemd, "system.slice")
        );
        assert_eq!(of(&["--cgroup-parent", "a-b.slice"]).unwrap().cgroup_parent, "a-b.slice");
        assert!(of(&["--cgroup-parent", "/a"]).unwrap_err().contains("xxx.slice"));
        let usual = |text: &str| {
            let values = parse_file("f", text).unwrap();
            let settings =
                Settings::from_values(&values, Persona::Corten, "/shim".into(), CgroupDriver::Systemd);
            settings.unwrap().engine.cgroup_driver
        };
        assert_eq!(usual("{}"), CgroupDriver::Systemd);
        assert_eq!(usual(r#"{"exec-opts": ["native.cgroupdriver=cgroupfs"]}"#), CgroupDriver::Cgroupfs);
    }
}
