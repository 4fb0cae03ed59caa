//! What the daemon knows and tells about itself: identity, host, what a reload changes, warnings, counts.

mod host;
mod info;
mod usage;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use corten_types::random_hex;
use parking_lot::RwLock;

pub use host::{Cgroups, Host};
pub use info::VERSION;
pub use usage::{Counts, UsageError, Wanted};

use crate::config::Live;
use crate::events::Events;

/// The daemon as such.
pub struct System {
    id: String,
    host: Host,
    live: RwLock<Arc<Live>>,
    warnings: RwLock<BTreeMap<&'static str, Vec<String>>>,
}

impl System {
    /// With the settings of the start. The identity is the data root's: made once, kept there.
    pub fn new(live: Live, data_root: &Path) -> Self {
        Self {
            id: identity(data_root),
            host: Host::read(),
            live: RwLock::new(Arc::new(live)),
            warnings: RwLock::default(),
        }
    }

    /// Names this data root for ever, as a UUID.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The machine.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The settings that a reload changes, as they are now.
    pub fn live(&self) -> Arc<Live> {
        self.live.read().clone()
    }

    /// Changes them, and tells so.
    pub fn reload(&self, live: Live, events: &Events) {
        let attributes = BTreeMap::from([
            ("debug".to_owned(), live.debug.to_string()),
            ("default-runtime".to_owned(), live.runtimes.default.clone()),
            ("insecure-registries".to_owned(), list(&live.insecure_registries)),
            ("labels".to_owned(), list(&live.labels)),
            ("live-restore".to_owned(), live.live_restore.to_string()),
            ("name".to_owned(), self.host.name.clone()),
            ("registry-mirrors".to_owned(), list(&live.registry_mirrors)),
            ("runtimes".to_owned(), runtimes(&live)),
            ("shutdown-timeout".to_owned(), live.shutdown_timeout.to_string()),
        ]);
        *self.live.write() = Arc::new(live);
        events.emit("daemon", "reload", &self.id, attributes);
    }

    /// Replaces what `source` (a subsystem's name) has to warn about in `info`.
    pub fn warn(&self, source: &'static str, texts: Vec<String>) {
        self.warnings.write().insert(source, texts);
    }

    /// Everything that subsystems warn about, by their names' order.
    pub fn warnings(&self) -> Vec<String> {
        self.warnings.read().values().flatten().cloned().collect()
    }
}

/// `name:path` of the registered runtimes, as Docker tells them.
fn runtimes(live: &Live) -> String {
    let each = live.runtimes.registered.iter().map(|(name, runtime)| format!("{name}:{}", runtime.path));
    each.collect::<Vec<_>>().join(" ")
}

fn list(values: &[String]) -> String {
    serde_json::to_string(values).unwrap_or_default()
}

/// The UUID in `data_root/engine-id`, made when there is none. On a full disk it lasts as long as the process.
fn identity(data_root: &Path) -> String {
    let path = data_root.join("engine-id");
    if let Ok(text) = std::fs::read_to_string(&path)
        && text.trim().len() == 36
    {
        return text.trim().to_owned();
    }
    let id = uuid(&random_hex(16));
    if let Err(error) = std::fs::write(&path, &id) {
        tracing::warn!(path = %path.display(), %error, "the engine's id cannot be kept");
    }
    id
}

/// A random (version 4) UUID from 32 hexadecimal digits.
fn uuid(hex: &str) -> String {
    let variant = ["8", "9", "a", "b"][usize::from(hex.as_bytes()[16] & 3)];
    format!("{}-{}-4{}-{variant}{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..32])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_identity_is_a_uuid_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        let id = identity(dir.path());
        assert_eq!(identity(dir.path()), id);
        let parts: Vec<usize> = id.split('-').map(str::len).collect();
        assert_eq!(parts, [8, 4, 4, 4, 12]);
        assert_eq!(id.as_bytes()[14], b'4');
    }
}
