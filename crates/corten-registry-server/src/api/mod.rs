//! What each endpoint does (distribution-spec 1.1). Whether the caller may, was decided before.

pub mod blobs;
pub mod lists;
pub mod manifests;
pub mod referrers;
pub mod token;
pub mod uploads;
