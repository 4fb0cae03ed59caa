//! Device nodes and device rules of a container.

use std::io;

use corten_api::container::HostConfig;
use corten_runtime::spec::{Device, DeviceRule};

/// Nodes to make and rules to allow them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Devices {
    /// Nodes.
    pub nodes: Vec<Device>,
    /// Rules, first to last.
    pub rules: Vec<DeviceRule>,
}

fn rule(allow: bool, kind: &str, major: Option<i64>, minor: Option<i64>) -> DeviceRule {
    DeviceRule { allow, kind: kind.into(), major, minor, access: "rwm".into() }
}

/// Rules of every container: everything is denied but null, zero, full, random, urandom, tty and console.
fn default_rules() -> Vec<DeviceRule> {
    let mut rules = vec![rule(false, "", None, None)];
    for (major, minor) in [(1, 5), (1, 3), (1, 9), (1, 8), (5, 0), (5, 1)] {
        rules.push(rule(true, "c", Some(major), Some(minor)));
    }
    rules.push(rule(false, "c", Some(10), Some(229)));
    rules
}

/// Parses a rule like `c 42:* rmw` or `a *:* rwm`.
pub fn device_rule(text: &str) -> Option<DeviceRule> {
    let mut words = text.split(' ');
    let (kind, numbers, access) = (words.next()?, words.next()?, words.next()?);
    let known = matches!(kind, "a" | "b" | "c") && words.next().is_none();
    let letters = !access.is_empty() && access.len() <= 3 && access.bytes().all(|b| b"rwm".contains(&b));
    let (major, minor) = numbers.split_once(':')?;
    let number = |text: &str| match text {
        "*" => Some(None),
        _ if text.bytes().all(|b| b.is_ascii_digit()) => text.parse::<i64>().ok().map(Some),
        _ => None,
    };
    let (major, minor) = (number(major)?, number(minor)?);
    (known && letters).then(|| DeviceRule {
        allow: true,
        kind: kind.into(),
        major,
        minor,
        access: access.into(),
    })
}

/// Makes the lists; `look` gives the nodes at a path of the host (several for a folder), with paths of the host.
pub fn resolve_devices(
    host: &HostConfig,
    look: impl Fn(&str) -> io::Result<Vec<Device>>,
) -> Result<Devices, io::Error> {
    let mut devices = Devices { nodes: Vec::new(), rules: default_rules() };
    if host.privileged {
        devices.rules = vec![rule(true, "", None, None)];
        devices.nodes = look("/dev")?;
    }
    for mapping in host.resources.devices.iter().flatten() {
        let (from, to) = (mapping.path_on_host.as_str(), mapping.path_in_container.as_str());
        let to = if to.is_empty() { from } else { to };
        if host.privileged && from == to {
            continue;
        }
        let access = if mapping.cgroup_permissions.is_empty() { "rwm" } else { &mapping.cgroup_permissions };
        for mut node in look(from)? {
            if !host.privileged {
                devices.rules.push(DeviceRule {
                    allow: true,
                    kind: node.kind.clone(),
                    major: Some(node.major),
                    minor: Some(node.minor),
                    access: access.into(),
                });
            }
            node.path = format!("{to}{}", node.path.strip_prefix(from).unwrap_or_default());
            devices.nodes.push(node);
        }
    }
    if !host.privileged {
        devices
            .rules
            .extend(host.resources.device_cgroup_rules.iter().flatten().filter_map(|text| device_rule(text)));
    }
    Ok(devices)
}

#[cfg(test)]
mod tests {
    use super::*;
    use corten_api::container::{DeviceMapping, Resources};

    #[test]
    fn rules_are_parsed_whole() {
        let parsed = device_rule("c 42:* rmw").unwrap();
        assert_eq!(
            (parsed.kind.as_str(), parsed.major, parsed.minor, parsed.access.as_str()),
            ("c", Some(42), None, "rmw")
        );
        for bad in ["", "c", "c 1:2", "x 1:2 r", "c 1 r", "c 1:2 x", "c 1:2 r x", "c -1:2 r", "c 1:2 "] {
            assert!(device_rule(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_folder_of_devices_keeps_its_shape_at_the_other_path() {
        let mapping = DeviceMapping {
            path_on_host: "/dev/snd".into(),
            path_in_container: "/dev/sound".into(),
            cgroup_permissions: "r".into(),
        };
        let resources = Resources { devices: Some(vec![mapping]), ..Resources::default() };
        let host = HostConfig { resources, ..HostConfig::default() };
        let look = |path: &str| {
            Ok(vec![Device {
                path: format!("{path}/seq"),
                kind: "c".into(),
                major: 116,
                minor: 1,
                ..Device::default()
            }])
        };
        let devices = resolve_devices(&host, look).unwrap();
        assert_eq!(devices.nodes[0].path, "/dev/sound/seq");
        assert_eq!(devices.rules.last().unwrap().access, "r");
    }
}
