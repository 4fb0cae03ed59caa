//! Request bodies, read with the rules and the refusals of Go's `encoding/json`, which Docker's clients were written against.
//!
//! - Keys match a struct's members whatever their case; an exact match wins, of several the last.
//! - `null` leaves a member at its default.
//! - Unknown members are ignored.
//! - Refusals have Go's words, because people search for them.
//!
//! Deeper nesting than 128 levels is refused (Go allows 10,000). Structs with flattened members are read by serde's own rules for those
//! (exact keys only) unless their body has a [`shape`].

pub(crate) mod shape;
mod syntax;
mod value;

use serde::de::DeserializeOwned;
use shape::Shaped;

/// Decodes a body; the error is the text after `invalid JSON: `, or the whole text for what follows the value.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8], body: Option<Shaped>) -> Result<T, String> {
    let end = syntax::scan(bytes).map_err(|error| format!("invalid JSON: {error}"))?;
    if bytes[end..].iter().any(|b| !b.is_ascii_whitespace()) {
        return Err("unexpected content after JSON".into());
    }
    let value = serde_json::from_slice(&bytes[..end]).map_err(|error| match error.to_string() {
        text if text.starts_with("recursion limit exceeded") => "invalid JSON: exceeded max depth".to_owned(),
        text => format!("invalid JSON: {text}"),
    })?;
    let value = match body {
        Some(body) => shape::fit(body, value).map_err(|error| format!("invalid JSON: {error}"))?,
        None => value,
    };
    value::decode(value).map_err(|error| format!("invalid JSON: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use corten_api::volume::CreateOptions;

    fn refusal(body: &str) -> String {
        decode::<CreateOptions>(body.as_bytes(), None).unwrap_err()
    }

    /// Each text is what dockerd 28.5 answers.
    #[test]
    fn refusals_are_dockers() {
        for (body, text) in [
            (
                "{\"Name\":5}",
                "invalid JSON: json: cannot unmarshal number into Go struct field CreateOptions.Name of type string",
            ),
            ("{\"Name\":\"x\"", "invalid JSON: unexpected EOF"),
            (
                "{\"Labels\":5}",
                "invalid JSON: json: cannot unmarshal number into Go struct field CreateOptions.Labels of type map[string]string",
            ),
            (
                "{\"Labels\":{\"a\":1}}",
                "invalid JSON: json: cannot unmarshal number into Go struct field CreateOptions.Labels of type string",
            ),
            ("{x", "invalid JSON: invalid character 'x' looking for beginning of object key string"),
            ("{\"Name\":\"v1\"}{}", "unexpected content after JSON"),
            ("nope", "invalid JSON: invalid character 'o' in literal null (expecting 'u')"),
        ] {
            assert_eq!(refusal(body), text, "{body}");
        }
        let array = refusal("[]");
        assert!(
            array.starts_with("invalid JSON: json: cannot unmarshal array into Go value of type"),
            "{array}"
        );
    }

    #[test]
    fn keys_match_whatever_their_case_and_null_is_the_default() {
        let options: CreateOptions = decode(
            br#"{"name":"a","NAME":"b","Labels":null,"driveropts":{"type":"x"},"Other":[1,{}]}"#,
            None,
        )
        .unwrap();
        assert_eq!(options.name, "b");
        assert_eq!(options.labels, None);
        assert_eq!(options.driver_opts.unwrap()["type"], "x");
    }

    #[test]
    fn nesting_is_bounded() {
        let deep = format!("{{\"Labels\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(refusal(&deep), "invalid JSON: exceeded max depth");
    }
}
