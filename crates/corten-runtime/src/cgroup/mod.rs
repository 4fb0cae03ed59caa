//! Control groups: made, limited, measured, frozen, killed and removed through the cgroup filesystems.
//!
//! **Owns** the container's directory in each hierarchy of the machine: cgroup v2, v1, and the hybrid where v1 has the
//! controllers and an empty v2 tree beside it gives kill, freeze and events. What was asked for is planned by pure
//! functions ([`limits`], [`device_rules`]); this module only writes.
//!
//! **Invariants.** A process joins by itself, or is born inside: nothing is migrated on the way of a start. A
//! cgroup's name is its path below every root, the same in all hierarchies.
//!
//! **Refuses** to decide limits. Where systemd owns the tree, it is asked for a scope first ([`Scope`]), and the rest is
//! the same.

mod device_rules;
mod files;
mod hierarchy;
mod limits;
mod stats;
mod systemd;
mod view;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use corten_types::{ErrorKind, Kind};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};

use crate::spec::LinuxResources;
use files::{read, read_pids, write};
use hierarchy::{Layout, Legacy};
use limits::{Line, Missing};

pub use stats::{BlkioEntry, BlkioStats, CgroupStats, CpuStats, MemoryStats, PidsStats, Throttling};
pub use systemd::{Placeholder, Scope};
pub use view::View;

/// Controllers of v1 in which every container has a cgroup: for its limits, its figures, and for programs that look
/// at their own limits. The others are joined when a limit asks for them.
const LEGACY_ALWAYS: [&str; 8] =
    ["blkio", "cpu", "cpuacct", "cpuset", "devices", "memory", "name=systemd", "pids"];

/// How long [`Cgroup::freeze`] and [`Cgroup::delete`] wait for the kernel.
const PATIENCE: Duration = Duration::from_secs(5);

/// What went wrong with a cgroup.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// A file of the cgroup filesystem could not be read or written.
    #[error("cgroup {path}: {operation}")]
    File {
        /// The file or directory.
        path: String,
        /// What was done.
        operation: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A limit cannot be meant as it stands, or needs a controller this machine does not have.
    #[error("{0}")]
    Limit(String),
    /// A limit that the kernel refused.
    #[error("unable to set {file} to {value}")]
    Refused {
        /// The file that holds the limit.
        file: String,
        /// What was written.
        value: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The processes did not stop or end in time.
    #[error("cgroup {path}: timed out waiting for processes to {action}")]
    Timeout {
        /// The cgroup.
        path: String,
        /// `freeze` or `end`.
        action: &'static str,
    },
    /// The machine has no usable cgroup filesystem.
    #[error("no cgroup filesystem is mounted")]
    None,
}

impl Kind for CgroupError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Limit(_) | Self::Refused { .. } => ErrorKind::InvalidArgument,
            Self::File { .. } | Self::Timeout { .. } | Self::None => ErrorKind::Internal,
        }
    }
}

impl CgroupError {
    fn file(path: &Path, operation: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let (path, operation) = (path.display().to_string(), operation.into());
        move |source| Self::File { path, operation, source }
    }
}

/// One container's cgroup, in every hierarchy where it has one.
#[derive(Debug, Clone)]
pub struct Cgroup {
    path: String,
    layout: &'static Layout,
    unified: Option<PathBuf>,
    legacy: Vec<(&'static Legacy, PathBuf)>,
}

/// In which of the older hierarchies a cgroup is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// Where it has limits or figures.
    Needed,
    /// In all of them.
    All,
}

/// Whether this machine has cgroup v2 alone.
pub fn is_unified() -> bool {
    Layout::of_this_machine().is_unified()
}

/// The directory of the cgroup v2 that the process of this pidfd is in; `None` when it cannot be told.
pub(crate) fn of_process(pidfd: &OwnedFd) -> Option<OwnedFd> {
    let root = Layout::of_this_machine().unified.as_ref()?;
    let pid = corten_sys::pidfd::number(pidfd).ok()?;
    let text = read(Path::new(&format!("/proc/{pid}/cgroup"))).ok()?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(root.join(path), flags, Mode::empty()).ok()
}

