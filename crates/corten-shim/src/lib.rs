//! The monitor of a container: the parent of its processes, which outlives the daemon.
//!
//! This library holds the [`protocol`] that daemon and monitor speak; the binary `corten-shim` is the monitor.

pub mod protocol;
