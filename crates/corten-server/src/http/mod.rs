//! HTTP/1.1 as the Engine API speaks it: requests, responses, routes, and connections taken over by a stream.

mod body;
mod go_json;
mod hijack;
mod query;
mod request;
mod response;
mod router;
mod version;

pub use body::{Body, BodyWriter, JsonLines};
pub use hijack::{Hijack, Hijacked};
pub use query::Query;
pub use request::{Request, RequestBody, RequestHead};
pub use response::Response;
pub use router::{Found, Route, Router};
pub use version::ApiVersion;

pub(crate) use go_json::shape::Shaped;
pub(crate) use hijack::Transport;
pub(crate) use response::Content;
