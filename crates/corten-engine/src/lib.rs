//! corten-engine
