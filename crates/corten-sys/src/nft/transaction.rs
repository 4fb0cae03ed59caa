use super::expression::Expression;
use super::{INET, header, kind};
use crate::netlink::{Batch, NetlinkError, Socket};

const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
const NEWTABLE: u16 = 0;
const DELTABLE: u16 = 2;
const NEWCHAIN: u16 = 3;
const NEWRULE: u16 = 6;
const NEWSET: u16 = 9;
const NEWSETELEM: u16 = 12;
const DELSETELEM: u16 = 14;

const CREATE: u16 = 0x400;
const APPEND: u16 = 0x800;

/// Elements that fit one attribute of 64 KiB with room to spare.
const ELEMENTS_PER_MESSAGE: usize = 400;

/// Where a base chain hangs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// Before routing.
    Prerouting,
    /// Routed through this host.
    Forward,
    /// Sent by this host.
    Output,
    /// About to leave.
    Postrouting,
}

/// A chain that packets reach by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BaseChain {
    /// `filter` or `nat`.
    pub kind: &'static str,
    /// Where.
    pub hook: Hook,
    /// Order among the chains of a hook; lower is earlier.
    pub priority: i32,
}

/// One part of a set's key or a map's value, by the number nft gives its type and its width in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// nft's number of the type; only shown to people.
    pub datatype: u32,
    /// Bytes.
    pub width: u32,
}

impl Field {
    /// An IPv4 address.
    pub const IPV4: Self = Self { datatype: 7, width: 4 };
    /// An IPv6 address.
    pub const IPV6: Self = Self { datatype: 8, width: 16 };
    /// A transport protocol.
    pub const PROTOCOL: Self = Self { datatype: 12, width: 1 };
    /// A port.
    pub const PORT: Self = Self { datatype: 13, width: 2 };
    /// An interface name.
    pub const INTERFACE: Self = Self { datatype: 41, width: 16 };
}

/// A set, or with `value` a map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetSpec {
    /// Its name within the table.
    pub name: &'static str,
    /// Parts of the key.
    pub key: &'static [Field],
    /// Parts of the value, for a map.
    pub value: &'static [Field],
    /// Whether elements are ranges.
    pub ranges: bool,
}

/// An element of a set or map. Bytes are the parts, each filled up to a multiple of four bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element {
    /// The key, or the first of a range.
    pub key: Vec<u8>,
    /// The last of a range, for sets of ranges.
    pub key_end: Option<Vec<u8>>,
    /// The value, for a map.
    pub value: Option<Vec<u8>>,
    /// A text for people, shown by nobody but kept with the element.
    pub comment: String,
}

/// Changes to one `inet` table that happen all or not at all.
pub struct Transaction {
    table: String,
    batch: Batch,
}

fn padded(fields: &[Field]) -> u32 {
    fields.iter().map(|field| field.width.next_multiple_of(4)).sum()
}

/// nft numbers a concatenation by six bits per part.
fn datatype(fields: &[Field]) -> u32 {
    fields.iter().fold(0, |number, field| (number << 6) | field.datatype)
}

fn key_length(fields: &[Field]) -> u32 {
    if let [only] = fields { only.width } else { padded(fields) }
}

impl Transaction {
    /// An empty one for this table.
    pub fn new(table: impl Into<String>) -> Self {
        let mut batch = Batch::new();
        batch.frame(BATCH_BEGIN, &[0, 0, 0, 10]);
        Self { table: table.into(), batch }
    }

    /// Makes the table if it is not there.
    pub fn add_table(&mut self) {
        let table = &self.table;
        self.batch.request(format!("add table inet {table}"), kind(NEWTABLE), CREATE, &header(INET), |a| {
            a.text(1, table);
        });
    }

    /// Removes the table with all that is in it. Fails if it is not there.
    pub fn delete_table(&mut self) {
        let table = &self.table;
        self.batch.request(format!("delete table inet {table}"), kind(DELTABLE), 0, &header(INET), |a| {
            a.text(1, table);
        });
    }

    /// Makes a chain; with `base`, one that hangs on a hook and accepts what its rules do not decide.
    pub fn add_chain(&mut self, name: &str, base: Option<BaseChain>) {
        let table = &self.table;
        self.batch.request(format!("add chain {table} {name}"), kind(NEWCHAIN), CREATE, &header(INET), |a| {
            a.text(1, table);
            a.text(3, name);
            if let Some(base) = base {
                let hook = match base.hook {
                    Hook::Prerouting => 0,
                    Hook::Forward => 2,
                    Hook::Output => 3,
                    Hook::Postrouting => 4,
                };
                a.nest(4, |h| {
                    h.be32(1, hook);
                    h.be32(2, base.priority.cast_unsigned());
                });
                a.be32(5, 1);
                a.text(7, base.kind);
            }
        });
    }

