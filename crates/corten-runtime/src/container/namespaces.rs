//! Which namespaces a container has: new, joined, or the runtime's own.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use corten_sys::namespace::Kind;
use rustix::fs::{Mode, OFlags};

use crate::spec::{IdMapping, Linux, NamespaceKind, TimeOffset};

/// Where one kind of namespace comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Origin {
    New,
    Path(PathBuf),
}

/// The plan of a container's namespaces; kinds that are missing are the runtime's own.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Namespaces {
    origins: BTreeMap<Kind, Origin>,
    /// User ids of a new user namespace.
    pub users: Vec<IdMapping>,
    /// Group ids of a new user namespace.
    pub groups: Vec<IdMapping>,
    /// Clock offsets of a new time namespace, as the kernel reads them.
    pub time_offsets: Option<String>,
}

fn kind(of: NamespaceKind) -> Kind {
    match of {
        NamespaceKind::Pid => Kind::Pid,
        NamespaceKind::Network => Kind::Net,
        NamespaceKind::Mount => Kind::Mount,
        NamespaceKind::Ipc => Kind::Ipc,
        NamespaceKind::Uts => Kind::Uts,
        NamespaceKind::User => Kind::User,
        NamespaceKind::Cgroup => Kind::Cgroup,
        NamespaceKind::Time => Kind::Time,
    }
}

impl Namespaces {
    /// Checks what `linux` asks for. The error says what cannot be met.
    pub(super) fn plan(linux: &Linux) -> Result<Self, String> {
        let mut plan = Self::default();
        for namespace in &linux.namespaces {
            let origin = if namespace.path.is_empty() {
                Origin::New
            } else if namespace.path.starts_with('/') && !namespace.path.contains('\0') {
                Origin::Path(PathBuf::from(&namespace.path))
            } else {
                return Err(format!("namespace path {:?} is not absolute", namespace.path));
            };
            if plan.origins.insert(kind(namespace.kind), origin).is_some() {
                return Err(format!("duplicated ns {:?}", namespace.kind).to_lowercase());
            }
        }
        if plan.is_new(Kind::User) {
            if linux.uid_mappings.is_empty() || linux.gid_mappings.is_empty() {
                return Err("user namespaces enabled, but no user and group mappings found".into());
            }
            plan.users.clone_from(&linux.uid_mappings);
            plan.groups.clone_from(&linux.gid_mappings);
        } else if !plan.origins.contains_key(&Kind::User)
            && (!linux.uid_mappings.is_empty() || !linux.gid_mappings.is_empty())
        {
            return Err(
                "user namespace mappings specified, but user namespace isn't enabled in the config".into()
            );
        }
        if !linux.time_offsets.is_empty() {
            if !plan.is_new(Kind::Time) {
                return Err("time namespace offsets specified, but time namespace isn't enabled".into());
            }
            plan.time_offsets = Some(time_offsets(&linux.time_offsets)?);
        }
        Ok(plan)
    }

    /// Whether a new namespace of this kind is made.
    pub(super) fn is_new(&self, kind: Kind) -> bool {
        self.origins.get(&kind) == Some(&Origin::New)
    }

    /// Whether the container does not share the runtime's own namespace of this kind.
    pub(super) fn is_separate(&self, of: NamespaceKind) -> bool {
        self.origins.contains_key(&kind(of))
    }

    /// `CLONE_NEW*` bits of what the child is born into. The cgroup namespace is not among them: it is made after the
    /// process is in its cgroup, which becomes its root. Nor is the time namespace, which needs its offsets first.
    pub(super) fn birth_flags(&self) -> u64 {
        self.origins
            .iter()
            .filter(|(kind, origin)| **origin == Origin::New && !matches!(kind, Kind::Cgroup | Kind::Time))
            .fold(0, |flags, (kind, _)| flags | kind.flag())
    }

    /// Opens the namespaces that are joined.
    pub(super) fn open(&self) -> Result<Vec<(Kind, OwnedFd)>, (PathBuf, io::Error)> {
        let mut joined = Vec::new();
        for (&kind, origin) in &self.origins {
            if let Origin::Path(path) = origin {
                let fd = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
                    .map_err(|e| (path.clone(), e.into()))?;
                joined.push((kind, fd));
            }
        }
        Ok(joined)
    }
}

fn time_offsets(offsets: &BTreeMap<String, TimeOffset>) -> Result<String, String> {
    let mut text = String::new();
    for (clock, offset) in offsets {
        if !matches!(clock.as_str(), "monotonic" | "boottime") {
            return Err(format!("time offset of clock {clock:?} cannot be set"));
        }
        text.push_str(&format!("{clock} {} {}\n", offset.secs, offset.nanosecs));
    }
    Ok(text)
}

/// An id map as the kernel reads it.
pub(super) fn id_map(mappings: &[IdMapping]) -> String {
    mappings.iter().map(|m| format!("{} {} {}\n", m.container_id, m.host_id, m.size)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Namespace;

    fn linux(namespaces: &[(NamespaceKind, &str)]) -> Linux {
        let namespaces =
            namespaces.iter().map(|&(kind, path)| Namespace { kind, path: path.into() }).collect();
        Linux { namespaces, ..Linux::default() }
    }

    #[test]
    fn new_namespaces_are_born_into_except_cgroup_and_time() {
        let all = [NamespaceKind::Pid, NamespaceKind::Mount, NamespaceKind::Cgroup, NamespaceKind::Time];
        let plan = Namespaces::plan(&linux(&all.map(|kind| (kind, "")))).unwrap();
        assert_eq!(plan.birth_flags(), Kind::Pid.flag() | Kind::Mount.flag());
    }

    #[test]
    fn a_kind_can_be_named_once() {
        let twice = linux(&[(NamespaceKind::Pid, ""), (NamespaceKind::Pid, "/x")]);
        assert_eq!(Namespaces::plan(&twice).unwrap_err(), "duplicated ns pid");
    }

    #[test]
    fn mappings_and_a_new_user_namespace_belong_together() {
        assert!(Namespaces::plan(&linux(&[(NamespaceKind::User, "")])).is_err());
        let mapping = IdMapping { container_id: 0, host_id: 100_000, size: 65_536 };
        let mut with = linux(&[]);
        with.uid_mappings = vec![mapping];
        assert!(Namespaces::plan(&with).is_err());
        assert_eq!(id_map(&[mapping]), "0 100000 65536\n");
    }
}
