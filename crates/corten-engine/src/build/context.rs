//! Build contexts on disk: unpacked below the data root's `tmp/`, removed with their build.

use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use corten_build::Context;
use corten_types::{ErrorKind, Kind, random_hex};

use crate::config::Paths;

/// What the names of contexts begin with.
const PREFIX: &str = "context-";

/// Why an archive is no context.
#[derive(Debug, thiserror::Error)]
pub enum ContextArchiveError {
    /// The archive is broken, or leads out of its directory.
    #[error("Error processing tar file: {0}")]
    Archive(#[from] corten_archive::ApplyError),
    /// The disk failed.
    #[error("could not take in the build context: {0}")]
    Io(#[from] std::io::Error),
}

impl Kind for ContextArchiveError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Archive(_) => ErrorKind::InvalidArgument,
            Self::Io(_) => ErrorKind::Internal,
        }
    }
}

/// A context on disk. Dropped, its files go.
pub struct UnpackedContext {
    files: Arc<Context>,
    path: PathBuf,
}

impl UnpackedContext {
    /// The files.
    pub fn files(&self) -> Arc<Context> {
        self.files.clone()
    }
}

impl Drop for UnpackedContext {
    fn drop(&mut self) {
        remove_in_background(std::mem::take(&mut self.path));
    }
}

fn remove_in_background(path: PathBuf) {
    let remove = move || {
        if let Err(error) = std::fs::remove_dir_all(&path) {
            tracing::warn!(path = %path.display(), %error, "a build context stays until the next start");
        }
    };
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) => drop(runtime.spawn_blocking(remove)),
        Err(_) => remove(),
    }
}

/// A directory that goes unless it is kept.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.0.as_os_str().is_empty() {
            remove_in_background(std::mem::take(&mut self.0));
        }
    }
}

pub(super) async fn unpack(
    paths: &Paths,
    archive: impl Read + Send + 'static,
) -> Result<UnpackedContext, ContextArchiveError> {
    let path = paths.tmp().join(format!("{PREFIX}{}", random_hex(8)));
    let work = move || -> Result<UnpackedContext, ContextArchiveError> {
        use std::os::unix::fs::DirBuilderExt;
        std::fs::DirBuilder::new().mode(0o700).create(&path)?;
        let mut scratch = Scratch(path);
        let root = std::fs::File::open(&scratch.0)?;
        let mut plain = corten_archive::decompress(BufReader::with_capacity(256 << 10, archive))?;
        let options = corten_archive::ApplyOptions::copy(corten_archive::Limits::for_disk(&root));
        corten_archive::unpack(&root, b"/", &mut plain, &options)?;
        let files = Arc::new(Context::new(root.into()));
        Ok(UnpackedContext { files, path: std::mem::take(&mut scratch.0) })
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(unpacked) => unpacked,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// Removes what a killed daemon left.
pub(super) fn remove_leftovers(paths: &Paths) {
    let Ok(entries) = std::fs::read_dir(paths.tmp()) else { return };
    let leftovers = entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(PREFIX));
    for entry in leftovers {
        remove_in_background(Path::new(&entry.path()).to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(root: &Path) -> Paths {
        let paths = Paths { data_root: root.join("data"), exec_root: root.join("exec") };
        std::fs::create_dir_all(paths.tmp()).unwrap();
        paths
    }

    #[tokio::test]
    async fn an_archive_becomes_files_and_goes_with_its_owner() {
        let dir = tempfile::tempdir().unwrap();
        let paths = paths(dir.path());
        let mut writer = corten_archive::Writer::new(Vec::new());
        let mut entry = corten_archive::Entry::new("Dockerfile", corten_archive::EntryKind::File, 0o644);
        entry.size = 6;
        writer.append(&entry, &mut &b"FROM x"[..]).unwrap();
        let tar = writer.finish().unwrap();
        let context = unpack(&paths, std::io::Cursor::new(tar)).await.unwrap();
        assert_eq!(context.files().dockerfile("").unwrap().1, b"FROM x");
        drop(context);
        let broken = unpack(&paths, &b"this is no tar archive, but it is long enough to be read"[..]).await;
        assert!(broken.is_err());
        // Removal happens on another thread.
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while std::fs::read_dir(paths.tmp()).unwrap().next().is_some() {
            assert!(std::time::Instant::now() < deadline, "contexts stay");
            tokio::task::yield_now().await;
        }
    }
}
