//! Which cgroup hierarchies this machine has.
//!
//! ```text
//!   unified (v2)   /sys/fs/cgroup                       one hierarchy, all controllers
//!   legacy (v1)    /sys/fs/cgroup/{memory,cpu,…}        one hierarchy for each controller, or for a few together
//!   hybrid         legacy, and /sys/fs/cgroup/unified   the unified one without controllers: kill, freeze, events
//! ```

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustix::fs::statfs;

/// Where every distribution mounts them.
const MOUNT_POINT: &str = "/sys/fs/cgroup";
const CGROUP2_MAGIC: u64 = 0x6367_7270;
const CGROUP_MAGIC: u64 = 0x0027_e0eb;

/// One hierarchy of cgroup v1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Legacy {
    /// Name of its directory: its controllers, joined by commas.
    pub name: String,
    /// Its controllers; `name=systemd` for the one that has a name instead.
    pub controllers: Vec<String>,
    /// Its root.
    pub root: PathBuf,
}

/// The hierarchies of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Layout {
    /// Root of the unified hierarchy.
    pub unified: Option<PathBuf>,
    /// The older ones.
    pub legacy: Vec<Legacy>,
}

impl Layout {
    /// The layout of this machine, looked at once per process.
    pub(super) fn of_this_machine() -> &'static Self {
        static LAYOUT: OnceLock<Layout> = OnceLock::new();
        LAYOUT.get_or_init(|| Self::look(Path::new(MOUNT_POINT)))
    }

    fn look(at: &Path) -> Self {
        if magic(at) == Some(CGROUP2_MAGIC) {
            return Self { unified: Some(at.into()), legacy: Vec::new() };
        }
        let mut layout = Self::default();
        let Ok(entries) = std::fs::read_dir(at) else { return layout };
        for entry in entries.flatten() {
            // The links beside a shared hierarchy (`cpu` to `cpu,cpuacct`) are no hierarchies.
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            let name = entry.file_name().to_string_lossy().into_owned();
            match magic(&entry.path()) {
                Some(CGROUP2_MAGIC) => layout.unified = Some(entry.path()),
                Some(CGROUP_MAGIC) => layout.legacy.push(Legacy {
                    controllers: match name.as_str() {
                        "systemd" => vec!["name=systemd".into()],
                        list => list.split(',').map(String::from).collect(),
                    },
                    root: entry.path(),
                    name,
                }),
                _ => {}
            }
        }
        layout.legacy.sort_by(|a, b| a.name.cmp(&b.name));
        layout
    }

    /// Whether the unified hierarchy has the controllers.
    pub(super) fn is_unified(&self) -> bool {
        self.legacy.is_empty()
    }
}

fn magic(path: &Path) -> Option<u64> {
    statfs(path).ok().map(|stat| stat.f_type as u64)
}
