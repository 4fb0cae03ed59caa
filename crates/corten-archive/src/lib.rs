//! corten-archive
