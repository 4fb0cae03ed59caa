//! corten-store
