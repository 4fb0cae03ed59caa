//! The journal's native protocol: a datagram of `NAME=value` lines; a value with line feeds is its length and its bytes.

use std::collections::BTreeMap;

use super::Message;
use crate::logs::info::{Attribution, LogInfo, short};

/// The fields that all entries of a container have. `epoch` tells one run of the shipping from another.
pub(super) fn fields(info: &LogInfo, attribution: &Attribution, epoch: &str) -> BTreeMap<String, String> {
    let tag = attribution.tag(info);
    let mut fields: BTreeMap<String, String> = [
        ("CONTAINER_ID", short(&info.id)),
        ("CONTAINER_ID_FULL", &info.id),
        ("CONTAINER_NAME", &info.name),
        ("CONTAINER_TAG", &tag),
        ("IMAGE_NAME", &info.image_name),
        ("SYSLOG_IDENTIFIER", &tag),
        ("CONTAINER_LOG_EPOCH", epoch),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into();
    let own = attribution.attributes(info).into_iter().map(|(key, value)| (field_name(&key), value));
    fields.extend(own.filter(|(key, _)| !key.is_empty()));
    fields
}

/// A field's name: capital letters, digits and underscores, not beginning with one.
fn field_name(key: &str) -> String {
    let mapped = key.chars().map(|c| match c.to_ascii_uppercase() {
        c if c.is_ascii_uppercase() || c.is_ascii_digit() => c,
        _ => '_',
    });
    mapped.collect::<String>().trim_start_matches('_').to_owned()
}

/// The datagram of a message, the `ordinal`th of its epoch.
pub(super) fn encode(message: &Message<'_>, fields: &BTreeMap<String, String>, ordinal: u64) -> Vec<u8> {
    let mut out = Vec::new();
    let mut put = |key: &str, value: &str| {
        out.extend_from_slice(key.as_bytes());
        if value.contains('\n') {
            out.push(b'\n');
            out.extend_from_slice(&(value.len() as u64).to_le_bytes());
        } else {
            out.push(b'=');
        }
        out.extend_from_slice(value.as_bytes());
        out.push(b'\n');
    };
    put("MESSAGE", message.text);
    put("PRIORITY", if message.is_error { "3" } else { "6" });
    put("SYSLOG_TIMESTAMP", &message.time.to_string());
    put("CONTAINER_LOG_ORDINAL", &ordinal.to_string());
    for (key, value) in fields {
        put(key, value);
    }
    if let Some(part) = &message.part {
        put("CONTAINER_PARTIAL_ID", &part.id);
        put("CONTAINER_PARTIAL_ORDINAL", &part.ordinal.to_string());
        put("CONTAINER_PARTIAL_LAST", &part.last.to_string());
        if !part.last {
            put("CONTAINER_PARTIAL_MESSAGE", "true");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_lines_of_fields() {
        let info = LogInfo {
            id: "0123456789abcdef".into(),
            name: "web".into(),
            labels: [("_my.label".to_owned(), "a\nb".to_owned())].into(),
            ..LogInfo::default()
        };
        let options = [("labels-regex".to_owned(), ".".to_owned())].into();
        let fields = fields(&info, &Attribution::parse(&options).unwrap(), "e");
        let message = Message { is_error: true, ..Message::new("text", "2026-11-24T13:05:09.25Z") };
        let expected = "MESSAGE=text\nPRIORITY=3\nSYSLOG_TIMESTAMP=2026-11-24T13:05:09.25Z\n\
            CONTAINER_LOG_ORDINAL=7\nCONTAINER_ID=0123456789ab\nCONTAINER_ID_FULL=0123456789abcdef\n\
            CONTAINER_LOG_EPOCH=e\nCONTAINER_NAME=web\nCONTAINER_TAG=0123456789ab\nIMAGE_NAME=\n\
            MY_LABEL\n\x03\0\0\0\0\0\0\0a\nb\nSYSLOG_IDENTIFIER=0123456789ab\n";
        assert_eq!(String::from_utf8(encode(&message, &fields, 7)).unwrap(), expected);
    }
}
