//! `spec`: a specification to start from.

use std::path::PathBuf;
use std::process::ExitCode;

use super::CliError;
use super::args::Args;
use crate::spec::{
    Capabilities, DeviceRule, Linux, LinuxResources, Mount, Namespace, NamespaceKind, Process, Rlimit, Root,
    Spec, VERSION,
};

/// `spec [--bundle DIR]`
pub(super) fn spec(mut args: Args) -> Result<ExitCode, CliError> {
    let mut bundle = PathBuf::from(".");
    while let Some(flag) = args.flag()? {
        match flag.as_str() {
            "-b" | "--bundle" => bundle = args.value(&flag)?.into(),
            "--rootless" => return Err(CliError::Usage("spec --rootless is not supported".into())),
            other => return Err(args.unknown(other)),
        }
    }
    args.end()?;
    let path = bundle.join("config.json");
    let what = path.display().to_string();
    let text = serde_json::to_string_pretty(&example())
        .map_err(|source| CliError::Document { what: what.clone(), source })?;
    let mut file =
        std::fs::OpenOptions::new().write(true).create_new(true).open(&path).map_err(|e| match e.kind() {
            std::io::ErrorKind::AlreadyExists => {
                CliError::State("file config.json exists. Remove it first".into())
            }
            _ => CliError::File { what: what.clone(), source: e },
        })?;
    std::io::Write::write_all(&mut file, text.as_bytes()).map_err(CliError::file(what))?;
    Ok(ExitCode::SUCCESS)
}

/// A shell with few privileges.
fn example() -> Spec {
    let capabilities: Vec<String> =
        ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"].map(String::from).to_vec();
    let mount = |destination: &str, kind: &str, source: &str, options: &[&str]| Mount {
        destination: destination.into(),
        kind: kind.into(),
        source: source.into(),
        options: options.iter().map(|&option| option.into()).collect(),
        ..Mount::default()
    };
    Spec {
        oci_version: VERSION.into(),
        process: Some(Process {
            terminal: true,
            args: vec!["sh".into()],
            env: vec![
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into(),
                "TERM=xterm".into(),
            ],
            cwd: "/".into(),
            capabilities: Some(Capabilities {
                bounding: capabilities.clone(),
                effective: capabilities.clone(),
                permitted: capabilities,
                ..Capabilities::default()
            }),
            rlimits: vec![Rlimit { kind: "RLIMIT_NOFILE".into(), hard: 1024, soft: 1024 }],
            no_new_privileges: true,
            ..Process::default()
        }),
        root: Some(Root { path: "rootfs".into(), readonly: true }),
        hostname: "corten".into(),
        mounts: vec![
            mount("/proc", "proc", "proc", &[]),
            mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
            mount(
                "/dev/pts",
                "devpts",
                "devpts",
                &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
            ),
            mount("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
            mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
            mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
            mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", "ro"]),
        ],
        linux: Some(Linux {
            resources: Some(LinuxResources {
                devices: vec![DeviceRule { allow: false, access: "rwm".into(), ..DeviceRule::default() }],
                ..LinuxResources::default()
            }),
            namespaces: [
                NamespaceKind::Pid,
                NamespaceKind::Network,
                NamespaceKind::Ipc,
                NamespaceKind::Uts,
                NamespaceKind::Mount,
                NamespaceKind::Cgroup,
            ]
            .into_iter()
            // With the older hierarchies, programs look for their own cgroups by their names on the host.
            .filter(|&kind| kind != NamespaceKind::Cgroup || crate::cgroup::is_unified())
            .map(|kind| Namespace { kind, path: String::new() })
            .collect(),
            masked_paths: [
                "/proc/acpi",
                "/proc/asound",
                "/proc/kcore",
                "/proc/keys",
                "/proc/latency_stats",
                "/proc/timer_list",
                "/proc/timer_stats",
                "/proc/sched_debug",
                "/sys/firmware",
                "/proc/scsi",
            ]
            .map(String::from)
            .to_vec(),
            readonly_paths: ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
                .map(String::from)
                .to_vec(),
            ..Linux::default()
        }),
        ..Spec::default()
    }
}
