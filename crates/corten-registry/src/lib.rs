//! A client of registries that speak the OCI distribution API (distribution-spec 1.1, Docker Registry HTTP API V2).
//!
//! ```text
//!  Client ── one per daemon: settings, connections
//!    ├─ Sources ── the mirrors of a repository, and the registry itself behind them
//!    └─ Repository ── one repository at one registry: credentials, token
//!         ├─ resolve, manifest, blob, tags            pull
//!         └─ has_blob, mount, upload, put_manifest    push
//! ```
//!
//! Invariants:
//! - Credentials go to the scheme, host and port they were given for, and to token servers of the same domain; never
//!   along a redirect, never over plain HTTP to a registry that is not insecure by name or on this machine.
//! - A public registry cannot send us to an address of this machine or link.
//! - Answers are read with limits. What a caller gets by digest it must still verify: blobs stream through unhashed,
//!   manifests by digest are verified here.
//!
//! - A busy or failing registry is asked again a few times, no longer than it says and than a user would wait.
//!
//! Not here: storing, unpacking, choosing a platform, progress lines, resuming a blob.

mod auth;
mod blob;
mod client;
mod endpoint;
mod error;
mod patience;
mod proxy;
mod push;
mod repository;
mod search;
mod settings;
mod sources;
mod tls;
mod transport;
mod upload;

pub use auth::{Auth, decode_header};
pub use blob::Blob;
pub use client::Client;
pub use endpoint::{Endpoint, is_insecure};
pub use error::RegistryError;
pub use proxy::{Proxies, ProxyError, Told};
pub use repository::{Document, Repository, Resolved};
pub use search::{Found, SearchResults};
pub use settings::Settings;
pub use sources::Sources;
pub use upload::{Upload, Uploaded};
