//! A registry: the server side of distribution-spec 1.1, on the content store.
//!
//! ```text
//!  http      connections, paths, ranges          auth     who asks, what they may do
//!  api       what each endpoint does             cache    repositories of other registries
//!  uploads   blobs on their way in               collect  the way out, by rules of retention
//!  catalog   what the repositories hold          storage  content and rows, in step
//! ```
//!
//! Invariants:
//! - Nothing is served that lacks the digest it is served by; a tag never points at what is not there whole.
//! - A process that is killed anywhere leaves nothing half visible, and nothing that the next start does not remove.
//! - Names, digests, ranges and documents are parsed once, with limits, before anything is done. A client's mistake is
//!   never a 5xx.
//!
//! Not here: containers, images as the engine sees them, unpacking. The engine never calls this crate; the binary runs
//! it as a program of its own.

mod access_log;
mod api;
mod auth;
mod cache;
mod catalog;
mod collect;
mod config;
mod digest;
mod document;
mod error;
mod flags;
mod http;
mod metrics;
mod name;
mod retention;
mod run;
mod server;
mod storage;
mod time;
mod tls;
mod uploads;

pub use access_log::Destination;
pub use config::{ConfigError, Given, Settings};
pub use run::{Registry, ServeError, main};
