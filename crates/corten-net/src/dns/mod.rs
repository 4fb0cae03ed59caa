//! The resolver of containers on networks that somebody made: names of their neighbours, everything else forwarded.
//!
//! ```text
//! container ── 127.0.0.11:53 ── Server ── answer (pure): Directory + View
//!                                  └── upstream: the host's servers from the host, settings' servers from inside
//! ```
//!
//! The sockets are opened inside the container's network namespace and served by tasks of the daemon: no rule
//! redirects anything. A [`Directory`] knows who is on which network; a [`View`] is one container's part of it.
//!
//! - An answer is made from memory and never waits; only forwarded questions do, a bounded number at a time.
//! - A name of a neighbour is never asked for outside; a container whose networks are all internal asks nothing outside.
//! - TCP connections have deadlines and a task each; a broken frame ends its connection.
//! - The wire format is `hickory-proto`'s, the forwarded bytes are not interpreted.

mod answer;
mod directory;
mod server;
mod upstream;

pub use answer::{Answer, answer};
pub use directory::{Directory, NetworkNames, View};
pub use server::Server;
pub use upstream::Upstream;
