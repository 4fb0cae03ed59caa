//! nf_tables: tables, chains, sets, maps and rules as values, sent as one transaction.
//!
//! A [`Transaction`] is all or nothing: the kernel carries out every change or none. Rules are lists of
//! [`Expression`]s, the kernel's own little machine: load into a register, compare or look up, act.
//!
//! Everything here is in family `inet` unless a list says otherwise. Nothing here knows what the rules are for.

mod expression;
mod list;
mod transaction;
mod watch;

pub use expression::{Comparison, CtKey, Expression, MetaKey, Verdict};
pub use list::{ForeignChain, chains_with_policy_drop, table_exists, table_mentions};
pub use transaction::{BaseChain, Element, Field, Hook, SetSpec, Transaction};
pub use watch::Watch;

/// Family of tables that hold IPv4 and IPv6 rules together.
pub(crate) const INET: u8 = 1;

pub(crate) fn kind(message: u16) -> u16 {
    // Subsystem NFNL_SUBSYS_NFTABLES.
    (10 << 8) | message
}

/// `nfgenmsg`: family, version 0, resource id 0.
pub(crate) fn header(family: u8) -> [u8; 4] {
    [family, 0, 0, 0]
}
