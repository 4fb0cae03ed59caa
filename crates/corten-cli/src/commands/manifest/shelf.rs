//! The lists that are being made: `manifests/<list>/<manifest>` beside the configuration, one JSON file each.

use std::path::PathBuf;

use corten_types::Reference;

use super::entry::Entry;
use crate::error::{Failure, Outcome};
use crate::session::Session;

/// The folder of lists.
pub struct Shelf {
    root: PathBuf,
}

impl Shelf {
    /// The lists of the user.
    pub fn of(session: &Session) -> Self {
        Self { root: session.config.directory().join("manifests") }
    }

    /// A manifest of a list; `None` where it is not there.
    pub fn get(&self, list: &Reference, manifest: &Reference) -> Outcome<Option<Entry>> {
        read(&self.file(list, manifest))
    }

    /// The manifests of a list, in order of their names; `None` where there is no such list.
    pub fn list(&self, list: &Reference) -> Outcome<Option<Vec<Entry>>> {
        let entries = match std::fs::read_dir(self.folder(list)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Outcome<Vec<_>>>()?;
        paths.sort();
        paths.iter().filter_map(|path| read(path).transpose()).collect::<Outcome<Vec<_>>>().map(Some)
    }

    /// Keeps a manifest of a list.
    pub fn put(&self, list: &Reference, manifest: &Reference, entry: &Entry) -> Outcome {
        std::fs::create_dir_all(self.folder(list))?;
        let bytes = serde_json::to_vec(entry)
            .map_err(|error| Failure::new(format!("cannot write {manifest}: {error}")))?;
        Ok(std::fs::write(self.file(list, manifest), bytes)?)
    }

    /// Forgets a list.
    pub fn remove(&self, list: &Reference) -> Outcome {
        Ok(std::fs::remove_dir_all(self.folder(list))?)
    }

    fn folder(&self, list: &Reference) -> PathBuf {
        self.root.join(file_name(list))
    }

    fn file(&self, list: &Reference, manifest: &Reference) -> PathBuf {
        self.folder(list).join(file_name(manifest))
    }
}

/// docker's names, so that either command finds the other's lists.
fn file_name(reference: &Reference) -> String {
    reference.to_string().replace(':', "-").replace('/', "_")
}

fn read(path: &std::path::Path) -> Outcome<Option<Entry>> {
    match std::fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| Failure::new(format!("{}: {error}", path.display()))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// What docker says where a list or manifest is not there.
pub fn missing(reference: &Reference) -> Failure {
    Failure::new(format!("No such manifest: {reference}"))
}
