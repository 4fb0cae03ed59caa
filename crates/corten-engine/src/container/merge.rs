//! What a container is made of: the image's configuration, the request, and the defaults, in one. Pure.

use std::collections::BTreeMap;

use corten_api::container::{Config, HostConfig};

use super::host::HostFacts;
use super::validate::{Invalid, invalid};
use crate::config::{CgroupDriver, EngineConfig};
use crate::logs::driver::LogDriver;

/// Fills what the request leaves open from the image.
pub fn with_image(config: &mut Config, image: &Config) {
    if config.user.is_empty() {
        config.user.clone_from(&image.user);
    }
    match (&mut config.exposed_ports, &image.exposed_ports) {
        (Some(ports), Some(more)) if !ports.is_empty() => ports.extend(more.clone()),
        (ports, more) => {
            if ports.as_ref().is_none_or(BTreeMap::is_empty) {
                ports.clone_from(more);
            }
        }
    }
    let name = |variable: &str| variable.split('=').next().unwrap_or_default().to_owned();
    match &mut config.env {
        Some(env) if !env.is_empty() => {
            let set: Vec<String> = env.iter().map(|variable| name(variable)).collect();
            env.extend(image.env.iter().flatten().filter(|variable| !set.contains(&name(variable))).cloned());
        }
        env => env.clone_from(&image.env),
    }
    let labels = config.labels.get_or_insert_default();
    for (key, value) in image.labels.iter().flatten() {
        labels.entry(key.clone()).or_insert_with(|| value.clone());
    }
    if config.entrypoint.iter().flatten().next().is_none() {
        if config.cmd.iter().flatten().next().is_none() {
            config.cmd.clone_from(&image.cmd);
        }
        // An empty list, in contrast to none, takes the image's entrypoint away.
        if config.entrypoint.is_none() {
            config.entrypoint.clone_from(&image.entrypoint);
        }
    }
    match (&mut config.healthcheck, &image.healthcheck) {
        (check @ None, of_image) => check.clone_from(of_image),
        (Some(check), Some(of_image)) => {
            if check.test.iter().flatten().next().is_none() {
                check.test.clone_from(&of_image.test);
            }
            for (value, default) in [
                (&mut check.interval, of_image.interval),
                (&mut check.timeout, of_image.timeout),
                (&mut check.start_period, of_image.start_period),
                (&mut check.start_interval, of_image.start_interval),
                (&mut check.retries, of_image.retries),
            ] {
                if *value == 0 {
                    *value = default;
                }
            }
        }
        (Some(_), None) => {}
    }
    if config.working_dir.is_empty() {
        config.working_dir.clone_from(&image.working_dir);
    }
    match (&mut config.volumes, &image.volumes) {
        (Some(volumes), Some(more)) if !volumes.is_empty() => volumes.extend(more.clone()),
        (volumes, more) => {
            if volumes.as_ref().is_none_or(BTreeMap::is_empty) {
                volumes.clone_from(more);
            }
        }
    }
    if config.stop_signal.is_empty() {
        config.stop_signal.clone_from(&image.stop_signal);
    }
}

/// Program and arguments.
pub fn command(config: &Config) -> Result<(String, Vec<String>), Invalid> {
    let entrypoint = config.entrypoint.as_deref().unwrap_or_default();
    // A lone empty string is how the CLI takes an entrypoint away.
    let entrypoint = if matches!(entrypoint, [only] if only.is_empty()) { &[] } else { entrypoint };
    let mut words = entrypoint.iter().chain(config.cmd.iter().flatten()).cloned();
    match words.next() {
        Some(program) => Ok((program, words.collect())),
        None => invalid("no command specified"),
    }
}

/// Fills what the request leaves open of the host's part.
pub fn with_defaults(host: &mut HostConfig, facts: &HostFacts, engine: &EngineConfig) -> Result<(), Invalid> {
    if host.restart_policy.name.is_empty() {
        host.restart_policy.name = "no".into();
    }
    if matches!(host.network_mode.as_str(), "" | "default") {
        host.network_mode = "bridge".into();
    }
    let parent = host.resources.cgroup_parent.as_str();
    if engine.cgroup_driver == CgroupDriver::Systemd && !(parent.is_empty() || parent.ends_with(".slice")) {
        return invalid("cgroup-parent for systemd cgroup should be a valid slice named as \"xxx.slice\"");
    }
    let limits = &mut host.resources;
    if limits.memory > 0 && limits.memory_swap == 0 {
        limits.memory_swap = limits.memory.saturating_mul(2);
    }
    if limits.oom_kill_disable.is_none() && !facts.cgroup_v2 {
        limits.oom_kill_disable = Some(false);
    }
    if host.shm_size == 0 {
        host.shm_size = engine.shm_size;
    }
    if host.ipc_mode.is_empty() {
        host.ipc_mode.clone_from(&engine.ipc_mode);
    }
    if host.cgroupns_mode.is_empty() {
        let of_version = if facts.cgroup_v2 { "private" } else { "host" };
        host.cgroupns_mode = engine.cgroupns_mode.clone().unwrap_or_else(|| of_version.to_owned());
    }
    if host.runtime.is_empty() {
        host.runtime = "runc".into();
    }
    let labelled = host.security_opt.iter().flatten().any(|option| option.split('=').next() == Some("label"));
    if !labelled && (host.ipc_mode == "host" || host.pid_mode == "host" || host.privileged) {
        host.security_opt.get_or_insert_default().push("label=disable".into());
    }
    if host.masked_paths.is_none() && !host.privileged {
        host.masked_paths = Some(facts.masked_paths.clone());
    }
    if host.readonly_paths.is_none() && !host.privileged {
        host.readonly_paths = Some(super::oci_spec::READONLY_PATHS.map(str::to_owned).to_vec());
    }
    log_config(host, engine)
}