/// How a process becomes a member of a cgroup.
#[derive(Debug, Default)]
pub struct Membership {
    /// The directory in the unified hierarchy that a process can be born into.
    pub directory: Option<OwnedFd>,
    /// The `tasks` files of the older hierarchies, into which the process writes `0` for itself.
    pub tasks: Vec<OwnedFd>,
}

impl Cgroup {
    /// Makes the cgroup `path` (absolute below the hierarchies' roots, without `..`) with `limits`.
    ///
    /// When it fails, nothing of the last component is left.
    pub fn create(path: &str, limits: &LinuxResources) -> Result<Self, CgroupError> {
        Self::create_in(path, limits, Reach::Needed)
    }

    /// Like [`Cgroup::create`], in every hierarchy of v1: whoever shares the machine's cgroups with other runtimes and
    /// looks for the container in any of them finds it.
    pub fn create_everywhere(path: &str, limits: &LinuxResources) -> Result<Self, CgroupError> {
        Self::create_in(path, limits, Reach::All)
    }

    fn create_in(path: &str, limits: &LinuxResources, reach: Reach) -> Result<Self, CgroupError> {
        let layout = Layout::of_this_machine();
        if layout.unified.is_none() && layout.legacy.is_empty() {
            return Err(CgroupError::None);
        }
        let relative = relative(path)?;
        let lines = plan(layout, limits)?;
        let mut cgroup = Self { path: path.into(), layout, unified: None, legacy: Vec::new() };
        cgroup.make(relative, &lines, reach).and_then(|()| cgroup.set(&lines, limits)).inspect_err(|_| {
            let _ = cgroup.delete();
        })?;
        Ok(cgroup)
    }

    /// Takes the cgroup `path` that exists in at least one hierarchy.
    pub fn open(path: &str) -> Result<Self, CgroupError> {
        let layout = Layout::of_this_machine();
        let relative = relative(path)?;
        let existing = |root: &PathBuf| Some(root.join(relative)).filter(|directory| directory.is_dir());
        let unified = layout.unified.as_ref().and_then(existing);
        let legacy: Vec<_> =
            layout.legacy.iter().filter_map(|legacy| Some((legacy, existing(&legacy.root)?))).collect();
        if unified.is_none() && legacy.is_empty() {
            let source = io::Error::from_raw_os_error(libc::ENOENT);
            return Err(CgroupError::File { path: path.into(), operation: "open".into(), source });
        }
        Ok(Self { path: path.into(), layout, unified, legacy })
    }

    /// The path below the hierarchies' roots.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Goes to a cgroup below, for a further process: `PATH` in every hierarchy, or `CONTROLLER,…:PATH` in those of the
    /// controllers. It must exist.
    pub fn descend(&mut self, place: &str) -> Result<(), CgroupError> {
        let (controllers, path) = match place.split_once(':') {
            Some((controllers, path)) => (controllers.split(',').collect::<Vec<_>>(), path),
            None => (Vec::new(), place),
        };
        let below = Path::new(path.trim_start_matches('/'));
        if !below.components().all(|part| matches!(part, std::path::Component::Normal(_))) {
            return Err(CgroupError::Limit(format!("bad cgroup path: {path} is not a sub cgroup path")));
        }
        let has =
            |legacy: &Legacy, name: &str| legacy.controllers.iter().any(|controller| controller == name);
        for name in &controllers {
            let known = name.is_empty() || self.legacy.iter().any(|(legacy, _)| has(legacy, name));
            if !known {
                return Err(CgroupError::Limit(format!("unknown controller {name} in {place:?}")));
            }
        }
        if below.as_os_str().is_empty() {
            return Ok(());
        }
        let go = |directory: &mut PathBuf| {
            directory.push(below);
            match directory.join("cgroup.procs") {
                file if file.exists() => Ok(()),
                file => Err(CgroupError::Limit(format!(
                    "error adding pid of the process to cgroup: open {}: no such file or directory",
                    file.display()
                ))),
            }
        };
        for (legacy, directory) in &mut self.legacy {
            if controllers.is_empty() || controllers.iter().any(|name| has(legacy, name)) {
                go(directory)?;
            }
        }
        match &mut self.unified {
            Some(directory) if controllers.is_empty() || controllers.contains(&"") => go(directory),
            _ => Ok(()),
        }
    }

