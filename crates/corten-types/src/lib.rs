//! The words every other crate speaks: ids, digests, image references, platforms and the kinds of error.
//!
//! Each type is made by one parser and proves, by existing, that its text was valid. Nothing here does I/O.

mod digest;
mod error_kind;
mod id;
mod platform;
mod reference;

pub use digest::{Digest, DigestError, Digester};
pub use error_kind::{ErrorKind, Kind};
pub use id::{ContainerId, ExecId, IdError, NetworkId, random_hex};
pub use platform::{Platform, PlatformError};
pub use reference::{Reference, ReferenceError};
