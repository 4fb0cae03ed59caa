//! From the specification's mounts to what the kernel is asked: pure, without looking at any file.

use std::path::{Component, Path, PathBuf};

use corten_sys::mount::{Attributes, Extent, Propagation};

use crate::spec::{IdMapping, Mount};

/// One mount to make.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct MountPlan {
    /// Absolute and without `.` and `..`.
    pub destination: PathBuf,
    /// What is mounted.
    pub source: Source,
    /// Attributes of this mount.
    pub attributes: Attributes,
    /// Attributes that are taken away from a bind mount's source.
    pub cleared: Attributes,
    /// Attributes of this mount and all below it.
    pub tree_attributes: Attributes,
    /// Attributes that are taken away from the whole tree.
    pub tree_cleared: Attributes,
    /// Propagation changes, in order.
    pub propagation: Vec<(Propagation, Extent)>,
    /// How ids of a bind's source are shown.
    pub id_map: Option<IdMap>,
    /// Whether a new filesystem is filled with what it covers.
    pub copy_up: bool,
}

/// A mapping of the ids that files have into those that are shown.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct IdMap {
    pub users: Vec<IdMapping>,
    pub groups: Vec<IdMapping>,
    /// Whether what is mounted below is mapped as well.
    pub extent: Extent,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Source {
    /// A part of the host's tree.
    Bind {
        /// Host path.
        path: PathBuf,
        /// Whether what is mounted below comes along.
        extent: Extent,
    },
    /// A new filesystem instance.
    Filesystem {
        /// Type.
        kind: String,
        /// Source as the filesystem understands it, for those that need one.
        device: String,
        /// Options of the filesystem.
        options: Vec<(String, Option<String>)>,
    },
    /// The container's view of its cgroups.
    Cgroup,
}

impl MountPlan {
    /// Whether a new instance of the filesystem `kind` is mounted.
    pub(super) fn is_new(&self, wanted: &str) -> bool {
        matches!(&self.source, Source::Filesystem { kind, .. } if kind == wanted)
    }

    /// Whether the kernel's own view of the system is mounted, which no link may lead elsewhere.
    pub(super) fn is_system(&self) -> bool {
        self.is_new("proc") || self.is_new("sysfs")
    }
}

/// Procfs files that a mount may cover: views of host figures that tools like lxcfs provide.
const PROC_FILES: [&str; 12] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/slabinfo",
    "/proc/net/dev",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/sys/crypto/fips_enabled",
    "/proc/sys/kernel/random/boot_id",
];

/// Makes `path` absolute and free of `.` and `..`, by its text alone.
pub(super) fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => {
                clean.pop();
            }
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    clean
}

/// Plans one mount. The error says what about it cannot be met.
///
/// `container` is the mapping of the container's user namespace, which a mount with the option `idmap` and without a
/// mapping of its own gets.
pub(super) fn plan_mount(
    mount: &Mount,
    bundle: &Path,
    container: (&[IdMapping], &[IdMapping]),
) -> Result<MountPlan, String> {
    if mount.destination.is_empty() || mount.destination.contains('\0') {
        return Err(format!("mount destination {:?} is not valid", mount.destination));
    }
    let destination = clean(Path::new(&mount.destination));
    let mut plan = MountPlan {
        destination,
        source: Source::Cgroup,
        attributes: Attributes::NONE,
        cleared: Attributes::NONE,
        tree_attributes: Attributes::NONE,
        tree_cleared: Attributes::NONE,
        propagation: Vec::new(),
        id_map: None,
        copy_up: false,
    };
    let mut mapped = None;
    let mut bind = (mount.kind == "bind").then_some(Extent::One);
    let mut options = Vec::new();
    for option in &mount.options {
        match option.as_str() {
            "bind" => bind = bind.or(Some(Extent::One)),
            "rbind" => bind = Some(Extent::Tree),
            "tmpcopyup" => plan.copy_up = true,
            "idmap" => mapped = Some(Extent::One),
            "ridmap" => mapped = Some(Extent::Tree),
            "defaults" | "remount" | "" => {}
            other => {
                if let Some(change) = propagation(other) {
                    plan.propagation.push(change);
                } else if let Some((set, clear)) = attribute(other) {
                    replace(&mut plan.attributes, &mut plan.cleared, set, clear);
                } else if let Some((set, clear)) = other.strip_prefix('r').and_then(attribute) {
                    replace(&mut plan.tree_attributes, &mut plan.tree_cleared, set, clear);
                } else {
                    options.push(match other.split_once('=') {
                        Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
                        None => (other.to_owned(), None),
                    });
                }
            }
        }
    }
    plan.id_map = plan_id_map(mount, mapped, container)?;
    if plan.id_map.is_some() && bind.is_none() {
        return Err(format!("mount at {:?}: id mappings are for bind mounts", mount.destination));
    }
    if plan.copy_up && mount.kind != "tmpfs" {
        return Err(format!("mount at {:?}: tmpcopyup is for tmpfs", mount.destination));
    }
    plan.source = match bind {
        Some(extent) => {
            if mount.source.is_empty() {
                return Err(format!("bind mount at {:?} has no source", mount.destination));
            }
            // Joining an absolute source replaces the bundle.
            Source::Bind { path: bundle.join(&mount.source), extent }
        }
        None if mount.kind == "cgroup" || mount.kind == "cgroup2" => Source::Cgroup,
        None if mount.kind.is_empty() => {
            return Err(format!("mount at {:?} has no type", mount.destination));
        }
        None => Source::Filesystem { kind: mount.kind.clone(), device: mount.source.clone(), options },
    };
    check_procfs(&plan)?;
    Ok(plan)
}

