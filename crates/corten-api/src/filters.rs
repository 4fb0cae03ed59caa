//! The `filters` parameter of lists and prunes: `{"name":["a","b"]}`, or the older `{"name":{"a":true}}`.

use std::collections::BTreeMap;
use std::fmt;

use corten_types::{ErrorKind, Kind};
use indexmap::IndexSet;

/// Filters by key: values of one key are alternatives, different keys must all hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filters {
    keys: BTreeMap<String, IndexSet<String>>,
}

/// Why filters were refused; the texts are Docker's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FilterError {
    /// The text is not JSON of one of the two forms.
    Malformed,
    /// A key that this list does not know.
    UnknownKey(String),
    /// A value that this key cannot have.
    BadValue {
        /// The key.
        key: String,
        /// All its values.
        values: Vec<String>,
    },
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => f.write_str("invalid filter"),
            Self::UnknownKey(key) => write!(f, "invalid filter '{key}'"),
            Self::BadValue { key, values } => write!(f, "invalid filter '{key}=[{}]'", values.join(" ")),
        }
    }
}

impl std::error::Error for FilterError {}

impl Kind for FilterError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::InvalidArgument
    }
}

impl Filters {
    /// Reads the parameter's text; empty text is no filter.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        if let Ok(Some(keys)) =
            serde_json::from_str::<Option<BTreeMap<String, Option<BTreeMap<String, bool>>>>>(text)
        {
            let values = |m: Option<BTreeMap<String, bool>>| m.unwrap_or_default().into_keys().collect();
            return Ok(Self { keys: keys.into_iter().map(|(k, v)| (k, values(v))).collect() });
        }
        match serde_json::from_str::<Option<BTreeMap<String, Option<Vec<String>>>>>(text) {
            Ok(keys) => {
                let keys = keys.unwrap_or_default();
                Ok(Self {
                    keys: keys
                        .into_iter()
                        .map(|(k, v)| (k, v.unwrap_or_default().into_iter().collect()))
                        .collect(),
                })
            }
            Err(_) => Err(FilterError::Malformed),
        }
    }

    /// The text a client sends for these filters.
    pub fn to_text(&self) -> String {
        let map: BTreeMap<&str, BTreeMap<&str, bool>> = self
            .keys
            .iter()
            .map(|(k, v)| (k.as_str(), v.iter().map(|v| (v.as_str(), true)).collect()))
            .collect();
        serde_json::to_string(&map).unwrap_or_default()
    }

    /// Adds one value.
    pub fn add(&mut self, key: &str, value: &str) {
        self.keys.entry(key.to_owned()).or_default().insert(value.to_owned());
    }

    /// Refuses keys that are not in `known`.
    pub fn only(&self, known: &[&str]) -> Result<(), FilterError> {
        match self.keys.keys().find(|k| !known.contains(&k.as_str())) {
            Some(key) => Err(FilterError::UnknownKey(key.clone())),
            None => Ok(()),
        }
    }

    /// Whether no filter was given.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether a key was given.
    pub fn has(&self, key: &str) -> bool {
        self.keys.contains_key(key)
    }

    /// The values of a key, in the order given.
    pub fn get<'a>(&'a self, key: &str) -> impl Iterator<Item = &'a str> + use<'a> {
        self.keys.get(key).into_iter().flatten().map(String::as_str)
    }

    /// Whether the key was not given, or `value` is one of its values.
    pub fn exact(&self, key: &str, value: &str) -> bool {
        !self.has(key) || self.get(key).any(|v| v == value)
    }

    /// Whether the key was not given, or one of its values is a part of `value`, or the whole.
    ///
    /// Docker reads the values as regular expressions; the plain parts and the anchors `^`, `$`, which is what people write, mean the same.
    pub fn part(&self, key: &str, value: &str) -> bool {
        !self.has(key) || self.get(key).any(|pattern| anchored_part(pattern, value))
    }

    /// Whether the key was not given, or one of its values begins `value`.
    pub fn prefix(&self, key: &str, value: &str) -> bool {
        !self.has(key) || self.get(key).any(|v| value.starts_with(v))
    }

    /// Whether every `key` or `key=value` of a `label` filter is among the labels; `negated` filters (`label!`) must not be.
    pub fn labels<'a>(&self, key: &str, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.get(key).all(|wanted| match wanted.split_once('=') {
            Some((name, value)) => label(name) == Some(value),
            None => label(wanted).is_some(),
        })
    }

    /// A boolean filter: absent is `None`; anything but one true or false is refused.
    pub fn bool(&self, key: &str) -> Result<Option<bool>, FilterError> {
        if !self.has(key) {
            return Ok(None);
        }
        let values: Vec<&str> = self.get(key).collect();
        match values[..] {
            ["1" | "true"] => Ok(Some(true)),
            ["0" | "false"] => Ok(Some(false)),
            _ => Err(FilterError::BadValue {
                key: key.to_owned(),
                values: values.into_iter().map(str::to_owned).collect(),
            }),
        }
    }
}

/// Whether `pattern`, with optional `^` and `$`, is found in `value`.
fn anchored_part(pattern: &str, value: &str) -> bool {
    let (start, pattern) = pattern.strip_prefix('^').map_or((false, pattern), |p| (true, p));
    let (end, pattern) = pattern.strip_suffix('$').map_or((false, pattern), |p| (true, p));
    match (start, end) {
        (false, false) => value.contains(pattern),
        (true, false) => value.starts_with(pattern),
        (false, true) => value.ends_with(pattern),
        (true, true) => value == pattern,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_mean_the_same() {
        let list = Filters::parse(r#"{"label":["a","b=c"],"name":["x"]}"#).unwrap();
        let map = Filters::parse(r#"{"label":{"a":true,"b=c":true},"name":{"x":true}}"#).unwrap();
        assert_eq!(list, map);
        assert_eq!(Filters::parse(&list.to_text()).unwrap(), list);
        assert_eq!(Filters::parse("").unwrap(), Filters::default());
        assert_eq!(Filters::parse("null").unwrap(), Filters::default());
        assert_eq!(Filters::parse("x").unwrap_err().to_string(), "invalid filter");
        assert_eq!(Filters::parse("[]").unwrap_err().to_string(), "invalid filter");
    }

    #[test]
    fn refusals_name_the_key() {
        let f = Filters::parse(r#"{"dangling":["maybe"]}"#).unwrap();
        assert_eq!(f.only(&["name"]).unwrap_err().to_string(), "invalid filter 'dangling'");
        assert_eq!(f.bool("dangling").unwrap_err().to_string(), "invalid filter 'dangling=[maybe]'");
        assert_eq!(f.bool("other").unwrap(), None);
    }

    #[test]
    fn values_are_alternatives_and_labels_must_all_hold() {
        let f = Filters::parse(r#"{"name":["^web$","db"],"label":["a","b=c"]}"#).unwrap();
        assert!(f.part("name", "web") && f.part("name", "mydb1") && !f.part("name", "web2"));
        let labels = |name: &str| [("a", "1"), ("b", "c")].iter().find(|(n, _)| *n == name).map(|(_, v)| *v);
        assert!(f.labels("label", labels));
        assert!(!f.labels("label", |name| if name == "a" { Some("") } else { None }));
    }
}
