//! The functions of templates: Go's own and docker's.

use std::cmp::Ordering;
use std::fmt::Write;
use std::rc::Rc;

use super::Value;
use super::exec::Mode;
use super::format::sprintf;
use super::value::Keys;

const NAMES: &[&str] = &[
    "and", "or", "not", "len", "index", "slice", "print", "printf", "println", "html", "js", "urlquery",
    "eq", "ne", "lt", "le", "gt", "ge", "json", "split", "join", "title", "lower", "upper", "pad",
    "truncate", "call",
];

pub(super) fn exists(name: &str) -> bool {
    NAMES.contains(&name)
}

/// Calls a function; the error is Go's text without the place.
pub(super) fn call(name: &str, arguments: &[Value], mode: Mode) -> Result<Value, String> {
    if mode == Mode::Header
        && matches!(name, "json" | "title" | "lower" | "upper" | "truncate" | "pad" | "join" | "split")
    {
        return Ok(arguments.first().cloned().unwrap_or(Value::Nil));
    }
    let count = |want: usize| {
        if arguments.len() == want {
            Ok(())
        } else {
            Err(format!("wrong number of args for {name}: want {want} got {}", arguments.len()))
        }
    };
    let at_least = |want: usize| {
        if arguments.len() >= want {
            Ok(())
        } else {
            Err(format!("wrong number of args for {name}: want at least {want} got {}", arguments.len()))
        }
    };
    match name {
        "not" => count(1).map(|()| Value::Bool(!arguments[0].truth())),
        "len" => count(1).and_then(|()| length(&arguments[0])),
        "index" => at_least(1).and_then(|()| index(&arguments[0], &arguments[1..])),
        "slice" => at_least(1).and_then(|()| slice(&arguments[0], &arguments[1..])),
        "print" => Ok(Value::Text(print(arguments))),
        "println" => Ok(Value::Text(println(arguments))),
        "printf" => {
            at_least(1)?;
            let Value::Text(format) = &arguments[0] else {
                return Err(format!(
                    "wrong type for value; expected string; got {}",
                    arguments[0].type_name()
                ));
            };
            Ok(Value::Text(sprintf(format, &arguments[1..])))
        }
        "html" => Ok(Value::Text(html(&print(arguments)))),
        "js" => Ok(Value::Text(js(&print(arguments)))),
        "urlquery" => Ok(Value::Text(urlquery(&print(arguments)))),
        "eq" => {
            at_least(2)?;
            for other in &arguments[1..] {
                if equal(&arguments[0], other)? {
                    return Ok(Value::Bool(true));
                }
            }
            Ok(Value::Bool(false))
        }
        "ne" => count(2).and_then(|()| equal(&arguments[0], &arguments[1])).map(|same| Value::Bool(!same)),
        "lt" | "le" | "gt" | "ge" => {
            count(2)?;
            let order = compare(&arguments[0], &arguments[1])?;
            Ok(Value::Bool(match name {
                "lt" => order == Ordering::Less,
                "le" => order != Ordering::Greater,
                "gt" => order == Ordering::Greater,
                _ => order != Ordering::Less,
            }))
        }
        "json" => count(1).map(|()| {
            let text = arguments[0].to_json().to_string();
            Value::Text(match arguments[0] {
                // Rows write their own JSON, and docker's do as Go does by default.
                Value::Row(_) => text.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026"),
                _ => text,
            })
        }),
        "split" => {
            count(2)?;
            let (text, separator) = (text(&arguments[0])?, text(&arguments[1])?);
            let parts: Vec<Value> = if separator.is_empty() {
                text.chars().map(|c| Value::Text(c.to_string())).collect()
            } else {
                text.split(separator).map(Value::from).collect()
            };
            Ok(Value::List(Rc::new(parts)))
        }
        "join" => {
            count(2)?;
            let separator = text(&arguments[1])?;
            let Value::List(items) = arguments[0].followed() else {
                return Err(format!(
                    "wrong type for value; expected []string; got {}",
                    arguments[0].type_name()
                ));
            };
            let parts = items.iter().map(text).collect::<Result<Vec<_>, _>>()?;
            Ok(Value::Text(parts.join(separator)))
        }
        "title" => count(1).and_then(|()| text(&arguments[0])).map(|text| Value::Text(title(text))),
        "lower" => count(1).and_then(|()| text(&arguments[0])).map(|text| Value::Text(text.to_lowercase())),
        "upper" => count(1).and_then(|()| text(&arguments[0])).map(|text| Value::Text(text.to_uppercase())),
        "pad" => {
            count(3)?;
            let source = text(&arguments[0])?;
            if source.is_empty() {
                return Ok(Value::Text(String::new()));
            }
            let (before, after) = (number(&arguments[1])?, number(&arguments[2])?);
            Ok(Value::Text(format!("{}{source}{}", " ".repeat(before), " ".repeat(after))))
        }
        "truncate" => {
            count(2)?;
            let source = text(&arguments[0])?;
            Ok(Value::Text(source.chars().take(number(&arguments[1])?).collect()))
        }
        _ => Err(format!("{name} is not a function")),
    }
}

