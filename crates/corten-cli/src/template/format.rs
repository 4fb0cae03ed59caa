//! Go's `fmt.Sprintf`, for the verbs that formats use.

use std::fmt::Write;

use super::Value;

#[derive(Default)]
struct Flags {
    minus: bool,
    plus: bool,
    zero: bool,
    space: bool,
    sharp: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

/// Formats as Go does, mistakes included: `%!d(string=x)`, `%!s(MISSING)`, `%!(EXTRA …)`.
pub(super) fn sprintf(format: &str, arguments: &[Value]) -> String {
    let mut out = String::new();
    let mut rest = arguments.iter();
    let mut chars = format.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut flags = Flags::default();
        while let Some(c) = chars.peek() {
            match c {
                '-' => flags.minus = true,
                '+' => flags.plus = true,
                '0' => flags.zero = true,
                ' ' => flags.space = true,
                '#' => flags.sharp = true,
                _ => break,
            }
            chars.next();
        }
        let digits = |chars: &mut std::iter::Peekable<std::str::Chars<'_>>| {
            let mut n = None;
            while let Some(digit) = chars.peek().and_then(|c| c.to_digit(10)) {
                n = Some(n.unwrap_or(0) * 10 + digit as usize);
                chars.next();
            }
            // A width nobody can mean must not fill the memory.
            n.map(|n: usize| n.min(1_000_000))
        };
        flags.width = digits(&mut chars);
        if chars.peek() == Some(&'.') {
            chars.next();
            flags.precision = Some(digits(&mut chars).unwrap_or(0));
        }
        match chars.next() {
            None => out.push_str("%!(NOVERB)"),
            Some('%') => out.push('%'),
            Some(verb) => match rest.next() {
                None => {
                    let _ = write!(out, "%!{verb}(MISSING)");
                }
                Some(value) => one(&mut out, verb, value, &flags),
            },
        }
    }
    let extra: Vec<String> = rest
        .map(|value| {
            let mut text = format!("{}=", value.type_name());
            value.write(&mut text, 0);
            text
        })
        .collect();
    if !extra.is_empty() {
        let _ = write!(out, "%!(EXTRA {})", extra.join(", "));
    }
    out
}

fn one(out: &mut String, verb: char, value: &Value, flags: &Flags) {
    let text = match (verb, value) {
        ('v', value) => plain(value),
        ('T', value) => value.type_name(),
        ('s', Value::Text(text)) => cut(text, flags),
        ('s', Value::List(items)) if items.iter().all(|item| matches!(item, Value::Text(_))) => plain(value),
        ('s', Value::Map(..) | Value::Struct(_)) => plain(value),
        ('q', Value::Text(text)) => quote(&cut(text, flags)),
        ('q', Value::List(items)) => {
            let items: Vec<String> = items.iter().map(|item| quote(&plain(item))).collect();
            format!("[{}]", items.join(" "))
        }
        ('x', Value::Text(text)) => text.bytes().fold(String::new(), |mut out, byte| {
            let _ = write!(out, "{byte:02x}");
            out
        }),
        ('t', Value::Bool(on)) => on.to_string(),
        ('d', Value::Int(n)) => signed(n.to_string(), flags),
        ('b', Value::Int(n)) => format!("{n:b}"),
        ('o', Value::Int(n)) => format!("{n:o}"),
        ('x', Value::Int(n)) => format!("{}{n:x}", if flags.sharp { "0x" } else { "" }),
        ('X', Value::Int(n)) => format!("{}{n:X}", if flags.sharp { "0X" } else { "" }),
        ('c', Value::Int(n)) => {
            u32::try_from(*n).ok().and_then(char::from_u32).unwrap_or('\u{fffd}').to_string()
        }
        ('f' | 'F', Value::Float(n)) => signed(format!("{n:.*}", flags.precision.unwrap_or(6)), flags),
        ('g', Value::Float(_)) => plain(value),
        ('e', Value::Float(n)) => {
            let text = format!("{n:.*e}", flags.precision.unwrap_or(6));
            match text.split_once('e') {
                Some((digits, exponent)) => match exponent.strip_prefix('-') {
                    Some(exponent) => format!("{digits}e-{exponent:0>2}"),
                    None => format!("{digits}e+{exponent:0>2}"),
                },
                None => text,
            }
        }
        (verb, Value::Nil) => format!("%!{verb}(<nil>)"),
        (verb, value) => format!("%!{verb}({}={})", value.type_name(), plain(value)),
    };
    let length = text.chars().count();
    let width = flags.width.unwrap_or(0);
    let fill = width.saturating_sub(length);
    if flags.minus {
        let _ = write!(out, "{text}{}", " ".repeat(fill));
    } else if flags.zero && matches!(verb, 'd' | 'f' | 'x' | 'X' | 'b' | 'o' | 's' | 'v') {
        let (sign, digits) = match text.strip_prefix(['-', '+']) {
            Some(digits) if verb != 's' => (&text[..1], digits),
            _ => ("", text.as_str()),
        };
        let _ = write!(out, "{sign}{}{digits}", "0".repeat(fill));
    } else {
        let _ = write!(out, "{}{text}", " ".repeat(fill));
    }
}

fn plain(value: &Value) -> String {
    let mut text = String::new();
    value.write(&mut text, 0);
    text
}

fn cut(text: &str, flags: &Flags) -> String {
    match flags.precision {
        Some(precision) => text.chars().take(precision).collect(),
        None => text.to_owned(),
    }
}

fn signed(text: String, flags: &Flags) -> String {
    if text.starts_with('-') {
        text
    } else if flags.plus {
        format!("+{text}")
    } else if flags.space {
        format!(" {text}")
    } else {
        text
    }
}

/// Go's `%q`.
fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '\x0b' => out.push_str("\\v"),
            c if u32::from(c) < 0x20 || c == '\x7f' => {
                let _ = write!(out, "\\x{:02x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
