//! The build context: a directory of strangers' files, read only beneath its descriptor.

use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use corten_dockerfile::ignore::{IgnoreError, Patterns};
use corten_sys::path::Root;
use corten_types::{ErrorKind, Kind};
use rustix::fs::{AtFlags, FileType, OFlags};
use rustix::io::Errno;

/// The name of the Dockerfile where none is given.
pub const DOCKERFILE: &str = "Dockerfile";

/// The largest Dockerfile or ignore file that is read.
const FILE_LIMIT: u64 = 16 << 20;

/// Why a context cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    /// There is no such Dockerfile.
    #[error("Cannot locate specified Dockerfile: {name}")]
    NoDockerfile {
        /// The name.
        name: String,
    },
    /// The Dockerfile has no bytes.
    #[error("the Dockerfile ({name}) cannot be empty")]
    EmptyDockerfile {
        /// The name.
        name: String,
    },
    /// The name leads out of the context, or in circles.
    #[error("forbidden path outside the build context: {name} ()")]
    Forbidden {
        /// The name.
        name: String,
    },
    /// A file is no regular one, or too large.
    #[error("{name} in the build context is not a regular file of at most 16 MiB")]
    NotAFile {
        /// The name.
        name: String,
    },
    /// `.dockerignore` cannot be meant.
    #[error("error reading .dockerignore: {0}")]
    Ignore(#[from] IgnoreError),
    /// The disk failed.
    #[error("could not read {name} of the build context: {source}")]
    Read {
        /// The name.
        name: String,
        /// Why.
        source: std::io::Error,
    },
}

impl Kind for ContextError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Read { .. } => ErrorKind::Internal,
            _ => ErrorKind::InvalidArgument,
        }
    }
}

/// A build context.
#[derive(Debug)]
pub struct Context {
    root: OwnedFd,
}

impl Context {
    /// The files in the directory `root`.
    pub fn new(root: OwnedFd) -> Self {
        Self { root }
    }

    /// The directory.
    pub fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// The Dockerfile `name` (empty: the default one, in lower case too) and the name it was found by.
    ///
    /// Then takes the Dockerfile and the ignore file themselves out of the context where the ignore file says so: a
    /// client sends both in any case.
    pub fn dockerfile(&self, name: &str) -> Result<(String, Vec<u8>), ContextError> {
        let wanted = if name.is_empty() { DOCKERFILE } else { name };
        let lower = wanted.to_ascii_lowercase();
        let (name, content) = match self.read(wanted)? {
            Some(content) => (wanted, content),
            None if wanted == DOCKERFILE => match self.read(&lower)? {
                Some(content) => (lower.as_str(), content),
                None => return Err(ContextError::NoDockerfile { name: lower }),
            },
            None => return Err(ContextError::NoDockerfile { name: wanted.into() }),
        };
        if content.is_empty() {
            return Err(ContextError::EmptyDockerfile { name: name.into() });
        }
        if let Some(ignore) = self.read(".dockerignore")? {
            let patterns = Patterns::parse(&ignore)?;
            for file in [".dockerignore", name] {
                if patterns.excludes(file) {
                    self.remove(file)?;
                }
            }
        }
        Ok((name.into(), content))
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, ContextError> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let failed = |source: std::io::Error| match Errno::from_io_error(&source) {
            Some(Errno::LOOP | Errno::XDEV) => ContextError::Forbidden { name: name.into() },
            _ => ContextError::Read { name: name.into(), source },
        };
        let file = match Root::new(self.root()).open(name, flags) {
            Ok(file) => file,
            Err(error) => match Errno::from_io_error(&error) {
                Some(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
                Some(Errno::NXIO) => return Err(ContextError::NotAFile { name: name.into() }),
                _ => return Err(failed(error)),
            },
        };
        let stat = rustix::fs::fstat(&file).map_err(|errno| failed(errno.into()))?;
        let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        if !regular || u64::try_from(stat.st_size).is_ok_and(|size| size > FILE_LIMIT) {
            return Err(ContextError::NotAFile { name: name.into() });
        }
        let mut content = Vec::new();
        std::fs::File::from(file).take(FILE_LIMIT).read_to_end(&mut content).map_err(failed)?;
        Ok(Some(content))
    }

    fn remove(&self, name: &str) -> Result<(), ContextError> {
        let failed = |source| ContextError::Read { name: name.into(), source };
        let place = Root::new(self.root()).place(name).map_err(failed)?;
        match rustix::fs::unlinkat(&place.parent, &place.name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT | Errno::ISDIR) => Ok(()),
            Err(errno) => Err(failed(errno.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(files: &[(&str, &str)]) -> (tempfile::TempDir, Context) {
        let dir = tempfile::tempdir().unwrap();
        for (name, content) in files {
            std::fs::write(dir.path().join(name), content).unwrap();
        }
        let root = std::fs::File::open(dir.path()).unwrap();
        (dir, Context::new(root.into()))
    }

    #[test]
    fn the_default_dockerfile_may_be_in_lower_case() {
        let (_dir, found) = context(&[("dockerfile", "FROM x")]);
        assert_eq!(found.dockerfile("").unwrap(), ("dockerfile".into(), b"FROM x".to_vec()));
        let (_dir, none) = context(&[]);
        assert_eq!(
            none.dockerfile("").unwrap_err().to_string(),
            "Cannot locate specified Dockerfile: dockerfile"
        );
        assert_eq!(
            none.dockerfile("Other").unwrap_err().to_string(),
            "Cannot locate specified Dockerfile: Other"
        );
        let (_dir, empty) = context(&[("Dockerfile", "")]);
        assert_eq!(
            empty.dockerfile("").unwrap_err().to_string(),
            "the Dockerfile (Dockerfile) cannot be empty"
        );
    }

    #[test]
    fn an_ignore_file_may_take_itself_and_the_dockerfile_out() {
        let (dir, ignoring) = context(&[("Dockerfile", "FROM x"), (".dockerignore", "*\n"), ("kept", "")]);
        ignoring.dockerfile("").unwrap();
        let left: Vec<_> =
            std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["kept"]);
    }

    #[test]
    fn nothing_outside_is_read() {
        let (dir, linked) = context(&[]);
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("Dockerfile")).unwrap();
        assert!(matches!(linked.dockerfile(""), Err(ContextError::NoDockerfile { .. })));
        assert!(matches!(
            linked.dockerfile("../../../../etc/passwd"),
            Err(ContextError::NoDockerfile { .. })
        ));
        assert!(matches!(linked.dockerfile("/"), Err(ContextError::NotAFile { .. })));
    }
}
