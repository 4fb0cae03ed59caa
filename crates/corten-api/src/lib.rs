//! corten-api
