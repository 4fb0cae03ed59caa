//! The firewall: what containers' networks need of the host's packet filter, in one nf_tables table of ours.
//!
//! ```text
//!              nat prerouting ┐                         ┌ forward ── same bridge ─▶ within
//!  outside ──▶                ├▶ publish (DNAT by maps) ─┤
//!  this host ─▶ nat output    ┘                         └ nat postrouting: masquerade outbound, hairpin, 127.0.0.1
//! ```
//!
//! Rules never change: bridges and published ports are elements of sets and maps ([`Rules`] says which). So starting a
//! container adds elements in one netlink transaction, and stopping it removes them.
//!
//! - [`plan`] is pure: state to [`Plan`], which prints as nft's own text. [`Firewall`] carries plans out.
//! - The table is replaced as a whole, atomically, when the daemon starts and whenever a change does not apply (because
//!   somebody flushed the rules): what should be there is always known.
//! - Somebody who flushes or changes our table is heard ([`Firewall::guard`]) and the table is made again.
//! - Several daemons live side by side: each has a table of its own name and decides only about its own bridges.
//! - Nobody outside reaches a container's port that is not published, by whatever route: the forward chain drops it.
//! - A published port is reached from 127.0.0.1 without a proxy: the bridge routes loopback addresses
//!   (`route_localnet`), the source is masqueraded, and nothing that comes *from* a bridge may use such addresses.
//!
//! It does not touch anybody else's tables; whether those drop our traffic is told by [`foreign_drops`].

mod apply;
mod foreign;
mod plan;
mod rule;
mod rules;

pub use apply::{Firewall, FirewallError};
pub use foreign::{ForeignDrop, foreign_drops};
pub use plan::{Plan, plan_all, plan_bridge, plan_ports};
pub use rules::{BridgeRules, Protocol, PublishedPort, Rules};
