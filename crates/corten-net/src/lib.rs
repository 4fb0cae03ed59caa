//! corten-net
