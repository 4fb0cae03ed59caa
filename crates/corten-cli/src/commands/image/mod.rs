//! Commands on images.

pub mod build;
pub mod copy;
pub mod history;
pub mod import;
pub mod load;
pub mod ls;
pub mod prune;
pub mod pull;
pub mod push;
pub mod rm;
pub mod save;
pub mod tag;
