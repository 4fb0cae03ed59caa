//! Networks: bridge, host, none, and the sandboxes of containers.

/// The networks of this engine.
pub struct Networks {}
