//! The request that creates a container, from the flags.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Map, Value, json};

use super::{devices, files, mounts, networks, ports, volumes};
use crate::parse::Matches;

/// What `POST /containers/create` is asked.
#[derive(Debug, Clone)]
pub struct CreateRequest {
    /// The container's name; empty where the daemon chooses one.
    pub name: String,
    /// The platform the image must be for.
    pub platform: String,
    /// The image as it was typed.
    pub image: String,
    /// The body.
    pub body: Value,
}

/// Makes the request; the first argument is the image, the others are the command.
pub fn create_request(m: &Matches, here: &Path) -> Result<CreateRequest, String> {
    let image = m.args[0].clone();
    let command = &m.args[1..];
    let (mode, endpoints) = networks::networks(m)?;
    let published = ports::publish(m.list("publish"))?;
    let mut body = config(m, &image, command)?;
    let exposed = {
        let mut ports: Map<String, Value> = published.keys().map(|port| (port.clone(), json!({}))).collect();
        for spec in m.list("expose") {
            ports.extend(ports::expose(spec)?.into_iter().map(|port| (port, json!({}))));
        }
        ports
    };
    body.insert("ExposedPorts".into(), exposed.into());
    let (binds, anonymous) = binds(m, here)?;
    body.insert("Volumes".into(), anonymous.into());
    if let Some(endpoint) = endpoints.get(&mode).and_then(|endpoint| endpoint["MacAddress"].as_str()) {
        body.insert("MacAddress".into(), endpoint.into());
    }
    let mut host = host_config(m)?;
    host.insert("Binds".into(), or_null(binds));
    host.insert("NetworkMode".into(), mode.into());
    host.insert("PortBindings".into(), json!(published));
    body.insert("HostConfig".into(), host.into());
    body.insert("NetworkingConfig".into(), json!({ "EndpointsConfig": endpoints }));
    Ok(CreateRequest {
        name: m.text("name").to_owned(),
        platform: m.text("platform").to_owned(),
        image,
        body: body.into(),
    })
}

fn or_null(items: Vec<String>) -> Value {
    if items.is_empty() { Value::Null } else { items.into() }
}

fn list(m: &Matches, flag: &str) -> Value {
    or_null(m.texts(flag))
}

/// The part that belongs to the image's configuration.
fn config(m: &Matches, image: &str, command: &[String]) -> Result<Map<String, Value>, String> {
    let attach = |stream: &str| m.list("attach").any(|given| given.eq_ignore_ascii_case(stream));
    let unnamed = !m.changed("attach");
    let stdin = attach("stdin") || m.on("interactive");
    let entrypoint = match m.given("entrypoint") {
        None => Value::Null,
        Some(program) => json!([program]),
    };
    let labels = files::label_map(&files::key_values(m.list("label-file"), m.list("label"))?);
    let mut body = Map::new();
    let mut set = |key: &str, value: Value| body.insert(key.into(), value);
    set("Hostname", m.text("hostname").into());
    set("Domainname", m.text("domainname").into());
    set("User", m.text("user").into());
    set("AttachStdin", stdin.into());
    set("AttachStdout", (unnamed || attach("stdout")).into());
    set("AttachStderr", (unnamed || attach("stderr")).into());
    set("Tty", m.on("tty").into());
    set("OpenStdin", m.on("interactive").into());
    set("StdinOnce", (m.on("interactive") && stdin).into());
    set("Env", or_null(files::environment(m.list("env-file"), m.list("env"))?));
    set("Cmd", or_null(command.to_vec()));
    set("Image", image.into());
    set("WorkingDir", m.text("workdir").into());
    set("Entrypoint", entrypoint);
    set("OnBuild", Value::Null);
    set("Labels", json!(labels));
    if let Some(signal) = m.given("stop-signal") {
        set("StopSignal", signal.into());
    }
    if let Some(seconds) = m.int("stop-timeout") {
        set("StopTimeout", seconds.into());
    }
    if let Some(check) = health(m)? {
        set("Healthcheck", check);
    }
    Ok(body)
}