    /// Makes a set or map.
    pub fn add_set(&mut self, spec: &SetSpec) {
        const INTERVAL: u32 = 0x4;
        const MAP: u32 = 0x8;
        const CONCAT: u32 = 0x80;
        let table = &self.table;
        self.batch.request(
            format!("add set {table} {}", spec.name),
            kind(NEWSET),
            CREATE,
            &header(INET),
            |a| {
                let concatenated = spec.key.len() > 1;
                let mut flags = 0;
                if spec.ranges {
                    flags |= INTERVAL;
                }
                if !spec.value.is_empty() {
                    flags |= MAP;
                }
                if concatenated && spec.ranges {
                    flags |= CONCAT;
                }
                a.text(1, table);
                a.text(2, spec.name);
                a.be32(3, flags);
                a.be32(4, datatype(spec.key));
                a.be32(5, key_length(spec.key));
                if !spec.value.is_empty() {
                    a.be32(6, datatype(spec.value));
                    a.be32(7, key_length(spec.value));
                }
                if concatenated && spec.ranges {
                    a.nest(9, |d| {
                        d.nest(2, |fields| {
                            for field in spec.key {
                                fields.nest(1, |f| f.be32(1, field.width));
                            }
                        });
                    });
                }
                a.be32(10, 1);
                // nft's own note of how to print a lone key; names are kept in the machine's order.
                let order: u32 = if spec.key == [Field::INTERFACE] { 1 } else { 2 };
                let mut note = vec![0, 4];
                note.extend_from_slice(&order.to_ne_bytes());
                a.bytes(13, &note);
            },
        );
    }

    /// Appends a rule to a chain.
    pub fn add_rule(&mut self, chain: &str, expressions: &[Expression]) {
        let table = &self.table;
        self.batch.request(
            format!("add rule {table} {chain}"),
            kind(NEWRULE),
            CREATE | APPEND,
            &header(INET),
            |a| {
                a.text(1, table);
                a.text(2, chain);
                a.nest(4, |list| {
                    for expression in expressions {
                        expression.encode(list);
                    }
                });
            },
        );
    }

    /// Adds elements to a set; those that are there already stay.
    pub fn add_elements(&mut self, set: &str, elements: &[Element]) {
        self.elements("add elements to", NEWSETELEM, CREATE, set, elements);
    }

    /// Removes elements from a set. Fails if one is not there.
    pub fn delete_elements(&mut self, set: &str, elements: &[Element]) {
        self.elements("delete elements from", DELSETELEM, 0, set, elements);
    }

    fn elements(&mut self, verb: &str, message: u16, flags: u16, set: &str, elements: &[Element]) {
        let table = &self.table;
        for some in elements.chunks(ELEMENTS_PER_MESSAGE) {
            self.batch.request(format!("{verb} {table} {set}"), kind(message), flags, &header(INET), |a| {
                a.text(1, table);
                a.text(2, set);
                a.nest(3, |list| {
                    for element in some {
                        list.nest(1, |e| {
                            e.nest(1, |k| k.bytes(1, &element.key));
                            if let Some(end) = &element.key_end {
                                e.nest(10, |k| k.bytes(1, end));
                            }
                            if let Some(value) = element.value.as_ref().filter(|_| message == NEWSETELEM) {
                                e.nest(2, |v| v.bytes(1, value));
                            }
                            if !element.comment.is_empty() && message == NEWSETELEM {
                                e.bytes(6, &user_data(&element.comment));
                            }
                        });
                    }
                });
            });
        }
    }

    /// Carries it out, in the network namespace of `socket`.
    pub fn commit(mut self, socket: &Socket) -> Result<(), NetlinkError> {
        if self.batch.is_empty() {
            return Ok(());
        }
        self.batch.frame(BATCH_END, &[0, 0, 0, 10]);
        socket.transact(&self.batch)
    }
}

/// nft's form of a comment: type 0, length, text with its zero; at most 255 bytes with both.
fn user_data(comment: &str) -> Vec<u8> {
    let text = &comment.as_bytes()[..comment.len().min(120)];
    let mut bytes = vec![0, u8::try_from(text.len() + 1).unwrap_or(u8::MAX)];
    bytes.extend_from_slice(text);
    bytes.push(0);
    bytes
}
