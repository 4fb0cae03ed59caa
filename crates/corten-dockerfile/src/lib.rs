//! corten-dockerfile
