//! Small pieces of text that several tables share.

use std::fmt::Write;

/// The twelve characters people use of an id, without its algorithm.
pub fn short_id(id: &str) -> &str {
    let id = id.split_once(':').map_or(id, |(_, hex)| hex);
    id.get(..12).unwrap_or(id)
}

/// At most `width` columns, ending with `…` where something is left out.
pub fn ellipsis(text: &str, width: usize) -> String {
    use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};
    if text.width() <= width {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut used = 1;
    for c in text.chars() {
        used += c.width().unwrap_or(0);
        if used > width {
            break;
        }
        out.push(c);
    }
    out.push('…');
    out
}

/// Go's `strconv.Quote`.
pub fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if u32::from(c) < 0x20 || c == '\x7f' => {
                let _ = write!(out, "\\x{:02x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A moment in the machine's zone as Go prints times: `2006-01-02 15:04:05 -0700 MST`.
pub fn local_time(seconds: i64) -> String {
    let Ok(moment) = jiff::Timestamp::from_second(seconds) else { return String::new() };
    moment.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S %z %Z").to_string()
}

/// A published or exposed port as the list of containers has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Port {
    /// The address on the host, where it is published.
    #[serde(rename = "IP")]
    pub ip: String,
    /// The container's port.
    pub private_port: u16,
    /// The host's port, where it is published.
    pub public_port: u16,
    /// `tcp`, `udp` or `sctp`.
    #[serde(rename = "Type")]
    pub kind: String,
}

/// The column PORTS: neighbouring ports that map one to one are drawn together.
pub fn ports(ports: &[Port]) -> String {
    #[derive(Clone, Copy)]
    struct Range {
        first: u16,
        last: u16,
    }
    let mut sorted = ports.to_vec();
    sorted.sort_by(|a, b| {
        (a.private_port, &a.ip, a.public_port, &a.kind).cmp(&(b.private_port, &b.ip, b.public_port, &b.kind))
    });
    let show = |key: &str, ip: &str, kind: &str, range: Range| {
        let mut text = range.first.to_string();
        if range.first != range.last {
            let _ = write!(text, "-{}", range.last);
        }
        if !ip.is_empty() {
            text = format!("{}:{text}->{text}", bracketed(ip));
        }
        let _ = key;
        format!("{text}/{kind}")
    };
    let mut groups: Vec<(String, String, String, Range)> = Vec::new();
    let mut open: Vec<(String, String, String, Range)> = Vec::new();
    let mut mappings = Vec::new();
    for port in &sorted {
        let current = port.private_port;
        let mut key = port.kind.clone();
        if !port.ip.is_empty() {
            if port.public_port != current {
                mappings.push(format!(
                    "{}:{}->{current}/{}",
                    bracketed(&port.ip),
                    port.public_port,
                    port.kind
                ));
                continue;
            }
            key = format!("{}/{}", port.ip, port.kind);
        }
        match open.iter_mut().find(|group| group.0 == key) {
            None => {
                open.push((key, port.ip.clone(), port.kind.clone(), Range { first: current, last: current }))
            }
            Some(group) if current == group.3.last + 1 || current == group.3.last => group.3.last = current,
            Some(group) => {
                groups.push(group.clone());
                group.3 = Range { first: current, last: current };
            }
        }
    }
    let mut out: Vec<String> =
        groups.iter().map(|(key, ip, kind, range)| show(key, ip, kind, *range)).collect();
    out.extend(open.iter().map(|(key, ip, kind, range)| show(key, ip, kind, *range)));
    out.extend(mappings);
    out.join(", ")
}

fn bracketed(ip: &str) -> String {
    if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(ip: &str, private_port: u16, public_port: u16) -> Port {
        Port { ip: ip.into(), private_port, public_port, kind: "tcp".into() }
    }

    #[test]
    fn ports_are_drawn_together() {
        assert_eq!(ports(&[port("", 80, 0), port("", 81, 0), port("", 90, 0)]), "80-81/tcp, 90/tcp");
        assert_eq!(
            ports(&[port("0.0.0.0", 80, 8080), port("::", 80, 8080)]),
            "0.0.0.0:8080->80/tcp, [::]:8080->80/tcp"
        );
        assert_eq!(ports(&[port("0.0.0.0", 80, 80), port("0.0.0.0", 81, 81)]), "0.0.0.0:80-81->80-81/tcp");
        assert_eq!(ports(&[]), "");
    }

    #[test]
    fn texts_are_shortened() {
        assert_eq!(short_id("sha256:0123456789abcdef"), "0123456789ab");
        assert_eq!(short_id("abc"), "abc");
        assert_eq!(ellipsis("sleep 1000000 and more", 20), "sleep 1000000 and m…");
        assert_eq!(quote("sh -c \"x\""), r#""sh -c \"x\"""#);
    }
}
