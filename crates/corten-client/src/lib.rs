//! A client of the Engine API: what the command line, compose and the tests speak to the daemon with.
//!
//! ```text
//!  Client ── Endpoint (unix · tcp · tls · ssh) ── connection (HTTP/1.1, kept while it is idle)
//!    │
//!    ├─ send      → Response: JSON, raw bytes, JSON lines
//!    └─ hijack    → Hijacked: both directions of an upgraded connection
//! ```
//!
//! It owns: finding the daemon, the version in the path, errors as people read them. It does not own: the shapes
//! of requests and answers (any serde type goes), retries, or anything printed.
//!
//! The version is negotiated only when it must be: requests go out with the newest version this client speaks,
//! and a daemon that answers that it is too new is asked again with the daemon's own. Requests whose body is a
//! stream cannot be repeated, so they ask `_ping` first where the version is not yet known.

mod body;
mod client;
mod connection;
mod endpoint;
mod error;
mod request;
mod response;
pub mod stdcopy;
mod tls;

pub use body::{Body, BodySender};
pub use client::{Client, Options, Ping, Product};
pub use connection::Hijacked;
pub use endpoint::{Endpoint, EndpointError};
pub use error::{Error, Result};
pub use request::{Request, encode_component};
pub use response::{JsonLines, Response};
pub use tls::TlsFiles;

/// The newest Engine API version this client speaks.
pub const NEWEST_API: &str = "1.51";
