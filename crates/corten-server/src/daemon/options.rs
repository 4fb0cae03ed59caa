//! Every option of the daemon, once: its flag, its key in `daemon.json`, its shape, and whether it does anything yet.
//!
//! Names and shapes are dockerd 28.5's, `default-pids-limit` is ours. An option that is known but without effect is accepted and said so in the log; nothing is
//! accepted that is not in this table.

/// What an option's value looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// `--flag`, `--flag=false`; a boolean in the file.
    Bool,
    /// One text.
    Text,
    /// A number.
    Int,
    /// A repeatable flag; a list in the file.
    List,
    /// A repeatable `key=value` flag; an object of texts in the file.
    Map,
    /// A repeatable flag; any JSON in the file, read by the option itself.
    Structured,
}

/// Whether an option does what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It does.
    Applied,
    /// It is accepted for compatibility; its value changes nothing.
    None,
}

/// One option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opt {
    /// The long flag without its dashes; empty for an option that exists only in the file.
    pub flag: &'static str,
    /// The one-letter flag.
    pub short: Option<char>,
    /// The key in the file; empty for an option that exists only as a flag.
    pub key: &'static str,
    /// What its value looks like.
    pub shape: Shape,
    /// Whether it does anything.
    pub effect: Effect,
    /// One line of help.
    pub help: &'static str,
}

impl Opt {
    /// The name under which values of this option are kept: the file's key, or the flag where there is none.
    pub fn name(&self) -> &'static str {
        if self.key.is_empty() { self.flag } else { self.key }
    }
}

const fn opt(flag: &'static str, key: &'static str, shape: Shape, effect: Effect, help: &'static str) -> Opt {
    Opt { flag, short: None, key, shape, effect, help }
}

const fn short(short: char, opt: Opt) -> Opt {
    Opt { short: Some(short), ..opt }
}

use Effect::{Applied, None as Inert};
use Shape::{Bool, Int, List, Map, Structured, Text};

