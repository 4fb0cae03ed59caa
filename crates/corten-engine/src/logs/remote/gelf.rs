//! GELF 1.1: JSON in datagrams, compressed and cut into chunks where it is long, or in a stream ended by NUL bytes.

use std::collections::BTreeMap;
use std::io::Write as _;

use flate2::Compression;
use serde_json::{Map, Value, json};

use super::{Address, Message};
use crate::container::validate::{Invalid, invalid};
use crate::logs::info::{Attribution, LogInfo};

/// The longest datagram.
const DATAGRAM: usize = 1420;
/// Bytes of a chunk's head.
const HEAD: usize = 12;
/// The most chunks of one message.
const CHUNKS: usize = 128;

/// The options of the driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gelf {
    /// Where it goes.
    pub address: Address,
    packing: Packing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Packing {
    None,
    Gzip(Compression),
    Zlib(Compression),
}

impl Gelf {
    /// The keys of its options.
    pub const KEYS: [&'static str; 5] = [
        "gelf-address",
        "gelf-compression-level",
        "gelf-compression-type",
        "gelf-tcp-max-reconnect",
        "gelf-tcp-reconnect-delay",
    ];

    /// Parses the options. How often and when a stream is opened again is decided by whoever ships, for all drivers alike.
    pub fn parse(options: &BTreeMap<String, String>) -> Result<Self, Invalid> {
        let text = |key: &str| options.get(key).map(String::as_str);
        let address = address(text("gelf-address").unwrap_or_default())?;
        let datagrams = matches!(address, Address::Udp(_));
        let compresses =
            ["gelf-compression-level", "gelf-compression-type"].iter().any(|key| text(key).is_some());
        if compresses && !datagrams {
            return invalid("compression is only supported on UDP");
        }
        let unknown = |key: &str, value: &str| {
            Invalid(format!("unknown value {value:?} for log opt {key:?} for gelf log driver"))
        };
        let level = match text("gelf-compression-level") {
            None | Some("-1") => Compression::default(),
            Some(text) => match text.parse() {
                Ok(level @ 0..=9) => Compression::new(level),
                _ => return Err(unknown("gelf-compression-level", text)),
            },
        };
        for key in ["gelf-tcp-max-reconnect", "gelf-tcp-reconnect-delay"] {
            match text(key) {
                Some(_) if datagrams => return invalid(format!("{key:?} is only valid for TCP")),
                Some(text) if text.parse::<u32>().is_err() => {
                    return invalid(format!("{key:?} must be a positive integer"));
                }
                _ => {}
            }
        }
        let packing = match text("gelf-compression-type") {
            _ if !datagrams => Packing::None,
            None | Some("gzip") => Packing::Gzip(level),
            Some("zlib") => Packing::Zlib(level),
            Some("none") => Packing::None,
            Some(other) => return Err(unknown("gelf-compression-type", other)),
        };
        Ok(Self { address, packing })
    }

    /// The fields that all messages of a container have.
    pub(super) fn extra(info: &LogInfo, attribution: &Attribution) -> Map<String, Value> {
        let mut extra = Map::new();
        for (key, value) in attribution.attributes(info) {
            let key = if key.starts_with('_') { key } else { format!("_{key}") };
            extra.insert(key, value.into());
        }
        for (key, value) in [
            ("_container_id", info.id.clone()),
            ("_container_name", info.name.clone()),
            ("_image_id", info.image_id.clone()),
            ("_image_name", info.image_name.clone()),
            ("_command", info.command.clone()),
            ("_tag", attribution.tag(info)),
            ("_created", info.created.to_string()),
        ] {
            extra.insert(key.to_owned(), value.into());
        }
        extra
    }

    /// The packets of a message. An empty line is none.
    pub(super) fn encode(
        &self,
        message: &Message<'_>,
        extra: &Map<String, Value>,
        host: &str,
    ) -> Vec<Vec<u8>> {
        if message.text.is_empty() {
            return Vec::new();
        }
        #[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 are far below 2^53")]
        let seconds = message.time.as_millisecond() as f64 / 1000.0;
        let mut object = json!({
            "version": "1.1",
            "host": host,
            "short_message": message.text,
            "timestamp": seconds,
            "level": if message.is_error { 3 } else { 6 },
        });
        if let Some(object) = object.as_object_mut() {
            object.extend(extra.clone());
        }
        let mut bytes = object.to_string().into_bytes();
        if !self.address.keeps_packets() {
            bytes.push(0);
            return vec![bytes];
        }
        chunks(self.pack(bytes), &corten_types::random_hex(8))
    }

