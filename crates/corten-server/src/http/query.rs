//! The query string, read with the rules of Docker's daemon.

use corten_api::filters::{FilterError, Filters};

/// The parameters of a request, decoded once.
///
/// Names are case-sensitive; of a repeated parameter [`Query::text`] gives the first and [`Query::all`] every value, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    pairs: Vec<(String, String)>,
}

impl Query {
    /// Decodes the part of a URL after the `?`. Pairs that cannot be decoded are dropped, as Go's `FormValue` does.
    pub fn parse(text: &str) -> Self {
        let pair = |part: &str| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            Some((decode(name, Plus::IsSpace)?, decode(value, Plus::IsSpace)?))
        };
        Self {
            pairs: text.split('&').filter(|p| !p.is_empty() && !p.contains(';')).filter_map(pair).collect(),
        }
    }

    /// The first value of a parameter; `None` when it is absent. An empty value is `Some("")`.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// The first value of a parameter, where absent and empty mean the same.
    pub fn non_empty(&self, name: &str) -> Option<&str> {
        self.text(name).filter(|v| !v.is_empty())
    }

    /// Every value of a repeated parameter.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.pairs.iter().filter(move |(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// Whether the parameter is there at all.
    pub fn has(&self, name: &str) -> bool {
        self.text(name).is_some()
    }

    /// Docker's booleans: absent, empty, `0`, `no`, `false` and `none` are false, everything else is true.
    pub fn bool(&self, name: &str) -> bool {
        let value = self.text(name).unwrap_or("").trim().to_ascii_lowercase();
        !matches!(value.as_str(), "" | "0" | "no" | "false" | "none")
    }

    /// [`Query::bool`], with a default for when the parameter is absent.
    pub fn bool_or(&self, name: &str, default: bool) -> bool {
        if self.has(name) { self.bool(name) } else { default }
    }

    /// An integer; absent and malformed values are `None` (Docker takes them for the default).
    pub fn int(&self, name: &str) -> Option<i64> {
        self.text(name)?.trim().parse().ok()
    }

    /// The JSON of the `filters` parameter in either of its two forms; empty when absent.
    pub fn filters(&self) -> Result<Filters, FilterError> {
        Filters::parse(self.text("filters").unwrap_or(""))
    }
}

/// What a `+` stands for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plus {
    /// In a query string.
    IsSpace,
    /// In a path.
    IsPlus,
}

/// Undoes percent-encoding; `None` for a malformed escape or text that is not UTF-8.
pub(crate) fn decode(text: &str, plus: Plus) -> Option<String> {
    let hex = |b: u8| (b as char).to_digit(16).map(|d| d as u8);
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(b) = bytes.next() {
        match b {
            b'%' => {
                let (high, low) = (hex(bytes.next()?)?, hex(bytes.next()?)?);
                out.push(high << 4 | low);
            }
            b'+' if plus == Plus::IsSpace => out.push(b' '),
            _ => out.push(b),
        }
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_decoded_and_repeated_ones_keep_their_order() {
        let q = Query::parse("name=a%20b+c&t=1&t=2&empty=&flag&bad=%zz");
        assert_eq!(q.text("name"), Some("a b c"));
        assert_eq!(q.all("t").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(q.text("empty"), Some(""));
        assert_eq!(q.non_empty("empty"), None);
        assert_eq!(q.text("flag"), Some(""));
        assert!(!q.has("bad"));
    }

    #[test]
    fn booleans_follow_docker() {
        for (text, wanted) in [
            ("", false),
            ("x=", false),
            ("x=0", false),
            ("x=False", false),
            ("x=no", false),
            ("x=none", false),
            ("x=1", true),
            ("x=true", true),
            ("x=T", true),
            ("x=banana", true),
        ] {
            assert_eq!(Query::parse(text).bool("x"), wanted, "{text}");
        }
        assert!(Query::parse("").bool_or("x", true));
        assert!(!Query::parse("x=0").bool_or("x", true));
    }

    #[test]
    fn integers_are_lenient() {
        assert_eq!(Query::parse("t=-1").int("t"), Some(-1));
        assert_eq!(Query::parse("t=abc").int("t"), None);
    }
}
