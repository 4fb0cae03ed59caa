//! `-p`: `[[address:]host:]container[/protocol]`, or `target=…,published=…`; ranges on both sides.

use std::collections::BTreeMap;

/// Where a container's port is published; empty texts leave the choice to the daemon.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Binding {
    /// The host's address.
    pub host_ip: String,
    /// The host's port or range of ports.
    pub host_port: String,
}

/// Bindings by `port/protocol`.
pub type Bindings = BTreeMap<String, Vec<Binding>>;

/// Reads every `-p`.
pub fn publish<'a>(specs: impl Iterator<Item = &'a str>) -> Result<Bindings, String> {
    let mut out = Bindings::new();
    for spec in specs {
        if spec.contains('=') {
            long(spec, &mut out)?;
        } else {
            short(spec, &mut out)?;
        }
    }
    Ok(out)
}

/// Reads every `--expose` into `port/protocol`.
pub fn expose(spec: &str) -> Result<Vec<String>, String> {
    if spec.contains(':') {
        return Err(format!("invalid port format for --expose: {spec}"));
    }
    let (range, protocol) = protocol(spec);
    let (first, last) = range_of(range)
        .map_err(|error| format!("invalid range format for --expose: {spec}, error: {error}"))?;
    check_protocol(&protocol)?;
    Ok((first..=last).map(|port| format!("{port}/{protocol}")).collect())
}

fn short(spec: &str, out: &mut Bindings) -> Result<(), String> {
    let (rest, protocol) = protocol(spec);
    let parts: Vec<&str> = rest.split(':').collect();
    let (address, host, container) = match parts.as_slice() {
        [container] => (String::new(), "", *container),
        [host, container] => (String::new(), *host, *container),
        [address @ .., host, container] => (address.join(":"), *host, *container),
        [] => return Err(format!("No port specified: {spec}<empty>")),
    };
    let address = address.trim_start_matches('[').trim_end_matches(']').to_owned();
    if !address.is_empty() && address.parse::<std::net::IpAddr>().is_err() {
        return Err(format!("Invalid ip address: {address}"));
    }
    if container.is_empty() {
        return Err(format!("No port specified: {spec}<empty>"));
    }
    let (first, last) = range_of(container).map_err(|_| format!("Invalid containerPort: {container}"))?;
    let hosts = match host {
        "" => None,
        host => Some(range_of(host).map_err(|_| format!("Invalid hostPort: {host}"))?),
    };
    if let Some((low, high)) = hosts
        && last - first != high - low
        && first != last
    {
        return Err(format!("Invalid ranges specified for container and host Ports: {container} and {host}"));
    }
    check_protocol(&protocol)?;
    for (i, port) in (first..=last).enumerate() {
        let host_port = match hosts {
            None => String::new(),
            Some((low, high)) if first == last && low != high => format!("{low}-{high}"),
            Some((low, _)) => (usize::from(low) + i).to_string(),
        };
        let bindings = out.entry(format!("{port}/{protocol}")).or_default();
        bindings.push(Binding { host_ip: address.clone(), host_port });
    }
    Ok(())
}

fn long(spec: &str, out: &mut Bindings) -> Result<(), String> {
    let (mut target, mut published, mut protocol) = (String::new(), String::new(), "tcp".to_owned());
    for field in super::csv::fields(spec)? {
        let Some((key, value)) = field.split_once('=').filter(|(_, value)| !value.is_empty()) else {
            return Err(format!("invalid field: {field}"));
        };
        match key.to_ascii_lowercase().as_str() {
            "target" => target = value.to_owned(),
            "published" => published = value.to_owned(),
            "protocol" => protocol = value.to_owned(),
            "mode" => {}
            _ => return Err(format!("invalid field key: {key}")),
        }
    }
    if target.is_empty() {
        return Err(format!("missing mandatory field '{target}' (in '{spec}')").replace("''", "'target'"));
    }
    short(&format!("{published}:{target}/{protocol}"), out)
}

fn protocol(spec: &str) -> (&str, String) {
    match spec.split_once('/') {
        Some((rest, protocol)) if !protocol.is_empty() => (rest, protocol.to_ascii_lowercase()),
        Some((rest, _)) => (rest, "tcp".to_owned()),
        None => (spec, "tcp".to_owned()),
    }
}

fn check_protocol(protocol: &str) -> Result<(), String> {
    match protocol {
        "tcp" | "udp" | "sctp" => Ok(()),
        _ => Err(format!("Invalid proto: {protocol}")),
    }
}

fn range_of(text: &str) -> Result<(u16, u16), String> {
    let port = |text: &str| text.parse::<u16>().map_err(|_| format!("invalid port number \"{text}\""));
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (port(first)?, port(last)?),
        None => (port(text)?, port(text)?),
    };
    if last < first {
        return Err(format!("invalid range specified for port: {text}"));
    }
    Ok((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(spec: &str) -> String {
        match publish([spec].into_iter()) {
            Err(error) => error,
            Ok(bindings) => bindings
                .iter()
                .flat_map(|(port, all)| {
                    all.iter().map(move |b| format!("{}:{}>{port}", b.host_ip, b.host_port))
                })
                .collect::<Vec<_>>()
                .join(" "),
        }
    }

    #[test]
    fn ports_are_published_as_written() {
        for (spec, want) in [
            ("80", ":>80/tcp"),
            ("8080:80", ":8080>80/tcp"),
            ("127.0.0.1:8080:80/udp", "127.0.0.1:8080>80/udp"),
            ("127.0.0.1::80", "127.0.0.1:>80/tcp"),
            ("[::1]:8080:80", "::1:8080>80/tcp"),
            ("8000-8001:80-81", ":8000>80/tcp :8001>81/tcp"),
            ("8000-8010:80", ":8000-8010>80/tcp"),
            ("target=80,published=8080,protocol=udp", ":8080>80/udp"),
            ("x:y", "Invalid containerPort: y"),
            ("x:80", "Invalid hostPort: x"),
            ("1.2.3:1:80", "Invalid ip address: 1.2.3"),
            ("80/foo", "Invalid proto: foo"),
            ("8000-8002:80-81", "Invalid ranges specified for container and host Ports: 80-81 and 8000-8002"),
            ("8080:", "No port specified: 8080:<empty>"),
        ] {
            assert_eq!(show(spec), want, "{spec}");
        }
    }

    #[test]
    fn exposed_ports_may_be_ranges() {
        assert_eq!(expose("80-81/udp").unwrap(), ["80/udp", "81/udp"]);
        assert!(expose("80:81").is_err() && expose("x").is_err());
    }
}
