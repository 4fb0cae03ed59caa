//! Whether the machine went down since the store was opened last.
//!
//! Two notes are compared: one beside the database, one in a folder that dies with the machine (the exec-root, on a
//! tmpfs). Whether the machine was stopped in an orderly way is not asked: the look that follows costs less than being
//! wrong. Without such a folder the kernel's boot id stands for it.

use std::path::{Path, PathBuf};

use corten_types::random_hex;

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// Name of the note in the folder that dies with the machine.
const NOTE: &str = "store-boot";

/// The two notes.
#[derive(Debug)]
pub(crate) struct Boot {
    kept: PathBuf,
    current: Option<String>,
}

impl Boot {
    /// The note at `kept`, and the one in `volatile`, which is made where there is none.
    pub(crate) fn new(kept: PathBuf, volatile: Option<&Path>) -> Self {
        let boot_id = std::fs::read_to_string(BOOT_ID).unwrap_or_default();
        let current = match volatile {
            None => Some(boot_id),
            Some(folder) => {
                let note = folder.join(NOTE);
                let found = std::fs::read_to_string(&note).ok().filter(|found| found.len() >= 32);
                found.or_else(|| {
                    let new = random_hex(16);
                    std::fs::write(note, &new).is_ok().then_some(new)
                })
            }
        };
        Self { kept, current }
    }

    /// Whether the store was opened before, and the machine was down since.
    pub(crate) fn was_lost(&self) -> bool {
        std::fs::read_to_string(&self.kept).is_ok_and(|kept| Some(kept) != self.current)
    }

    /// Notes the current boot. A note that cannot be written only makes the next start look through the store once more.
    pub(crate) fn remember(&self) {
        let Some(current) = &self.current else { return };
        if std::fs::read_to_string(&self.kept).is_ok_and(|kept| kept == *current) {
            return;
        }
        let written =
            std::fs::write(&self.kept, current).and_then(|()| std::fs::File::open(&self.kept)?.sync_all());
        if let Err(error) = written {
            tracing::debug!(%error, "could not note the boot");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_was_lost_when_what_dies_with_it_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let volatile = tempfile::tempdir().unwrap();
        let boot = || Boot::new(dir.path().join("boot"), Some(volatile.path()));
        assert!(!boot().was_lost(), "a new store");
        boot().remember();
        assert!(!boot().was_lost());
        std::fs::remove_file(volatile.path().join(NOTE)).unwrap();
        assert!(boot().was_lost());
        boot().remember();
        assert!(!boot().was_lost());
    }
}