fn log_config(host: &mut HostConfig, engine: &EngineConfig) -> Result<(), Invalid> {
    let log = &mut host.log_config;
    if log.r#type.is_empty() {
        log.r#type.clone_from(&engine.log_driver);
    }
    let options = log.config.get_or_insert_default();
    if log.r#type == engine.log_driver {
        for (key, value) in &engine.log_options {
            options.entry(key.clone()).or_insert_with(|| value.clone());
        }
    }
    LogDriver::parse(&log.r#type, options).map(drop)
}

/// Bytes of `10m`, `1.5g`, `512k`, `100`, `64KiB`, by Docker's binary units.
pub fn parse_size(text: &str) -> Option<u64> {
    let lower = text.trim().to_ascii_lowercase();
    let end = lower.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(lower.len());
    let (number, unit) = lower.split_at(end);
    let factor: f64 = match unit.trim() {
        "" | "b" => 1.0,
        "k" | "kb" | "kib" => 1024.0,
        "m" | "mb" | "mib" => 1_048_576.0,
        "g" | "gb" | "gib" => 1_073_741_824.0,
        "t" | "tb" | "tib" => 1_099_511_627_776.0,
        _ => return None,
    };
    let value = number.parse::<f64>().ok()? * factor;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be in range")]
    (0.0..9.0e18).contains(&value).then_some(value as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(words: &[&str]) -> Option<Vec<String>> {
        Some(words.iter().map(|&word| word.to_owned()).collect())
    }

    fn image() -> Config {
        Config {
            user: "web".into(),
            env: list(&["PATH=/bin", "A=image"]),
            cmd: list(&["serve"]),
            entrypoint: list(&["/entry"]),
            working_dir: "/srv".into(),
            labels: Some([("from".to_owned(), "image".to_owned())].into()),
            ..Config::default()
        }
    }

    #[test]
    fn the_request_wins_and_the_image_fills() {
        let mut config = Config { env: list(&["A=mine", "B"]), ..Config::default() };
        with_image(&mut config, &image());
        assert_eq!(config.env, list(&["A=mine", "B", "PATH=/bin"]));
        assert_eq!((config.user.as_str(), config.working_dir.as_str()), ("web", "/srv"));
        assert_eq!(command(&config), Ok(("/entry".into(), vec!["serve".into()])));
    }

    #[test]
    fn a_command_keeps_the_entrypoint_and_an_entrypoint_drops_the_command() {
        let mut config = Config { cmd: list(&["other"]), ..Config::default() };
        with_image(&mut config, &image());
        assert_eq!(command(&config), Ok(("/entry".into(), vec!["other".into()])));

        let mut config = Config { entrypoint: list(&["sh"]), ..Config::default() };
        with_image(&mut config, &image());
        assert_eq!(command(&config), Ok(("sh".into(), vec![])));

        let mut config = Config { entrypoint: Some(vec![]), ..Config::default() };
        with_image(&mut config, &image());
        assert_eq!(command(&config), Ok(("serve".into(), vec![])));
        assert_eq!(command(&Config::default()).unwrap_err().to_string(), "no command specified");
    }

    #[test]
    fn defaults_follow_the_host() {
        let engine = EngineConfig::new("/d", "/e", "/s");
        let mut host = HostConfig::default();
        with_defaults(&mut host, &HostFacts { cgroup_v2: true, ..HostFacts::default() }, &engine).unwrap();
        assert_eq!((host.cgroupns_mode.as_str(), host.resources.oom_kill_disable), ("private", None));
        let mut host = HostConfig { privileged: true, ..HostConfig::default() };
        host.resources.memory = 64 << 20;
        with_defaults(&mut host, &HostFacts::default(), &engine).unwrap();
        assert_eq!((host.cgroupns_mode.as_str(), host.resources.oom_kill_disable), ("host", Some(false)));
        assert_eq!(host.resources.memory_swap, 128 << 20);
        assert_eq!((host.masked_paths, host.security_opt), (None, list(&["label=disable"])));
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [("10m", 10 << 20), ("1.5k", 1536), ("7", 7), ("2GiB", 2 << 30), ("1t", 1 << 40)]
        {
            assert_eq!(parse_size(text), Some(bytes), "{text}");
        }
        for bad in ["", "m", "-1", "1x", "1.2.3"] {
            assert_eq!(parse_size(bad), None, "{bad}");
        }
    }
}
