//! The mounts of a container in their order: the default ones, then the container's own by depth.

use corten_api::container::HostConfig;
use corten_runtime::spec::Mount;

/// A mount besides the default ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpecMount {
    /// Path in the container.
    pub destination: String,
    /// What is mounted there.
    pub source: SpecSource,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SpecSource {
    /// A new tmpfs with these options.
    Tmpfs(String),
    /// A path of the host.
    Bind {
        /// The path.
        path: String,
        /// Writable.
        writable: bool,
        /// With the mounts below it.
        recursive: bool,
        /// Read-only at the top only.
        shallow_read_only: bool,
        /// `rprivate`, …; empty leaves it to the runtime.
        propagation: String,
        /// Its ids are those that the container sees.
        mapped: bool,
    },
}

/// What [`plan`] gives.
#[derive(Debug, Default)]
pub struct Planned {
    /// Mounts in order.
    pub mounts: Vec<Mount>,
    /// Propagation of the root, when a mount asks for one.
    pub rootfs_propagation: String,
}

fn mount(destination: &str, kind: &str, source: &str, options: &[&str]) -> Mount {
    Mount {
        destination: destination.into(),
        kind: kind.into(),
        source: source.into(),
        options: options.iter().map(|&option| option.to_owned()).collect(),
        ..Mount::default()
    }
}

fn default_mounts(shm_size: i64) -> Vec<Mount> {
    let size = format!("size={shm_size}");
    vec![
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
        mount("/sys/fs/cgroup", "cgroup", "cgroup", &["ro", "nosuid", "noexec", "nodev"]),
        mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        mount("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", &size]),
    ]
}

/// Puts the container's mounts in order.
pub fn plan(
    host: &HostConfig,
    mut own: Vec<SpecMount>,
    init: Option<&str>,
    writable_cgroups: Option<bool>,
) -> Planned {
    // A mount must not hide one that lies deeper.
    own.sort_by_key(|mount| mount.destination.matches('/').count());
    let is_own = |destination: &str| own.iter().any(|mount| mount.destination == destination);
    let own_dev = is_own("/dev");
    let mut mounts = default_mounts(host.shm_size);
    mounts.retain(|mount| {
        let replaced = is_own(&mount.destination) || own_dev && mount.destination.starts_with("/dev/");
        let unwanted = host.ipc_mode == "none" && mount.destination == "/dev/shm";
        !replaced && !unwanted
    });
    if let Some(path) = init {
        mounts.push(mount(super::INIT_PATH, "bind", path, &["bind", "ro"]));
    }
    if host.readonly_rootfs {
        for mount in &mut mounts {
            let exempt = ["/proc", "/dev/pts", "/dev/shm", "/dev/mqueue", "/dev"];
            let already = mount.options.iter().any(|option| option == "ro");
            if !exempt.contains(&mount.destination.as_str()) && !already {
                mount.options.push("ro".into());
            }
        }
    }
    for mount in &mut mounts {
        let writable = match mount.destination.as_str() {
            "/sys" => host.privileged,
            _ if mount.kind == "cgroup" => writable_cgroups.unwrap_or(host.privileged),
            _ => false,
        };
        if writable {
            mount.options.retain(|option| option != "ro");
        }
    }
    let mut planned = Planned::default();
    for own in &own {
        mounts.push(own_mount(own, &mut planned.rootfs_propagation));
    }
    planned.mounts = mounts;
    planned
}

fn own_mount(own: &SpecMount, rootfs_propagation: &mut String) -> Mount {
    match &own.source {
        SpecSource::Tmpfs(data) => {
            let mut options: Vec<String> =
                ["noexec", "nosuid", "nodev", "rprivate"].map(str::to_owned).to_vec();
            for word in data.split(',').filter(|word| !word.is_empty()) {
                // The later of two contradicting flags wins.
                let opposite = match word {
                    "exec" => "noexec",
                    "noexec" => "exec",
                    "suid" => "nosuid",
                    "nosuid" => "suid",
                    "dev" => "nodev",
                    "nodev" => "dev",
                    "rw" => "ro",
                    "ro" => "rw",
                    _ => "",
                };
                let key = word.split_once('=').map(|(key, _)| format!("{key}="));
                options.retain(|option| {
                    option != opposite
                        && option != word
                        && !key.as_ref().is_some_and(|key| option.starts_with(key.as_str()))
                });
                options.push(word.to_owned());
            }
            let options: Vec<&str> = options.iter().map(String::as_str).collect();
            mount(&own.destination, "tmpfs", "tmpfs", &options)
        }
        SpecSource::Bind { path, writable, recursive, shallow_read_only, propagation, mapped } => {
            let mut options = vec![if *recursive { "rbind" } else { "bind" }];
            if *mapped {
                options.push(if *recursive { "ridmap" } else { "idmap" });
            }
            if !writable {
                options.push(if *shallow_read_only { "ro" } else { "rro" });
            }
            if !propagation.is_empty() {
                options.push(propagation);
            }
            match propagation.as_str() {
                "shared" | "rshared" => *rootfs_propagation = "shared".into(),
                "slave" | "rslave" if rootfs_propagation.is_empty() => *rootfs_propagation = "rslave".into(),
                _ => {}
            }
            mount(&own.destination, "bind", path, &options)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(destination: &str, propagation: &str) -> SpecMount {
        let source = SpecSource::Bind {
            path: "/src".into(),
            writable: false,
            recursive: true,
            shallow_read_only: false,
            propagation: propagation.into(),
            mapped: false,
        };
        SpecMount { destination: destination.into(), source }
    }

    fn names(planned: &Planned) -> Vec<&str> {
        planned.mounts.iter().map(|mount| mount.destination.as_str()).collect()
    }

    #[test]
    fn own_mounts_come_last_shallow_first_and_replace_default_ones() {
        let planned = plan(
            &HostConfig::default(),
            vec![bind("/a/b/c", "rprivate"), bind("/a", "rshared"), bind("/dev/shm", "")],
            None,
            None,
        );
        let expected = [
            "/proc",
            "/dev",
            "/dev/pts",
            "/sys",
            "/sys/fs/cgroup",
            "/dev/mqueue",
            "/a",
            "/dev/shm",
            "/a/b/c",
        ];
        assert_eq!(names(&planned), expected);
        assert_eq!(planned.rootfs_propagation, "shared");
        assert_eq!(planned.mounts[8].options, ["rbind", "rro", "rprivate"]);
    }

    #[test]
    fn a_dev_of_its_own_takes_everything_below_with_it() {
        let planned = plan(&HostConfig::default(), vec![bind("/dev", "")], None, None);
        assert_eq!(names(&planned), ["/proc", "/sys", "/sys/fs/cgroup", "/dev"]);
    }

    #[test]
    fn tmpfs_options_override_the_default_flags() {
        let own = SpecMount { destination: "/t".into(), source: SpecSource::Tmpfs("exec,size=1m,ro".into()) };
        let planned = plan(&HostConfig::default(), vec![own], None, None);
        assert_eq!(
            planned.mounts.last().unwrap().options,
            ["nosuid", "nodev", "rprivate", "exec", "size=1m", "ro"]
        );
    }
}
