//! corten-shim
