//! Every command, and the tree that names them.

mod completion;
mod container;
mod context;
mod image;
mod inspect;
mod login;
mod manifest;
mod network;
mod search;
mod system;
mod tree;
mod volume;

pub use completion::candidates;
pub use tree::ROOT;
