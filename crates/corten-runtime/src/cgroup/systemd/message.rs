//! D-Bus messages as bytes: the calls that are made here, and what is read of answers and signals. Pure.
//!
//! A message is a header of fixed fields, an array of typed header fields, padding to 8 bytes, and the body. Every
//! value is aligned to its own size from the message's start. See the D-Bus specification, "Message Protocol".

/// Type codes of messages.
const CALL: u8 = 1;
const RETURN: u8 = 2;
const ERROR: u8 = 3;
const SIGNAL: u8 = 4;

/// Codes of header fields.
const PATH: u8 = 1;
const INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const ERROR_NAME: u8 = 4;
const REPLY_SERIAL: u8 = 5;
const DESTINATION: u8 = 6;
const SIGNATURE: u8 = 8;

/// Length of the fixed part of a header with the length of its field array.
pub(super) const FIXED: usize = 16;
/// Longest message that is read: what systemd sends here is far shorter.
pub(super) const LONGEST: usize = 1 << 20;

/// A value inside a variant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    /// `s`
    Text(String),
    /// `b`
    Bool(bool),
    /// `t`
    Number(u64),
    /// `au`
    Numbers(Vec<u32>),
    /// `ay`
    Bytes(Vec<u8>),
}

impl Value {
    const fn signature(&self) -> &'static str {
        match self {
            Self::Text(_) => "s",
            Self::Bool(_) => "b",
            Self::Number(_) => "t",
            Self::Numbers(_) => "au",
            Self::Bytes(_) => "ay",
        }
    }
}

/// Bytes being written, little-endian.
#[derive(Debug, Default)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    fn align(&mut self, to: usize) {
        while !self.0.len().is_multiple_of(to) {
            self.0.push(0);
        }
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.align(4);
        self.0.extend(value.to_le_bytes());
    }

    /// A text or an object's path.
    pub(super) fn text(&mut self, value: &str) {
        self.u32(value.len() as u32);
        self.0.extend(value.as_bytes());
        self.0.push(0);
    }

    fn signature(&mut self, value: &str) {
        self.0.push(value.len() as u8);
        self.0.extend(value.as_bytes());
        self.0.push(0);
    }

    pub(super) fn bool(&mut self, value: bool) {
        self.u32(u32::from(value));
    }

    /// An array whose elements are aligned to `align`.
    pub(super) fn array(&mut self, align: usize, elements: impl FnOnce(&mut Self)) {
        self.u32(0);
        let length_at = self.0.len() - 4;
        self.align(align);
        let begin = self.0.len();
        elements(self);
        let length = (self.0.len() - begin) as u32;
        self.0[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
    }

    fn variant(&mut self, value: &Value) {
        self.signature(value.signature());
        match value {
            Value::Text(text) => self.text(text),
            Value::Bool(value) => self.bool(*value),
            Value::Number(value) => {
                self.align(8);
                self.0.extend(value.to_le_bytes());
            }
            Value::Numbers(list) => self.array(4, |out| list.iter().for_each(|&value| out.u32(value))),
            Value::Bytes(bytes) => self.array(1, |out| out.0.extend(bytes)),
        }
    }

    /// `a(sv)`
    pub(super) fn properties(&mut self, list: &[(&str, Value)]) {
        self.array(8, |out| {
            for (name, value) in list {
                out.align(8);
                out.text(name);
                out.variant(value);
            }
        });
    }
}

/// A method to call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Method<'a> {
    pub destination: &'a str,
    pub path: &'a str,
    pub interface: &'a str,
    pub member: &'a str,
    /// Types of the body.
    pub signature: &'a str,
}

/// The bytes of a call with the number `serial`.
pub(super) fn call(method: &Method<'_>, serial: u32, body: Writer) -> Vec<u8> {
    let mut out = Writer::default();
    out.0.extend([b'l', CALL, 0, 1]);
    out.u32(body.0.len() as u32);
    out.u32(serial);
    let texts = [
        (PATH, "o", method.path),
        (DESTINATION, "s", method.destination),
        (INTERFACE, "s", method.interface),
        (MEMBER, "s", method.member),
    ];
    out.array(8, |out| {
        for (code, kind, text) in texts {
            out.align(8);
            out.0.push(code);
            out.signature(kind);
            out.text(text);
        }
        if !method.signature.is_empty() {
            out.align(8);
            out.0.push(SIGNATURE);
            out.signature("g");
            out.signature(method.signature);
        }
    });
    out.align(8);
    out.0.extend(body.0);
    out.0
}

/// What is read of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Incoming {
    /// The answer to the call with this number, and the texts at its beginning.
    Return(u32, Vec<String>),
    /// The refusal of the call with this number: the error's name and its text.
    Error(u32, String, String),
    /// A signal of this name, and the texts in it.
    Signal(String, Vec<String>),
    /// Anything else.
    Other,
}

/// The length of the whole message whose first [`FIXED`] bytes these are; `None` when it is none.
pub(super) fn length(fixed: &[u8; FIXED]) -> Option<usize> {
    if fixed[0] != b'l' || fixed[3] != 1 {
        return None;
    }
    let number =
        |at: usize| u32::from_le_bytes([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]]) as usize;
    let head = (FIXED.checked_add(number(12))?).checked_next_multiple_of(8)?;
    head.checked_add(number(4)).filter(|&length| length <= LONGEST)
}

