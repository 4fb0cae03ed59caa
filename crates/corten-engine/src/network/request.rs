use std::collections::BTreeMap;
use std::convert::Infallible;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use corten_api::container::PortMap;
use corten_api::endpoint::EndpointSettings;

/// Where a container's network stack comes from: `HostConfig.NetworkMode`, parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetworkMode {
    /// The default bridge (`default`, `bridge` or nothing).
    Bridge,
    /// The host's own stack.
    Host,
    /// A stack with nothing but loopback.
    None,
    /// The stack of another container, by name or id.
    Container(String),
    /// A network somebody made, by name or id.
    Network(String),
}

impl FromStr for NetworkMode {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text {
            "" | "default" | "bridge" => Self::Bridge,
            "host" => Self::Host,
            "none" => Self::None,
            _ => match text.strip_prefix("container:") {
                Some(container) => Self::Container(container.to_owned()),
                None => Self::Network(text.to_owned()),
            },
        })
    }
}

/// All that networks need to know of a container to give it a stack.
#[derive(Debug, Clone)]
pub struct ContainerNetworkRequest {
    /// The container's id.
    pub id: String,
    /// Its name, without the slash.
    pub name: String,
    /// Its host name.
    pub hostname: String,
    /// Its domain, or empty.
    pub domainname: String,
    /// Where the stack comes from. [`NetworkMode::Container`] holds the *id* of a running container here.
    pub mode: NetworkMode,
    /// What it wants of each network, by the network's name (`NetworkSettings.Networks` of its record). Empty: the
    /// network of the mode, with defaults.
    pub endpoints: BTreeMap<String, EndpointSettings>,
    /// Ports to publish (`HostConfig.PortBindings`).
    pub port_bindings: PortMap,
    /// Ports of the image and of `--expose` (`80/tcp`); shown, and published when [`Self::publish_all`].
    pub exposed_ports: Vec<String>,
    /// Publish every exposed port on a free host port.
    pub publish_all: bool,
    /// Name servers instead of the host's.
    pub dns: Vec<String>,
    /// Search domains instead of the host's.
    pub dns_search: Vec<String>,
    /// Resolver options instead of the host's.
    pub dns_options: Vec<String>,
    /// Lines for its hosts file, `name:address`.
    pub extra_hosts: Vec<String>,
    /// Legacy links on the default bridge, `container:alias`.
    pub links: Vec<String>,
    /// `Config.MacAddress` of old clients; empty for none.
    pub mac_address: String,
    /// Sysctls to set inside, `net.*` only.
    pub sysctls: BTreeMap<String, String>,
    /// The container's folder: `hosts`, `resolv.conf` and `hostname` are written there.
    pub folder: PathBuf,
    /// An empty network namespace for its own stack, where that must belong to a user namespace; else one is made.
    pub namespace: Option<Arc<OwnedFd>>,
}

/// A container's network stack, ready for its first process.
#[derive(Debug, Clone)]
pub struct Sandbox {
    /// `SandboxID`.
    pub id: String,
    /// `SandboxKey`: a path that `nsenter --net=` takes.
    pub key: PathBuf,
    /// What the first process does about its network namespace.
    pub netns: Netns,
    /// The attachments, by network name, as inspect shows them.
    pub endpoints: BTreeMap<String, EndpointSettings>,
    /// `NetworkSettings.Ports`: exposed ports have `null`, published ones their host side.
    pub ports: PortMap,
    /// Where its `hosts`, `resolv.conf` and `hostname` lie (of the other container for [`NetworkMode::Container`]).
    pub folder: PathBuf,
}

/// What a first process does about its network namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Netns {
    /// Stays in the daemon's.
    Host,
    /// Joins the one bound at this path.
    Path(PathBuf),
}
