//! The monitor of a container: the parent of its processes, which outlives the daemon.
//!
//! ```text
//!  daemon ◀── protocol ──▶ monitor ──▶ runtime (create, exec)
//!                            │  stdio of init and execs
//!                            ├──▶ log            the local file
//!                            ├──▶ clients        attached sockets, framed, spooled when slow
//!                            └──▶ exit.json      how it ended
//! ```
//!
//! This library holds the [`protocol`] and the parts; the binary `corten-shim <id> <directory>` is the monitor.

pub mod clock;
pub mod init;
pub mod log;
pub mod monitor;
pub mod protocol;
