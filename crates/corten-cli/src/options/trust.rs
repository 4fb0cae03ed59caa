//! `--disable-content-trust=false` asks that images be verified by signatures, which nothing here does.

use crate::error::{Failure, Outcome};
use crate::parse::Matches;

/// Refuses to promise what is not done.
pub fn refuse_content_trust(m: &Matches) -> Outcome {
    if m.changed("disable-content-trust") && !m.on("disable-content-trust") {
        return Err(Failure::new(
            "content trust (--disable-content-trust=false) is not part of this version of Corten",
        ));
    }
    Ok(())
}
