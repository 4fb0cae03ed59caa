//! Devices, GPUs, limits, restart policies.

use serde_json::{Map, Value, json};

/// `--device`: `/dev/a`, `/dev/a:/dev/b`, `/dev/a:rw`, `/dev/a:/dev/b:r`.
pub fn device(spec: &str) -> Result<Value, String> {
    let mode = |text: &str| {
        !text.is_empty() && text.chars().all(|c| "rwm".contains(c)) && {
            let mut letters: Vec<char> = text.chars().collect();
            letters.sort_unstable();
            letters.windows(2).all(|pair| pair[0] != pair[1])
        }
    };
    let parts: Vec<&str> = spec.split(':').collect();
    let (host, container, permissions) = match parts.as_slice() {
        [host] => (*host, *host, "rwm"),
        [host, other] if mode(other) => (*host, *host, *other),
        [host, container] => (*host, *container, "rwm"),
        [host, container, permissions] if mode(permissions) => (*host, *container, *permissions),
        [_, _, permissions] => return Err(format!("bad mode specified: {permissions}")),
        _ => return Err(format!("bad format for path: {spec}")),
    };
    for path in [host, container] {
        if !path.starts_with('/') {
            return Err(format!("{path} is not an absolute path"));
        }
    }
    Ok(json!({ "PathOnHost": host, "PathInContainer": container, "CgroupPermissions": permissions }))
}

/// `--add-host`: `name:address` or `name=address`, as `name:address`.
pub fn extra_host(spec: &str) -> Result<String, String> {
    let (name, address) = spec
        .split_once('=')
        .or_else(|| spec.split_once(':'))
        .filter(|(name, _)| !name.is_empty())
        .ok_or_else(|| format!("bad format for add-host: {spec:?}"))?;
    let bare = address.trim_start_matches('[').trim_end_matches(']');
    if bare != "host-gateway" && bare.parse::<std::net::IpAddr>().is_err() {
        return Err(format!("invalid IP address in add-host: {address:?}"));
    }
    Ok(format!("{name}:{bare}"))
}

/// Whether a `--device` names a device of the Container Device Interface: `vendor.com/class=name`.
pub fn is_cdi(spec: &str) -> bool {
    let Some((kind, name)) = spec.split_once('=') else { return false };
    let Some((vendor, class)) = kind.split_once('/') else { return false };
    !vendor.is_empty()
        && !class.is_empty()
        && !name.is_empty()
        && !spec.starts_with('/')
        && !spec.contains(':')
}

/// `--gpus`: `all`, a number, or `device=…,capabilities=…,driver=…,count=…`.
pub fn gpus(spec: &str) -> Result<Value, String> {
    let mut count: Option<i64> = None;
    let mut driver = String::new();
    let mut devices: Vec<String> = Vec::new();
    let mut capabilities = vec!["gpu".to_owned()];
    let mut options = Map::new();
    let number = |text: &str| match text {
        "all" => Ok(-1),
        text => text.parse::<i64>().map_err(|_| {
            format!("invalid count ({text}): value must be either \"all\" or an integer: invalid syntax")
        }),
    };
    for field in super::csv::fields(spec)? {
        match field.split_once('=') {
            None => count = Some(number(&field)?),
            Some(("driver", value)) => driver = value.to_owned(),
            Some(("count", value)) => count = Some(number(value)?),
            Some(("device", value)) => devices = value.split(',').map(str::to_owned).collect(),
            Some(("capabilities", value)) => {
                capabilities.extend(value.split(',').map(str::to_owned));
            }
            Some(("options", value)) => {
                for option in value.split(',') {
                    let (key, value) = option.split_once('=').unwrap_or((option, ""));
                    options.insert(key.to_owned(), value.into());
                }
            }
            Some((key, _)) => return Err(format!("unexpected key '{key}' in '{field}'")),
        }
    }
    let count = count.unwrap_or(if devices.is_empty() { 1 } else { 0 });
    let devices = if devices.is_empty() { Value::Null } else { devices.into() };
    Ok(
        json!({ "Driver": driver, "Count": count, "DeviceIDs": devices, "Capabilities": [capabilities], "Options": options }),
    )
}

