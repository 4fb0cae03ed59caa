//! Routes of the registry area.

use crate::Router;

/// Registers them.
pub fn routes(_r: &mut Router) {}