fn plan_id_map(
    mount: &Mount,
    mapped: Option<Extent>,
    container: (&[IdMapping], &[IdMapping]),
) -> Result<Option<IdMap>, String> {
    let at = &mount.destination;
    let (users, groups) = match (mount.uid_mappings.as_slice(), mount.gid_mappings.as_slice()) {
        ([], []) if mapped.is_none() => return Ok(None),
        ([], []) => container,
        ([], _) | (_, []) => {
            return Err(format!("mount at {at:?}: uidMappings and gidMappings belong together"));
        }
        own => own,
    };
    if users.is_empty() || groups.is_empty() {
        return Err(format!("mount at {at:?}: idmap needs a mapping, its own or the user namespace's"));
    }
    Ok(Some(IdMap { users: users.to_vec(), groups: groups.to_vec(), extent: mapped.unwrap_or(Extent::One) }))
}

/// A mount over procfs would let the container choose what its own masks and labels are written to.
fn check_procfs(plan: &MountPlan) -> Result<(), String> {
    let destination = plan.destination.as_path();
    let text = destination.display();
    if destination == Path::new("/") {
        return Err("the root cannot be covered by a mount".into());
    }
    let Ok(below) = destination.strip_prefix("/proc") else { return Ok(()) };
    if below.as_os_str().is_empty() {
        return match &plan.source {
            Source::Filesystem { kind, .. } if kind == "proc" => Ok(()),
            Source::Bind { path, .. } if clean(path) == Path::new("/proc") => Ok(()),
            _ => Err(format!("\"{text}\" cannot be mounted because it is not of type proc")),
        };
    }
    if PROC_FILES.iter().any(|file| destination == Path::new(file)) {
        return Ok(());
    }
    Err(format!("\"{text}\" cannot be mounted because it is inside /proc"))
}

fn replace(set: &mut Attributes, cleared: &mut Attributes, now_set: Attributes, now_clear: Attributes) {
    set.0 = (set.0 & !now_clear.0) | now_set.0;
    cleared.0 = (cleared.0 & !now_set.0) | now_clear.0;
}

/// The attributes that an option sets and clears.
fn attribute(option: &str) -> Option<(Attributes, Attributes)> {
    const NONE: Attributes = Attributes::NONE;
    Some(match option {
        "ro" => (Attributes::RDONLY, NONE),
        "rw" => (NONE, Attributes::RDONLY),
        "nosuid" => (Attributes::NOSUID, NONE),
        "suid" => (NONE, Attributes::NOSUID),
        "nodev" => (Attributes::NODEV, NONE),
        "dev" => (NONE, Attributes::NODEV),
        "noexec" => (Attributes::NOEXEC, NONE),
        "exec" => (NONE, Attributes::NOEXEC),
        "nodiratime" => (Attributes::NODIRATIME, NONE),
        "diratime" => (NONE, Attributes::NODIRATIME),
        "nosymfollow" => (Attributes::NOSYMFOLLOW, NONE),
        "symfollow" => (NONE, Attributes::NOSYMFOLLOW),
        "noatime" => (Attributes::NOATIME, Attributes::ATIME),
        "strictatime" => (Attributes::STRICTATIME, Attributes::ATIME),
        "relatime" | "atime" | "norelatime" | "nostrictatime" => (NONE, Attributes::ATIME),
        _ => return None,
    })
}

