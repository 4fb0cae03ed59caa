//! The files a monitor leaves for the daemon, in a directory on tmpfs: whole or not at all.

use std::fs;
use std::io;
use std::path::Path;

use serde::Serialize;

/// Writes `name` in `directory` so that a reader sees the old or the new content, never a part.
pub(super) fn write(directory: &Path, name: &str, content: &impl Serialize) -> io::Result<()> {
    let temporary = directory.join(format!(".{name}.new"));
    fs::write(&temporary, serde_json::to_vec(content)?)?;
    fs::rename(&temporary, directory.join(name))
}

/// Removes a file; that it is not there is fine.
pub(super) fn remove(directory: &Path, name: &str) {
    fs::remove_file(directory.join(name)).ok();
}
