//! Which files of a tree a source of COPY or ADD names.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use corten_dockerfile::path_match;
use corten_sys::path::Root;
use rustix::fs::{Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

/// A file or directory that a source names.
#[derive(Debug)]
pub struct Selected {
    /// Its path below the tree's root, clean, without a leading slash; `.` is the root.
    pub path: String,
    /// What it is, links followed inside the tree.
    pub stat: Stat,
    /// The place, as `O_PATH`.
    pub location: OwnedFd,
}

impl Selected {
    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        FileType::from_raw_mode(self.stat.st_mode) == FileType::Directory
    }

    /// The last name of its path; empty for the root.
    pub fn name(&self) -> &str {
        match self.path.rsplit('/').next() {
            Some(".") | None => "",
            Some(name) => name,
        }
    }
}

/// Why a source names nothing.
#[derive(Debug, thiserror::Error)]
pub enum SelectError {
    /// No such file. Docker's text for a path of the context has more in front.
    #[error("stat {path}: file does not exist")]
    NotFound {
        /// The source.
        path: String,
    },
    /// The path leaves the tree, or runs in circles.
    #[error("forbidden path outside the build context: {path} ({path})")]
    Forbidden {
        /// The source.
        path: String,
    },
    /// The pattern is none.
    #[error("{pattern}: {source}")]
    Pattern {
        /// The source.
        pattern: String,
        /// What is wrong.
        source: path_match::BadPattern,
    },
    /// The tree could not be read.
    #[error("could not read {path}: {source}")]
    Read {
        /// Where.
        path: String,
        /// Why.
        source: std::io::Error,
    },
}

/// The path below the root that a source means: no leading slash, `.` and `..` resolved as at the root.
pub fn relative(source: &str) -> String {
    let clean = path_match::clean(&format!("/{source}"));
    match clean.trim_start_matches('/') {
        "" => ".".into(),
        path => path.into(),
    }
}

/// What `source` names in the tree `root`: one place, or all that a pattern matches, ordered by name.
pub fn select(root: BorrowedFd<'_>, source: &str) -> Result<Vec<Selected>, SelectError> {
    if !path_match::has_wildcards(source) {
        return Ok(vec![locate(root, &relative(source))?]);
    }
    let pattern = relative(source);
    path_match::matches(&pattern, "")
        .map_err(|source| SelectError::Pattern { pattern: pattern.clone(), source })?;
    let components: Vec<&str> = pattern.split('/').collect();
    let mut found = Vec::new();
    // One level after the other: a wildcard never matches a slash, so names are matched component by component.
    let mut level = vec![String::new()];
    for component in components {
        let mut next = Vec::new();
        for parent in &level {
            for name in names(root, parent)? {
                if path_match::matches(component, &name) == Ok(true) {
                    next.push(if parent.is_empty() { name } else { format!("{parent}/{name}") });
                }
            }
        }
        level = next;
    }
    for path in level {
        match locate(root, &path) {
            // A link that leads nowhere matches, and there is nothing to copy.
            Err(SelectError::NotFound { .. }) => {}
            other => found.push(other?),
        }
    }
    Ok(found)
}

/// The place `path` below `root`, links followed inside the tree.
fn locate(root: BorrowedFd<'_>, path: &str) -> Result<Selected, SelectError> {
    let failed = |source: std::io::Error| match Errno::from_io_error(&source) {
        Some(Errno::NOENT | Errno::NOTDIR) => SelectError::NotFound { path: path.into() },
        Some(Errno::LOOP | Errno::XDEV) => SelectError::Forbidden { path: path.into() },
        _ => SelectError::Read { path: path.into(), source },
    };
    let location = Root::new(root).locate(path).map_err(failed)?;
    let stat = rustix::fs::fstat(&location).map_err(|errno| failed(errno.into()))?;
    Ok(Selected { path: path.into(), stat, location })
}

/// The names in a directory that is no link, ordered; none where it is something else.
fn names(root: BorrowedFd<'_>, path: &str) -> Result<Vec<String>, SelectError> {
    let Ok(directory) = Root::new(root).locate_without_links(path) else { return Ok(Vec::new()) };
    match list(directory.as_fd()) {
        Ok(names) => Ok(names.into_iter().filter_map(|name| name.into_string().ok()).collect()),
        Err(Errno::NOTDIR) => Ok(Vec::new()),
        Err(errno) => Err(SelectError::Read { path: path.into(), source: errno.into() }),
    }
}

/// All names in a directory but `.` and `..`, ordered by bytes.
pub(crate) fn list(directory: BorrowedFd<'_>) -> Result<Vec<std::ffi::OsString>, Errno> {
    use std::os::unix::ffi::OsStringExt;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let readable = rustix::fs::openat(directory, ".", flags, Mode::empty())?;
    let mut names = Vec::new();
    for entry in Dir::new(readable)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(std::ffi::OsString::from_vec(name));
        }
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(root: &std::path::Path, source: &str) -> Result<Vec<String>, String> {
        let root = std::fs::File::open(root).unwrap();
        let selected = select(root.as_fd(), source).map_err(|error| error.to_string())?;
        Ok(selected.into_iter().map(|selected| selected.path).collect())
    }

    #[test]
    fn sources_are_paths_or_patterns_below_the_root() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        std::fs::create_dir_all(root.join("src/deep")).unwrap();
        for name in ["a.txt", "b.txt", "c.md", "src/a.rs", "src/deep/b.rs"] {
            std::fs::write(root.join(name), name).unwrap();
        }
        std::os::unix::fs::symlink("/etc/passwd", root.join("out")).unwrap();
        std::os::unix::fs::symlink("/a.txt", root.join("in")).unwrap();
        std::os::unix::fs::symlink("loop", root.join("loop")).unwrap();
        assert_eq!(paths(root, "a.txt"), Ok(vec!["a.txt".into()]));
        assert_eq!(paths(root, "/./src/../a.txt"), Ok(vec!["a.txt".into()]));
        assert_eq!(paths(root, "../../a.txt"), Ok(vec!["a.txt".into()]));
        assert_eq!(paths(root, "."), Ok(vec![".".into()]));
        assert_eq!(paths(root, "*.txt"), Ok(vec!["a.txt".into(), "b.txt".into()]));
        assert_eq!(paths(root, "s*/*.rs"), Ok(vec!["src/a.rs".into()]));
        assert_eq!(paths(root, "*.nothing"), Ok(vec![]));
        assert_eq!(paths(root, "in"), Ok(vec!["in".into()]));
        assert_eq!(paths(root, "out"), Err("stat out: file does not exist".into()));
        assert_eq!(paths(root, "none"), Err("stat none: file does not exist".into()));
        assert!(paths(root, "loop").unwrap_err().starts_with("forbidden path"));
        assert!(paths(root, "[").unwrap_err().contains("syntax error in pattern"));
    }
}