fn health(m: &Matches) -> Result<Option<Value>, String> {
    let mut times = Map::new();
    for (flag, key) in [
        ("health-interval", "Interval"),
        ("health-timeout", "Timeout"),
        ("health-start-period", "StartPeriod"),
        ("health-start-interval", "StartInterval"),
    ] {
        match m.duration(flag).unwrap_or(0) {
            0 => {}
            nanos if nanos < 0 => return Err(format!("--{flag} cannot be negative")),
            nanos => {
                times.insert(key.into(), nanos.into());
            }
        }
    }
    match m.int("health-retries").unwrap_or(0) {
        0 => {}
        retries if retries < 0 => return Err("--health-retries cannot be negative".to_owned()),
        retries => {
            times.insert("Retries".into(), retries.into());
        }
    }
    let command = m.text("health-cmd");
    let any = !times.is_empty() || !command.is_empty();
    if m.on("no-healthcheck") {
        if any {
            return Err("--no-healthcheck conflicts with --health-* options".to_owned());
        }
        return Ok(Some(json!({ "Test": ["NONE"] })));
    }
    if !any {
        return Ok(None);
    }
    if !command.is_empty() {
        times.insert("Test".into(), json!(["CMD-SHELL", command]));
    }
    Ok(Some(times.into()))
}

/// Binds, and the anonymous volumes.
fn binds(m: &Matches, here: &Path) -> Result<(Vec<String>, Map<String, Value>), String> {
    let (mut binds, mut anonymous) = (Vec::new(), Map::new());
    for spec in m.list("volume") {
        match volumes::volume(spec, here)? {
            volumes::Volume::Anonymous(target) => {
                anonymous.insert(target, json!({}));
            }
            volumes::Volume::Bind(bind) if binds.contains(&bind) => {}
            volumes::Volume::Bind(bind) => binds.push(bind),
        }
    }
    Ok((binds, anonymous))
}

fn pairs<'a>(entries: impl Iterator<Item = &'a str>) -> Map<String, Value> {
    entries
        .map(|entry| entry.split_once('=').unwrap_or((entry, "")))
        .map(|(key, value)| (key.to_owned(), value.into()))
        .collect()
}

