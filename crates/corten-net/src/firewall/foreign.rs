use std::fmt;

use corten_sys::netlink::{NetlinkError, Socket};
use corten_sys::nft::{chains_with_policy_drop, table_mentions};

/// A chain of somebody else that drops what our bridges forward.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignDrop {
    /// `ip`, `ip6` or `inet`.
    pub family: &'static str,
    /// Its table.
    pub table: String,
    /// Its name.
    pub chain: String,
    /// The bridge it has no rule for.
    pub bridge: String,
}

impl fmt::Display for ForeignDrop {
    /// What is wrong, and the cure.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { family, table, chain, bridge } = self;
        write!(
            f,
            "the firewall chain \"{chain}\" (table {family} {table}) drops forwarded packets and does not know {bridge}: "
        )?;
        write!(
            f,
            "containers there reach nothing outside, and their published ports cannot be reached. Cure: "
        )?;
        if *family != "inet" && table == "filter" && chain == "FORWARD" {
            let command = if *family == "ip" { "iptables" } else { "ip6tables" };
            write!(
                f,
                "{command} -I FORWARD -i {bridge} -j ACCEPT; {command} -I FORWARD -o {bridge} -j ACCEPT"
            )
        } else {
            write!(f, "nft insert rule {family} {table} {chain} iifname {bridge} accept; ")?;
            write!(f, "nft insert rule {family} {table} {chain} oifname {bridge} accept")
        }
    }
}

/// Chains in the calling thread's network namespace that drop what `bridge` forwards: they hang on the forward hook,
/// drop by default, and no rule of their table names the bridge. An IPv6 chain counts only when `ipv6`.
pub fn foreign_drops(bridge: &str, ipv6: bool) -> Result<Vec<ForeignDrop>, NetlinkError> {
    let socket = Socket::open_netfilter()?;
    let mut found = Vec::new();
    for chain in chains_with_policy_drop(&socket)? {
        if (chain.family == "ip6" && !ipv6) || table_mentions(&socket, &chain, bridge)? {
            continue;
        }
        found.push(ForeignDrop {
            family: chain.family,
            table: chain.table,
            chain: chain.chain,
            bridge: bridge.to_owned(),
        });
    }
    Ok(found)
}
