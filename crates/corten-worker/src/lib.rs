//! The confined process for bytes of strangers: a layer is inflated, parsed and unpacked here, not in the daemon.
//!
//! ```text
//!   daemon: Workers::unpack                            corten-worker (the same program, executed by that name)
//!     socket pair ── request, tree, blob ──────────────>  takes three descriptors, nothing else
//!                                                         confine: root = the tree, five capabilities, limits, seccomp
//!     bytes that have arrived meanwhile ───────────────>  follows the growing blob
//!     outcome <──────────────────────────────────────────  inflates, hashes, unpacks; ends
//! ```
//!
//! Invariants:
//!
//! - The worker sees the tree, the blob, and one socket: no path outside the tree has a name for it, and the system calls
//!   that make sockets, processes, mounts or descriptors of others are refused.
//! - What it answers is a stranger's word too: paths in it are only ever resolved beneath the tree, its length is limited.
//! - It dies with the thread that waits for it, so no worker writes into a tree that a later daemon has taken over.
//!
//! Not here: what a layer is put on top of, and what becomes of the tree.

mod confine;
mod inside;
mod outside;
mod protocol;

pub use inside::main;
pub use outside::Workers;

/// The name by which the program knows that it is to be a worker.
pub const NAME: &str = "corten-worker";
