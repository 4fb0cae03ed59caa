//! Netlink: several requests in one buffer, one `send`, and every answer checked.
//!
//! ```text
//! Batch ── message ── header, attributes, nested attributes
//!   │        └ one acknowledgement each, with the kernel's own words when it refuses
//!   ▼
//! Socket::transact       Socket::dump
//! ```
//!
//! A [`Socket`] belongs to the network namespace of the thread that opened it and can be used from any thread.
//! The kernel works synchronously: when `send` returns, all answers wait in the socket.
//! Interfaces, addresses and routes are in [`route`]; firewall tables in [`crate::nft`].

mod batch;
pub mod route;
mod socket;

pub(crate) use batch::messages;
pub use batch::{Attributes, Batch, attributes};
pub use socket::{NetlinkError, Protocol, Socket};
