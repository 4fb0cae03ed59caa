//! The use cases of the daemon: containers, exec, logs, images, builds, networks, volumes, events.
//!
//! ```text
//!  routes (corten-server)
//!     │ typed requests, no HTTP below this line
//!     ▼
//!  Engine ── containers ── execs, attachments, logs ──▶ shim (one process per container)
//!     │          │
//!     │          ├── networks ▶ corten-net     ├── volumes
//!     │          └── images ▶ corten-store     └── events
//!     └── builds ▶ corten-build
//! ```
//!
//! Invariants: every container has one owner task through which all changes go; readers see immutable snapshots and
//! never wait for it. What was acknowledged is in the records before the answer. A kernel object is named after the
//! container it belongs to, and its intent is recorded before it is made.
//!
//! No HTTP and no JSON names here: the wire types of `corten-api` appear only as the newest shape of a request.

mod apparmor;
pub mod attach;
pub mod build;
pub mod config;
pub mod container;
pub mod events;
pub mod exec;
pub mod image;
pub mod logs;
pub mod network;
mod ready;
pub mod runtimes;
pub mod shim;
pub mod system;
pub mod time;
pub mod userns;
pub mod volume;

mod engine;

pub use config::{EngineConfig, Paths};
pub use corten_store as store;
pub use engine::{Engine, OpenError};