fn propagation(option: &str) -> Option<(Propagation, Extent)> {
    let (name, extent) = match option.strip_prefix('r') {
        Some(name) => (name, Extent::Tree),
        None => (option, Extent::One),
    };
    let kind = match name {
        "shared" => Propagation::Shared,
        "slave" => Propagation::Slave,
        "private" => Propagation::Private,
        "unbindable" => Propagation::Unbindable,
        _ => return None,
    };
    Some((kind, extent))
}

/// Reads a specification's `rootfsPropagation`.
pub(super) fn plan_root_propagation(text: &str) -> Result<(Propagation, Extent), String> {
    if text.is_empty() {
        return Ok((Propagation::Slave, Extent::Tree));
    }
    propagation(text).ok_or_else(|| format!("rootfsPropagation {text:?} is not known"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(destination: &str, kind: &str, source: &str, options: &[&str]) -> Result<MountPlan, String> {
        plan_mount(
            &Mount {
                destination: destination.into(),
                kind: kind.into(),
                source: source.into(),
                options: options.iter().map(|&o| o.into()).collect(),
                ..Mount::default()
            },
            Path::new("/bundle"),
            (&[], &[]),
        )
    }

    #[test]
    fn options_are_sorted_into_attributes_propagation_and_data() {
        let plan =
            mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k", "huge"])
                .unwrap();
        assert_eq!(plan.attributes, Attributes::NOSUID | Attributes::STRICTATIME);
        let Source::Filesystem { kind, options, .. } = plan.source else { panic!() };
        assert_eq!(kind, "tmpfs");
        assert_eq!(
            options,
            [
                ("mode".into(), Some("755".into())),
                ("size".into(), Some("65536k".into())),
                ("huge".into(), None)
            ]
        );
    }

    #[test]
    fn a_bind_s_later_options_win() {
        let plan = mount("/data", "bind", "src", &["rbind", "ro", "rw", "rprivate", "rro"]).unwrap();
        assert_eq!(plan.source, Source::Bind { path: "/bundle/src".into(), extent: Extent::Tree });
        assert_eq!((plan.attributes, plan.cleared), (Attributes::NONE, Attributes::RDONLY));
        assert_eq!(plan.tree_attributes, Attributes::RDONLY);
        assert_eq!(plan.propagation, [(Propagation::Private, Extent::Tree)]);
    }

    #[test]
    fn ids_are_mapped_by_the_mount_s_own_mapping_or_the_container_s() {
        let one = |host_id| vec![IdMapping { container_id: 0, host_id, size: 1 }];
        let mut bind = Mount {
            destination: "/data".into(),
            kind: "bind".into(),
            source: "/srv".into(),
            options: vec!["rbind".into(), "idmap".into()],
            ..Mount::default()
        };
        let plan = |mount: &Mount, container: &[IdMapping]| {
            plan_mount(mount, Path::new("/"), (container, container)).map(|plan| plan.id_map)
        };
        assert!(plan(&bind, &[]).is_err());
        let map = plan(&bind, &one(7)).unwrap().unwrap();
        assert_eq!((map.users, map.extent), (one(7), Extent::One));
        bind.options = vec!["bind".into(), "ridmap".into()];
        bind.uid_mappings = one(9);
        assert!(plan(&bind, &[]).is_err());
        bind.gid_mappings = one(9);
        let map = plan(&bind, &one(7)).unwrap().unwrap();
        assert_eq!((map.users, map.extent), (one(9), Extent::Tree));
    }

    #[test]
    fn destinations_cannot_climb() {
        assert_eq!(mount("/a/../../../b/./c", "tmpfs", "", &[]).unwrap().destination, Path::new("/b/c"));
        assert_eq!(mount("relative", "tmpfs", "", &[]).unwrap().destination, Path::new("/relative"));
        assert!(mount("/a/..", "tmpfs", "", &[]).is_err());
    }

    #[test]
    fn procfs_is_covered_by_listed_files_only() {
        assert!(mount("/proc", "proc", "proc", &[]).is_ok());
        assert!(mount("/proc", "tmpfs", "", &[]).is_err());
        assert!(mount("/proc", "bind", "/srv", &[]).is_err());
        assert!(mount("/proc", "bind", "/proc", &["rbind"]).is_ok());
        assert!(mount("/proc/meminfo", "bind", "/srv/meminfo", &[]).is_ok());
        assert!(mount("/proc/self/attr", "bind", "/srv", &[]).unwrap_err().contains("inside /proc"));
        assert!(mount("/x/../proc/sys", "tmpfs", "", &[]).is_err());
        assert!(mount("/process", "tmpfs", "", &[]).is_ok());
    }
}
