//! One line of a progress stream: pull, push, build, load, import.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A line of a progress stream. Which members it has depends on what it tells.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Message {
    /// Text that is printed as it is.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub stream: String,
    /// What happens, in a word.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub status: String,
    /// How far it is; present, maybe empty, on every line about a layer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress_detail: Option<Progress>,
    /// [`Self::progress_detail`] as a bar, for old clients.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub progress: String,
    /// What it happens to: a layer's short digest, a tag.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// Why it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_detail: Option<ErrorDetail>,
    /// The message of [`Self::error_detail`], for old clients.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub error: String,
    /// A result for programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aux: Option<Value>,
}

/// How far something is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Progress {
    /// Bytes (or units) done.
    #[serde(skip_serializing_if = "crate::wire::is_default")]
    pub current: i64,
    /// Bytes (or units) in all; 0 where nobody knows.
    #[serde(skip_serializing_if = "crate::wire::is_default")]
    pub total: i64,
    /// Do not show the numbers.
    #[serde(rename = "hidecounts", skip_serializing_if = "crate::wire::is_default")]
    pub hide_counts: bool,
    /// What is counted, where it is not bytes.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub units: String,
}

/// An error at the end of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ErrorDetail {
    /// Exit code of a build's command; 0 elsewhere.
    #[serde(skip_serializing_if = "crate::wire::is_default")]
    pub code: i64,
    /// What is wrong.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
}

impl Message {
    /// Text of a build.
    pub fn text(text: impl Into<String>) -> Self {
        Self { stream: text.into(), ..Self::default() }
    }

    /// A status about nothing in particular, or about `id`.
    pub fn status(id: impl Into<String>, status: impl Into<String>) -> Self {
        Self { id: id.into(), status: status.into(), ..Self::default() }
    }

    /// An action on `id` and how far it is.
    pub fn progress(id: impl Into<String>, action: impl Into<String>, progress: Progress) -> Self {
        Self {
            id: id.into(),
            status: action.into(),
            progress: progress.bar(),
            progress_detail: Some(progress),
            ..Self::default()
        }
    }

    /// A result for programs.
    pub fn aux(id: impl Into<String>, aux: Value) -> Self {
        Self { id: id.into(), aux: Some(aux), ..Self::default() }
    }

    /// An error, the last line of its stream.
    pub fn error(message: impl Into<String>, code: i64) -> Self {
        let message = message.into();
        Self {
            error_detail: Some(ErrorDetail { code, message: message.clone() }),
            error: message,
            ..Self::default()
        }
    }
}

impl Progress {
    /// The bar that Docker's daemon draws for a client that draws none itself: 50 cells and the numbers.
    pub fn bar(&self) -> String {
        if self.current <= 0 && self.total <= 0 {
            return String::new();
        }
        if self.total <= 0 {
            return match self.units.as_str() {
                "" => format!("{:>8}", human_size(self.current)),
                units => format!("{} {units}", self.current),
            };
        }
        let done = usize::try_from(self.current.saturating_mul(50) / self.total).unwrap_or(0).min(50);
        let bar = format!("[{}>{}] ", "=".repeat(done), " ".repeat(50 - done));
        let numbers = match (self.hide_counts, self.units.as_str()) {
            (true, _) => String::new(),
            (false, "") if self.current > self.total => format!("{:>8}", human_size(self.current)),
            (false, "") => format!("{:>8}/{}", human_size(self.current), human_size(self.total)),
            (false, units) if self.current > self.total => format!("{} {units}", self.current),
            (false, units) => format!("{}/{} {units}", self.current, self.total),
        };
        format!("{bar}{numbers}")
    }
}

/// Bytes by powers of 1000 with four significant digits, as Go's `units.HumanSize` prints them.
pub fn human_size(bytes: i64) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    #[expect(clippy::cast_precision_loss, reason = "four digits are shown")]
    let mut size = bytes as f64;
    let mut unit = 0;
    while size >= 1000.0 && unit < UNITS.len() - 1 {
        size /= 1000.0;
        unit += 1;
    }
    let whole = if size < 1.0 { 1 } else { size.log10().floor() as usize + 1 };
    let digits = format!("{size:.*}", 4_usize.saturating_sub(whole));
    let digits =
        if digits.contains('.') { digits.trim_end_matches('0').trim_end_matches('.') } else { &digits };
    format!("{digits}{}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_dockers_members_in_dockers_order() {
        let json = |message: Message| serde_json::to_string(&message).unwrap();
        assert_eq!(json(Message::text("a")), r#"{"stream":"a"}"#);
        assert_eq!(
            json(Message::progress("0123", "Pulling fs layer", Progress::default())),
            r#"{"status":"Pulling fs layer","progressDetail":{},"id":"0123"}"#
        );
        assert_eq!(
            json(Message::error("no", 3)),
            r#"{"errorDetail":{"code":3,"message":"no"},"error":"no"}"#
        );
        let half = Progress { current: 500, total: 1000, ..Progress::default() };
        assert_eq!(
            json(Message::progress("x", "Downloading", half)),
            r#"{"status":"Downloading","progressDetail":{"current":500,"total":1000},"progress":"[=========================>                         ]     500B/1kB","id":"x"}"#
        );
    }

    #[test]
    fn sizes_have_four_digits() {
        for (bytes, text) in [
            (0, "0B"),
            (999, "999B"),
            (1000, "1kB"),
            (1234, "1.234kB"),
            (12_345_678, "12.35MB"),
            (1_000_000_000, "1GB"),
        ] {
            assert_eq!(human_size(bytes), text);
        }
    }
}
