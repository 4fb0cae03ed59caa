//! What a template works on, and how Go prints it.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::rc::Rc;

/// A row of a table: fields computed when they are asked for.
pub trait Row {
    /// A field, or a method called with arguments; `None` where there is no such name.
    fn field(&self, name: &str, arguments: &[Value]) -> Option<Value>;
    /// Every field that needs no argument, for `{{json .}}`.
    fn names(&self) -> Vec<&'static str>;
    /// The name of Go's type, as errors tell it.
    fn type_name(&self) -> &'static str;
}

/// A value as Go sees it: what matters is how it prints and what is true of it.
#[derive(Clone)]
pub enum Value {
    /// An absent interface value: `<no value>`.
    Nil,
    /// An absent pointer: `<nil>`.
    NilPointer,
    /// `bool`
    Bool(bool),
    /// Any integer.
    Int(i64),
    /// `float64`
    Float(f64),
    /// `string`, or what prints like one.
    Text(String),
    /// A slice; whether it is nil, for JSON.
    List(Rc<Vec<Value>>),
    /// A map, and what is known of its type.
    Map(Rc<BTreeMap<String, Value>>, Keys),
    /// A struct: fields in order, by Go's names; and the JSON it came from.
    Struct(Rc<Struct>),
    /// A pointer to something that is there.
    Pointer(Rc<Value>),
    /// A table's row.
    Row(Rc<dyn Row>),
    /// A raw JSON number, printed as it was written.
    Number(serde_json::Number),
}

/// What a map's type says of its keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keys {
    /// Texts; values of one type, whose zero stands for what is missing.
    Texts,
    /// Texts; values of any type, so that nothing stands for what is missing.
    Untyped,
    /// A type of their own, which a text is not.
    Named,
}

/// A Go struct.
pub struct Struct {
    /// The name of Go's type.
    pub name: String,
    /// Its fields; the name of an embedded struct begins with a plus.
    pub fields: Vec<(String, Value)>,
    /// The JSON it came from.
    pub json: serde_json::Value,
}

impl Struct {
    /// A field by name, of this struct or of one it embeds.
    pub fn field(&self, name: &str) -> Option<Value> {
        if let Some((_, value)) =
            self.fields.iter().find(|(known, _)| known.strip_prefix('+').unwrap_or(known) == name)
        {
            return Some(value.clone());
        }
        self.fields.iter().filter(|(known, _)| known.starts_with('+')).find_map(|(_, value)| {
            match value.followed() {
                Value::Struct(embedded) => embedded.field(name),
                _ => None,
            }
        })
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.print())
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<bool> for Value {
    fn from(on: bool) -> Self {
        Self::Bool(on)
    }
}

impl Value {
    /// A JSON value without a Go type: objects are maps, `null` is nil, numbers are texts of digits.
    pub fn from_json(json: &serde_json::Value) -> Self {
        use serde_json::Value as Json;
        match json {
            Json::Null => Self::Nil,
            Json::Bool(on) => Self::Bool(*on),
            Json::Number(number) => Self::Number(number.clone()),
            Json::String(text) => Self::Text(text.clone()),
            Json::Array(items) => Self::List(Rc::new(items.iter().map(Self::from_json).collect())),
            Json::Object(fields) => Self::Map(
                Rc::new(fields.iter().map(|(k, v)| (k.clone(), Self::from_json(v))).collect()),
                Keys::Untyped,
            ),
        }
    }

    /// What `{{json .}}` prints.
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match self {
            Self::Nil | Self::NilPointer => Json::Null,
            Self::Bool(on) => Json::Bool(*on),
            Self::Int(n) => Json::from(*n),
            Self::Float(n) => Json::from(*n),
            Self::Number(n) => Json::Number(n.clone()),
            Self::Text(text) => Json::from(text.as_str()),
            Self::List(items) => Json::Array(items.iter().map(Self::to_json).collect()),
            Self::Map(map, _) => Json::Object(map.iter().map(|(k, v)| (k.clone(), v.to_json())).collect()),
            Self::Struct(fields) => fields.json.clone(),
            Self::Pointer(value) => value.to_json(),
            Self::Row(row) => {
                let fields: BTreeMap<&str, Json> = row
                    .names()
                    .into_iter()
                    .filter_map(|name| Some((name, row.field(name, &[])?.to_json())))
                    .collect();
                Json::Object(fields.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())
            }
        }
    }

