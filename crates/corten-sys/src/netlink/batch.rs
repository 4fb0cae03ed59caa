const HEADER: usize = 16;
const ACK: u16 = 0x4;
const REQUEST: u16 = 0x1;
const NESTED: u16 = 0x8000;

/// Requests that go to the kernel together.
#[derive(Default)]
pub struct Batch {
    buffer: Vec<u8>,
    /// What each acknowledged message does, for errors; its index + 1 is the sequence number.
    labels: Vec<String>,
}

/// Writes the attributes of one message.
pub struct Attributes<'a> {
    buffer: &'a mut Vec<u8>,
}

fn pad(buffer: &mut Vec<u8>) {
    buffer.resize(buffer.len().next_multiple_of(4), 0);
}

impl Batch {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether nothing was asked yet.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Appends a request that the kernel acknowledges. `label` says in errors what it was to do; `header` is the
    /// fixed part after the netlink header (`ifinfomsg`, `nfgenmsg`, …).
    pub fn request(
        &mut self,
        label: impl Into<String>,
        kind: u16,
        flags: u16,
        header: &[u8],
        attributes: impl FnOnce(&mut Attributes<'_>),
    ) {
        self.labels.push(label.into());
        let sequence = u32::try_from(self.labels.len()).expect("fewer than 2^32 messages");
        self.append(kind, REQUEST | ACK | flags, sequence, header, attributes);
    }

    /// Appends a message that has no answer of its own (the frame of an nftables transaction).
    pub(crate) fn frame(&mut self, kind: u16, header: &[u8]) {
        self.append(kind, REQUEST, 0, header, |_| {});
    }

    /// Appends a request for a dump; it must be alone in its batch.
    pub(crate) fn dump(kind: u16, header: &[u8], attributes: impl FnOnce(&mut Attributes<'_>)) -> Self {
        let mut batch = Self::new();
        batch.labels.push("dump".into());
        batch.append(kind, REQUEST | 0x300, 1, header, attributes);
        batch
    }

    /// Asks for one thing; it must be alone in its batch.
    pub(crate) fn query(
        label: String,
        kind: u16,
        header: &[u8],
        attributes: impl FnOnce(&mut Attributes<'_>),
    ) -> Self {
        let mut batch = Self::new();
        batch.labels.push(label);
        batch.append(kind, REQUEST, 1, header, attributes);
        batch
    }

    fn append(
        &mut self,
        kind: u16,
        flags: u16,
        sequence: u32,
        header: &[u8],
        attributes: impl FnOnce(&mut Attributes<'_>),
    ) {
        let start = self.buffer.len();
        self.buffer.extend_from_slice(&[0; 4]);
        self.buffer.extend_from_slice(&kind.to_ne_bytes());
        self.buffer.extend_from_slice(&flags.to_ne_bytes());
        self.buffer.extend_from_slice(&sequence.to_ne_bytes());
        self.buffer.extend_from_slice(&[0; 4]);
        self.buffer.extend_from_slice(header);
        pad(&mut self.buffer);
        attributes(&mut Attributes { buffer: &mut self.buffer });
        let length = u32::try_from(self.buffer.len() - start).expect("a message is shorter than 4 GiB");
        self.buffer[start..start + 4].copy_from_slice(&length.to_ne_bytes());
        pad(&mut self.buffer);
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.buffer
    }

    pub(crate) fn labels(&self) -> &[String] {
        &self.labels
    }
}

impl Attributes<'_> {
    /// Raw bytes.
    pub fn bytes(&mut self, kind: u16, value: &[u8]) {
        let length = u16::try_from(value.len() + 4).expect("an attribute is shorter than 64 KiB");
        self.buffer.extend_from_slice(&length.to_ne_bytes());
        self.buffer.extend_from_slice(&kind.to_ne_bytes());
        self.buffer.extend_from_slice(value);
        pad(self.buffer);
    }

    /// A 32-bit number in the machine's byte order (rtnetlink).
    pub fn u32(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_ne_bytes());
    }

    /// A 32-bit number in network byte order (nfnetlink).
    pub fn be32(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_be_bytes());
    }

    /// A text with its terminating zero.
    pub fn text(&mut self, kind: u16, value: &str) {
        let mut bytes = Vec::with_capacity(value.len() + 1);
        bytes.extend_from_slice(value.as_bytes());
        bytes.push(0);
        self.bytes(kind, &bytes);
    }

    /// Attributes within an attribute.
    pub fn nest(&mut self, kind: u16, inner: impl FnOnce(&mut Attributes<'_>)) {
        self.nest_after(kind, &[], inner);
    }

    /// Attributes within an attribute, after a fixed part.
    pub fn nest_after(&mut self, kind: u16, fixed: &[u8], inner: impl FnOnce(&mut Attributes<'_>)) {
        let start = self.buffer.len();
        self.buffer.extend_from_slice(&[0; 2]);
        self.buffer.extend_from_slice(&(kind | NESTED).to_ne_bytes());
        self.buffer.extend_from_slice(fixed);
        pad(self.buffer);
        inner(&mut Attributes { buffer: self.buffer });
        let length = u16::try_from(self.buffer.len() - start).expect("an attribute is shorter than 64 KiB");
        self.buffer[start..start + 2].copy_from_slice(&length.to_ne_bytes());
    }
}

/// A message that a socket received.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Message<'a> {
    pub kind: u16,
    pub flags: u16,
    pub sequence: u32,
    /// Of the socket that asked for what this is about.
    pub port: u32,
    pub payload: &'a [u8],
}

/// The messages in what a socket received. Stops at what is cut off.
pub(crate) fn messages(bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(rest.get(..4)?.try_into().ok()?) as usize;
        let message = rest.get(..length).filter(|message| message.len() >= HEADER)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        let short = |at: usize| u16::from_ne_bytes([message[at], message[at + 1]]);
        let long = |at: usize| Some(u32::from_ne_bytes(message[at..at + 4].try_into().ok()?));
        Some(Message {
            kind: short(4),
            flags: short(6),
            sequence: long(8)?,
            port: long(12)?,
            payload: &message[HEADER..],
        })
    })
}

/// The attributes in `bytes`, each with its kind (without flags) and value. Stops at what is cut off.
pub fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(rest.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(rest.get(2..4)?.try_into().ok()?) & 0x3fff;
        let value = rest.get(4..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_can_be_read() {
        let mut batch = Batch::new();
        batch.request("first", 16, 0x400, &[1, 2, 3, 4], |a| {
            a.text(3, "eth0");
            a.nest(18, |inner| inner.u32(1, 7));
        });
        batch.request("second", 17, 0, &[], |a| a.bytes(9, &[]));
        let found: Vec<_> = messages(batch.bytes()).collect();
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].kind, found[0].flags, found[0].sequence), (16, 0x405, 1));
        let inner: Vec<_> = attributes(&found[0].payload[4..]).collect();
        assert_eq!(inner[0], (3, &b"eth0\0"[..]));
        assert_eq!(attributes(inner[1].1).collect::<Vec<_>>(), [(1, &7_u32.to_ne_bytes()[..])]);
        assert_eq!(attributes(found[1].payload).collect::<Vec<_>>(), [(9, &[][..])]);
    }

    #[test]
    fn garbage_ends_the_iteration() {
        assert_eq!(messages(&[255; 7]).count(), 0);
        assert_eq!(messages(&[0; 64]).count(), 0);
        assert_eq!(attributes(&[0; 8]).count(), 0);
        assert_eq!(attributes(&[3, 0, 1, 0]).count(), 0);
        assert_eq!(attributes(&[200, 0, 1, 0, 5]).count(), 0);
    }
}