/// The part that belongs to the host.
fn host_config(m: &Matches) -> Result<Map<String, Value>, String> {
    for (flag, good) in [
        ("pid", &["host"][..]),
        ("uts", &["host"]),
        // "auto:size=N" too: what the daemon understands beyond Docker.
        ("userns", &["host", "auto", "private"]),
        ("cgroupns", &["host", "private"]),
    ] {
        let value = m.text(flag);
        let container =
            flag == "pid" && value.strip_prefix("container:").is_some_and(|name| !name.is_empty());
        let sized = flag == "userns" && value.starts_with("auto:size=");
        if !value.is_empty() && !good.contains(&value) && !container && !sized {
            let name = match flag {
                "userns" => "USER",
                "cgroupns" => "CGROUP",
                "uts" => "UTS",
                _ => "PID",
            };
            return Err(format!("--{flag}: invalid {name} mode"));
        }
    }
    let restart = devices::restart_policy(m.text("restart"))?;
    let restart_name = restart["Name"].as_str().unwrap_or_default();
    if m.on("rm") && !matches!(restart_name, "no" | "") {
        return Err("conflicting options: cannot specify both --restart and --rm".to_owned());
    }
    let log_options = pairs(m.list("log-opt"));
    if m.text("log-driver") == "none" && !log_options.is_empty() {
        return Err(format!("invalid logging opts for driver {}", m.text("log-driver")));
    }
    let (security, open_paths) = security(m)?;
    let mut host = Map::new();
    let mut set = |key: &str, value: Value| host.insert(key.into(), value);
    set("ContainerIDFile", m.text("cidfile").into());
    set("LogConfig", json!({ "Type": m.text("log-driver"), "Config": log_options }));
    set("RestartPolicy", restart);
    set("AutoRemove", m.on("rm").into());
    set("VolumeDriver", m.text("volume-driver").into());
    set("VolumesFrom", list(m, "volumes-from"));
    set("ConsoleSize", json!([0, 0]));
    if m.changed("annotation") {
        set("Annotations", pairs(m.list("annotation")).into());
    }
    let (add, drop) = capabilities(m.list("cap-add"), m.list("cap-drop"));
    set("CapAdd", or_null(add));
    set("CapDrop", or_null(drop));
    set("CgroupnsMode", m.text("cgroupns").into());
    set("Dns", m.texts("dns").into());
    set("DnsOptions", m.texts("dns-option").into());
    set("DnsSearch", m.texts("dns-search").into());
    set("ExtraHosts", or_null(extra_hosts(m)?));
    set("GroupAdd", list(m, "group-add"));
    set("IpcMode", m.text("ipc").into());
    set("Cgroup", "".into());
    set("Links", list(m, "link"));
    set("OomScoreAdj", m.int("oom-score-adj").unwrap_or(0).into());
    set("PidMode", m.text("pid").into());
    set("Privileged", m.on("privileged").into());
    set("PublishAllPorts", m.on("publish-all").into());
    set("ReadonlyRootfs", m.on("read-only").into());
    set("SecurityOpt", or_null(security));
    if m.changed("storage-opt") {
        if m.list("storage-opt").any(|option| !option.contains('=')) {
            return Err("invalid storage option".to_owned());
        }
        set("StorageOpt", pairs(m.list("storage-opt")).into());
    }
    if m.changed("tmpfs") {
        let entries = m.list("tmpfs").map(|spec| spec.split_once(':').unwrap_or((spec, "")));
        set(
            "Tmpfs",
            entries.map(|(path, options)| (path.to_owned(), options.into())).collect::<Map<_, _>>().into(),
        );
    }
    set("UTSMode", m.text("uts").into());
    set("UsernsMode", m.text("userns").into());
    set("ShmSize", m.bytes("shm-size").unwrap_or(0).into());
    if m.changed("sysctl") {
        set("Sysctls", pairs(m.list("sysctl")).into());
    }
    if let Some(runtime) = m.given("runtime") {
        set("Runtime", runtime.into());
    }
    set("Isolation", m.text("isolation").into());
    if m.changed("init") {
        set("Init", m.on("init").into());
    }
    if open_paths {
        set("MaskedPaths", json!([]));
        set("ReadonlyPaths", json!([]));
    }
    if m.changed("mount") {
        set("Mounts", m.list("mount").map(mounts::mount).collect::<Result<Vec<_>, _>>()?.into());
    }
    resources(m, &mut host)?;
    Ok(host)
}

/// Capabilities to give and to take, by their full names; `ALL` stands for every other, and giving beats taking.
fn capabilities<'a>(
    add: impl Iterator<Item = &'a str>,
    drop: impl Iterator<Item = &'a str>,
) -> (Vec<String>, Vec<String>) {
    fn names<'a>(given: impl Iterator<Item = &'a str>) -> BTreeSet<String> {
        let full = |name: &str| {
            let name = name.trim().to_ascii_uppercase();
            if name == "ALL" || name.starts_with("CAP_") { name } else { format!("CAP_{name}") }
        };
        let names: BTreeSet<String> = given.map(full).collect();
        if names.contains("ALL") { BTreeSet::from(["ALL".to_owned()]) } else { names }
    }
    let (add, drop) = (names(add), names(drop));
    let drop = drop.difference(&add).cloned().collect();
    (add.into_iter().collect(), drop)
}

fn extra_hosts(m: &Matches) -> Result<Vec<String>, String> {
    m.list("add-host").map(super::extra_host).collect()
}

/// Security options, with a seccomp profile's file read; and whether the system's paths are left open.
fn security(m: &Matches) -> Result<(Vec<String>, bool), String> {
    let (mut out, mut open) = (Vec::new(), false);
    for option in m.list("security-opt") {
        if option == "systempaths=unconfined" {
            open = true;
            continue;
        }
        let pair = option.split_once('=').or_else(|| option.split_once(':'));
        match pair {
            None if option == "no-new-privileges" => out.push(option.to_owned()),
            None => return Err(format!("Invalid --security-opt: {option:?}")),
            Some(("seccomp", profile)) if !matches!(profile, "unconfined" | "builtin") => {
                let text = std::fs::read(profile).map_err(|error| {
                    let why = if error.kind() == std::io::ErrorKind::NotFound {
                        "no such file or directory".to_owned()
                    } else {
                        error.to_string()
                    };
                    format!("opening seccomp profile ({profile}) failed: open {profile}: {why}")
                })?;
                let compact: Value = serde_json::from_slice(&text).map_err(|error| {
                    format!("compacting json for seccomp profile ({profile}) failed: {error}")
                })?;
                out.push(format!("seccomp={compact}"));
            }
            Some(_) => out.push(option.to_owned()),
        }
    }
    Ok((out, open))
}

