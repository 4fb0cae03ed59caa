//! Containers: their states, and one file per verb of their life.

pub mod caps;
pub mod host;
pub mod merge;
pub mod mounts;
pub mod name;
pub mod oci_spec;
pub mod signal;
pub mod state;
pub mod user;
pub mod validate;

/// The containers of this engine.
pub struct Containers {}
