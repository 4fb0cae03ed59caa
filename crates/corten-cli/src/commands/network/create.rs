//! `network create`

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::command::{Arity, Command};
use crate::error::{Failure, Outcome};
use crate::flag::{Flag, Kind, flag, switch};
use crate::options::{key_values, label_map};
use crate::output;
use crate::parse::{Matches, Order};
use crate::session::Session;

static FLAGS: &[Flag] = &[
    switch("attachable", "Let containers be connected by hand"),
    flag("aux-address", Kind::Map, "Addresses that the driver uses itself").default("map[]"),
    flag("config-from", Kind::Text, "Network to take the configuration from"),
    switch("config-only", "Make a configuration only"),
    flag("driver", Kind::Text, "Driver of the network").short('d').default("bridge"),
    flag("gateway", Kind::Strings, "Gateway of the subnet"),
    switch("ingress", "Make the swarm's routing mesh"),
    switch("internal", "Keep the network from the outside"),
    flag("ip-range", Kind::Strings, "Give addresses from this part of the subnet"),
    flag("ipam-driver", Kind::Text, "Driver of addresses").default("default"),
    flag("ipam-opt", Kind::Map, "Options of the driver of addresses").default("map[]"),
    switch("ipv4", "Give IPv4 addresses").default("true"),
    switch("ipv6", "Give IPv6 addresses"),
    flag("label", Kind::List, "Set a label"),
    flag("opt", Kind::Map, "Options of the driver").short('o').default("map[]"),
    flag("scope", Kind::Text, "How far the network reaches"),
    flag("subnet", Kind::Strings, "Subnet in CIDR form"),
];

/// The command.
pub static CREATE: Command = Command {
    usage: "[OPTIONS] NETWORK",
    usage_also: None,
    about: "Create a network",
    spellings: &[],
    flags: &[FLAGS],
    arity: Arity::Exactly(1),
    order: Order::Anywhere,
    run: |session, m| Box::pin(run(session, m)),
};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Created {
    id: String,
    #[serde(default)]
    warning: String,
}

async fn run(session: &Session, m: &Matches) -> Outcome {
    let created: Created = session.client()?.post("/networks/create", &body(m)?).await?;
    if !created.warning.is_empty() {
        output::error_line(&format!("WARNING: {}", created.warning));
    }
    output::line(&created.id);
    Ok(())
}

fn map(m: &Matches, flag: &str) -> Map<String, Value> {
    m.list(flag)
        .map(|entry| entry.split_once('=').unwrap_or((entry, "")))
        .map(|(key, value)| (key.to_owned(), value.into()))
        .collect()
}

fn body(m: &Matches) -> Outcome<Value> {
    let labels = label_map(&key_values(std::iter::empty(), m.list("label"))?);
    let ipam_options = map(m, "ipam-opt");
    let mut body = json!({
        "Name": m.args[0],
        "Driver": m.text("driver"),
        "Scope": m.text("scope"),
        "IPAM": {
            "Driver": m.text("ipam-driver"),
            "Options": ipam_options,
            "Config": pools(m)?,
        },
        "Internal": m.on("internal"),
        "Attachable": m.on("attachable"),
        "Ingress": m.on("ingress"),
        "ConfigOnly": m.on("config-only"),
        "ConfigFrom": null,
        "Options": map(m, "opt"),
        "Labels": labels,
    });
    if let Some(name) = m.given("config-from") {
        body["ConfigFrom"] = json!({ "Network": name });
    }
    for (flag, key) in [("ipv4", "EnableIPv4"), ("ipv6", "EnableIPv6")] {
        if m.changed(flag) {
            body[key] = m.on(flag).into();
        }
    }
    Ok(body)
}

/// A subnet as text and as numbers.
struct Subnet {
    text: String,
    address: u128,
    bits: u32,
    prefix: u32,
}

impl Subnet {
    fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = text.split_once('/')?;
        let (address, bits) = number(address.parse().ok()?);
        let prefix = prefix.parse().ok().filter(|prefix| *prefix <= bits)?;
        Some(Self { text: text.to_owned(), address, bits, prefix })
    }

    fn holds(&self, address: IpAddr) -> bool {
        let (address, bits) = number(address);
        let shift = self.bits - self.prefix;
        bits == self.bits && (shift >= 128 || address >> shift == self.address >> shift)
    }
}

fn number(address: IpAddr) -> (u128, u32) {
    match address {
        IpAddr::V4(v4) => (u32::from(v4).into(), 32),
        IpAddr::V6(v6) => (u128::from(v6), 128),
    }
}