/// The table, in the order of the help text.
pub const OPTIONS: &[Opt] = &[
    opt("add-runtime", "runtimes", Structured, Applied, "Register an additional OCI compatible runtime"),
    opt(
        "allow-direct-routing",
        "allow-direct-routing",
        Bool,
        Inert,
        "Allow remote access to published ports on container IP addresses",
    ),
    opt(
        "allow-nondistributable-artifacts",
        "allow-nondistributable-artifacts",
        List,
        Inert,
        "Without meaning since Docker 28",
    ),
    opt("authorization-plugin", "authorization-plugins", List, Inert, "Authorization plugins to load"),
    opt("bip", "bip", Text, Applied, "IPv4 address for the default bridge"),
    opt("bip6", "bip6", Text, Inert, "IPv6 address for the default bridge"),
    short('b', opt("bridge", "bridge", Text, Inert, "Attach containers to a network bridge")),
    opt("cdi-spec-dir", "cdi-spec-dirs", List, Applied, "CDI specification directories to use"),
    opt("cgroup-parent", "cgroup-parent", Text, Applied, "Set parent cgroup for all containers"),
    opt("config-file", "", Text, Applied, "Daemon configuration file"),
    opt("containerd", "containerd", Text, Inert, "containerd grpc address"),
    opt("containerd-namespace", "containerd-namespace", Text, Inert, "Containerd namespace to use"),
    opt(
        "containerd-plugins-namespace",
        "containerd-plugin-namespace",
        Text,
        Inert,
        "Containerd namespace to use for plugins",
    ),
    opt("cpu-rt-period", "cpu-rt-period", Int, Inert, "Limit the CPU real-time period in microseconds"),
    opt("cpu-rt-runtime", "cpu-rt-runtime", Int, Inert, "Limit the CPU real-time runtime in microseconds"),
    opt("cri-containerd", "cri-containerd", Bool, Inert, "start containerd with cri"),
    opt("data-root", "data-root", Text, Applied, "Root directory of persistent state"),
    short('D', opt("debug", "debug", Bool, Applied, "Enable debug mode")),
    opt(
        "default-address-pool",
        "default-address-pools",
        Structured,
        Applied,
        "Default address pools for node specific local networks",
    ),
    opt(
        "default-cgroupns-mode",
        "default-cgroupns-mode",
        Text,
        Applied,
        "Default mode for containers cgroup namespace (\"host\" | \"private\")",
    ),
    opt(
        "default-gateway",
        "default-gateway",
        Text,
        Inert,
        "Default gateway IPv4 address for the default bridge network",
    ),
    opt(
        "default-gateway-v6",
        "default-gateway-v6",
        Text,
        Inert,
        "Default gateway IPv6 address for the default bridge network",
    ),
    opt("", "default-init", Text, Inert, "Path to the init binary"),
    opt(
        "default-ipc-mode",
        "default-ipc-mode",
        Text,
        Applied,
        "Default mode for containers ipc (\"shareable\" | \"private\")",
    ),
    opt("default-network-opt", "default-network-opts", Structured, Inert, "Default network options"),
    opt(
        "default-pids-limit",
        "default-pids-limit",
        Int,
        Applied,
        "Default limit of a container's processes (0 or -1: none); 32768, or half of the machine's",
    ),
    opt("default-runtime", "default-runtime", Text, Applied, "Default OCI runtime for containers"),
    opt("default-shm-size", "default-shm-size", Text, Applied, "Default shm size for containers"),
    opt("default-ulimit", "default-ulimits", Structured, Applied, "Default ulimits for containers"),
    opt("", "deprecated-key-path", Text, Inert, "Without meaning"),
    opt("dns", "dns", List, Applied, "DNS server to use"),
    opt("dns-opt", "dns-opts", List, Applied, "DNS options to use"),
    opt("dns-search", "dns-search", List, Applied, "DNS search domains to use"),
    opt("exec-opt", "exec-opts", List, Applied, "Runtime execution options"),
    opt("exec-root", "exec-root", Text, Applied, "Root directory for execution state files"),
    opt("experimental", "experimental", Bool, Inert, "Enable experimental features"),
    opt("feature", "features", Structured, Inert, "Enable feature in the daemon"),
    opt("fixed-cidr", "fixed-cidr", Text, Inert, "IPv4 subnet for the default bridge network"),
    opt("fixed-cidr-v6", "fixed-cidr-v6", Text, Inert, "IPv6 subnet for the default bridge network"),
    opt("", "builder", Structured, Inert, "Garbage collection of the build cache"),
    short('G', opt("group", "group", Text, Applied, "Group for the unix socket")),
    short('H', opt("host", "hosts", List, Applied, "Daemon socket(s) to connect to")),
    opt(
        "host-gateway-ip",
        "host-gateway-ips",
        List,
        Applied,
        "IP addresses that the special 'host-gateway' string in --add-host resolves to",
    ),
    opt("http-proxy", "http-proxy", Text, Applied, "HTTP proxy URL to use for outgoing traffic"),
    opt("https-proxy", "https-proxy", Text, Applied, "HTTPS proxy URL to use for outgoing traffic"),
    opt("icc", "icc", Bool, Applied, "Enable inter-container communication for the default bridge network"),
    opt("init", "init", Bool, Applied, "Run an init in the container to forward signals and reap processes"),
    opt("init-path", "init-path", Text, Inert, "Path to the init binary"),
    opt("insecure-registry", "insecure-registries", List, Applied, "Enable insecure registry communication"),
    opt("ip", "ip", Text, Applied, "Host IP for port publishing from the default bridge network"),
    opt("ip-forward", "ip-forward", Bool, Applied, "Enable IP forwarding in system configuration"),
    opt(
        "ip-forward-no-drop",
        "ip-forward-no-drop",
        Bool,
        Inert,
        "Do not set the filter-FORWARD policy to DROP when enabling IP forwarding",
    ),
    opt("ip-masq", "ip-masq", Bool, Applied, "Enable IP masquerading for the default bridge network"),
    opt("ip6tables", "ip6tables", Bool, Inert, "Enable addition of firewall rules for IPv6"),
    opt("iptables", "iptables", Bool, Applied, "Enable addition of firewall rules"),
    opt("ipv6", "ipv6", Bool, Inert, "Enable IPv6 networking for the default bridge network"),
    opt("label", "labels", List, Applied, "Set key=value labels to the daemon"),
    opt("live-restore", "live-restore", Bool, Applied, "Keep containers alive while the daemon is down"),
    opt("log-driver", "log-driver", Text, Applied, "Default driver for container logs"),
    opt("log-format", "log-format", Text, Applied, "Set the logging format (\"text\"|\"json\")"),
    short(
        'l',
        opt(
            "log-level",
            "log-level",
            Text,
            Applied,
            "Set the logging level (\"debug\"|\"info\"|\"warn\"|\"error\"|\"fatal\")",
        ),
    ),
    opt("log-opt", "log-opts", Map, Applied, "Default log driver options for containers"),
    opt(
        "max-concurrent-downloads",
        "max-concurrent-downloads",
        Int,
        Applied,
        "Set the max concurrent downloads",
    ),
    opt("max-concurrent-uploads", "max-concurrent-uploads", Int, Applied, "Set the max concurrent uploads"),
    opt(
        "max-download-attempts",
        "max-download-attempts",
        Int,
        Applied,
        "Set the max download attempts for each pull",
    ),
    opt(
        "metrics-addr",
        "metrics-addr",
        Text,
        Inert,
        "Set default address and port to serve the metrics api on",
    ),
    opt("mtu", "mtu", Int, Applied, "Set the MTU for the default \"bridge\" network"),
    opt("network-control-plane-mtu", "network-control-plane-mtu", Int, Inert, "Network Control plane MTU"),
    opt(
        "network-diagnostic-port",
        "network-diagnostic-port",
        Int,
        Inert,
        "TCP port number of the network diagnostic server",
    ),
    opt(
        "no-new-privileges",
        "no-new-privileges",
        Bool,
        Applied,
        "Set no-new-privileges by default for new containers",
    ),
    opt(
        "no-proxy",
        "no-proxy",
        Text,
        Applied,
        "Comma-separated list of hosts or IP addresses for which the proxy is skipped",
    ),
    opt("node-generic-resource", "node-generic-resources", List, Inert, "Advertise user-defined resource"),
    short('p', opt("pidfile", "pidfile", Text, Applied, "Path to use for daemon PID file")),
    opt("raw-logs", "raw-logs", Bool, Applied, "Full timestamps without ANSI coloring"),
    opt("registry-mirror", "registry-mirrors", List, Applied, "Preferred registry mirror"),
    opt("", "resolv-conf", Text, Inert, "Path of the host's resolver configuration"),
    opt("rootless", "rootless", Bool, Inert, "Enable rootless mode"),
    opt(
        "seccomp-profile",
        "seccomp-profile",
        Text,
        Applied,
        "Path to seccomp profile; \"unconfined\" disables the default one",
    ),
    opt("selinux-enabled", "selinux-enabled", Bool, Inert, "Enable selinux support"),
    opt("shutdown-timeout", "shutdown-timeout", Int, Applied, "Set the default shutdown timeout"),
    short('s', opt("storage-driver", "storage-driver", Text, Applied, "Storage driver to use")),
    opt("storage-opt", "storage-opts", List, Inert, "Storage driver options"),
    opt(
        "swarm-default-advertise-addr",
        "swarm-default-advertise-addr",
        Text,
        Inert,
        "Set default address or interface for swarm advertised address",
    ),
    opt("", "swarm-raft-election-tick", Int, Inert, "Ticks before a new round of leader election"),
    opt("", "swarm-raft-heartbeat-tick", Int, Inert, "Ticks between heartbeats"),
    opt("tls", "tls", Bool, Applied, "Use TLS; implied by --tlsverify"),
    opt("tlscacert", "tlscacert", Text, Applied, "Trust certs signed only by this CA"),
    opt("tlscert", "tlscert", Text, Applied, "Path to TLS certificate file"),
    opt("tlskey", "tlskey", Text, Applied, "Path to TLS key file"),
    opt("tlsverify", "tlsverify", Bool, Applied, "Use TLS and verify the remote"),
    opt(
        "userland-proxy",
        "userland-proxy",
        Bool,
        Inert,
        "Without meaning: published ports never go through a process",
    ),
    opt("userland-proxy-path", "userland-proxy-path", Text, Inert, "Without meaning"),
    opt("userns-remap", "userns-remap", Text, Applied, "User/Group setting for user namespaces"),
    opt("validate", "", Bool, Applied, "Validate daemon configuration and exit"),
];