fn text(value: &Value) -> Result<&str, String> {
    match value {
        Value::Text(text) => Ok(text),
        Value::Nil => Err("invalid value; expected string".to_owned()),
        other => Err(format!("wrong type for value; expected string; got {}", other.type_name())),
    }
}

fn number(value: &Value) -> Result<usize, String> {
    match value {
        Value::Int(n) => Ok(usize::try_from(*n).unwrap_or(0)),
        other => Err(format!("wrong type for value; expected int; got {}", other.type_name())),
    }
}

fn length(value: &Value) -> Result<Value, String> {
    let n = match value.followed() {
        Value::Text(text) => text.len(),
        Value::List(items) => items.len(),
        Value::Map(map, _) => map.len(),
        Value::Nil | Value::NilPointer => return Err("len of nil pointer".to_owned()),
        other => return Err(format!("len of type {}", other.type_name())),
    };
    Ok(Value::Int(n as i64))
}

fn index(value: &Value, keys: &[Value]) -> Result<Value, String> {
    let mut value = value.clone();
    for key in keys {
        value = match (value.followed(), key) {
            (Value::List(items), Value::Int(n)) => {
                match usize::try_from(*n).ok().and_then(|n| items.get(n)) {
                    Some(item) => item.clone(),
                    None => return Err(format!("index out of range: {n}")),
                }
            }
            (Value::Text(text), Value::Int(n)) => {
                match usize::try_from(*n).ok().and_then(|n| text.as_bytes().get(n)) {
                    Some(byte) => Value::Int((*byte).into()),
                    None => return Err(format!("index out of range: {n}")),
                }
            }
            (Value::Map(_, Keys::Named), Value::Text(_)) => {
                return Err("value has type string; should be a type of its own".to_owned());
            }
            (Value::Map(map, Keys::Untyped), Value::Text(key)) => map.get(key).cloned().unwrap_or(Value::Nil),
            (Value::Map(map, Keys::Texts), Value::Text(key)) => {
                map.get(key).cloned().unwrap_or_else(|| zero_like(map))
            }
            (Value::List(_) | Value::Text(_), other) => {
                return Err(format!("cannot index slice/array with type {}", other.type_name()));
            }
            (Value::Map(..), other) => {
                return Err(format!("value has type {}; should be string", other.type_name()));
            }
            (Value::Nil | Value::NilPointer, _) => return Err("index of untyped nil".to_owned()),
            (other, _) => return Err(format!("can't index item of type {}", other.type_name())),
        };
    }
    Ok(value)
}

/// What a map gives for a key it does not have: the zero of its values' type.
fn zero_like(map: &std::collections::BTreeMap<String, Value>) -> Value {
    match map.values().next() {
        Some(Value::Text(_)) => Value::Text(String::new()),
        Some(Value::List(_)) => Value::List(Rc::new(Vec::new())),
        Some(Value::Pointer(_)) => Value::NilPointer,
        Some(Value::Int(_)) => Value::Int(0),
        Some(Value::Bool(_)) => Value::Bool(false),
        // Nearly every empty map would hold texts.
        None => Value::Text(String::new()),
        Some(_) => Value::Nil,
    }
}

