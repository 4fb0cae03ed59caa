//! The daemon's edge: sockets, HTTP, and the Engine API's routes over `corten-engine`.
//!
//! ```text
//! listener ─ connection ─ Router ─ handler ─ engine
//!            (hyper 1)     │         └ Response: plain, streamed, or Hijack (the raw connection)
//!                          └ version prefix, limits, origin checks, panics
//! ```
//!
//! What holds here:
//! - A handler decodes, calls the engine once or twice and encodes; it decides nothing.
//! - [`ApiError`] is the one place where an [`corten_types::ErrorKind`] becomes an HTTP status.
//! - A client's mistake is never a 5xx; what is missing answers 501 and names itself; a panic is a 500 and is counted.
//!
//! How to add a route: write `async fn name(req: Request) -> Result<Response, ApiError>` in `routes/<area>.rs` and register it in that
//! file's `routes` function.

pub mod daemon;
pub mod error;
pub mod http;
pub mod routes;
pub mod serve;

pub use error::ApiError;
pub use http::{ApiVersion, Hijack, Hijacked, Query, Request, RequestBody, Response, Router};
