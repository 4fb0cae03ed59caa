//! Containers: their states, and one file per verb of their life.

/// The containers of this engine.
pub struct Containers {}