fn slice(value: &Value, bounds: &[Value]) -> Result<Value, String> {
    if bounds.len() > 3 {
        return Err(format!("too many slice indexes: {}", bounds.len()));
    }
    let length = match value.followed() {
        Value::List(items) => items.len(),
        Value::Text(text) => text.len(),
        other => return Err(format!("can't slice item of type {}", other.type_name())),
    };
    let mut at = [0, length];
    for (place, bound) in at.iter_mut().zip(bounds) {
        let Value::Int(n) = bound else {
            return Err(format!("cannot index slice/array with type {}", bound.type_name()));
        };
        *place =
            usize::try_from(*n).ok().filter(|n| *n <= length).ok_or(format!("index out of range: {n}"))?;
    }
    let [from, to] = at;
    if from > to {
        return Err(format!("invalid slice index: {from} > {to}"));
    }
    Ok(match value.followed() {
        Value::List(items) => Value::List(Rc::new(items[from..to].to_vec())),
        Value::Text(text) => Value::Text(String::from_utf8_lossy(&text.as_bytes()[from..to]).into_owned()),
        _ => Value::Nil,
    })
}

/// Go's `fmt.Sprint`: a space between operands where neither is a text.
fn print(values: &[Value]) -> String {
    let mut out = String::new();
    for (i, value) in values.iter().enumerate() {
        if i > 0 && !matches!(value, Value::Text(_)) && !matches!(values[i - 1], Value::Text(_)) {
            out.push(' ');
        }
        value.write(&mut out, 0);
    }
    out
}

fn println(values: &[Value]) -> String {
    let mut out = String::new();
    for (i, value) in values.iter().enumerate() {
        if i > 0 {
            out.push(' ');
        }
        value.write(&mut out, 0);
    }
    out.push('\n');
    out
}

fn equal(a: &Value, b: &Value) -> Result<bool, String> {
    match (a, b) {
        (Value::Nil | Value::NilPointer, Value::Nil | Value::NilPointer) => Ok(true),
        (Value::Nil | Value::NilPointer, _) | (_, Value::Nil | Value::NilPointer) => Ok(false),
        (Value::Bool(a), Value::Bool(b)) => Ok(a == b),
        (Value::Text(a), Value::Text(b)) => Ok(a == b),
        // A number of untyped JSON is a text to Go.
        (Value::Number(n), Value::Text(text)) | (Value::Text(text), Value::Number(n)) => {
            Ok(n.to_string() == *text)
        }
        (Value::Number(a), Value::Number(b)) => Ok(a == b),
        (Value::List(_) | Value::Map(..), _) => Err("non-comparable type".to_owned()),
        _ => match (numeric(a), numeric(b)) {
            (Some(a), Some(b)) => Ok(a == b),
            _ => Err("incompatible types for comparison".to_owned()),
        },
    }
}

fn compare(a: &Value, b: &Value) -> Result<Ordering, String> {
    match (a, b) {
        (Value::Text(a), Value::Text(b)) => Ok(a.cmp(b)),
        (Value::Int(a), Value::Int(b)) => Ok(a.cmp(b)),
        (Value::Bool(_), Value::Bool(_)) => Err("invalid type for comparison".to_owned()),
        _ => match (numeric(a), numeric(b)) {
            (Some(a), Some(b)) => a.partial_cmp(&b).ok_or_else(|| "invalid type for comparison".to_owned()),
            _ => Err("incompatible types for comparison".to_owned()),
        },
    }
}

fn numeric(value: &Value) -> Option<f64> {
    match value {
        Value::Int(n) => Some(*n as f64),
        Value::Float(n) => Some(*n),
        _ => None,
    }
}

/// The first letter of each word in upper case.
fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut inside = false;
    for c in text.chars() {
        if inside {
            out.push(c);
        } else {
            out.extend(c.to_uppercase());
        }
        inside = c.is_alphanumeric() || c == '_' || c == '\'';
    }
    out
}

fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\0' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

fn js(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\'' => out.push_str("\\'"),
            '"' => out.push_str("\\\""),
            '<' => out.push_str("\\u003C"),
            '>' => out.push_str("\\u003E"),
            '&' => out.push_str("\\u0026"),
            '=' => out.push_str("\\u003D"),
            c if u32::from(c) < 0x20 => {
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out
}

fn urlquery(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(byte as char),
            b' ' => out.push('+'),
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}
