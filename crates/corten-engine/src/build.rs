//! Builds: the executor of corten-build over shims and snapshots.

/// The builds of this engine.
pub struct Builds {}
