//! Routes of the volumes area.

use crate::Router;

/// Registers them.
pub fn routes(_r: &mut Router) {}
