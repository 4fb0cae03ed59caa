//! Fluentd's forward protocol: one message a packet, `[tag, time, record]` in msgpack, acknowledged where that is asked for.

use std::collections::BTreeMap;
use std::io;

use rmp::encode::{write_array_len, write_ext_meta, write_map_len, write_sint, write_str};

use super::address::Connection;
use super::{Address, Message};
use crate::container::merge::parse_size;
use crate::container::validate::{Invalid, invalid};
use crate::logs::driver::flag;
use crate::logs::info::LogInfo;

/// Type of the extension that holds a time with nanoseconds.
const EVENT_TIME: i8 = 0;
/// The longest acknowledgement.
const ANSWER: usize = 256;

/// The options of the driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fluentd {
    /// Where it goes.
    pub address: Address,
    sub_second: bool,
    acknowledged: bool,
}

impl Fluentd {
    /// The keys of its options.
    pub const KEYS: [&'static str; 9] = [
        "fluentd-address",
        "fluentd-async",
        "fluentd-async-reconnect-interval",
        "fluentd-buffer-limit",
        "fluentd-max-retries",
        "fluentd-request-ack",
        "fluentd-retry-wait",
        "fluentd-sub-second-precision",
        "fluentd-write-timeout",
    ];

    /// Parses the options. Those about buffers and retries are checked: the local log is the buffer, and it is tried again until the
    /// container is removed.
    pub fn parse(options: &BTreeMap<String, String>) -> Result<Self, Invalid> {
        let text = |key: &str| options.get(key).map(String::as_str).filter(|text| !text.is_empty());
        let given = text("fluentd-address").unwrap_or_default();
        let address =
            address(given).map_err(|why| Invalid(format!("invalid fluentd-address ({given}): {}", why.0)))?;
        flag(options, "fluentd-async")?;
        if let Some(size) = text("fluentd-buffer-limit").filter(|size| parse_size(size).is_none()) {
            return invalid(format!("invalid size: '{size}'"));
        }
        if let Some(count) = text("fluentd-max-retries").filter(|count| count.parse::<u32>().is_err()) {
            return invalid(format!("strconv.ParseUint: parsing {count:?}: invalid syntax"));
        }
        for key in ["fluentd-retry-wait", "fluentd-write-timeout", "fluentd-async-reconnect-interval"] {
            if let Some(span) = text(key).filter(|span| crate::time::duration(span).is_none()) {
                return invalid(format!("invalid value for {key}: value must be a duration: {span:?}"));
            }
        }
        Ok(Self {
            address,
            sub_second: flag(options, "fluentd-sub-second-precision")?.unwrap_or(false),
            acknowledged: flag(options, "fluentd-request-ack")?.unwrap_or(false),
        })
    }

    /// One packet for a message, and what its acknowledgement must say.
    pub(super) fn encode(
        &self,
        message: &Message<'_>,
        tag: &str,
        info: &LogInfo,
        attributes: &BTreeMap<String, String>,
    ) -> (Vec<u8>, Option<String>) {
        let mut record: BTreeMap<&str, String> = BTreeMap::from([
            ("container_id", info.id.clone()),
            ("container_name", format!("/{}", info.name)),
            ("source", if message.is_error { "stderr" } else { "stdout" }.to_owned()),
            ("log", message.text.to_owned()),
        ]);
        record.extend(attributes.iter().map(|(key, value)| (key.as_str(), value.clone())));
        if let Some(part) = &message.part {
            record.extend([
                ("partial_message", "true".to_owned()),
                ("partial_id", part.id.clone()),
                ("partial_ordinal", part.ordinal.to_string()),
                ("partial_last", part.last.to_string()),
            ]);
        }
        let chunk = self.acknowledged.then(|| corten_types::random_hex(32));
        let mut out = Vec::new();
        // Writing to memory does not fail.
        let _ = self.write(&mut out, message, tag, &record, chunk.as_deref());
        (out, chunk)
    }

    fn write(
        &self,
        out: &mut Vec<u8>,
        message: &Message<'_>,
        tag: &str,
        record: &BTreeMap<&str, String>,
        chunk: Option<&str>,
    ) -> Result<(), rmp::encode::ValueWriteError> {
        let length = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        write_array_len(out, if chunk.is_some() { 4 } else { 3 })?;
        write_str(out, tag)?;
        let seconds = message.time.as_second();
        if self.sub_second {
            write_ext_meta(out, 8, EVENT_TIME)?;
            out.extend(u32::try_from(seconds).unwrap_or(0).to_be_bytes());
            out.extend(message.time.subsec_nanosecond().unsigned_abs().to_be_bytes());
        } else {
            write_sint(out, seconds)?;
        }
        write_map_len(out, length(record.len()))?;
        for (key, value) in record {
            write_str(out, key)?;
            write_str(out, value)?;
        }
        if let Some(chunk) = chunk {
            write_map_len(out, 1)?;
            write_str(out, "chunk")?;
            write_str(out, chunk)?;
        }
        Ok(())
    }
}

