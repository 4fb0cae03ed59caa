//! What is recorded about a container, and what follows from it.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use corten_types::Kind as _;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};

use super::{CliError, Globals};
use crate::cgroup::{Cgroup, Scope};
use crate::spec::Spec;

/// First part of the names of scopes that nobody has named.
pub(super) const SCOPE_PREFIX: &str = "corten";

/// What is recorded about a container.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Record {
    pub id: String,
    pub pid: i32,
    /// When the first process was started, in the kernel's ticks since boot: with the number, it names the process.
    pub start_time: u64,
    pub bundle: PathBuf,
    pub rootfs: PathBuf,
    pub created: String,
    pub cgroup: String,
    /// The specification's path of a scope that systemd made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
}

impl Record {
    /// The scope, when systemd made one.
    pub(super) fn scope(&self) -> Option<Scope> {
        Scope::parse(self.scope.as_deref()?, SCOPE_PREFIX, &self.id).ok()
    }
}

/// Where a container is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    Created,
    Running,
    Paused,
    Stopped,
}

impl Status {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }
}

/// One container's directory.
#[derive(Debug)]
pub(super) struct Container {
    pub directory: PathBuf,
    pub record: Record,
}

impl Container {
    /// The directory of the container `id`.
    pub(super) fn directory(globals: &Globals, id: &str) -> PathBuf {
        globals.root.join(id)
    }

    /// Reads the container `id`.
    pub(super) fn load(globals: &Globals, id: &str) -> Result<Self, CliError> {
        let directory = Self::directory(globals, id);
        let path = directory.join("state.json");
        let text = match std::fs::read(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Err(CliError::NotFound),
            other => other.map_err(CliError::file(path.display().to_string()))?,
        };
        let record = serde_json::from_slice(&text)
            .map_err(|source| CliError::Document { what: path.display().to_string(), source })?;
        Ok(Self { directory, record })
    }

    /// Records the container, all at once.
    pub(super) fn save(&self) -> Result<(), CliError> {
        self.replace("state.json", &self.record)
    }

    fn replace(&self, name: &str, document: &impl Serialize) -> Result<(), CliError> {
        let path = self.directory.join(name);
        let text = serde_json::to_vec(document)
            .map_err(|source| CliError::Document { what: path.display().to_string(), source })?;
        let draft = self.directory.join(format!("{name}.new"));
        std::fs::write(&draft, text)
            .and_then(|()| std::fs::rename(&draft, &path))
            .map_err(CliError::file(path.display().to_string()))
    }

    /// The specification as it was when the container was created, with the limits of now.
    pub(super) fn spec(&self) -> Result<Spec, CliError> {
        read_spec(&self.directory.join("config.json"))
    }

    /// Records a changed specification, all at once.
    pub(super) fn save_spec(&self, spec: &Spec) -> Result<(), CliError> {
        self.replace("config.json", spec)
    }

    /// Where a created container waits for its start.
    pub(super) fn socket(&self) -> PathBuf {
        self.directory.join("start.sock")
    }

    /// The first process, when it lives.
    pub(super) fn process(&self) -> Option<OwnedFd> {
        let pid = Pid::from_raw(self.record.pid)?;
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        // Looked at after it was opened, so that it is this process and not a later one with the number.
        match look(self.record.pid) {
            Some((state, start)) if start == self.record.start_time && !matches!(state, 'Z' | 'X') => {
                Some(pidfd)
            }
            _ => None,
        }
    }

    pub(super) fn status(&self) -> Status {
        if self.process().is_none() {
            Status::Stopped
        } else if self.socket().exists() {
            Status::Created
        } else if self.cgroup().is_ok_and(|cgroup| cgroup.is_some_and(|cgroup| cgroup.is_frozen())) {
            Status::Paused
        } else {
            Status::Running
        }
    }

    /// The container's cgroup, when it still exists.
    pub(super) fn cgroup(&self) -> Result<Option<Cgroup>, CliError> {
        match Cgroup::open(&self.record.cgroup) {
            Ok(cgroup) => Ok(Some(cgroup)),
            Err(e) if e.kind() == corten_types::ErrorKind::Internal => Ok(None),
            Err(e) => Err(e.into()),
        }
    }
}

/// Reads a specification.
pub(super) fn read_spec(path: &Path) -> Result<Spec, CliError> {
    let what = path.display().to_string();
    let text = std::fs::read(path).map_err(CliError::file(what.clone()))?;
    serde_json::from_slice(&text).map_err(|source| CliError::Document { what, source })
}

/// State letter and start time of a process.
pub(super) fn look(pid: i32) -> Option<(char, u64)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name is in parentheses and may contain anything.
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_lives_and_has_a_start_time() {
        let (state, start) = look(std::process::id() as i32).unwrap();
        assert!(matches!(state, 'R' | 'S'));
        assert!(start > 0);
    }
}
