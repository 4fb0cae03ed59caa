//! Ports of the host: who has which, and the proof that nobody else listens there.
//!
//! A published port is leased: no other container gets it, and a socket of ours stays bound to it, so that a program
//! of the host that wants it learns so at once, and a container is refused a port that such a program has. The rules
//! of the firewall see packets before these sockets do; only what no rule can redirect (IPv6 to a container without
//! IPv6, `::1`, or a host without rules) arrives there and is carried over by a task of the daemon.

mod allocator;
mod request;

pub use allocator::{HeldPort, PortError, Ports};
pub use request::{HostPort, PortRequest, PortSyntaxError, parse_port_key};
