//! What an engine may leave behind on a host, before and after.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Result;

use crate::engine::Engine;

/// A photograph: one line per thing.
pub type Photograph = BTreeSet<String>;

/// Mounts below the engine's folder, links in its network namespace, cgroups and helper processes that name it.
pub fn photograph(engine: &Engine) -> Result<Photograph> {
    let mut found = Photograph::new();
    let dir = engine.dir.to_string_lossy().into_owned();
    for line in std::fs::read_to_string("/proc/self/mountinfo")?.lines() {
        let target = line.split(' ').nth(4).unwrap_or_default();
        if target.starts_with(&dir) {
            found.insert(format!("mount {target}"));
        }
    }
    let links = std::fs::read_to_string(format!("/proc/{}/net/dev", engine.pid()))?;
    for line in links.lines().skip(2) {
        found.insert(format!("link {}", line.split(':').next().unwrap_or_default().trim()));
    }
    cgroups(Path::new("/sys/fs/cgroup"), 0, &mut found)?;
    for entry in std::fs::read_dir("/proc")? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.bytes().all(|b| b.is_ascii_digit()) {
            continue;
        }
        let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        if command.starts_with("corten-") {
            found.insert(format!("process {name} {command}"));
        }
    }
    Ok(found)
}

/// The folders named after a container's id (64 hexadecimal digits).
fn cgroups(dir: &Path, depth: usize, into: &mut Photograph) -> Result<()> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Ok(()) };
    for entry in entries.flatten() {
        if !entry.file_type().is_ok_and(|t| t.is_dir()) {
            continue;
        }
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit()) {
            into.insert(format!("cgroup {}", entry.path().display()));
        } else if depth < 3 {
            cgroups(&entry.path(), depth + 1, into)?;
        }
    }
    Ok(())
}
