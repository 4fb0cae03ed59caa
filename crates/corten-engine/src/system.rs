//! What the daemon knows and tells about itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;

use crate::config::Live;
use crate::events::Events;

/// The daemon as such.
pub struct System {
    live: RwLock<Arc<Live>>,
}

impl System {
    /// With the settings of the start.
    pub fn new(live: Live) -> Self {
        Self { live: RwLock::new(Arc::new(live)) }
    }

    /// The settings that a reload changes, as they are now.
    pub fn live(&self) -> Arc<Live> {
        self.live.read().clone()
    }

    /// Changes them, and tells so.
    pub fn reload(&self, live: Live, events: &Events) {
        let attributes = BTreeMap::from([
            ("debug".to_owned(), live.debug.to_string()),
            ("insecure-registries".to_owned(), list(&live.insecure_registries)),
            ("labels".to_owned(), list(&live.labels)),
            ("live-restore".to_owned(), live.live_restore.to_string()),
            ("registry-mirrors".to_owned(), list(&live.registry_mirrors)),
            ("shutdown-timeout".to_owned(), live.shutdown_timeout.to_string()),
        ]);
        *self.live.write() = Arc::new(live);
        events.emit("daemon", "reload", "", attributes);
    }
}

fn list(values: &[String]) -> String {
    serde_json::to_string(values).unwrap_or_default()
}