/// Waits until the receiver has acknowledged `chunk`: `{"ack": chunk}`.
pub(super) async fn acknowledged(connection: &mut Connection, chunk: &str) -> io::Result<()> {
    let mut wanted = Vec::new();
    let _ = write_map_len(&mut wanted, 1)
        .and_then(|_| write_str(&mut wanted, "ack"))
        .and_then(|()| write_str(&mut wanted, chunk));
    let mut answer = vec![0; ANSWER];
    let mut length = 0;
    while length < wanted.len() {
        match connection.read(&mut answer[length..]).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            more => length += more,
        }
    }
    if answer[..length] == wanted {
        Ok(())
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidData, "another message was acknowledged"))
    }
}

fn address(text: &str) -> Result<Address, Invalid> {
    if text.is_empty() {
        return Ok(Address::Tcp("127.0.0.1:24224".into()));
    }
    let (scheme, rest) = text.split_once("://").unwrap_or(("tcp", text));
    match scheme {
        "unix" if rest.trim_start_matches('/').is_empty() => invalid("path is empty"),
        "unix" => Ok(Address::Unix(rest.into())),
        "tcp" if rest.contains('/') => invalid("should not contain a path element"),
        "tcp" => {
            let rest = if rest.starts_with(':') { format!("127.0.0.1{rest}") } else { rest.to_owned() };
            let host = super::host_and_port(&rest, Some(24224));
            host.map(Address::Tcp).ok_or_else(|| Invalid(format!("invalid port in {rest:?}")))
        }
        "tls" => invalid("fluentd over TLS (tls) is not implemented"),
        _ => invalid(format!("unsupported scheme: '{scheme}'")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(options: &[(&str, &str)]) -> Result<Fluentd, String> {
        let options = options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Fluentd::parse(&options).map_err(|error| error.to_string())
    }

    #[test]
    fn a_message_is_an_array_of_tag_time_and_record() {
        let message = Message::new("hi", "2026-11-24T13:05:09.25Z");
        let info = LogInfo { id: "i".into(), name: "n".into(), ..LogInfo::default() };
        let (bytes, chunk) = parse(&[]).unwrap().encode(&message, "t", &info, &BTreeMap::new());
        let mut expected = vec![0x93, 0xa1, b't', 0xce];
        expected.extend(1_795_525_509_u32.to_be_bytes());
        expected
            .extend(b"\x84\xaccontainer_id\xa1i\xaecontainer_name\xa2/n\xa3log\xa2hi\xa6source\xa6stdout");
        assert_eq!((bytes, chunk), (expected, None));
        let options = [("fluentd-sub-second-precision", "true"), ("fluentd-request-ack", "true")];
        let (bytes, chunk) = parse(&options).unwrap().encode(&message, "t", &info, &BTreeMap::new());
        assert_eq!(bytes[..5], [0x94, 0xa1, b't', 0xd7, 0]);
        assert_eq!(bytes[9..13], 250_000_000_u32.to_be_bytes());
        assert!(bytes.ends_with(chunk.unwrap().as_bytes()));
    }

    #[test]
    fn addresses() {
        let to = |text: &str| parse(&[("fluentd-address", text)]).map(|fluentd| fluentd.address);
        assert_eq!(to("").unwrap(), Address::Tcp("127.0.0.1:24224".into()));
        assert_eq!(to("host").unwrap(), Address::Tcp("host:24224".into()));
        assert_eq!(to("tcp://host:9").unwrap(), Address::Tcp("host:9".into()));
        assert_eq!(to("unix:///run/f.sock").unwrap(), Address::Unix("/run/f.sock".into()));
        assert_eq!(
            to("odd://x").unwrap_err(),
            "invalid fluentd-address (odd://x): unsupported scheme: 'odd'"
        );
        assert_eq!(
            to("tcp://h:1/p").unwrap_err(),
            "invalid fluentd-address (tcp://h:1/p): should not contain a path element"
        );
    }
}