/// Subnets with their ranges, gateways and other addresses, each put where it belongs.
fn pools(m: &Matches) -> Outcome<Vec<Value>> {
    let mut subnets = Vec::new();
    for text in m.list("subnet") {
        // What is no subnet the daemon tells.
        let Some(subnet) = Subnet::parse(text) else {
            return Ok(vec![json!({ "Subnet": text })]);
        };
        let overlaps = subnets.iter().any(|other: &Subnet| {
            other.bits == subnet.bits && {
                let shift = subnet.bits - other.prefix.min(subnet.prefix);
                shift >= 128 || other.address >> shift == subnet.address >> shift
            }
        });
        if overlaps {
            return Err(Failure::new("multiple overlapping subnet configuration is not supported"));
        }
        subnets.push(subnet);
    }
    let given = m.changed("gateway") || m.changed("ip-range") || m.changed("aux-address");
    if subnets.is_empty() && (m.list("ip-range").count() > 1 || m.list("gateway").count() > 1) {
        return Err(Failure::new("every ip-range or gateway must have a corresponding subnet"));
    }
    if subnets.is_empty() && given {
        let mut pool = Map::new();
        for (flag, key) in [("ip-range", "IPRange"), ("gateway", "Gateway")] {
            if let Some(value) = m.given(flag) {
                pool.insert(key.into(), value.into());
            }
        }
        if m.changed("aux-address") {
            return Err(Failure::new("no matching subnet for aux-address"));
        }
        return Ok(vec![pool.into()]);
    }
    let mut pools: BTreeMap<usize, Map<String, Value>> = subnets
        .iter()
        .enumerate()
        .map(|(i, subnet)| (i, Map::from_iter([("Subnet".to_owned(), subnet.text.clone().into())])))
        .collect();
    let place = |text: &str| {
        let bare = text.split('/').next().unwrap_or(text);
        let address = bare.parse().ok()?;
        subnets.iter().position(|subnet| subnet.holds(address))
    };
    for (flag, key, what) in [("ip-range", "IPRange", "range"), ("gateway", "Gateway", "gateway")] {
        for text in m.list(flag) {
            let pool = place(text).and_then(|at| pools.get_mut(&at));
            let pool = pool.ok_or_else(|| Failure::new(format!("no matching subnet for {what} {text}")))?;
            if pool.insert(key.into(), text.into()).is_some() {
                return Err(Failure::new(format!(
                    "cannot configure multiple {what}s ({text}) on the same subnet"
                )));
            }
        }
    }
    for text in m.list("aux-address") {
        let (name, address) = text.split_once('=').unwrap_or((text, ""));
        let pool = place(address).and_then(|at| pools.get_mut(&at));
        let pool =
            pool.ok_or_else(|| Failure::new(format!("no matching subnet for aux-address {address}")))?;
        pool.entry("AuxiliaryAddresses").or_insert_with(|| json!({}))[name] = address.into();
    }
    Ok(pools.into_values().map(Value::from).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::parse;

    fn made(line: &str) -> Result<Value, String> {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let matches = parse(CREATE.flags, Order::Anywhere, &words)?;
        body(&matches).map_err(|failure| failure.text)
    }

    #[test]
    fn addresses_find_their_subnet() {
        let made = made("--subnet 10.1.0.0/16 --subnet fd00::/64 --gateway 10.1.0.1 --gateway fd00::1 --ip-range 10.1.2.0/24 --aux-address a=10.1.0.9 n").unwrap();
        assert_eq!(
            made["IPAM"]["Config"],
            json!([
                {"Subnet": "10.1.0.0/16", "IPRange": "10.1.2.0/24", "Gateway": "10.1.0.1", "AuxiliaryAddresses": {"a": "10.1.0.9"}},
                {"Subnet": "fd00::/64", "Gateway": "fd00::1"}
            ])
        );
    }

    #[test]
    fn mistakes_are_refused() {
        assert_eq!(made("--subnet x n").unwrap()["IPAM"]["Config"], json!([{"Subnet": "x"}]));
        assert_eq!(
            made("--subnet 10.0.0.0/8 --gateway 11.0.0.1 n").unwrap_err(),
            "no matching subnet for gateway 11.0.0.1"
        );
        assert!(made("--subnet 10.0.0.0/8 --subnet 10.1.0.0/16 n").is_err());
        assert!(made("n").unwrap().get("EnableIPv6").is_none());
    }
}
