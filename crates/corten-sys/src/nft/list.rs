use super::{INET, header, kind};
use crate::netlink::{Batch, NetlinkError, Protocol, Socket, attributes};

const GETTABLE: u16 = 1;
const GETCHAIN: u16 = 4;
const GETRULE: u16 = 7;

/// A chain of whoever, on the forward hook, that drops what its rules do not accept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignChain {
    /// `ip`, `ip6` or `inet`.
    pub family: &'static str,
    /// Its table.
    pub table: String,
    /// Its name.
    pub chain: String,
}

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).trim_end_matches('\0').to_owned()
}

fn be32(value: &[u8]) -> Option<u32> {
    value.try_into().ok().map(u32::from_be_bytes)
}

fn family_name(family: u8) -> Option<&'static str> {
    match family {
        1 => Some("inet"),
        2 => Some("ip"),
        10 => Some("ip6"),
        _ => None,
    }
}

fn family_number(name: &str) -> u8 {
    match name {
        "inet" => 1,
        "ip" => 2,
        _ => 10,
    }
}

/// All base chains on the forward hook with policy drop, of any table (iptables' own among them, when it is the
/// nft kind).
pub fn chains_with_policy_drop(socket: &Socket) -> Result<Vec<ForeignChain>, NetlinkError> {
    socket.dump(&Batch::dump(kind(GETCHAIN), &header(0), |_| {}), |payload| {
        let family = family_name(*payload.first()?)?;
        let (mut table, mut chain, mut hook, mut policy) = (String::new(), String::new(), None, None);
        for (kind, value) in attributes(payload.get(4..)?) {
            match kind {
                1 => table = text(value),
                3 => chain = text(value),
                4 => {
                    hook = attributes(value).find(|(kind, _)| *kind == 1).and_then(|(_, number)| be32(number))
                }
                5 => policy = be32(value),
                _ => {}
            }
        }
        (hook == Some(2) && policy == Some(0)).then_some(ForeignChain { family, table, chain })
    })
}

/// Whether any rule of a table holds these bytes (an interface's name, say).
pub fn table_mentions(socket: &Socket, chain: &ForeignChain, needle: &str) -> Result<bool, NetlinkError> {
    let request =
        Batch::dump(kind(GETRULE), &header(family_number(chain.family)), |a| a.text(1, &chain.table));
    let found = socket.dump(&request, |payload| {
        payload.windows(needle.len()).any(|window| window == needle.as_bytes()).then_some(())
    })?;
    Ok(!found.is_empty())
}

/// Whether the `inet` table of this name is there.
pub fn table_exists(socket: &Socket, table: &str) -> Result<bool, NetlinkError> {
    let request =
        Batch::query(format!("find table inet {table}"), kind(GETTABLE), &header(INET), |a| a.text(1, table));
    Ok(socket.query(&request, |_| Some(()))?.is_some())
}

/// A socket for firewall tables, in the calling thread's network namespace.
impl Socket {
    /// Opens a netfilter socket.
    pub fn open_netfilter() -> Result<Self, NetlinkError> {
        Self::open(Protocol::Netfilter)
    }
}
