//! `network connect`, `network disconnect`

use corten_client::{Request, encode_component};
use serde_json::{Map, Value, json};

use crate::command::{Arity, Command};
use crate::error::{Failure, Outcome};
use crate::flag::{Flag, Kind, flag, switch};
use crate::parse::{Matches, Order};
use crate::session::Session;

static FLAGS: &[Flag] = &[
    flag("alias", Kind::Strings, "Add another name on the network"),
    flag("driver-opt", Kind::Strings, "Options of the network's driver"),
    flag(
        "gw-priority",
        Kind::Int,
        "The highest priority gives the default gateway; negative ones are accepted",
    ),
    flag("ip", Kind::Text, "IPv4 address (\"172.30.100.104\")"),
    flag("ip6", Kind::Text, "IPv6 address (\"2001:db8::33\")"),
    flag("link", Kind::List, "Link to another container"),
    flag("link-local-ip", Kind::Strings, "Link-local address"),
];

static DISCONNECT_FLAGS: &[Flag] = &[switch("force", "Disconnect whatever the container does").short('f')];

/// `network connect`
pub static CONNECT: Command = Command {
    usage: "[OPTIONS] NETWORK CONTAINER",
    usage_also: None,
    about: "Connect a container to a network",
    spellings: &[],
    flags: &[FLAGS],
    arity: Arity::Exactly(2),
    order: Order::Anywhere,
    run: |session, m| Box::pin(connect(session, m)),
};

/// `network disconnect`
pub static DISCONNECT: Command = Command {
    about: "Disconnect a container from a network",
    flags: &[DISCONNECT_FLAGS],
    run: |session, m| Box::pin(disconnect(session, m)),
    ..CONNECT
};

async fn connect(session: &Session, m: &Matches) -> Outcome {
    let mut options = Map::new();
    for option in m.list("driver-opt") {
        let Some((key, value)) = option.split_once('=') else {
            return Err(Failure::new("invalid key/value pair format in driver options"));
        };
        options.insert(key.to_owned(), value.into());
    }
    let mut ipam = Map::new();
    for (flag, key) in [("ip", "IPv4Address"), ("ip6", "IPv6Address")] {
        if let Some(value) = m.given(flag) {
            ipam.insert(key.to_owned(), value.into());
        }
    }
    if m.changed("link-local-ip") {
        ipam.insert("LinkLocalIPs".into(), m.texts("link-local-ip").into());
    }
    let endpoint = json!({
        "IPAMConfig": ipam,
        "Links": m.texts("link"),
        "Aliases": m.texts("alias"),
        "DriverOpts": if options.is_empty() { Value::Null } else { options.into() },
        "GwPriority": m.int("gw-priority").unwrap_or(0),
    });
    let body = json!({ "Container": m.args[1], "EndpointConfig": endpoint });
    let path = format!("/networks/{}/connect", encode_component(&m.args[0]));
    Ok(session.client()?.done(Request::post(path).json(&body)).await?)
}

async fn disconnect(session: &Session, m: &Matches) -> Outcome {
    let body = json!({ "Container": m.args[1], "Force": m.on("force") });
    let path = format!("/networks/{}/disconnect", encode_component(&m.args[0]));
    Ok(session.client()?.done(Request::post(path).json(&body)).await?)
}
