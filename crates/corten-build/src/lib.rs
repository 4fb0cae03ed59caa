//! corten-build
