//! Rules as values: printed as nft prints them, encoded as the kernel takes them.

use std::fmt;

use corten_sys::nft::{Comparison, CtKey, Expression, MetaKey, Verdict};

/// A condition of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Match {
    /// The interface it came in by is in this set.
    InterfaceIn(&'static str),
    /// The interface it leaves by is in this set.
    InterfaceOut(&'static str),
    /// The pair of both is in this set.
    Interfaces(&'static str, Membership),
    /// The pair of source address and interface it leaves by is in this set.
    SourceAndOut { ipv6: bool, set: &'static str },
    /// Source in 127.0.0.0/8.
    SourceLoopback,
    /// Destination in 127.0.0.0/8.
    DestinationLoopback,
    /// Established or related.
    Known,
    /// Redirected to another destination, by whoever.
    Redirected,
    /// The destination is an address of this host.
    ToThisHost,
    /// The destination is not `::1`, which no rule can lead off this host.
    NotLoopback6,
}

/// In a set or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Membership {
    In,
    NotIn,
}

/// What a rule does when all its conditions hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    Verdict(Verdict),
    Masquerade,
    /// New destination from a map by protocol, address and port (`address`) or by protocol and port alone.
    Publish {
        ipv6: bool,
        map: &'static str,
        address: bool,
    },
}

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    pub matches: Vec<Match>,
    pub action: Action,
}

const NFPROTO_IPV4: u8 = 2;
const NFPROTO_IPV6: u8 = 10;
/// Register where a map's value goes, after the widest key.
const VALUE: u32 = 8;

impl Rule {
    pub(super) fn expressions(&self) -> Vec<Expression> {
        let mut list = Vec::new();
        for condition in &self.matches {
            condition.encode(&mut list);
        }
        match &self.action {
            Action::Verdict(verdict) => list.push(Expression::Verdict(verdict.clone())),
            Action::Masquerade => list.push(Expression::Masquerade),
            Action::Publish { ipv6, map, address } => publish(&mut list, *ipv6, map, *address),
        }
        list
    }
}

fn equal(register: u32, value: Vec<u8>) -> Expression {
    Expression::Compare { register, comparison: Comparison::Equal, value }
}

fn family(list: &mut Vec<Expression>, number: u8) {
    list.push(Expression::Meta { key: MetaKey::NfProto, to: 0 });
    list.push(equal(0, vec![number]));
}

fn loopback(list: &mut Vec<Expression>, offset: u32) {
    family(list, NFPROTO_IPV4);
    list.push(Expression::Network { offset, length: 1, to: 0 });
    list.push(equal(0, vec![127]));
}

fn any_bit(list: &mut Vec<Expression>, key: CtKey, bits: u32) {
    list.push(Expression::Ct { key, to: 0 });
    list.push(Expression::Mask { register: 0, mask: bits.to_ne_bytes().to_vec() });
    list.push(Expression::Compare { register: 0, comparison: Comparison::NotEqual, value: vec![0; 4] });
}

fn publish(list: &mut Vec<Expression>, ipv6: bool, map: &str, address: bool) {
    let (number, offset, length) = if ipv6 { (NFPROTO_IPV6, 24, 16) } else { (NFPROTO_IPV4, 16, 4) };
    family(list, number);
    list.push(Expression::Meta { key: MetaKey::L4Proto, to: 0 });
    let mut next = 1;
    if address {
        list.push(Expression::Network { offset, length, to: next });
        next += length / 4;
    }
    list.push(Expression::Transport { offset: 2, length: 2, to: next });
    list.push(Expression::FromMap { register: 0, map: map.to_owned(), to: VALUE });
    list.push(Expression::Dnat { family: number.into(), address: VALUE, port: VALUE + length / 4 });
}

