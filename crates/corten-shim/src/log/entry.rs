use super::{Piece, Stream};

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Appends one entry in Docker's `json-file` form:
/// `{"log":"…\n","stream":"stdout","attrs":{…},"time":"…"}` and an end of line. `attrs` is a JSON object's text.
pub fn write_entry(out: &mut Vec<u8>, piece: Piece<'_>, stream: Stream, attrs: Option<&str>, time: &str) {
    out.extend_from_slice(b"{\"log\":\"");
    escape(out, piece.text);
    if piece.ended {
        out.extend_from_slice(b"\\n");
    }
    out.extend_from_slice(b"\",\"stream\":\"");
    out.extend_from_slice(stream.name().as_bytes());
    out.push(b'"');
    if let Some(attrs) = attrs {
        out.extend_from_slice(b",\"attrs\":");
        out.extend_from_slice(attrs.as_bytes());
    }
    out.extend_from_slice(b",\"time\":\"");
    out.extend_from_slice(time.as_bytes());
    out.extend_from_slice(b"\"}\n");
}

/// The inside of a JSON string, with Docker's choices: `<`, `>`, `&`, U+2028 and U+2029 as `\u…`, of the control
/// characters only `\n` and `\r` short, and `\ufffd` for each byte that is no UTF-8.
fn escape(out: &mut Vec<u8>, bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        escape_text(out, chunk.valid().as_bytes());
        for _ in chunk.invalid() {
            out.extend_from_slice(b"\\ufffd");
        }
    }
}

fn escape_text(out: &mut Vec<u8>, text: &[u8]) {
    let mut plain = 0;
    let mut at = 0;
    while at < text.len() {
        let byte = text[at];
        // U+2028 and U+2029 are E2 80 A8 and E2 80 A9.
        let separator = byte == 0xe2 && text[at + 1] == 0x80 && text[at + 2] & 0xfe == 0xa8;
        if !separator && byte >= 0x20 && !matches!(byte, b'"' | b'\\' | b'<' | b'>' | b'&') {
            at += 1;
            continue;
        }
        out.extend_from_slice(&text[plain..at]);
        if separator {
            out.extend_from_slice(b"\\u202");
            out.push(HEX[usize::from(text[at + 2] & 0xf)]);
            at += 2;
        } else {
            match byte {
                b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
                b'\n' => out.extend_from_slice(b"\\n"),
                b'\r' => out.extend_from_slice(b"\\r"),
                _ => {
                    out.extend_from_slice(b"\\u00");
                    out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 0xf)]]);
                }
            }
        }
        at += 1;
        plain = at;
    }
    out.extend_from_slice(&text[plain..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(bytes: &[u8]) -> String {
        let mut out = Vec::new();
        escape(&mut out, bytes);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn an_entry_has_dockers_form() {
        let mut out = Vec::new();
        let time = "2026-11-24T13:00:00.5Z";
        write_entry(&mut out, Piece { text: b"hi", ended: true }, Stream::Stderr, None, time);
        write_entry(
            &mut out,
            Piece { text: b"hi", ended: false },
            Stream::Stdout,
            Some(r#"{"a":"b"}"#),
            time,
        );
        let expected = concat!(
            r#"{"log":"hi\n","stream":"stderr","time":"2026-11-24T13:00:00.5Z"}"#,
            "\n",
            r#"{"log":"hi","stream":"stdout","attrs":{"a":"b"},"time":"2026-11-24T13:00:00.5Z"}"#,
            "\n"
        );
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn bytes_are_escaped_as_docker_does() {
        for (bytes, text) in [
            (&b"a\"b\\c"[..], r#"a\"b\\c"#),
            (b"<b>&", r"\u003cb\u003e\u0026"),
            (b"\x00\x07\x1b[0m\t\r\x7f", "\\u0000\\u0007\\u001b[0m\\u0009\\r\x7f"),
            (b"\xff\xfea", r"\ufffd\ufffda"),
            (b"\xe2\x82 \xf0\x9f\x98", r"\ufffd\ufffd \ufffd\ufffd\ufffd"),
            ("ü€😀\u{fffd}".as_bytes(), "ü€😀\u{fffd}"),
            ("x\u{2028}y\u{2029}\u{2027}".as_bytes(), "x\\u2028y\\u2029\u{2027}"),
            (b"\xed\xa0\x80", r"\ufffd\ufffd\ufffd"),
        ] {
            assert_eq!(escaped(bytes), text);
        }
    }
}
