//! Container networks: addresses, bridges, published ports, the firewall, names.
//!
//! ```text
//! pure      ipam      ports::request    firewall::plan    dns::answer    files
//! effects   bridge    ports::Ports      firewall::apply   dns::Server    sandbox   netns   proxy
//! ```
//!
//! Invariants:
//! - Decisions are values that tests compare; effects are thin and by system call, nothing executes a program.
//! - Whatever is made carries a name that says whose it is; whoever holds the value that made it can undo it.
//! - Only threads made for it enter another network namespace; the daemon's never do.
//!
//! It knows no containers and keeps no records: the engine says what should be, and remembers.

pub mod bridge;
pub mod dns;
pub mod files;
pub mod firewall;
pub mod ipam;
pub mod netns;
pub mod ports;
pub mod proxy;
pub mod sandbox;