/// Reads a whole message.
pub(super) fn read(message: &[u8]) -> Option<Incoming> {
    let mut reader = Reader { bytes: message, at: 12 };
    let end = FIXED + reader.u32()? as usize;
    let (mut serial, mut member, mut error, mut signature) = (0, String::new(), String::new(), String::new());
    while reader.at < end {
        reader.align(8);
        let code = reader.u8()?;
        match (code, reader.signature()?.as_str()) {
            (REPLY_SERIAL, "u") => serial = reader.u32()?,
            (MEMBER, "s") => member = reader.text()?,
            (ERROR_NAME, "s") => error = reader.text()?,
            (SIGNATURE, "g") => signature = reader.signature()?,
            (_, "u") => drop(reader.u32()?),
            (_, "s" | "o") => drop(reader.text()?),
            (_, "g") => drop(reader.signature()?),
            _ => return None,
        }
    }
    reader.align(8);
    let mut texts = Vec::new();
    for kind in signature.chars() {
        match kind {
            's' | 'o' => texts.push(reader.text()?),
            'u' | 'b' | 'i' => drop(reader.u32()?),
            _ => break,
        }
    }
    Some(match *message.get(1)? {
        RETURN => Incoming::Return(serial, texts),
        ERROR => Incoming::Error(serial, error, texts.into_iter().next().unwrap_or_default()),
        SIGNAL => Incoming::Signal(member, texts),
        _ => Incoming::Other,
    })
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    fn u8(&mut self) -> Option<u8> {
        let value = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(value)
    }

    fn u32(&mut self) -> Option<u32> {
        self.align(4);
        let bytes = self.bytes.get(self.at..self.at.checked_add(4)?)?;
        self.at += 4;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    }

    fn take(&mut self, length: usize) -> Option<String> {
        let end = self.at.checked_add(length)?;
        let bytes = self.bytes.get(self.at..end)?;
        // The NUL behind it.
        self.at = end + 1;
        String::from_utf8(bytes.to_vec()).ok()
    }

    fn text(&mut self) -> Option<String> {
        let length = self.u32()? as usize;
        self.take(length)
    }

    fn signature(&mut self) -> Option<String> {
        let length = usize::from(self.u8()?);
        self.take(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn method<'a>(signature: &'a str) -> Method<'a> {
        Method { destination: "a.b", path: "/a", interface: "a.b.C", member: "Do", signature }
    }

    #[test]
    fn a_call_has_the_length_that_its_header_says() {
        let mut body = Writer::default();
        body.text("unit.scope");
        body.properties(&[
            ("Delegate", Value::Bool(true)),
            ("PIDs", Value::Numbers(vec![1])),
            ("MemoryMax", Value::Number(5)),
        ]);
        let bytes = call(&method("sa(sv)"), 7, body);
        let fixed: [u8; FIXED] = bytes[..FIXED].try_into().unwrap();
        assert_eq!(length(&fixed), Some(bytes.len()));
        assert_eq!(read(&bytes), Some(Incoming::Other));
    }

    /// An answer is a call with another type, as far as it is read.
    fn answer(kind: u8, fields: &[(u8, &str, &str)], serial: u32, texts: &[&str]) -> Vec<u8> {
        let mut body = Writer::default();
        texts.iter().for_each(|text| body.text(text));
        let mut out = Writer::default();
        out.0.extend([b'l', kind, 0, 1]);
        out.u32(body.0.len() as u32);
        out.u32(1);
        out.array(8, |out| {
            for (code, kind, text) in fields {
                out.align(8);
                out.0.push(*code);
                out.signature(kind);
                out.text(text);
            }
            out.align(8);
            out.0.push(REPLY_SERIAL);
            out.signature("u");
            out.u32(serial);
            out.align(8);
            out.0.push(SIGNATURE);
            out.signature("g");
            out.signature(&"s".repeat(texts.len()));
        });
        out.align(8);
        out.0.extend(body.0);
        out.0
    }

    #[test]
    fn answers_errors_and_signals_are_told_apart() {
        assert_eq!(
            read(&answer(RETURN, &[], 3, &["/job/1"])),
            Some(Incoming::Return(3, vec!["/job/1".into()]))
        );
        assert_eq!(
            read(&answer(ERROR, &[(ERROR_NAME, "s", "e.UnitExists")], 4, &["there"])),
            Some(Incoming::Error(4, "e.UnitExists".into(), "there".into()))
        );
        assert_eq!(
            read(&answer(SIGNAL, &[(MEMBER, "s", "JobRemoved")], 0, &["a", "done"])),
            Some(Incoming::Signal("JobRemoved".into(), vec!["a".into(), "done".into()]))
        );
    }

    #[test]
    fn what_is_cut_or_foreign_is_no_message() {
        let whole = answer(RETURN, &[(MEMBER, "s", "x")], 3, &["/job/1"]);
        for end in 0..whole.len() - 1 {
            let _ = read(&whole[..end]);
        }
        assert_eq!(length(&[b'B'; FIXED]), None);
        let mut huge = [0xff; FIXED];
        (huge[0], huge[3]) = (b'l', 1);
        assert_eq!(length(&huge), None);
    }
}
