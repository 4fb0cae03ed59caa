//! Where else a log goes: one module a protocol, each a pure function from a line to packets; the way there is [`Connection`].
//!
//! Nothing here reads logs or decides when to try again: see [`super::shipping`].

mod address;
mod fluentd;
mod gelf;
mod journald;
mod syslog;

use std::io;

use jiff::Timestamp;

pub use address::{Address, Connection};
pub use fluentd::Fluentd;
pub use gelf::Gelf;
pub use syslog::Syslog;

use super::info::{Attribution, LogInfo};

/// A remote driver with its options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remote {
    /// Syslog.
    Syslog(Syslog),
    /// GELF.
    Gelf(Gelf),
    /// Fluentd.
    Fluentd(Fluentd),
    /// The journal at this socket.
    Journald(Address),
}

/// One line, or a piece of a long one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message<'a> {
    /// Without its end of line.
    pub text: &'a str,
    /// It came from standard error.
    pub is_error: bool,
    /// When.
    pub time: Timestamp,
    /// Which piece of a line it is, if it is not a whole one.
    pub part: Option<Part>,
}

/// A piece of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The same for all pieces of a line.
    pub id: String,
    /// Counted from 1.
    pub ordinal: u32,
    /// The line ends with it.
    pub last: bool,
}

/// A remote driver for one container: what all its lines have in common is made once.
#[derive(Debug)]
pub struct Sender {
    remote: Remote,
    info: LogInfo,
    tag: String,
    host: String,
    attributes: std::collections::BTreeMap<String, String>,
    gelf: serde_json::Map<String, serde_json::Value>,
    ordinal: u64,
}

impl Sender {
    /// For a container.
    pub fn new(remote: Remote, info: LogInfo, attribution: &Attribution) -> Self {
        let attributes = match &remote {
            Remote::Journald(_) => journald::fields(&info, attribution, &corten_types::random_hex(32)),
            _ => attribution.attributes(&info),
        };
        let gelf = match &remote {
            Remote::Gelf(_) => Gelf::extra(&info, attribution),
            _ => serde_json::Map::new(),
        };
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let (tag, host) = (attribution.tag(&info), host.trim().to_owned());
        Self { remote, info, tag, host, attributes, gelf, ordinal: 0 }
    }

    /// Where it goes.
    pub fn address(&self) -> &Address {
        match &self.remote {
            Remote::Syslog(syslog) => &syslog.address,
            Remote::Gelf(gelf) => &gelf.address,
            Remote::Fluentd(fluentd) => &fluentd.address,
            Remote::Journald(address) => address,
        }
    }

    /// Sends one message; done when the receiver's end has taken it, or has acknowledged it where that is asked for.
    pub async fn send(&mut self, connection: &mut Connection, message: &Message<'_>) -> io::Result<()> {
        match &self.remote {
            // An empty line tells nothing there.
            Remote::Syslog(_) if message.text.is_empty() => Ok(()),
            Remote::Syslog(syslog) => connection.send(&syslog.encode(message, &self.tag, &self.host)).await,
            Remote::Gelf(gelf) => {
                for packet in gelf.encode(message, &self.gelf, &self.host) {
                    connection.send(&packet).await?;
                }
                Ok(())
            }
            Remote::Fluentd(fluentd) => {
                let (packet, chunk) = fluentd.encode(message, &self.tag, &self.info, &self.attributes);
                connection.send(&packet).await?;
                match chunk {
                    Some(chunk) => fluentd::acknowledged(connection, &chunk).await,
                    None => Ok(()),
                }
            }
            Remote::Journald(_) => {
                self.ordinal += 1;
                connection.send(&journald::encode(message, &self.attributes, self.ordinal)).await
            }
        }
    }
}

/// `host:port` with the port filled in where there is a default; `None` for what is neither.
fn host_and_port(text: &str, default: Option<u16>) -> Option<String> {
    let (host, port) = match text.rsplit_once(':') {
        // The last colon of an address in brackets may be inside of them.
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (text, None),
    };
    let bracketed = host.starts_with('[') && host.ends_with(']');
    if host.is_empty() || host.contains('/') || host.contains(':') && !bracketed {
        return None;
    }
    match port {
        Some(port) => port.parse::<u16>().ok().map(|port| format!("{host}:{port}")),
        None => default.map(|port| format!("{host}:{port}")),
    }
}

#[cfg(test)]
impl<'a> Message<'a> {
    fn new(text: &'a str, time: &str) -> Self {
        Self { text, is_error: false, time: time.parse().unwrap(), part: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports() {
        assert_eq!(host_and_port("a", Some(1)).as_deref(), Some("a:1"));
        assert_eq!(host_and_port("a:2", Some(1)).as_deref(), Some("a:2"));
        assert_eq!(host_and_port("[::1]", Some(1)).as_deref(), Some("[::1]:1"));
        assert_eq!(host_and_port("[::1]:2", None).as_deref(), Some("[::1]:2"));
        for wrong in ["", ":1", "a", "a:x", "::1", "a/b:1", "a:70000"] {
            assert_eq!(host_and_port(wrong, None), None, "{wrong}");
        }
    }
}
