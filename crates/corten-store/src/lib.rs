//! What the daemon keeps: content, images, snapshots, and small durable records, in one transaction domain.
//!
//! `records` is usable on its own. The rest hangs together in [`Store`].

mod database;
pub mod records;

pub use database::{DatabaseError, Durability};
pub use records::Records;
