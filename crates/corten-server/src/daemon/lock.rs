//! One daemon per data root, and the pid file.
//!
//! The lock is an `flock` on `<data root>/lock`: it goes with the process, however that ends, so nothing stale can remain. The pid file is
//! for people and service managers; a stale one is replaced.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};

/// Why this daemon may not start beside another.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another daemon has the data root.
    #[error("another daemon (pid {pid}) uses the data root {}: stop it, or give this one --data-root, --exec-root and --host of its own", path.display())]
    Held {
        /// The data root.
        path: PathBuf,
        /// As the other one wrote it down.
        pid: String,
    },
    /// A file cannot be made.
    #[error("cannot write {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The pid file names a living process.
    #[error("process with PID {pid} is still running ({})", path.display())]
    Running {
        /// The pid file.
        path: PathBuf,
        /// Its content.
        pid: i32,
    },
}

/// How long a lock is waited for whose holder is dead already.
const DYING: Duration = Duration::from_secs(2);

/// Whether a process runs a program: one that was killed does not, even while its entry is still there.
fn runs(pid: i32) -> bool {
    let program = std::fs::read_link(Path::new("/proc").join(pid.to_string()).join("exe"));
    // Any other refusal than this comes from a process that is there.
    !program.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

/// The data root, held while this lives.
pub struct RootLock {
    _file: File,
}

impl RootLock {
    /// Makes the root if it is missing, and takes it.
    pub fn take(root: &Path) -> Result<Self, LockError> {
        let path = root.join("lock");
        let failed = |source| LockError::File { path: path.clone(), source };
        std::fs::DirBuilder::new().recursive(true).mode(0o711).create(root).map_err(failed)?;
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(failed)?;
        let deadline = Instant::now() + DYING;
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    let mut pid = String::new();
                    let _ = file.rewind().and_then(|()| file.read_to_string(&mut pid));
                    let pid = pid.trim();
                    if Instant::now() > deadline || pid.parse().is_ok_and(runs) {
                        return Err(LockError::Held { path: root.to_owned(), pid: pid.to_owned() });
                    }
                    // A killed daemon holds the lock until the kernel has closed its files.
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(error) => return Err(failed(error.into())),
            }
        }
        // On a full disk the number is missing, and nothing else is wrong.
        let _ = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(Self { _file: file })
    }
}

/// The pid file, removed when this is dropped.
pub struct PidFile {
    path: PathBuf,
}

impl PidFile {
    /// Writes the file; refuses when it names a living process that is not this one.
    pub fn write(path: &Path) -> Result<Self, LockError> {
        let failed = |source| LockError::File { path: path.to_owned(), source };
        if let Ok(text) = std::fs::read_to_string(path)
            && let Ok(pid) = text.trim().parse::<i32>()
            && pid as u32 != std::process::id()
            && runs(pid)
        {
            return Err(LockError::Running { path: path.to_owned(), pid });
        }
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        std::fs::write(path, std::process::id().to_string()).map_err(failed)?;
        Ok(Self { path: path.to_owned() })
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_is_taken_once() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        let lock = RootLock::take(&root).unwrap();
        let Err(LockError::Held { pid, .. }) = RootLock::take(&root) else { panic!("taken twice") };
        assert_eq!(pid, std::process::id().to_string());
        drop(lock);
        RootLock::take(&root).unwrap();
    }

    #[test]
    fn a_stale_pid_file_is_replaced_and_a_living_one_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pid");
        std::fs::write(&path, "999999999").unwrap();
        let file = PidFile::write(&path).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), std::process::id().to_string());
        drop(file);
        assert!(!path.exists());
        std::fs::write(&path, "1").unwrap();
        assert!(matches!(PidFile::write(&path), Err(LockError::Running { pid: 1, .. })));
    }
}
