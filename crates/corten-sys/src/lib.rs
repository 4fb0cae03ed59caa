//! corten-sys
