//! corten-registry