    /// Changes the limits that `limits` names; the others stay.
    pub fn apply(&self, limits: &LinuxResources) -> Result<(), CgroupError> {
        let lines = plan(self.layout, limits)?;
        let relative = relative(&self.path)?;
        let mut wider = self.clone();
        let joined = wider.legacy.len();
        wider.make(relative, &lines, Reach::Needed)?;
        wider.set(&lines, limits)?;
        if wider.legacy.len() > joined {
            // A controller that the container was not under so far: its processes move in.
            for pid in self.pids()? {
                for (_, directory) in &wider.legacy[joined..] {
                    match write(&directory.join("cgroup.procs"), &pid.to_string()) {
                        // It has ended meanwhile.
                        Err(e) if e.raw_os_error() == Some(libc::ESRCH) => {}
                        other => other.map_err(CgroupError::file(directory, "move a process"))?,
                    }
                }
            }
        }
        Ok(())
    }

    /// How a process becomes a member.
    pub fn membership(&self) -> Result<Membership, CgroupError> {
        let open = |path: &Path, flags: OFlags| {
            rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty())
                .map_err(|e| CgroupError::file(path, "open")(e.into()))
        };
        Ok(Membership {
            directory: match &self.unified {
                Some(directory) => Some(open(directory, OFlags::PATH | OFlags::DIRECTORY)?),
                None => None,
            },
            tasks: self
                .legacy
                .iter()
                .map(|(_, directory)| open(&directory.join("tasks"), OFlags::WRONLY))
                .collect::<Result<_, _>>()?,
        })
    }

    /// Moves the process with this number inside, with all its threads.
    pub fn add(&self, pid: i32) -> Result<(), CgroupError> {
        let directories = self.unified.iter().chain(self.legacy.iter().map(|(_, directory)| directory));
        for directory in directories {
            write(&directory.join("cgroup.procs"), &pid.to_string())
                .map_err(CgroupError::file(directory, "move a process"))?;
        }
        Ok(())
    }

    /// What the container sees; with `private`, its cgroup is the root of what it sees.
    pub fn view(&self, private: bool) -> View {
        View::of(self, private)
    }

    /// Stops every process until [`Cgroup::thaw`]. Returns once they are stopped.
    pub fn freeze(&self) -> Result<(), CgroupError> {
        let result = match (&self.unified, self.legacy("freezer")) {
            (Some(directory), _) => {
                self.write_unified(directory, "cgroup.freeze", "1")?;
                self.wait_event(directory, "frozen 1", "freeze")
            }
            (None, Some(directory)) => self.freeze_legacy(directory),
            (None, None) => Err(CgroupError::Limit("this machine has no freezer".into())),
        };
        if result.is_err() {
            let _ = self.thaw();
        }
        result
    }

    /// Lets the processes go on.
    pub fn thaw(&self) -> Result<(), CgroupError> {
        if let Some(directory) = self.legacy("freezer") {
            write(&directory.join("freezer.state"), "THAWED")
                .map_err(CgroupError::file(directory, "thaw"))?;
        } else if self.unified.is_none() {
            return Err(CgroupError::Limit("this machine has no freezer".into()));
        }
        match &self.unified {
            Some(directory) => self.write_unified(directory, "cgroup.freeze", "0"),
            None => Ok(()),
        }
    }

    /// Whether the processes are stopped, in the unified hierarchy or by an older one's freezer.
    pub fn is_frozen(&self) -> bool {
        let is = |directory: &Path, file: &str, running: &str| {
            read(&directory.join(file)).is_ok_and(|state| state.trim() != running)
        };
        self.unified.as_ref().is_some_and(|directory| is(directory, "cgroup.freeze", "0"))
            || self.legacy("freezer").is_some_and(|directory| is(directory, "freezer.state", "THAWED"))
    }

    /// Sends every process SIGKILL, those in child cgroups and frozen ones too.
    pub fn kill_all(&self) -> Result<(), CgroupError> {
        if let Some(directory) = &self.unified {
            match write(&directory.join("cgroup.kill"), "1") {
                // A kernel before 5.14.
                Err(e) if e.raw_os_error() == Some(libc::ENOENT) && directory.is_dir() => {}
                Err(e) if e.raw_os_error() == Some(libc::ENOENT) => return Ok(()),
                other => return other.map_err(CgroupError::file(directory, "kill")),
            }
        }
        // A process that forks while the list is read is met the next time round.
        for _ in 0..16 {
            let pids = self.pids()?;
            if pids.is_empty() {
                break;
            }
            for pid in pids.into_iter().filter_map(rustix::process::Pid::from_raw) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
        if self.is_frozen() {
            self.thaw()?;
        }
        Ok(())
    }

    /// Numbers of the processes inside and in child cgroups. A cgroup that is gone has none.
    pub fn pids(&self) -> Result<Vec<i32>, CgroupError> {
        let directory = self.unified.as_ref().or_else(|| self.legacy.first().map(|(_, directory)| directory));
        let Some(directory) = directory else { return Ok(Vec::new()) };
        read_pids(directory).map_err(CgroupError::file(directory, "list processes"))
    }

    /// What the container has used so far.
    pub fn stats(&self) -> Result<CgroupStats, CgroupError> {
        stats::read_all(self)
    }

    /// How many processes were killed because the container's memory ran out.
    pub fn oom_kills(&self) -> Result<u64, CgroupError> {
        let (directory, file) = match (self.legacy("memory"), &self.unified) {
            (Some(directory), _) => (directory, "memory.oom_control"),
            (None, Some(directory)) => (directory.as_path(), "memory.events"),
            (None, None) => return Ok(0),
        };
        match read(&directory.join(file)) {
            Ok(text) => Ok(files::field(&text, "oom_kill").unwrap_or(0)),
            Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ENODEV)) => Ok(0),
            Err(e) => Err(CgroupError::file(directory, format!("read {file}"))(e)),
        }
    }

    /// A descriptor that polls as `IN` (v1) or `PRI` (v2) whenever memory ran out; then ask [`Cgroup::oom_kills`].
    pub fn oom_events(&self) -> Result<OwnedFd, CgroupError> {
        match (self.legacy("memory"), &self.unified) {
            (Some(directory), _) => files::legacy_oom_events(directory)
                .map_err(CgroupError::file(directory, "watch memory.oom_control")),
            (None, Some(directory)) => {
                let file = directory.join("memory.events");
                let fd = files::open_watched(&file).map_err(CgroupError::file(&file, "watch"))?;
                Ok(fd)
            }
            (None, None) => Err(CgroupError::None),
        }
    }

    /// Removes the cgroup and its child cgroups, waiting for processes that are ending. That it is gone already is
    /// no error.
    pub fn delete(&self) -> Result<(), CgroupError> {
        let deadline = Instant::now() + PATIENCE;
        let directories = self.legacy.iter().map(|(_, directory)| directory).chain(self.unified.iter());
        let mut first_error = None;
        for directory in directories {
            if let Err(e) = files::remove_tree(directory, deadline)
                && first_error.is_none()
            {
                first_error = Some(CgroupError::file(directory, "remove")(e));
            }
        }
        first_error.map_or(Ok(()), Err)
    }

    /// Removes the cgroup where neither a process nor a child is in it; leaves it as it is otherwise.
    pub fn release(&self) {
        for directory in self.legacy.iter().map(|(_, directory)| directory).chain(self.unified.iter()) {
            // The kernel refuses (EBUSY) while somebody uses it: that is the condition, not an error.
            let _ = std::fs::remove_dir(directory);
        }
    }

    /// Waits until no process is left inside; `false` when `patience` is over first.
    pub fn wait_empty(&self, patience: Duration) -> Result<bool, CgroupError> {
        let deadline = Instant::now() + patience;
        loop {
            if self.pids()?.is_empty() {
                return Ok(true);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            match &self.unified {
                Some(directory) => match self.wait_event_for(directory, "populated 0", left) {
                    Ok(done) => return Ok(done),
                    Err(e) if e.raw_os_error() == Some(libc::ENOENT) => return Ok(true),
                    Err(e) => return Err(CgroupError::file(directory, "watch cgroup.events")(e)),
                },
                // No event tells of the older hierarchies.
                None => files::pause(left.min(Duration::from_millis(5))),
            }
        }
    }

    /// The directory in the hierarchy of this v1 controller.
    fn legacy(&self, controller: &str) -> Option<&Path> {
        self.legacy
            .iter()
            .find(|(legacy, _)| legacy.controllers.iter().any(|name| name == controller))
            .map(|(_, directory)| directory.as_path())
    }

    /// Makes the directories that are not known yet and that every container, or one of `lines`, needs.
    fn make(&mut self, relative: &Path, lines: &[Line], reach: Reach) -> Result<(), CgroupError> {
        let layout = self.layout;
        if let (Some(root), None) = (&layout.unified, &self.unified) {
            let directory = root.join(relative);
            let make = if layout.is_unified() { files::make_unified } else { files::make_plain };
            make(root, relative).map_err(CgroupError::file(&directory, "make"))?;
            self.unified = Some(directory);
        }
        for legacy in &layout.legacy {
            let has = |name: &str| legacy.controllers.iter().any(|controller| controller == name);
            let needed = reach == Reach::All
                || LEGACY_ALWAYS.iter().any(|name| has(name))
                || (has("freezer") && layout.unified.is_none())
                || lines.iter().any(|line| has(line.controller));
            if !needed || self.legacy.iter().any(|(known, _)| *known == legacy) {
                continue;
            }
            let directory = legacy.root.join(relative);
            let make = if has("cpuset") { files::make_cpuset } else { files::make_plain };
            make(&legacy.root, relative).map_err(CgroupError::file(&directory, "make"))?;
            self.legacy.push((legacy, directory));
        }
        Ok(())
    }

    fn set(&self, lines: &[Line], limits: &LinuxResources) -> Result<(), CgroupError> {
        self.set_devices(limits)?;
        let mut postponed: Option<&Line> = None;
        for line in lines {
            let result = self.set_one(line);
            match (&result, line.file.as_str()) {
                // Memory cannot exceed its sum with swap: when both rise, the sum goes first.
                (Err(CgroupError::Refused { .. }), "memory.limit_in_bytes")
                    if lines.iter().any(|other| other.file == "memory.memsw.limit_in_bytes") =>
                {
                    postponed = Some(line);
                }
                // A period is refused while the old quota does not fit it.
                (Err(CgroupError::Refused { .. }), "cpu.cfs_period_us")
                    if lines.iter().any(|other| other.file == "cpu.cfs_quota_us") =>
                {
                    postponed = Some(line);
                }
                (_, "memory.memsw.limit_in_bytes" | "cpu.cfs_quota_us") => {
                    result?;
                    if let Some(first) = postponed.take() {
                        self.set_one(first)?;
                    }
                }
                _ => result?,
            }
        }
        Ok(())
    }

    fn set_one(&self, line: &Line) -> Result<(), CgroupError> {
        let directory =
            if self.layout.is_unified() { self.unified.as_deref() } else { self.legacy(line.controller) };
        let Some(directory) = directory else {
            return match line.missing {
                Missing::Ignore => Ok(()),
                Missing::Refuse => Err(CgroupError::Limit(format!(
                    "this machine has no {} controller for {}",
                    line.controller, line.file
                ))),
            };
        };
        match write(&directory.join(&line.file), &line.value) {
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) && line.missing == Missing::Ignore => Ok(()),
            Err(source) => {
                Err(CgroupError::Refused { file: line.file.clone(), value: line.value.clone(), source })
            }
            Ok(()) => Ok(()),
        }
    }

    fn set_devices(&self, limits: &LinuxResources) -> Result<(), CgroupError> {
        let Some(policy) = device_rules::Policy::plan(&limits.devices).map_err(CgroupError::Limit)? else {
            return Ok(());
        };
        if self.layout.is_unified() {
            let Some(directory) = &self.unified else { return Ok(()) };
            let attach = || -> io::Result<()> {
                let fd = rustix::fs::open(
                    directory,
                    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
                    Mode::empty(),
                )?;
                let program = corten_sys::bpf::load_device_program(&policy.program())?;
                corten_sys::bpf::attach_device_program(fd.as_fd(), &program)
            };
            return attach().map_err(CgroupError::file(directory, "attach the device program"));
        }
        let Some(directory) = self.legacy("devices") else { return Ok(()) };
        let lines = policy.lines();
        // A new cgroup allows what its parent does; a list that allows everything need not be written.
        let lines = if policy.allows_everything() { &lines[..1] } else { &lines[..] };
        for (file, line) in lines {
            write(&directory.join(file), line).map_err(|source| CgroupError::Refused {
                file: (*file).into(),
                value: line.clone(),
                source,
            })?;
        }
        Ok(())
    }

    fn write_unified(&self, directory: &Path, file: &str, value: &str) -> Result<(), CgroupError> {
        write(&directory.join(file), value).map_err(CgroupError::file(directory, format!("write {file}")))
    }

    fn wait_event(&self, directory: &Path, wanted: &str, action: &'static str) -> Result<(), CgroupError> {
        match self.wait_event_for(directory, wanted, PATIENCE) {
            Ok(true) => Ok(()),
            Ok(false) => Err(CgroupError::Timeout { path: self.path.clone(), action }),
            Err(e) => Err(CgroupError::file(directory, "watch cgroup.events")(e)),
        }
    }

    /// Waits until `cgroup.events` has the line `wanted`; `false` when `patience` is over first.
    fn wait_event_for(&self, directory: &Path, wanted: &str, patience: Duration) -> io::Result<bool> {
        let deadline = Instant::now() + patience;
        let fd = files::open_watched(&directory.join("cgroup.events"))?;
        let mut buffer = [0; 512];
        loop {
            let n = rustix::io::pread(&fd, &mut buffer, 0)?;
            if String::from_utf8_lossy(&buffer[..n]).lines().any(|line| line == wanted) {
                return Ok(true);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
            match poll(&mut [PollFd::new(&fd, PollFlags::PRI)], Some(&timeout)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }

    fn freeze_legacy(&self, directory: &Path) -> Result<(), CgroupError> {
        let file = directory.join("freezer.state");
        let deadline = Instant::now() + PATIENCE;
        // A process that forks keeps the state at FREEZING; asking again catches it.
        while Instant::now() < deadline {
            write(&file, "FROZEN").map_err(CgroupError::file(&file, "freeze"))?;
            let state = read(&file).map_err(CgroupError::file(&file, "read"))?;
            if state.trim() == "FROZEN" {
                return Ok(());
            }
            files::pause(Duration::from_millis(1));
        }
        Err(CgroupError::Timeout { path: self.path.clone(), action: "freeze" })
    }
}

fn plan(layout: &Layout, limits: &LinuxResources) -> Result<Vec<Line>, CgroupError> {
    if layout.is_unified() { limits::plan_v2(limits) } else { limits::plan_v1(limits) }
        .map_err(CgroupError::Limit)
}

/// The path below a hierarchy's root. The root itself is nobody's cgroup.
fn relative(path: &str) -> Result<&Path, CgroupError> {
    let relative = Path::new(path.trim_start_matches('/'));
    let plain = relative.components().all(|part| matches!(part, std::path::Component::Normal(_)));
    if relative.as_os_str().is_empty() || !plain || path.contains(['\0', '\n']) {
        return Err(CgroupError::Limit(format!("cgroup path {path:?} is not valid")));
    }
    Ok(relative)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_something_below_the_root() {
        assert_eq!(relative("/corten/abc").unwrap(), Path::new("corten/abc"));
        for path in ["", "/", "/a/../b", "../x", "a\nb"] {
            assert!(relative(path).is_err(), "{path:?}");
        }
    }
}