/// Limits.
fn resources(m: &Matches, host: &mut Map<String, Value>) -> Result<(), String> {
    let swappiness = m.int("memory-swappiness").unwrap_or(-1);
    if !(-1..=100).contains(&swappiness) {
        return Err(format!("invalid value: {swappiness}. Valid memory swappiness range is 0-100"));
    }
    let (cdi, plain): (Vec<&str>, Vec<&str>) = m.list("device").partition(|spec| devices::is_cdi(spec));
    let mut requests = m.list("gpus").map(devices::gpus).collect::<Result<Vec<_>, _>>()?;
    if !cdi.is_empty() {
        requests.push(
            json!({ "Driver": "cdi", "Count": 0, "DeviceIDs": cdi, "Capabilities": null, "Options": null }),
        );
    }
    let int = |flag: &str| Value::from(m.int(flag).unwrap_or(0));
    let bytes = |flag: &str| Value::from(m.bytes(flag).unwrap_or(0));
    let all = |flag: &'static str, read: &dyn Fn(&str) -> Result<Value, String>| {
        m.list(flag).map(read).collect::<Result<Vec<_>, _>>()
    };
    let rate = |spec: &str| devices::throttle(spec, crate::value::bytes);
    let count = |spec: &str| devices::throttle(spec, crate::value::int);
    let mut set = |key: &str, value: Value| host.insert(key.into(), value);
    set("CpuShares", int("cpu-shares"));
    set("Memory", bytes("memory"));
    set("NanoCpus", m.given("cpus").and_then(|text| crate::value::nano_cpus(text).ok()).unwrap_or(0).into());
    set("CgroupParent", m.text("cgroup-parent").into());
    set("BlkioWeight", m.text("blkio-weight").parse::<u16>().unwrap_or(0).into());
    set("BlkioWeightDevice", all("blkio-weight-device", &devices::weight)?.into());
    set("BlkioDeviceReadBps", all("device-read-bps", &rate)?.into());
    set("BlkioDeviceWriteBps", all("device-write-bps", &rate)?.into());
    set("BlkioDeviceReadIOps", all("device-read-iops", &count)?.into());
    set("BlkioDeviceWriteIOps", all("device-write-iops", &count)?.into());
    set("CpuPeriod", int("cpu-period"));
    set("CpuQuota", int("cpu-quota"));
    set("CpuRealtimePeriod", int("cpu-rt-period"));
    set("CpuRealtimeRuntime", int("cpu-rt-runtime"));
    set("CpusetCpus", m.text("cpuset-cpus").into());
    set("CpusetMems", m.text("cpuset-mems").into());
    set("Devices", plain.into_iter().map(devices::device).collect::<Result<Vec<_>, _>>()?.into());
    set("DeviceCgroupRules", list(m, "device-cgroup-rule"));
    set("DeviceRequests", if requests.is_empty() { Value::Null } else { requests.into() });
    if m.changed("kernel-memory") {
        set("KernelMemory", bytes("kernel-memory"));
    }
    set("MemoryReservation", bytes("memory-reservation"));
    set("MemorySwap", bytes("memory-swap"));
    set("MemorySwappiness", swappiness.into());
    set("OomKillDisable", m.on("oom-kill-disable").into());
    set("PidsLimit", int("pids-limit"));
    // The last of a name counts, as with every map.
    let limits: BTreeMap<String, Value> = all("ulimit", &devices::ulimit)?
        .into_iter()
        .map(|limit| (limit["Name"].as_str().unwrap_or_default().to_owned(), limit))
        .collect();
    set("Ulimits", limits.into_values().collect::<Vec<_>>().into());
    set("CpuCount", int("cpu-count"));
    set("CpuPercent", int("cpu-percent"));
    set("IOMaximumIOps", int("io-maxiops"));
    set("IOMaximumBandwidth", bytes("io-maxbandwidth"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::{CREATE, RUN_ONLY};
    use crate::parse::{Order, parse};

    static TABLES: &[&[crate::flag::Flag]] = &[CREATE, RUN_ONLY];

    fn request(line: &str) -> Result<CreateRequest, String> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let matches = parse(TABLES, Order::BeforeArguments, &words)?;
        create_request(&matches, Path::new("/here"))
    }

    #[test]
    fn a_long_command_line_becomes_a_body() {
        let line = "-itd --name web -e A=1 -v ./d:/d -v /anon -p 8080:80 --rm -m 64m --cpus 1.5 \
                    --network net --network-alias a --health-cmd true --health-interval 5s -l k=v \
                    --tmpfs /t:size=1m --init --add-host a:1.2.3.4 nginx:1 sh -c -x";
        let request = request(line).unwrap();
        let body = &request.body;
        assert_eq!((request.name.as_str(), request.image.as_str()), ("web", "nginx:1"));
        assert_eq!(body["Cmd"], json!(["sh", "-c", "-x"]));
        assert_eq!(body["Env"], json!(["A=1"]));
        assert_eq!(body["Volumes"], json!({"/anon": {}}));
        assert_eq!(body["ExposedPorts"], json!({"80/tcp": {}}));
        assert_eq!(body["Labels"], json!({"k": "v"}));
        assert_eq!(body["StdinOnce"], true);
        assert_eq!(
            body["Healthcheck"],
            json!({"Interval": 5_000_000_000_i64, "Test": ["CMD-SHELL", "true"]})
        );
        let host = &body["HostConfig"];
        assert_eq!(host["Binds"], json!(["/here/d:/d"]));
        assert_eq!(host["PortBindings"], json!({"80/tcp": [{"HostIp": "", "HostPort": "8080"}]}));
        assert_eq!(host["Memory"], 64 << 20);
        assert_eq!(host["NanoCpus"], 1_500_000_000);
        assert_eq!(host["NetworkMode"], "net");
        assert_eq!(host["Tmpfs"], json!({"/t": "size=1m"}));
        assert_eq!(host["Init"], true);
        assert_eq!(host["ExtraHosts"], json!(["a:1.2.3.4"]));
        assert_eq!(body["NetworkingConfig"]["EndpointsConfig"]["net"]["Aliases"], json!(["a"]));
    }

    #[test]
    fn capabilities_have_their_full_names() {
        let given = |add: &[&'static str], drop: &[&'static str]| {
            capabilities(add.iter().copied(), drop.iter().copied())
        };
        let (add, drop) = given(&["net_admin", "CAP_SYS_TIME"], &["all", "chown"]);
        assert_eq!((add.join(" "), drop.join(" ")), ("CAP_NET_ADMIN CAP_SYS_TIME".into(), "ALL".into()));
        assert_eq!(given(&["CHOWN"], &["CHOWN", "KILL"]).1, ["CAP_KILL"]);
    }

    #[test]
    fn contradictions_are_refused() {
        for (line, text) in [
            ("--rm --restart always x", "conflicting options: cannot specify both --restart and --rm"),
            ("--no-healthcheck --health-cmd x y", "--no-healthcheck conflicts with --health-* options"),
            ("--pid foo x", "--pid: invalid PID mode"),
            (
                "-a foo x",
                "invalid argument \"foo\" for \"-a, --attach\" flag: valid streams are STDIN, STDOUT and STDERR",
            ),
            ("--mac-address zz x", "zz is not a valid mac address"),
            ("--security-opt foo x", "Invalid --security-opt: \"foo\""),
            ("--log-driver none --log-opt a=b x", "invalid logging opts for driver none"),
        ] {
            assert_eq!(request(line).unwrap_err(), text, "{line}");
        }
    }
}
