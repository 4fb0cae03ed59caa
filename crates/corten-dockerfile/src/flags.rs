//! The `--name=value` words behind a keyword, checked against what the instruction knows.

use std::collections::BTreeMap;

use crate::ast::Flag;
use crate::error::Fault;
use crate::suggest::nearest;

/// What kind of value a flag takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// `--link`, `--link=false`.
    Bool,
    /// `--from=x`, once.
    Value,
    /// `--mount=x`, any number of times.
    List,
}

/// The flags of one instruction after they were checked.
#[derive(Debug, Default)]
pub(crate) struct FlagSet {
    values: BTreeMap<&'static str, Vec<String>>,
}

impl FlagSet {
    pub fn read(flags: &[Flag], known: &[(&'static str, Shape)]) -> Result<Self, Fault> {
        let mut set = Self::default();
        for flag in flags {
            let Some(word) = flag.text.strip_prefix("--") else {
                return Err(Fault::NotAFlag { word: flag.text.clone() });
            };
            let (name, value) = match word.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (word, None),
            };
            let Some(&(name, shape)) = known.iter().find(|(known, _)| *known == name) else {
                let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
                return Err(Fault::UnknownFlag { flag: name.into(), suggestion: nearest(name, &names) });
            };
            let values = set.values.entry(name).or_default();
            if shape != Shape::List && !values.is_empty() {
                return Err(Fault::DuplicateFlag { flag: name.into() });
            }
            let value = match (shape, value) {
                (Shape::Bool, None) => "true",
                (Shape::Bool, Some("")) | (Shape::Value | Shape::List, None) => {
                    return Err(Fault::FlagWithoutValue { flag: name.into() });
                }
                (Shape::Bool, Some(value)) if value.eq_ignore_ascii_case("true") => "true",
                (Shape::Bool, Some(value)) if value.eq_ignore_ascii_case("false") => "false",
                (Shape::Bool, Some(value)) => {
                    return Err(Fault::FlagNotBoolean { flag: name.into(), value: value.into() });
                }
                (Shape::Value | Shape::List, Some(value)) => value,
            };
            values.push(value.into());
        }
        Ok(set)
    }

    /// The value of a flag that may stand once; `None` where it does not stand, or stands empty.
    pub fn value(&self, name: &str) -> Option<String> {
        self.values.get(name)?.first().filter(|value| !value.is_empty()).cloned()
    }

    /// The truth of a flag, where it stands.
    pub fn truth(&self, name: &str) -> Option<bool> {
        Some(self.values.get(name)?.first()? == "true")
    }

    /// All values of a flag.
    pub fn list(&self, name: &str) -> Vec<String> {
        self.values.get(name).cloned().unwrap_or_default()
    }
}
