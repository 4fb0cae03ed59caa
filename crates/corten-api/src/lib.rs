//! The Docker Engine API's wire types, in the shape of its newest version we speak (1.51).
//!
//! One module per area of the API; field names, field order and the difference between `null`, `[]` and an
//! absent member are those of dockerd 28.5. Nothing here decides anything: requests are checked by the engine,
//! and older versions are lifted and lowered by the server.
//!
//! On input an unknown member is ignored and `null` means the default, as Go decodes JSON; see [`wire`].

#[macro_use]
pub mod wire;

pub mod container;
pub mod descriptor;
pub mod endpoint;
pub mod events;
pub mod exec;
pub mod filters;
pub mod image;
pub mod network;
pub mod progress;
pub mod system;
pub mod transfer;
pub mod volume;
