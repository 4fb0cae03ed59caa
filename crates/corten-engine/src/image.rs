//! Images: list, inspect, load, save, tag, remove, history, prune.

/// The images of this engine.
pub struct Images {}
