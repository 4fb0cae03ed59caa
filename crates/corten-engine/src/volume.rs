//! Volumes: named and anonymous, the local driver.

/// The volumes of this engine.
pub struct Volumes {}
