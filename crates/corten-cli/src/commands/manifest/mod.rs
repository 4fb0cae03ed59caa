//! Manifest lists: made here from manifests of a registry, kept beside the configuration, pushed as one.
//!
//! These commands speak to registries themselves, with the user's credentials; no daemon is asked.

pub mod annotate;
pub mod create;
mod entry;
pub mod inspect;
pub mod push;
mod remote;
pub mod rm;
mod shelf;

use corten_types::Reference;

use crate::error::{Failure, Outcome};

/// A reference with docker's defaults: a tag where there is no digest.
fn reference(text: &str) -> Outcome<Reference> {
    let reference: Reference = text.parse().map_err(|error| Failure::new(format!("{error}")))?;
    Ok(reference.or_latest())
}
