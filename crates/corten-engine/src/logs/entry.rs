use std::borrow::Cow;
use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;

use super::LogRequest;

/// One line of a `json-file` log.
#[derive(Debug, Deserialize)]
pub struct Entry<'a> {
    /// What was written, its end of line included.
    #[serde(borrow, default)]
    pub log: Cow<'a, str>,
    /// `stdout` or `stderr`.
    #[serde(borrow, default)]
    pub stream: Cow<'a, str>,
    /// Attributes that the log options asked for.
    #[serde(default)]
    pub attrs: Option<BTreeMap<String, String>>,
    /// When, RFC 3339.
    #[serde(borrow)]
    pub time: Cow<'a, str>,
}

/// How output is told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// Not at all (a terminal's).
    Raw,
    /// By `stdcopy` headers.
    Multiplexed,
}

/// Turns entries into what the client sees.
pub(super) struct Filter {
    request: LogRequest,
    framing: Framing,
}

impl Filter {
    pub(super) fn new(request: &LogRequest, framing: Framing) -> Self {
        Self { request: *request, framing }
    }

    /// Appends what is to be seen of a line of the file; false when nothing after it is wanted. A line that is no entry
    /// is passed over.
    pub(super) fn apply(&self, line: &[u8], out: &mut Vec<u8>) -> bool {
        let Ok(entry) = serde_json::from_slice::<Entry<'_>>(line) else { return true };
        let request = &self.request;
        if request.since.is_some() || request.until.is_some() || request.timestamps {
            let Ok(time) = entry.time.parse::<Timestamp>() else { return true };
            if request.until.is_some_and(|until| time > until) {
                return false;
            }
            if request.since.is_some_and(|since| time < since) {
                return true;
            }
            self.show(&entry, Some(time), out);
        } else {
            self.show(&entry, None, out);
        }
        true
    }

    fn show(&self, entry: &Entry<'_>, time: Option<Timestamp>, out: &mut Vec<u8>) {
        let number = match &*entry.stream {
            "stdout" if self.request.stdout => 1,
            "stderr" if self.request.stderr => 2,
            _ => return,
        };
        let start = out.len();
        if self.framing == Framing::Multiplexed {
            out.extend_from_slice(&[number, 0, 0, 0, 0, 0, 0, 0]);
        }
        if let (true, Some(time)) = (self.request.timestamps, time) {
            out.extend_from_slice(format!("{time:.9} ").as_bytes());
        }
        if self.request.details {
            details(entry.attrs.as_ref(), out);
        }
        out.extend_from_slice(entry.log.as_bytes());
        if self.framing == Framing::Multiplexed {
            let length = u32::try_from(out.len() - start - 8).unwrap_or(u32::MAX);
            out[start + 4..start + 8].copy_from_slice(&length.to_be_bytes());
        }
    }
}

/// `key=value,key=value ` with both sides as a URL's query escapes them.
fn details(attrs: Option<&BTreeMap<String, String>>, out: &mut Vec<u8>) {
    for (n, (key, value)) in attrs.into_iter().flatten().enumerate() {
        if n > 0 {
            out.push(b',');
        }
        query_escape(key, out);
        out.push(b'=');
        query_escape(value, out);
    }
    out.push(b' ');
}

/// Go's `url.QueryEscape`.
fn query_escape(text: &str, out: &mut Vec<u8>) {
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(byte),
            b' ' => out.push(b'+'),
            _ => out.extend_from_slice(format!("%{byte:02X}").as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUT: &str = r#"{"log":"a \u003cb\u003e\n","stream":"stdout","time":"2026-11-24T13:00:00.5Z"}"#;
    const ERR: &str = r#"{"log":"e","stream":"stderr","attrs":{"k":"v w","l":"=,"},"time":"2026-11-24T13:00:01.000000007Z"}"#;

    fn shown(request: LogRequest, framing: Framing, lines: &[&str]) -> (String, bool) {
        let mut out = Vec::new();
        let filter = Filter::new(&request, framing);
        let more = lines.iter().all(|line| filter.apply(line.as_bytes(), &mut out));
        (String::from_utf8(out).unwrap(), more)
    }

    fn both() -> LogRequest {
        LogRequest { stdout: true, stderr: true, ..LogRequest::default() }
    }

    #[test]
    fn entries_are_unescaped_and_framed() {
        assert_eq!(shown(both(), Framing::Raw, &[OUT, ERR]).0, "a <b>\ne");
        let framed = "\x01\0\0\0\0\0\0\x06a <b>\n\x02\0\0\0\0\0\0\x01e";
        assert_eq!(shown(both(), Framing::Multiplexed, &[OUT, ERR]).0, framed);
    }

    #[test]
    fn streams_are_chosen() {
        assert_eq!(shown(LogRequest { stderr: false, ..both() }, Framing::Raw, &[OUT, ERR]).0, "a <b>\n");
        assert_eq!(shown(LogRequest { stdout: false, ..both() }, Framing::Raw, &[OUT, ERR]).0, "e");
    }

    #[test]
    fn times_and_details_come_first() {
        let request = LogRequest { timestamps: true, details: true, ..both() };
        let expected =
            "2026-11-24T13:00:00.500000000Z  a <b>\n2026-11-24T13:00:01.000000007Z k=v+w,l=%3D%2C e";
        assert_eq!(shown(request, Framing::Raw, &[OUT, ERR]).0, expected);
    }

    #[test]
    fn the_span_is_kept() {
        let at = |text: &str| Some(text.parse().unwrap());
        let since = LogRequest { since: at("2026-11-24T13:00:00.6Z"), ..both() };
        assert_eq!(shown(since, Framing::Raw, &[OUT, ERR]), ("e".into(), true));
        let until = LogRequest { until: at("2026-11-24T13:00:00.5Z"), ..both() };
        assert_eq!(shown(until, Framing::Raw, &[OUT, ERR]), ("a <b>\n".into(), false));
    }

    #[test]
    fn what_is_no_entry_is_passed_over() {
        assert_eq!(shown(both(), Framing::Raw, &["{", "", "nonsense", ERR]).0, "e");
    }
}
