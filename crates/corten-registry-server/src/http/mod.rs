//! HTTP/1.1 around the registry: connections, paths, ranges, answers.
//!
//! hyper frames everything but one thing: a blob that goes out over a plain connection is sent by the kernel from the
//! file to the socket ([`connection`]).

mod body;
pub mod connection;
mod query;
mod range;
mod reply;
mod route;
mod transport;

pub use query::{Query, encode};
pub use range::{Wanted, wanted};
pub use reply::{FilePart, Payload, Reply};
pub use route::{Route, Target};