const ULIMITS: &[&str] = &[
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// `--ulimit`: `name=soft[:hard]`.
pub fn ulimit(spec: &str) -> Result<Value, String> {
    let invalid = || format!("invalid ulimit argument: {spec}");
    let (name, values) = spec.split_once('=').ok_or_else(invalid)?;
    if !ULIMITS.contains(&name) {
        return Err(format!("invalid ulimit type: {name}"));
    }
    let number = |text: &str| {
        text.parse::<i64>().map_err(|_| format!("strconv.ParseInt: parsing {text:?}: invalid syntax"))
    };
    let (soft, hard) = match values.split_once(':') {
        None => (number(values)?, number(values)?),
        Some((_, hard)) if hard.contains(':') => {
            return Err(format!(
                "too many limit value arguments - {values}, can only have up to two, `soft[:hard]`"
            ));
        }
        Some((soft, hard)) => (number(soft)?, number(hard)?),
    };
    if hard != -1 && (soft == -1 || soft > hard) {
        return Err(if soft == -1 {
            format!(
                "ulimit soft limit must be less than or equal to hard limit: soft: -1 (unlimited), hard: {hard}"
            )
        } else {
            format!("ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}")
        });
    }
    Ok(json!({ "Name": name, "Hard": hard, "Soft": soft }))
}

/// `--restart`: `policy[:retries]`; the daemon knows which policies there are.
pub fn restart_policy(spec: &str) -> Result<Value, String> {
    let (name, count) = spec.split_once(':').map_or((spec, None), |(name, count)| (name, Some(count)));
    if name.is_empty() && count.is_some() {
        return Err("invalid restart policy format: no policy provided before colon".to_owned());
    }
    let count = match count {
        None => 0,
        Some(count) if count.contains(':') => return Err("invalid restart policy format".to_owned()),
        Some(count) => count.parse::<i64>().map_err(|_| {
            "invalid restart policy format: maximum retry count must be an integer".to_owned()
        })?,
    };
    Ok(json!({ "Name": name, "MaximumRetryCount": count }))
}

/// `--device-read-bps` and its like: `/dev/x:rate`, where a rate may be a size.
pub fn throttle(spec: &str, rate: fn(&str) -> Result<i64, String>) -> Result<Value, String> {
    let Some((path, value)) = spec.rsplit_once(':') else { return Err(format!("bad format: {spec}")) };
    if !path.starts_with("/dev/") {
        return Err(format!("bad format for device path: {spec}"));
    }
    match rate(value) {
        Ok(rate) if rate >= 0 => Ok(json!({ "Path": path, "Rate": rate })),
        _ => Err(format!(
            "invalid rate for device: {spec}. The correct format is <device-path>:<number>[<unit>]. Number must be a positive integer. Unit is optional and can be kb, mb, or gb"
        )),
    }
}

/// `--blkio-weight-device`: `/dev/x:weight`.
pub fn weight(spec: &str) -> Result<Value, String> {
    let Some((path, value)) = spec.rsplit_once(':') else { return Err(format!("bad format: {spec}")) };
    if !path.starts_with("/dev/") {
        return Err(format!("bad format for device path: {spec}"));
    }
    match value.parse::<u16>() {
        Ok(weight) if weight == 0 || (10..=1000).contains(&weight) => {
            Ok(json!({ "Path": path, "Weight": weight }))
        }
        _ => Err(format!("invalid weight for device: {spec}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_have_paths_and_permissions() {
        assert_eq!(device("/dev/a").unwrap()["CgroupPermissions"], "rwm");
        assert_eq!(device("/dev/a:r").unwrap()["PathInContainer"], "/dev/a");
        assert_eq!(device("/dev/a:/dev/b:rw").unwrap()["PathInContainer"], "/dev/b");
        assert!(device("dev/a").is_err() && device("/dev/a:/dev/b:x").is_err());
        assert!(is_cdi("vendor.com/gpu=all") && !is_cdi("/dev/a:/b=c"));
    }

    #[test]
    fn gpus_are_counted_or_named() {
        assert_eq!(gpus("all").unwrap()["Count"], -1);
        assert_eq!(gpus("2").unwrap()["Count"], 2);
        let named = gpus("\"device=0,1\",capabilities=utility").unwrap();
        assert_eq!(named["DeviceIDs"], json!(["0", "1"]));
        assert_eq!(named["Capabilities"], json!([["gpu", "utility"]]));
        assert!(gpus("some").is_err());
    }

    #[test]
    fn limits_have_a_soft_and_a_hard_value() {
        assert_eq!(ulimit("nofile=1:2").unwrap(), json!({"Name": "nofile", "Hard": 2, "Soft": 1}));
        assert_eq!(ulimit("core=-1").unwrap()["Hard"], -1);
        for bad in ["nofile", "x=1", "nofile=2:1", "nofile=1:2:3", "nofile=a"] {
            assert!(ulimit(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn restart_policies_may_count() {
        assert_eq!(restart_policy("on-failure:3").unwrap()["MaximumRetryCount"], 3);
        assert!(restart_policy(":3").is_err() && restart_policy("a:b").is_err());
    }
}
