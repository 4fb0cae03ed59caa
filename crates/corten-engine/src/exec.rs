//! Processes executed in running containers.

/// The exec instances of this engine.
pub struct Execs {}