    fn pack(&self, bytes: Vec<u8>) -> Vec<u8> {
        let packed = match self.packing {
            Packing::None => return bytes,
            Packing::Gzip(level) => {
                let mut writer = flate2::write::GzEncoder::new(Vec::new(), level);
                writer.write_all(&bytes).and_then(|()| writer.finish())
            }
            Packing::Zlib(level) => {
                let mut writer = flate2::write::ZlibEncoder::new(Vec::new(), level);
                writer.write_all(&bytes).and_then(|()| writer.finish())
            }
        };
        // Writing to memory does not fail; the plain form is understood too.
        packed.unwrap_or(bytes)
    }
}

/// Cuts what is too long for a datagram: `1e 0f`, eight bytes of identity, number, count, data.
fn chunks(bytes: Vec<u8>, identity: &str) -> Vec<Vec<u8>> {
    if bytes.len() <= DATAGRAM {
        return vec![bytes];
    }
    let parts: Vec<&[u8]> = bytes.chunks(DATAGRAM - HEAD).collect();
    let Ok(count) = u8::try_from(parts.len().min(CHUNKS)) else { return Vec::new() };
    let identity = data_encoding::HEXLOWER.decode(identity.as_bytes()).unwrap_or_default();
    let chunk = |(number, part): (u8, &&[u8])| {
        let mut chunk = vec![0x1e, 0x0f];
        chunk.extend(identity.iter().copied().chain(std::iter::repeat(0)).take(8));
        chunk.extend([number, count]);
        chunk.extend_from_slice(part);
        chunk
    };
    (0..count).zip(&parts).map(chunk).collect()
}

fn address(text: &str) -> Result<Address, Invalid> {
    if text.is_empty() {
        return invalid("gelf-address is a required parameter");
    }
    let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
    if !matches!(scheme, "udp" | "tcp") {
        return invalid("gelf: endpoint needs to be TCP or UDP");
    }
    match super::host_and_port(rest, None) {
        Some(host) if scheme == "udp" => Ok(Address::Udp(host)),
        Some(host) => Ok(Address::Tcp(host)),
        None => invalid("gelf: please provide gelf-address as proto://host:port"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(options: &[(&str, &str)]) -> Result<Gelf, String> {
        let options = options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Gelf::parse(&options).map_err(|error| error.to_string())
    }

    #[test]
    fn a_message_is_json_with_a_nul_in_a_stream() {
        let gelf = parse(&[("gelf-address", "tcp://h:1")]).unwrap();
        let message = Message::new("text", "2026-11-24T13:05:09.25Z");
        let extra =
            Gelf::extra(&LogInfo { name: "web".into(), ..LogInfo::default() }, &Attribution::default());
        let packets = gelf.encode(&message, &extra, "host");
        let [packet] = &packets[..] else { panic!("{packets:?}") };
        let (end, json) = packet.split_last().unwrap();
        let value: Value = serde_json::from_slice(json).unwrap();
        assert_eq!((*end, &value["short_message"], &value["level"]), (0, &json!("text"), &json!(6)));
        assert_eq!(
            (&value["timestamp"], &value["_container_name"]),
            (&json!(1_795_525_509.25), &json!("web"))
        );
    }

    #[test]
    fn long_messages_are_cut_into_chunks() {
        let bytes: Vec<u8> = (0..3000_u32).map(|n| n as u8).collect();
        let parts = chunks(bytes.clone(), "0123456789abcdef");
        assert_eq!(parts.len(), 3);
        assert_eq!(parts[2][..12], [0x1e, 0x0f, 1, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 2, 3]);
        let joined: Vec<u8> = parts.iter().flat_map(|part| part[12..].to_vec()).collect();
        assert_eq!(joined, bytes);
        assert!(chunks(vec![0; 500_000], "00").len() <= CHUNKS);
    }

    #[test]
    fn refusals_have_dockers_texts() {
        for (options, text) in [
            (&[][..], "gelf-address is a required parameter"),
            (&[("gelf-address", "http://x:1")], "gelf: endpoint needs to be TCP or UDP"),
            (&[("gelf-address", "udp://x")], "gelf: please provide gelf-address as proto://host:port"),
            (
                &[("gelf-address", "tcp://x:1"), ("gelf-compression-type", "gzip")],
                "compression is only supported on UDP",
            ),
            (
                &[("gelf-address", "udp://x:1"), ("gelf-compression-level", "10")],
                r#"unknown value "10" for log opt "gelf-compression-level" for gelf log driver"#,
            ),
            (
                &[("gelf-address", "udp://x:1"), ("gelf-tcp-max-reconnect", "1")],
                r#""gelf-tcp-max-reconnect" is only valid for TCP"#,
            ),
        ] {
            assert_eq!(parse(options).unwrap_err(), text);
        }
    }
}
