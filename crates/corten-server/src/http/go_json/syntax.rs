//! Finds the end of the first JSON value, or says in Go's words why there is none. Does not recurse.

use std::fmt::Write as _;

/// What surrounds the value that is being read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Inside {
    Array,
    Object,
}

/// The offset just behind the first value.
pub(super) fn scan(bytes: &[u8]) -> Result<usize, String> {
    let mut scanner = Scanner { bytes, at: 0 };
    let mut stack: Vec<Inside> = Vec::new();
    loop {
        // Here a value begins.
        match scanner.token()? {
            b'{' => {
                scanner.at += 1;
                if scanner.token()? == b'}' {
                    scanner.at += 1;
                } else {
                    scanner.key()?;
                    stack.push(Inside::Object);
                    continue;
                }
            }
            b'[' => {
                scanner.at += 1;
                if scanner.token()? == b']' {
                    scanner.at += 1;
                } else {
                    stack.push(Inside::Array);
                    continue;
                }
            }
            b'"' => scanner.string()?,
            b'-' | b'0'..=b'9' => scanner.number()?,
            b't' => scanner.literal("true")?,
            b'f' => scanner.literal("false")?,
            b'n' => scanner.literal("null")?,
            _ => return Err(scanner.wrong("looking for beginning of value")),
        }
        // Here a value has ended.
        loop {
            let Some(inside) = stack.last() else { return Ok(scanner.at) };
            match (inside, scanner.token()?) {
                (Inside::Array, b',') => {
                    scanner.at += 1;
                    break;
                }
                (Inside::Object, b',') => {
                    scanner.at += 1;
                    scanner.key()?;
                    break;
                }
                (Inside::Array, b']') | (Inside::Object, b'}') => {
                    scanner.at += 1;
                    stack.pop();
                }
                (Inside::Array, _) => return Err(scanner.wrong("after array element")),
                (Inside::Object, _) => return Err(scanner.wrong("after object key:value pair")),
            }
        }
    }
}

struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Scanner<'_> {
    fn peek(&self) -> Result<u8, String> {
        self.bytes.get(self.at).copied().ok_or_else(|| "unexpected EOF".to_owned())
    }

    /// The next byte that is not white space.
    fn token(&mut self) -> Result<u8, String> {
        while matches!(self.peek()?, b' ' | b'\t' | b'\r' | b'\n') {
            self.at += 1;
        }
        self.peek()
    }

    fn wrong(&self, context: &str) -> String {
        format!("invalid character {} {context}", quoted(self.bytes[self.at]))
    }

    /// A key and its colon.
    fn key(&mut self) -> Result<(), String> {
        if self.token()? != b'"' {
            return Err(self.wrong("looking for beginning of object key string"));
        }
        self.string()?;
        if self.token()? != b':' {
            return Err(self.wrong("after object key"));
        }
        self.at += 1;
        Ok(())
    }

    fn string(&mut self) -> Result<(), String> {
        self.at += 1;
        loop {
            match self.peek()? {
                b'"' => {
                    self.at += 1;
                    return Ok(());
                }
                b'\\' => {
                    self.at += 1;
                    match self.peek()? {
                        b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"' => self.at += 1,
                        b'u' => {
                            self.at += 1;
                            for _ in 0..4 {
                                if !self.peek()?.is_ascii_hexdigit() {
                                    return Err(self.wrong("in \\u hexadecimal character escape"));
                                }
                                self.at += 1;
                            }
                        }
                        _ => return Err(self.wrong("in string escape code")),
                    }
                }
                0..0x20 => return Err(self.wrong("in string literal")),
                _ => self.at += 1,
            }
        }
    }

    fn digits(&mut self) {
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
    }

    fn number(&mut self) -> Result<(), String> {
        if self.peek()? == b'-' {
            self.at += 1;
        }
        match self.peek()? {
            b'0' => self.at += 1,
            b'1'..=b'9' => self.digits(),
            _ => return Err(self.wrong("in numeric literal")),
        }
        if self.bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            if !self.peek()?.is_ascii_digit() {
                return Err(self.wrong("after decimal point in numeric literal"));
            }
            self.digits();
        }
        if matches!(self.bytes.get(self.at), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek()?, b'+' | b'-') {
                self.at += 1;
            }
            if !self.peek()?.is_ascii_digit() {
                return Err(self.wrong("in exponent of numeric literal"));
            }
            self.digits();
        }
        Ok(())
    }

    fn literal(&mut self, word: &str) -> Result<(), String> {
        for wanted in word.bytes() {
            if self.peek()? != wanted {
                return Err(self.wrong(&format!("in literal {word} (expecting '{}')", wanted as char)));
            }
            self.at += 1;
        }
        Ok(())
    }
}

/// A byte between single quotes, as Go shows it.
fn quoted(byte: u8) -> String {
    match byte {
        b'\'' => r"'\''".into(),
        b'"' => "'\"'".into(),
        b'\\' => r"'\\'".into(),
        b'\n' => r"'\n'".into(),
        b'\r' => r"'\r'".into(),
        b'\t' => r"'\t'".into(),
        0x20..0x7f => format!("'{}'", byte as char),
        // Go takes the byte for the code point of that number.
        0xa1..=0xff if byte != 0xad => format!("'{}'", char::from(byte)),
        _ => {
            let mut text = String::from("'");
            let _ = if byte < 0x80 { write!(text, "\\x{byte:02x}'") } else { write!(text, "\\u{byte:04x}'") };
            text
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_values_end_where_they_end() {
        for (text, rest) in [
            ("{}", ""),
            (" {\"a\":[1,2.5e-3,{\"b\":null}],\"c\":\"\\u00e9\\n\"} x", " x"),
            ("[]{}", "{}"),
            ("\"a\"1", "1"),
            ("true", ""),
            ("-0", ""),
        ] {
            assert_eq!(scan(text.as_bytes()).map(|end| &text[end..]), Ok(rest), "{text}");
        }
    }

    #[test]
    fn refusals_are_gos() {
        for (text, error) in [
            ("", "unexpected EOF"),
            ("{\"a\"", "unexpected EOF"),
            ("{\"a\" 1", "invalid character '1' after object key"),
            ("{\"a\":1 2", "invalid character '2' after object key:value pair"),
            ("[1 2", "invalid character '2' after array element"),
            ("{\"a\":}", "invalid character '}' looking for beginning of value"),
            ("{\"a\":1,}", "invalid character '}' looking for beginning of object key string"),
            ("-x", "invalid character 'x' in numeric literal"),
            ("1.x", "invalid character 'x' after decimal point in numeric literal"),
            ("1ex", "invalid character 'x' in exponent of numeric literal"),
            ("\"\\x\"", "invalid character 'x' in string escape code"),
            ("\"\\u00g0\"", "invalid character 'g' in \\u hexadecimal character escape"),
            ("\"\n\"", "invalid character '\\n' in string literal"),
            ("'a'", "invalid character '\\'' looking for beginning of value"),
            ("\u{1}", "invalid character '\\x01' looking for beginning of value"),
            ("tru!", "invalid character '!' in literal true (expecting 'e')"),
        ] {
            assert_eq!(scan(text.as_bytes()), Err(error.to_owned()), "{text:?}");
        }
    }
}
