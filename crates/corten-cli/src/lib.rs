//! corten-cli
