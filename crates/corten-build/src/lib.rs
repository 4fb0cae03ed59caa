//! Builds images from Dockerfiles: plan, cache, steps, image.
//!
//! ```text
//!  Request ─► plan (which stages) ─► for each stage, for each instruction:
//!               expand variables ─► history line + inputs ─► cache key ─► hit: take the layer
//!                                                                    └─► miss: do it, commit the layer, remember it
//!           ─► config + manifest ─► one intake ─► names
//! ```
//!
//! Invariants:
//! - what a step's result depends on is in its key ([`cache::key`]), so a hit is never wrong; times are not in it;
//! - a step that fails leaves no snapshot and no container; the steps before it stay usable from the cache;
//! - files of contexts, stages and images are reached only through descriptors of their roots ([`select`],
//!   [`transfer`]); nothing of them names a path on the host.
//!
//! Commands run through [`Executor`], base images come through [`ImageSource`]; both are the engine's. What is told on
//! the way are [`Event`]s; [`classic`] words them as Docker's builder does.
//!
//! Not here: the Dockerfile language (corten-dockerfile), registries, containers, HTTP.

pub mod args;
mod build;
pub mod cache;
pub mod commit;
mod context;
mod copying;
pub mod draft;
mod error;
mod executor;
pub mod expose;
pub mod fingerprint;
pub mod history;
pub mod owner;
pub mod plan;
mod progress;
mod running;
pub mod select;
mod stage;
pub mod transfer;

pub use build::{Builder, PARENT_LABEL, Removal, Request};
pub use context::{Context, ContextError, DOCKERFILE};
pub use error::{BuildError, CopyError, HostError};
pub use executor::{Executor, ImageSource, RunStep};
pub use progress::{Event, Output, Piece, Stream, classic};
