//! Whether the machine went down since the store was opened last.
//!
//! The kernel's boot id is kept beside the database. Whether the machine was stopped in an orderly way is not asked: the
//! look that follows costs less than being wrong.

use std::path::Path;

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

fn current() -> Option<String> {
    std::fs::read_to_string(BOOT_ID).ok()
}

/// Whether the store was opened before, and in another boot.
pub(crate) fn was_lost(path: &Path) -> bool {
    std::fs::read_to_string(path).is_ok_and(|old| Some(old) != current())
}

/// Notes the current boot. A note that cannot be written only makes the next start look through the store once more.
pub(crate) fn remember(path: &Path) {
    let Some(current) = current() else { return };
    if std::fs::read_to_string(path).is_ok_and(|old| old == current) {
        return;
    }
    if let Err(error) = std::fs::write(path, current) {
        tracing::debug!(%error, "could not note the boot");
    }
}
