//! Driver options of bridge networks (`com.docker.network.…`), parsed.

use std::collections::BTreeMap;

use corten_types::ErrorKind;

use super::NetworkError;

const NAME: &str = "com.docker.network.bridge.name";
const ICC: &str = "com.docker.network.bridge.enable_icc";
const MASQUERADE: &str = "com.docker.network.bridge.enable_ip_masquerade";
const HOST_BINDING: &str = "com.docker.network.bridge.host_binding_ipv4";
const MTU: &str = "com.docker.network.driver.mtu";
const PREFIX: &str = "com.docker.network.container_iface_prefix";
const GATEWAY_MODES: [&str; 2] =
    ["com.docker.network.bridge.gateway_mode_ipv4", "com.docker.network.bridge.gateway_mode_ipv6"];
/// Options that change where packets go; without them the network would not be what was asked for.
const REFUSED: [&str; 3] = [
    "com.docker.network.host_ipv4",
    "com.docker.network.host_ipv6",
    "com.docker.network.bridge.inhibit_ipv4",
];

/// How a bridge network behaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BridgeOptions {
    /// Name of the device; `None` derives one from the network's id.
    pub name: Option<String>,
    pub icc: bool,
    pub masquerade: bool,
    /// Where ports are published that name no address.
    pub host_binding: Option<std::net::IpAddr>,
    /// 0 for the kernel's default.
    pub mtu: u32,
    /// Devices inside are called this and a number.
    pub prefix: String,
}

impl BridgeOptions {
    /// Reads them; options it does not know are other drivers' and mean nothing here.
    pub(super) fn parse(options: &BTreeMap<String, String>) -> Result<Self, NetworkError> {
        let bad = |key: &str, value: &str, why: String| {
            NetworkError::refused(
                ErrorKind::InvalidArgument,
                format!("failed to parse {key} value: {value} ({why})"),
            )
        };
        let boolean = |key: &str, default| match options.get(key).map(String::as_str) {
            None => Ok(default),
            Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(true),
            Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(false),
            Some(other) => {
                Err(bad(key, other, format!("strconv.ParseBool: parsing {other:?}: invalid syntax")))
            }
        };
        for key in REFUSED {
            if options.get(key).is_some_and(|value| !value.is_empty() && value != "false") {
                return Err(NetworkError::NotImplemented { what: format!("the network option {key}") });
            }
        }
        for key in GATEWAY_MODES {
            match options.get(key).map(String::as_str) {
                None | Some("" | "nat") => {}
                Some("routed" | "isolated" | "nat-unprotected") => {
                    return Err(NetworkError::NotImplemented {
                        what: format!("the network option {key}={}", options[key]),
                    });
                }
                Some(other) => return Err(bad(key, other, "unknown gateway mode".into())),
            }
        }
        let name = options.get(NAME).filter(|name| !name.is_empty()).cloned();
        if let Some(name) = &name
            && !valid_device_name(name)
        {
            return Err(bad(NAME, name, "invalid interface name".into()));
        }
        let prefix = options.get(PREFIX).filter(|prefix| !prefix.is_empty()).map_or("eth", String::as_str);
        if !valid_device_name(&format!("{prefix}999")) {
            return Err(bad(PREFIX, prefix, "invalid interface name".into()));
        }
        let mtu = match options.get(MTU) {
            None => 0,
            Some(text) => {
                text.parse::<u32>().ok().filter(|mtu| *mtu == 0 || (68..=65535).contains(mtu)).ok_or_else(
                    || bad(MTU, text, format!("strconv.Atoi: parsing {text:?}: invalid syntax")),
                )?
            }
        };
        let host_binding = match options.get(HOST_BINDING).filter(|text| !text.is_empty()) {
            None => None,
            Some(text) => Some(text.parse().map_err(|_| bad(HOST_BINDING, text, "nil ip".into()))?),
        };
        Ok(Self {
            name,
            icc: boolean(ICC, true)?,
            masquerade: boolean(MASQUERADE, true)?,
            host_binding,
            mtu,
            prefix: prefix.to_owned(),
        })
    }
}

/// Whether the kernel takes it: short, no blank, slash or colon.
fn valid_device_name(name: &str) -> bool {
    (1..=15).contains(&name.len())
        && name != "."
        && name != ".."
        && name.bytes().all(|b| b.is_ascii_graphic() && b != b'/' && b != b':')
}

/// The default bridge's options, as inspect shows them.
pub(super) fn default_bridge_options(
    bridge: &str,
    config: &super::NetworkConfig,
    mtu: u32,
) -> BTreeMap<String, String> {
    let mtu = if mtu == 0 { 1500 } else { mtu };
    [
        ("com.docker.network.bridge.default_bridge", "true".to_owned()),
        (ICC, config.icc.to_string()),
        (MASQUERADE, config.ip_masq.to_string()),
        (HOST_BINDING, config.default_ip.to_string()),
        (NAME, bridge.to_owned()),
        (MTU, mtu.to_string()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pairs: &[(&str, &str)]) -> Result<BridgeOptions, String> {
        let options = pairs.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect();
        BridgeOptions::parse(&options).map_err(|error| error.to_string())
    }

    #[test]
    fn mistakes_have_dockers_words() {
        assert_eq!(
            parse(&[(MTU, "x")]).unwrap_err(),
            "failed to parse com.docker.network.driver.mtu value: x (strconv.Atoi: parsing \"x\": invalid syntax)"
        );
        assert_eq!(
            parse(&[(ICC, "x")]).unwrap_err(),
            "failed to parse com.docker.network.bridge.enable_icc value: x (strconv.ParseBool: parsing \"x\": invalid syntax)"
        );
        for name in ["a/b", "averyveryverylong", ".."] {
            assert!(parse(&[(NAME, name)]).is_err(), "{name}");
        }
        assert!(parse(&[(GATEWAY_MODES[0], "routed")]).unwrap_err().contains("not implemented"));
    }

    #[test]
    fn the_defaults() {
        let options = parse(&[("other.driver", "x")]).unwrap();
        assert!(options.icc && options.masquerade && options.mtu == 0 && options.name.is_none());
        let shown = default_bridge_options("corten0", &super::super::NetworkConfig::default(), 0);
        assert_eq!(BridgeOptions::parse(&shown).unwrap().name.as_deref(), Some("corten0"));
    }
}
