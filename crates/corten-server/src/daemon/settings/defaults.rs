//! What containers get that do not say otherwise: limits, namespaces, logs, system call filter.

use std::collections::BTreeMap;

use corten_engine::EngineConfig;
use corten_engine::container::merge::parse_size;
use corten_engine::container::oci_spec::{Seccomp, SecurityOptions};
use corten_engine::logs::driver::LogDriver;
use serde_json::Value as Json;

use super::{Reader, bad};
use crate::daemon::values::{ConfigError, Value};

/// Reads them into the engine's configuration.
pub(super) fn read(read: &Reader<'_>, config: &mut EngineConfig) -> Result<(), ConfigError> {
    if let Some(driver) = read.text("log-driver") {
        config.log_driver = driver.to_owned();
    }
    if let Some(Value::Map(options)) = read.0.get("log-opts") {
        config.log_options = options.clone();
    }
    LogDriver::parse(&config.log_driver, &config.log_options)
        .map_err(|error| bad("log-driver", &config.log_driver, &error.to_string()))?;
    config.default_ulimits = ulimits(read.0.get("default-ulimits"))?;
    config.init = read.bool("init").unwrap_or(false);
    config.no_new_privileges = read.bool("no-new-privileges").unwrap_or(false);
    config.seccomp = seccomp(read)?;
    if let Some(source) = read.text("seccomp-profile") {
        config.seccomp_source = source.to_owned();
    }
    if let Some(text) = read.text("default-shm-size") {
        let size = parse_size(text).and_then(|size| i64::try_from(size).ok()).filter(|size| *size > 0);
        config.shm_size =
            size.ok_or_else(|| bad("default-shm-size", text, "it is not a size such as 64M"))?;
    }
    config.pids_limit = match read.number("default-pids-limit", "it is not a number of processes")? {
        None => Some(pids_limit(&std::fs::read_to_string("/proc/sys/kernel/pid_max").unwrap_or_default())),
        Some(0 | -1) => None,
        Some(limit @ 1..) => Some(limit),
        Some(limit) => return Err(bad("default-pids-limit", limit, "it is not a number of processes")),
    };
    let folders = read.list("cdi-spec-dirs");
    if !folders.is_empty() {
        config.cdi_folders = folders.into_iter().map(Into::into).collect();
    }
    match read.text("default-ipc-mode") {
        None => {}
        Some(mode @ ("private" | "shareable")) => config.ipc_mode = mode.to_owned(),
        Some(mode) => return Err(bad("default-ipc-mode", mode, "it is neither private nor shareable")),
    }
    match read.text("default-cgroupns-mode") {
        None => {}
        Some(mode @ ("private" | "host")) => config.cgroupns_mode = Some(mode.to_owned()),
        Some(mode) => return Err(bad("default-cgroupns-mode", mode, "it is neither private nor host")),
    }
    Ok(())
}

/// Most processes of a container that does not say, on a machine with so many process ids.
///
/// Enough for every program that is known to work on Docker, which sets no limit: 32768 is what Linux gave a whole machine
/// by default for long. Podman's 2048 and the 4096 of some Kubernetes distributions stop large databases and virtual
/// machines of languages. And still far from what a machine of today has (4194304), so that a container that forks
/// without end takes itself down alone. Where a machine has few, one container takes no more than half of them.
fn pids_limit(pid_max: &str) -> i64 {
    const ENOUGH: i64 = 32_768;
    match pid_max.trim().parse::<i64>() {
        Ok(most) if most > 0 => ENOUGH.min(most / 2).max(1),
        _ => ENOUGH,
    }
}

/// The profile is read once: what the file becomes later does not change containers unseen.
fn seccomp(read: &Reader<'_>) -> Result<Seccomp, ConfigError> {
    const NAME: &str = "seccomp-profile";
    match read.text(NAME) {
        None | Some("builtin") => Ok(Seccomp::Default),
        Some("unconfined") => Ok(Seccomp::Unconfined),
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(|error| bad(NAME, path, &error.to_string()))?;
            let option = [format!("seccomp={text}")];
            let parsed = SecurityOptions::parse(&option, false);
            Ok(parsed.map_err(|error| bad(NAME, path, &error.to_string()))?.seccomp)
        }
    }
}

fn ulimits(value: Option<&Value>) -> Result<BTreeMap<String, (i64, i64)>, ConfigError> {
    const NAME: &str = "default-ulimits";
    let mut limits = BTreeMap::new();
    match value {
        Some(Value::List(list)) => {
            for text in list {
                let wrong = || bad(NAME, text, "it is not of the form name=soft[:hard]");
                let (name, numbers) = text.split_once('=').ok_or_else(wrong)?;
                let (soft, hard) = numbers.split_once(':').unwrap_or((numbers, numbers));
                let number = |text: &str| text.parse::<i64>().map_err(|_| wrong());
                limits.insert(name.to_owned(), (number(soft)?, number(hard)?));
            }
        }
        Some(Value::Json(Json::Object(map))) => {
            for (name, limit) in map {
                let number = |key: &str| {
                    limit.as_object()?.iter().find(|(k, _)| k.eq_ignore_ascii_case(key))?.1.as_i64()
                };
                let (Some(soft), Some(hard)) = (number("soft"), number("hard")) else {
                    return Err(bad(NAME, format!("{name}: {limit}"), "it has no numbers Soft and Hard"));
                };
                limits.insert(name.clone(), (soft, hard));
            }
        }
        Some(other) => return Err(bad(NAME, other, "it is not an object of limits")),
        None => {}
    }
    for (name, (soft, hard)) in &limits {
        if *hard != -1 && (*soft == -1 || soft > hard) {
            return Err(bad(NAME, format!("{name}={soft}:{hard}"), "the soft limit is above the hard one"));
        }
    }
    Ok(limits)
}

#[cfg(test)]
mod tests {
    use super::super::tests::from_file;

    #[test]
    fn a_container_has_at_most_half_of_the_machines_processes() {
        assert_eq!(super::pids_limit("4194304\n"), 32_768);
        assert_eq!(super::pids_limit("32768\n"), 16_384);
        assert_eq!(super::pids_limit("odd"), 32_768);
        let limit = |text: &str| from_file(text).map(|settings| settings.engine.pids_limit);
        assert_eq!(limit(r#"{"default-pids-limit": 100}"#), Ok(Some(100)));
        assert_eq!(limit(r#"{"default-pids-limit": 0}"#), Ok(None));
        assert_eq!(limit(r#"{"default-pids-limit": -1}"#), Ok(None));
        assert!(limit(r#"{"default-pids-limit": -5}"#).is_err());
    }

    #[test]
    fn defaults_of_containers() {
        let given = from_file(
            r#"{"default-shm-size": "16M", "default-ipc-mode": "shareable", "default-cgroupns-mode": "private"}"#,
        );
        let config = given.unwrap().engine;
        assert_eq!((config.shm_size, config.ipc_mode.as_str()), (16 << 20, "shareable"));
        assert_eq!(config.cgroupns_mode.as_deref(), Some("private"));
        for wrong in [
            r#"{"default-shm-size": "much"}"#,
            r#"{"default-ipc-mode": "host"}"#,
            r#"{"default-cgroupns-mode": "odd"}"#,
            r#"{"seccomp-profile": "/none/such"}"#,
        ] {
            assert!(from_file(wrong).is_err(), "{wrong}");
        }
    }
}
