//! Commands on volumes.

pub mod create;
pub mod ls;
pub mod prune;
pub mod rm;