impl Match {
    fn encode(&self, list: &mut Vec<Expression>) {
        match self {
            Self::InterfaceIn(set) => {
                list.push(Expression::Meta { key: MetaKey::IifName, to: 0 });
                list.push(Expression::InSet { register: 0, set: (*set).to_owned(), invert: false });
            }
            Self::InterfaceOut(set) => {
                list.push(Expression::Meta { key: MetaKey::OifName, to: 0 });
                list.push(Expression::InSet { register: 0, set: (*set).to_owned(), invert: false });
            }
            Self::Interfaces(set, membership) => {
                list.push(Expression::Meta { key: MetaKey::IifName, to: 0 });
                list.push(Expression::Meta { key: MetaKey::OifName, to: 4 });
                let invert = *membership == Membership::NotIn;
                list.push(Expression::InSet { register: 0, set: (*set).to_owned(), invert });
            }
            Self::SourceAndOut { ipv6, set } => {
                let (number, offset, length) =
                    if *ipv6 { (NFPROTO_IPV6, 8, 16) } else { (NFPROTO_IPV4, 12, 4) };
                family(list, number);
                list.push(Expression::Network { offset, length, to: 0 });
                list.push(Expression::Meta { key: MetaKey::OifName, to: length / 4 });
                list.push(Expression::InSet { register: 0, set: (*set).to_owned(), invert: false });
            }
            Self::SourceLoopback => loopback(list, 12),
            Self::DestinationLoopback => loopback(list, 16),
            // NF_CT_STATE_BIT: established 1 << 1, related 1 << 2.
            Self::Known => any_bit(list, CtKey::State, 0b110),
            // IPS_DST_NAT
            Self::Redirected => any_bit(list, CtKey::Status, 1 << 5),
            Self::ToThisHost => {
                list.push(Expression::DestinationType { to: 0 });
                // RTN_LOCAL
                list.push(equal(0, 2_u32.to_ne_bytes().to_vec()));
            }
            Self::NotLoopback6 => {
                family(list, NFPROTO_IPV6);
                list.push(Expression::Network { offset: 24, length: 16, to: 0 });
                let value = std::net::Ipv6Addr::LOCALHOST.octets().to_vec();
                list.push(Expression::Compare { register: 0, comparison: Comparison::NotEqual, value });
            }
        }
    }
}

impl fmt::Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InterfaceIn(set) => write!(f, "iifname @{set}"),
            Self::InterfaceOut(set) => write!(f, "oifname @{set}"),
            Self::Interfaces(set, Membership::In) => write!(f, "iifname . oifname @{set}"),
            Self::Interfaces(set, Membership::NotIn) => write!(f, "iifname . oifname != @{set}"),
            Self::SourceAndOut { ipv6, set } => {
                write!(f, "{} saddr . oifname @{set}", if *ipv6 { "ip6" } else { "ip" })
            }
            Self::SourceLoopback => f.write_str("ip saddr 127.0.0.0/8"),
            Self::DestinationLoopback => f.write_str("ip daddr 127.0.0.0/8"),
            Self::Known => f.write_str("ct state established,related"),
            Self::Redirected => f.write_str("ct status dnat"),
            Self::ToThisHost => f.write_str("fib daddr type local"),
            Self::NotLoopback6 => f.write_str("ip6 daddr != ::1"),
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for condition in &self.matches {
            write!(f, "{condition} ")?;
        }
        match &self.action {
            Action::Verdict(Verdict::Accept) => f.write_str("accept"),
            Action::Verdict(Verdict::Drop) => f.write_str("drop"),
            Action::Verdict(Verdict::Return) => f.write_str("return"),
            Action::Verdict(Verdict::Jump(chain)) => write!(f, "jump {chain}"),
            Action::Verdict(Verdict::Goto(chain)) => write!(f, "goto {chain}"),
            Action::Masquerade => f.write_str("masquerade"),
            Action::Publish { ipv6, map, address } => {
                let ip = if *ipv6 { "ip6" } else { "ip" };
                let address = if *address { format!("{ip} daddr . ") } else { String::new() };
                write!(f, "dnat {ip} to meta l4proto . {address}th dport map @{map}")
            }
        }
    }
}