/// The option of a long flag.
pub fn by_flag(flag: &str) -> Option<&'static Opt> {
    OPTIONS.iter().find(|o| !o.flag.is_empty() && o.flag == flag)
}

/// The option of a one-letter flag.
pub fn by_short(letter: char) -> Option<&'static Opt> {
    OPTIONS.iter().find(|o| o.short == Some(letter))
}

/// The option of a key of the file.
pub fn by_key(key: &str) -> Option<&'static Opt> {
    // The old singular is still read, as dockerd does.
    let key = if key == "host-gateway-ip" { "host-gateway-ips" } else { key };
    OPTIONS.iter().find(|o| !o.key.is_empty() && o.key == key)
}

/// The known name nearest to a mistyped one, if any is near.
pub fn nearest<'a>(text: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    names
        .map(|name| (distance(text, name), name))
        .min()
        .filter(|(d, _)| *d <= 2.max(text.len() / 3))
        .map(|(_, name)| name)
}

/// Edits (insert, delete, replace) between two texts.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        for (i, a) in OPTIONS.iter().enumerate() {
            for b in &OPTIONS[i + 1..] {
                assert!(a.flag.is_empty() || a.flag != b.flag, "{}", a.flag);
                assert!(a.key.is_empty() || a.key != b.key, "{}", a.key);
                assert!(a.short.is_none() || a.short != b.short);
            }
        }
    }

    #[test]
    fn the_nearest_name_is_near() {
        let keys = || OPTIONS.iter().map(|o| o.key);
        assert_eq!(nearest("insecure-registry", keys()), Some("insecure-registries"));
        assert_eq!(nearest("live_restore", keys()), Some("live-restore"));
        assert_eq!(nearest("log-optss", keys()), Some("log-opts"));
        assert_eq!(nearest("zzzzzzzzzzzz", keys()), None);
    }
}
