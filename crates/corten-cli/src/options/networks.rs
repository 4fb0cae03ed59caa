//! `--network`: a name, or `name=…,alias=…,ip=…`.

use serde_json::{Map, Value};

use crate::parse::Matches;

/// One network to join.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attachment {
    /// The network's name, `host`, `none`, `container:…`.
    pub target: String,
    aliases: Vec<String>,
    driver_options: Vec<(String, String)>,
    links: Vec<String>,
    ip: String,
    ip6: String,
    link_local: Vec<String>,
    mac: String,
    gateway_priority: i64,
}

/// Reads one `--network`.
pub fn attachment(spec: &str) -> Result<Attachment, String> {
    if !spec.contains('=') {
        return Ok(Attachment { target: spec.to_owned(), ..Attachment::default() });
    }
    let mut out = Attachment::default();
    for field in super::csv::fields(spec)? {
        let Some((key, value)) = field.split_once('=') else {
            return Err(format!("invalid field {field}"));
        };
        let value = value.trim().to_owned();
        match key.trim().to_ascii_lowercase().as_str() {
            "name" => out.target = value,
            "alias" => out.aliases.push(value),
            "ip" => out.ip = value,
            "ip6" => out.ip6 = value,
            "mac-address" => out.mac = mac(&value)?,
            "link-local-ip" => out.link_local.push(value),
            "driver-opt" => {
                let Some((key, value)) = value.split_once('=').filter(|(key, _)| !key.trim().is_empty())
                else {
                    return Err("invalid key value pair format in driver options".to_owned());
                };
                out.driver_options.push((key.trim().to_owned(), value.trim().to_owned()));
            }
            "gw-priority" => {
                out.gateway_priority =
                    value.parse().map_err(|_| format!("invalid gw-priority ({value}): invalid syntax"))?;
            }
            _ => return Err(format!("invalid field key {key}")),
        }
    }
    if out.target.is_empty() {
        return Err("network name/id is not specified".to_owned());
    }
    Ok(out)
}

fn mac(text: &str) -> Result<String, String> {
    let parts: Vec<&str> = text.split([':', '-']).collect();
    let good =
        parts.len() == 6 && parts.iter().all(|part| part.len() == 2 && u8::from_str_radix(part, 16).is_ok());
    if good { Ok(text.to_owned()) } else { Err(format!("{text} is not a valid mac address")) }
}

fn user_defined(target: &str) -> bool {
    !matches!(target, "default" | "bridge" | "host" | "none") && !target.starts_with("container:")
}

/// The network mode and the endpoints that the flags of `run` ask for.
pub fn networks(m: &Matches) -> Result<(String, Map<String, Value>), String> {
    let mut all = m.list("network").map(attachment).collect::<Result<Vec<_>, _>>()?;
    let mode = all.first().map_or_else(|| "default".to_owned(), |first| first.target.clone());
    if all.is_empty() {
        all.push(Attachment { target: "default".to_owned(), ..Attachment::default() });
    }
    // The flags beside --network belong to the first one.
    let first = &mut all[0];
    let conflict = |flag: &str, what: &str| {
        Err(format!("conflicting options: cannot specify both --{flag} and per-network {what}"))
    };
    let texts = |flag: &str| -> Vec<String> { m.texts(flag) };
    let aliases = texts("network-alias");
    if !aliases.is_empty() && !first.aliases.is_empty() {
        return conflict("network-alias", "alias");
    }
    first.aliases.extend(aliases);
    // Elsewhere links belong to the host's side alone.
    if user_defined(&first.target) {
        first.links.extend(texts("link"));
    }
    first.link_local.extend(texts("link-local-ip"));
    for (flag, what) in [("ip", "IPv4 address"), ("ip6", "IPv6 address"), ("mac-address", "MAC address")] {
        let Some(value) = m.given(flag).filter(|value| !value.is_empty()) else { continue };
        let place = match flag {
            "ip" => &mut first.ip,
            "ip6" => &mut first.ip6,
            _ => &mut first.mac,
        };
        if !place.is_empty() {
            return conflict(flag, what);
        }
        *place = if flag == "mac-address" { mac(value.trim())? } else { value.to_owned() };
    }
    let plain = all.iter().any(|network| !user_defined(&network.target));
    let own = all.iter().any(|network| user_defined(&network.target));
    if own && plain {
        return Err(
            "conflicting options: cannot attach both user-defined and non-user-defined network-modes"
                .to_owned(),
        );
    }
    let mut endpoints = Map::new();
    for network in &all {
        if endpoints.contains_key(&network.target) {
            return Err(format!("network {:?} is specified multiple times", network.target));
        }
        endpoints.insert(network.target.clone(), endpoint(network));
    }
    Ok((mode, endpoints))
}

/// The endpoint's settings in the daemon's form; fields that say nothing are null or zero, as docker sends them.
pub fn endpoint(network: &Attachment) -> Value {
    let list = |items: &[String]| if items.is_empty() { Value::Null } else { items.to_vec().into() };
    let mut ipam = Value::Null;
    if !network.ip.is_empty() || !network.ip6.is_empty() || !network.link_local.is_empty() {
        let mut fields = Map::new();
        for (key, value) in [("IPv4Address", &network.ip), ("IPv6Address", &network.ip6)] {
            if !value.is_empty() {
                fields.insert(key.into(), value.as_str().into());
            }
        }
        if !network.link_local.is_empty() {
            fields.insert("LinkLocalIPs".into(), network.link_local.clone().into());
        }
        ipam = fields.into();
    }
    let options: Map<String, Value> =
        network.driver_options.iter().map(|(key, value)| (key.clone(), value.as_str().into())).collect();
    serde_json::json!({
        "IPAMConfig": ipam,
        "Links": list(&network.links),
        "Aliases": list(&network.aliases),
        "MacAddress": network.mac,
        "DriverOpts": if options.is_empty() { Value::Null } else { options.into() },
        "GwPriority": network.gateway_priority,
        "NetworkID": "", "EndpointID": "", "Gateway": "", "IPAddress": "", "IPPrefixLen": 0,
        "IPv6Gateway": "", "GlobalIPv6Address": "", "GlobalIPv6PrefixLen": 0, "DNSNames": null,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_have_options() {
        let network =
            attachment("name=net,alias=a,alias=b,ip=10.0.0.2,driver-opt=k=v,gw-priority=3").unwrap();
        assert_eq!(network.target, "net");
        let endpoint = endpoint(&network);
        assert_eq!(endpoint["Aliases"], serde_json::json!(["a", "b"]));
        assert_eq!(endpoint["IPAMConfig"]["IPv4Address"], "10.0.0.2");
        assert_eq!(endpoint["DriverOpts"]["k"], "v");
        assert_eq!(endpoint["GwPriority"], 3);
        assert_eq!(attachment("host").unwrap().target, "host");
        for bad in ["alias=a", "name=n,foo=1", "name=n,mac-address=zz", "name=n,driver-opt=x"] {
            assert!(attachment(bad).is_err(), "{bad}");
        }
    }
}