    /// What Go's `fmt.Print` writes for a template's result: pointers at the top are followed.
    pub fn print(&self) -> String {
        let mut out = String::new();
        match self {
            Self::Pointer(value) => value.write(&mut out, 0),
            Self::Nil => out.push_str("<no value>"),
            other => other.write(&mut out, 0),
        }
        out
    }

    /// Go's `%v`.
    pub(super) fn write(&self, out: &mut String, depth: usize) {
        match self {
            Self::Nil | Self::NilPointer => out.push_str("<nil>"),
            Self::Bool(on) => {
                let _ = write!(out, "{on}");
            }
            Self::Int(n) => {
                let _ = write!(out, "{n}");
            }
            Self::Float(n) => out.push_str(&float(*n)),
            Self::Number(n) => {
                let _ = write!(out, "{n}");
            }
            Self::Text(text) => out.push_str(text),
            Self::List(items) => {
                out.push('[');
                for (i, item) in items.iter().enumerate() {
                    if i > 0 {
                        out.push(' ');
                    }
                    item.write(out, depth + 1);
                }
                out.push(']');
            }
            Self::Map(map, _) => {
                out.push_str("map[");
                for (i, (key, value)) in map.iter().enumerate() {
                    if i > 0 {
                        out.push(' ');
                    }
                    out.push_str(key);
                    out.push(':');
                    value.write(out, depth + 1);
                }
                out.push(']');
            }
            Self::Struct(fields) => {
                out.push('{');
                for (i, (_, value)) in fields.fields.iter().enumerate() {
                    if i > 0 {
                        out.push(' ');
                    }
                    value.write(out, depth + 1);
                }
                out.push('}');
            }
            // Go prints the address of a pointer inside something else; ours says only that it is one.
            Self::Pointer(value) if depth > 0 => {
                let _ = write!(out, "0xc{:09x}", (Rc::as_ptr(value) as usize) & 0xf_ffff_ffff);
            }
            Self::Pointer(value) => {
                out.push('&');
                value.write(out, depth);
            }
            Self::Row(row) => {
                out.push('{');
                out.push_str(row.type_name());
                out.push('}');
            }
        }
    }

    /// What `if` and `with` ask.
    pub(super) fn truth(&self) -> bool {
        match self {
            Self::Nil | Self::NilPointer => false,
            Self::Bool(on) => *on,
            Self::Int(n) => *n != 0,
            Self::Float(n) => *n != 0.0,
            Self::Number(n) => n.as_f64() != Some(0.0),
            Self::Text(text) => !text.is_empty(),
            Self::List(items) => !items.is_empty(),
            Self::Map(map, _) => !map.is_empty(),
            Self::Struct(_) | Self::Pointer(_) | Self::Row(_) => true,
        }
    }

    /// The name of Go's type, for errors and `%T`.
    pub(super) fn type_name(&self) -> String {
        match self {
            Self::Nil | Self::NilPointer => "<nil>".to_owned(),
            Self::Bool(_) => "bool".to_owned(),
            Self::Int(_) => "int".to_owned(),
            Self::Float(_) => "float64".to_owned(),
            Self::Number(_) => "json.Number".to_owned(),
            Self::Text(_) => "string".to_owned(),
            Self::List(items) => match items.first() {
                Some(Self::Text(_)) => "[]string".to_owned(),
                Some(other) => format!("[]{}", other.type_name()),
                None => "[]string".to_owned(),
            },
            Self::Map(map, _) => match map.values().next() {
                Some(Self::Text(_)) => "map[string]string".to_owned(),
                Some(Self::Struct(fields)) => format!("map[string]{}", fields.name),
                _ => "map[string]interface {}".to_owned(),
            },
            Self::Struct(fields) => fields.name.clone(),
            Self::Pointer(value) => format!("*{}", value.type_name()),
            Self::Row(row) => format!("*{}", row.type_name()),
        }
    }

    /// Behind any pointers.
    pub(super) fn followed(&self) -> &Self {
        match self {
            Self::Pointer(value) => value.followed(),
            other => other,
        }
    }
}

/// Go's `%v` of a float: the shortest digits, with an exponent below 1e-4 and from 1e21.
fn float(n: f64) -> String {
    if n == 0.0 {
        return "0".to_owned();
    }
    let size = n.abs();
    if (1e-4..1e21).contains(&size) {
        return format!("{n}");
    }
    let text = format!("{n:e}");
    match text.split_once('e') {
        Some((digits, exponent)) => {
            let (sign, exponent) = match exponent.strip_prefix('-') {
                Some(rest) => ('-', rest),
                None => ('+', exponent),
            };
            format!("{digits}e{sign}{exponent:0>2}")
        }
        None => text,
    }
}
