//! Syslog: RFC 3164, RFC 5424, and the local form without a host.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::{Address, Message};
use crate::container::validate::{Invalid, invalid};

/// The options of the driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Syslog {
    /// Where it goes.
    pub address: Address,
    facility: u8,
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    /// `<pri>time tag[pid]: text`, for a daemon on this host.
    Local,
    Rfc3164,
    Rfc5424,
    /// With microseconds.
    Rfc5424Micro,
}

const FACILITIES: [(&str, u8); 20] = [
    ("kern", 0),
    ("user", 1),
    ("mail", 2),
    ("daemon", 3),
    ("auth", 4),
    ("syslog", 5),
    ("lpr", 6),
    ("news", 7),
    ("uucp", 8),
    ("cron", 9),
    ("authpriv", 10),
    ("ftp", 11),
    ("local0", 16),
    ("local1", 17),
    ("local2", 18),
    ("local3", 19),
    ("local4", 20),
    ("local5", 21),
    ("local6", 22),
    ("local7", 23),
];

/// Severity of what came from standard error, and of everything else.
const ERROR: u8 = 3;
const INFORMATION: u8 = 6;

impl Syslog {
    /// The keys of its options.
    pub const KEYS: [&'static str; 7] = [
        "syslog-address",
        "syslog-facility",
        "syslog-format",
        "syslog-tls-ca-cert",
        "syslog-tls-cert",
        "syslog-tls-key",
        "syslog-tls-skip-verify",
    ];

    /// Parses the options.
    pub fn parse(options: &BTreeMap<String, String>) -> Result<Self, Invalid> {
        let text = |key: &str| options.get(key).map_or("", String::as_str);
        let format = match text("syslog-format") {
            "" => Format::Local,
            "rfc3164" => Format::Rfc3164,
            "rfc5424" => Format::Rfc5424,
            "rfc5424micro" => Format::Rfc5424Micro,
            _ => return invalid("Invalid syslog format"),
        };
        Ok(Self {
            address: address(text("syslog-address"))?,
            facility: facility(text("syslog-facility"))?,
            format,
        })
    }

    /// One packet for a message.
    pub(super) fn encode(&self, message: &Message<'_>, tag: &str, host: &str) -> Vec<u8> {
        let severity = if message.is_error { ERROR } else { INFORMATION };
        let (priority, pid, text) = (self.facility << 3 | severity, std::process::id(), message.text);
        let zoned = || message.time.to_zoned(TimeZone::system());
        let mut packet = match self.format {
            Format::Local => {
                format!("<{priority}>{} {tag}[{pid}]: {text}", zoned().strftime("%b %e %H:%M:%S"))
            }
            Format::Rfc3164 => {
                format!("<{priority}>{} {host} {tag}[{pid}]: {text}", zoned().strftime("%b %e %H:%M:%S"))
            }
            Format::Rfc5424 => {
                format!("<{priority}>1 {} {host} {tag} {pid} {tag} - {text}", rfc3339(message.time, 0))
            }
            Format::Rfc5424Micro => {
                format!("<{priority}>1 {} {host} {tag} {pid} {tag} - {text}", rfc3339(message.time, 6))
            }
        };
        if !packet.ends_with('\n') {
            packet.push('\n');
        }
        packet.into_bytes()
    }
}

fn rfc3339(time: Timestamp, digits: usize) -> String {
    format!("{time:.digits$}")
}

fn facility(text: &str) -> Result<u8, Invalid> {
    if text.is_empty() {
        return Ok(3);
    }
    let by_name = FACILITIES.iter().find(|(name, _)| *name == text).map(|(_, number)| *number);
    let number = by_name.or_else(|| text.parse().ok().filter(|number| *number <= 23));
    number.ok_or_else(|| Invalid("invalid syslog facility".into()))
}

fn address(text: &str) -> Result<Address, Invalid> {
    if text.is_empty() {
        return Ok(Address::Either("/dev/log".into()));
    }
    let Some((scheme, rest)) = text.split_once("://") else {
        return invalid(format!("syslog-address should be in form proto://address, got {text}"));
    };
    match scheme {
        "unix" | "unixgram" => {
            let path = std::path::PathBuf::from(rest);
            std::fs::metadata(&path).map_err(|error| Invalid(format!("stat {rest}: {error}")))?;
            Ok(if scheme == "unix" { Address::Either(path) } else { Address::Unixgram(path) })
        }
        "udp" | "tcp" => {
            let host = super::host_and_port(rest, Some(514));
            let host = host.ok_or_else(|| Invalid(format!("{text} has no host and port")))?;
            Ok(if scheme == "udp" { Address::Udp(host) } else { Address::Tcp(host) })
        }
        "tcp+tls" => invalid("syslog over TLS (tcp+tls) is not implemented"),
        _ => invalid(format!("unsupported scheme: '{scheme}'")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(options: &[(&str, &str)]) -> Result<Syslog, Invalid> {
        Syslog::parse(&options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
    }

    #[test]
    fn packets_of_each_format() {
        let message = Message { is_error: true, ..Message::new("text", "2026-11-24T13:05:09.25Z") };
        let pid = std::process::id();
        let packet = |format: &str| {
            let options = [("syslog-facility", "local0"), ("syslog-format", format)];
            String::from_utf8(parse(&options).unwrap().encode(&message, "tag", "host")).unwrap()
        };
        let pri = 16 * 8 + 3;
        assert_eq!(packet("rfc5424"), format!("<{pri}>1 2026-11-24T13:05:09Z host tag {pid} tag - text\n"));
        assert_eq!(
            packet("rfc5424micro"),
            format!("<{pri}>1 2026-11-24T13:05:09.250000Z host tag {pid} tag - text\n")
        );
        let stamp = message.time.to_zoned(TimeZone::system()).strftime("%b %e %H:%M:%S").to_string();
        assert_eq!(packet("rfc3164"), format!("<{pri}>{stamp} host tag[{pid}]: text\n"));
        assert_eq!(packet(""), format!("<{pri}>{stamp} tag[{pid}]: text\n"));
    }

    #[test]
    fn addresses_and_facilities() {
        let to = |text: &str| parse(&[("syslog-address", text)]).map(|syslog| syslog.address);
        assert_eq!(to("udp://1.2.3.4").unwrap(), Address::Udp("1.2.3.4:514".into()));
        assert_eq!(to("tcp://[::1]:601").unwrap(), Address::Tcp("[::1]:601".into()));
        for wrong in ["1.2.3.4", "http://x", "unix:///none/such", "tcp+tls://x:1", "udp://"] {
            assert!(to(wrong).is_err(), "{wrong}");
        }
        assert!(parse(&[("syslog-facility", "24")]).is_err() && parse(&[("syslog-facility", "7")]).is_ok());
        assert_eq!(parse(&[("syslog-format", "x")]).unwrap_err().to_string(), "Invalid syslog format");
    }
}
