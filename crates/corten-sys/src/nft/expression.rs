use crate::netlink::Attributes;

/// What of a packet's surroundings to load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetaKey {
    /// Name of the interface it came in by (16 bytes).
    IifName,
    /// Name of the interface it leaves by (16 bytes).
    OifName,
    /// Network family (1 byte).
    NfProto,
    /// Transport protocol (1 byte).
    L4Proto,
}

/// What of a connection to load (4 bytes each).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CtKey {
    /// Bit set of new, established, related.
    State,
    /// Bit set of `IPS_*`.
    Status,
}

/// How to compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// Goes on when equal.
    Equal,
    /// Goes on when different.
    NotEqual,
}

/// Where a rule sends the packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Done with this hook's chain.
    Accept,
    /// Gone.
    Drop,
    /// Back to the calling chain.
    Return,
    /// To another chain and back.
    Jump(String),
    /// To another chain for good.
    Goto(String),
}

/// One step of a rule. Registers are numbered 0 to 15 and are four bytes wide each; wider values take several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expression {
    /// Loads what surrounds the packet.
    Meta {
        /// What.
        key: MetaKey,
        /// Into which register.
        to: u32,
    },
    /// Loads of the connection.
    Ct {
        /// What.
        key: CtKey,
        /// Into which register.
        to: u32,
    },
    /// Loads bytes of the network header.
    Network {
        /// From which byte.
        offset: u32,
        /// How many.
        length: u32,
        /// Into which register.
        to: u32,
    },
    /// Loads bytes of the transport header.
    Transport {
        /// From which byte.
        offset: u32,
        /// How many.
        length: u32,
        /// Into which register.
        to: u32,
    },
    /// Loads what sort of address the destination is to this host (`RTN_*`, 4 bytes).
    DestinationType {
        /// Into which register.
        to: u32,
    },
    /// Keeps only the bits of `mask`.
    Mask {
        /// In which register.
        register: u32,
        /// Which bits.
        mask: Vec<u8>,
    },
    /// Goes on only if the register compares as asked.
    Compare {
        /// Which register.
        register: u32,
        /// How.
        comparison: Comparison,
        /// With what.
        value: Vec<u8>,
    },
    /// Goes on only if the registers' value is (or is not) in a set.
    InSet {
        /// The first register of the key.
        register: u32,
        /// The set's name.
        set: String,
        /// Goes on if it is not in there.
        invert: bool,
    },
    /// Loads what a map has for the registers' value; goes on only if it has something.
    FromMap {
        /// The first register of the key.
        register: u32,
        /// The map's name.
        map: String,
        /// Into which register.
        to: u32,
    },
    /// Rewrites the destination with an address and a port.
    Dnat {
        /// `NFPROTO_IPV4` (2) or `NFPROTO_IPV6` (10).
        family: u32,
        /// Register of the address.
        address: u32,
        /// Register of the port.
        port: u32,
    },
    /// Rewrites the source with the leaving interface's address.
    Masquerade,
    /// Ends the rule.
    Verdict(Verdict),
}

/// The kernel's number of our register `number`.
fn register(number: u32) -> u32 {
    8 + number
}

fn data(a: &mut Attributes<'_>, kind: u16, value: &[u8]) {
    a.nest(kind, |d| d.bytes(1, value));
}

impl Verdict {
    pub(super) fn encode(&self, a: &mut Attributes<'_>, kind: u16) {
        let (code, chain) = match self {
            Self::Drop => (0, None),
            Self::Accept => (1, None),
            Self::Jump(chain) => (-3, Some(chain)),
            Self::Goto(chain) => (-4, Some(chain)),
            Self::Return => (-5, None),
        };
        a.nest(kind, |d| {
            d.nest(2, |v| {
                v.be32(1, i32::cast_unsigned(code));
                if let Some(chain) = chain {
                    v.text(2, chain);
                }
            });
        });
    }
}

impl Expression {
    pub(super) fn encode(&self, list: &mut Attributes<'_>) {
        let mut put = |name: &str, body: &dyn Fn(&mut Attributes<'_>)| {
            list.nest(1, |e| {
                e.text(1, name);
                e.nest(2, |d| body(d));
            });
        };
        match self {
            Self::Meta { key, to } => {
                let key = match key {
                    MetaKey::IifName => libc::NFT_META_IIFNAME,
                    MetaKey::OifName => libc::NFT_META_OIFNAME,
                    MetaKey::NfProto => libc::NFT_META_NFPROTO,
                    MetaKey::L4Proto => libc::NFT_META_L4PROTO,
                };
                put("meta", &|d| {
                    d.be32(1, register(*to));
                    d.be32(2, key.cast_unsigned());
                });
            }
            Self::Ct { key, to } => {
                let key = match key {
                    CtKey::State => libc::NFT_CT_STATE,
                    CtKey::Status => libc::NFT_CT_STATUS,
                };
                put("ct", &|d| {
                    d.be32(1, register(*to));
                    d.be32(2, key.cast_unsigned());
                });
            }
            Self::Network { offset, length, to } => put("payload", &|d| payload(d, 1, *offset, *length, *to)),
            Self::Transport { offset, length, to } => {
                put("payload", &|d| payload(d, 2, *offset, *length, *to))
            }
            Self::DestinationType { to } => put("fib", &|d| {
                d.be32(1, register(*to));
                // NFT_FIB_RESULT_ADDRTYPE of NFTA_FIB_F_DADDR.
                d.be32(2, 3);
                d.be32(3, 2);
            }),
            Self::Mask { register: number, mask } => put("bitwise", &|d| {
                d.be32(1, register(*number));
                d.be32(2, register(*number));
                d.be32(3, mask.len() as u32);
                data(d, 4, mask);
                data(d, 5, &vec![0; mask.len()]);
            }),
            Self::Compare { register: number, comparison, value } => put("cmp", &|d| {
                d.be32(1, register(*number));
                d.be32(2, u32::from(*comparison == Comparison::NotEqual));
                data(d, 3, value);
            }),
            Self::InSet { register: number, set, invert } => put("lookup", &|d| {
                d.text(1, set);
                d.be32(2, register(*number));
                if *invert {
                    d.be32(5, 1);
                }
            }),
            Self::FromMap { register: number, map, to } => put("lookup", &|d| {
                d.text(1, map);
                d.be32(2, register(*number));
                d.be32(3, register(*to));
            }),
            Self::Dnat { family, address, port } => put("nat", &|d| {
                d.be32(1, 1);
                d.be32(2, *family);
                d.be32(3, register(*address));
                d.be32(5, register(*port));
            }),
            Self::Masquerade => put("masq", &|_| {}),
            Self::Verdict(verdict) => put("immediate", &|d| {
                d.be32(1, 0);
                verdict.encode(d, 2);
            }),
        }
    }
}

fn payload(d: &mut Attributes<'_>, base: u32, offset: u32, length: u32, to: u32) {
    d.be32(1, register(to));
    d.be32(2, base);
    d.be32(3, offset);
    d.be32(4, length);
}
