//! corten-server
