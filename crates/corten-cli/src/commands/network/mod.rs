//! Commands on networks.

pub mod connect;
pub mod create;
pub mod ls;
pub mod prune;
pub mod rm;
