//! Reading, writing, making and removing in the cgroup filesystems.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, Timespec, eventfd, poll};
use rustix::fs::{Mode, OFlags};

/// Controllers that a container's cgroup may need on cgroup v2.
const UNIFIED_CONTROLLERS: [&str; 7] = ["cpu", "cpuset", "hugetlb", "io", "memory", "pids", "rdma"];

/// Writes the whole value at once.
pub(super) fn write(path: &Path, value: &str) -> io::Result<()> {
    let fd = rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(fd, value.as_bytes())?;
    Ok(())
}

/// Reads the whole file.
pub(super) fn read(path: &Path) -> io::Result<String> {
    std::fs::read_to_string(path)
}

/// The number after `name` in lines of `name number`.
pub(super) fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

/// A number alone in a file; `max` and what is no number are `None`.
pub(super) fn number(path: &Path) -> Option<u64> {
    read(path).ok()?.trim().parse().ok()
}

/// Opens a file whose changes are seen by polling.
pub(super) fn open_watched(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
}

/// An eventfd that counts how often memory ran out in a v1 cgroup.
pub(super) fn legacy_oom_events(directory: &Path) -> io::Result<OwnedFd> {
    let control = open_watched(&directory.join("memory.oom_control"))?;
    let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    let line = format!("{} {}", event.as_raw_fd(), control.as_fd().as_raw_fd());
    write(&directory.join("cgroup.event_control"), &line)?;
    Ok(event)
}

/// Numbers of the processes in a directory and below it.
pub(super) fn read_pids(directory: &Path) -> io::Result<Vec<i32>> {
    let mut pids = Vec::new();
    let mut waiting = vec![directory.to_path_buf()];
    while let Some(directory) = waiting.pop() {
        match read(&directory.join("cgroup.procs")) {
            Ok(text) => pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok())),
            Err(e) if gone(&e) => continue,
            // A threaded child cgroup has no processes of its own.
            Err(e) if e.raw_os_error() == Some(libc::EOPNOTSUPP) => {}
            Err(e) => return Err(e),
        }
        waiting.extend(children(&directory)?);
    }
    Ok(pids)
}

fn gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV))
}

fn children(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(directory) {
        Err(e) if gone(&e) => return Ok(Vec::new()),
        other => other?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

fn make_directory(path: &Path) -> io::Result<bool> {
    match std::fs::create_dir(path) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(e) => Err(e),
    }
}

/// Makes `root/relative`.
pub(super) fn make_plain(root: &Path, relative: &Path) -> io::Result<()> {
    match make_directory(&root.join(relative)) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let mut path = root.to_path_buf();
            for part in relative.components() {
                path.push(part);
                make_directory(&path)?;
            }
            Ok(())
        }
        other => other.map(drop),
    }
}

/// Makes `root/relative` in the cpuset hierarchy, where a directory is unusable until it has CPUs: a new one gets its
/// parent's, and so does a parent that somebody else has left without.
pub(super) fn make_cpuset(root: &Path, relative: &Path) -> io::Result<()> {
    let mut path = root.to_path_buf();
    for part in relative.components() {
        path.push(part);
        if make_directory(&path)? || path == root.join(relative) {
            for file in ["cpuset.cpus", "cpuset.mems"] {
                fill_cpuset(&path, file)?;
            }
        }
    }
    Ok(())
}

/// The content of a cpuset's file, taken from the parent first where it is empty. The hierarchy's root never is.
fn fill_cpuset(directory: &Path, file: &str) -> io::Result<String> {
    let own = read(&directory.join(file))?;
    let parent = match directory.parent() {
        Some(parent) if own.trim().is_empty() => parent,
        _ => return Ok(own),
    };
    let value = fill_cpuset(parent, file)?;
    write(&directory.join(file), value.trim())?;
    Ok(value)
}

/// Makes `root/relative` on cgroup v2, with every useful controller that the ancestors can pass on.
pub(super) fn make_unified(root: &Path, relative: &Path) -> io::Result<()> {
    let mut path = root.to_path_buf();
    for part in relative.components() {
        let available = read(&path.join("cgroup.controllers"))?;
        let enabled = read(&path.join("cgroup.subtree_control"))?;
        let has = |list: &str, name: &str| list.split_whitespace().any(|word| word == name);
        for name in UNIFIED_CONTROLLERS {
            if has(&available, name) && !has(&enabled, name) {
                // One that cannot be passed on (processes of its own, realtime threads) is missed where it is needed.
                let _ = write(&path.join("cgroup.subtree_control"), &format!("+{name}"));
            }
        }
        path.push(part);
        make_directory(&path)?;
    }
    Ok(())
}

/// Removes a directory and its child cgroups, giving ending processes time until `deadline`.
pub(super) fn remove_tree(directory: &Path, deadline: Instant) -> io::Result<()> {
    let mut backoff = Duration::from_micros(200);
    loop {
        match std::fs::remove_dir(directory) {
            Ok(()) => return Ok(()),
            Err(e) if gone(&e) => return Ok(()),
            Err(e) if e.raw_os_error() == Some(libc::EBUSY) => {
                for child in children(directory)? {
                    remove_tree(&child, deadline)?;
                }
                if Instant::now() >= deadline {
                    return Err(e);
                }
                pause(backoff);
                backoff = (backoff * 2).min(Duration::from_millis(20));
            }
            Err(e) => return Err(e),
        }
    }
}

/// Gives the kernel a moment where no event tells that it is done.
pub(super) fn pause(time: Duration) {
    let timeout = Timespec { tv_sec: 0, tv_nsec: time.subsec_nanos().into() };
    let _ = poll(&mut [], Some(&timeout));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let text = "oom 3\noom_kill 2\noom_group_kill 1\n";
        assert_eq!(field(text, "oom_kill"), Some(2));
        assert_eq!(field(text, "oom"), Some(3));
        assert_eq!(field(text, "kill"), None);
    }
}
