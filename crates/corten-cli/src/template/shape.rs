//! Giving JSON the types it has in Go, so that it prints as docker's own client prints it.

use std::rc::Rc;

use serde_json::Value as Json;

use super::Value;
use super::value::{Keys, Struct};

const SHAPES: &str = include_str!("shapes.txt");

/// A JSON value as the Go type `name` (`container.InspectResponse`); an unknown type is left as JSON is.
pub fn typed(json: &Json, name: &str) -> Value {
    convert(Some(json), name, json)
}

fn convert(json: Option<&Json>, shape: &str, whole: &Json) -> Value {
    let json = json.filter(|json| !json.is_null());
    if let Some(inner) = shape.strip_prefix('*') {
        return match json {
            Some(json) => Value::Pointer(Rc::new(convert(Some(json), inner, whole))),
            None => Value::NilPointer,
        };
    }
    if let Some(inner) = shape.strip_prefix("[]") {
        let items = json
            .and_then(Json::as_array)
            .map(|items| items.iter().map(|item| convert(Some(item), inner, whole)).collect());
        return Value::List(Rc::new(items.unwrap_or_default()));
    }
    if let Some(inner) = shape.strip_prefix("map ") {
        return entries(json, inner, whole, Keys::Texts);
    }
    if let Some(inner) = shape.strip_prefix("keyed ") {
        return entries(json, inner, whole, Keys::Named);
    }
    match shape {
        "text" => Value::Text(json.and_then(Json::as_str).unwrap_or_default().to_owned()),
        "int" => match json.map(|json| (json.as_i64(), json)) {
            Some((Some(n), _)) => Value::Int(n),
            Some((None, json)) => Value::from_json(json),
            None => Value::Int(0),
        },
        "float" => Value::Float(json.and_then(Json::as_f64).unwrap_or(0.0)),
        "bool" => Value::Bool(json.and_then(Json::as_bool).unwrap_or(false)),
        "time" => Value::Text(go_time(json.and_then(Json::as_str).unwrap_or("0001-01-01T00:00:00Z"))),
        "duration" => Value::Text(go_duration(json.and_then(Json::as_i64).unwrap_or(0))),
        "empty" => structure("struct {}", "", &Json::Object(serde_json::Map::new())),
        "any" => json.map_or(Value::Nil, Value::from_json),
        name => match line(name) {
            Some(fields) => structure(name, fields, json.unwrap_or(&Json::Null)),
            None => json.map_or(Value::Nil, Value::from_json),
        },
    }
}

fn entries(json: Option<&Json>, shape: &str, whole: &Json, keys: Keys) -> Value {
    let entries = json.and_then(Json::as_object);
    let entries =
        entries.map(|map| map.iter().map(|(k, v)| (k.clone(), convert(Some(v), shape, whole))).collect());
    Value::Map(Rc::new(entries.unwrap_or_default()), keys)
}

fn line(name: &str) -> Option<&'static str> {
    SHAPES.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

fn structure(name: &str, fields: &str, json: &Json) -> Value {
    let fields = fields
        .split("; ")
        .filter_map(|field| {
            let (names, shape) = field.split_once(' ')?;
            let (go, key) = names.split_once('=').unwrap_or((names, names));
            // What is embedded has its fields in the same object.
            let part = if go.starts_with('+') { Some(json) } else { json.get(key) };
            Some((go.to_owned(), convert(part, shape, json)))
        })
        .collect();
    Value::Struct(Rc::new(Struct { name: name.to_owned(), fields, json: json.clone() }))
}

/// Go's `Time.String`.
pub fn go_time(text: &str) -> String {
    let Ok(pieces) = jiff::fmt::temporal::Pieces::parse(text) else { return text.to_owned() };
    let Some(time) = pieces.time() else { return text.to_owned() };
    let fraction = match time.subsec_nanosecond() {
        0 => String::new(),
        nanos => format!(".{nanos:09}").trim_end_matches('0').to_owned(),
    };
    let seconds = match pieces.offset() {
        Some(jiff::fmt::temporal::PiecesOffset::Numeric(offset)) => offset.offset().seconds(),
        _ => 0,
    };
    let zone = if seconds == 0 { "UTC".to_owned() } else { offset(seconds) };
    format!(
        "{} {:02}:{:02}:{:02}{fraction} {} {zone}",
        pieces.date(),
        time.hour(),
        time.minute(),
        time.second(),
        offset(seconds)
    )
}

fn offset(seconds: i32) -> String {
    let minutes = seconds.abs() / 60;
    format!("{}{:02}{:02}", if seconds < 0 { '-' } else { '+' }, minutes / 60, minutes % 60)
}

/// Go's `Duration.String`.
pub fn go_duration(nanos: i64) -> String {
    let size = nanos.unsigned_abs();
    let sign = if nanos < 0 { "-" } else { "" };
    let part = |size: u64, unit: u64, name: &str| {
        let text = format!("{}.{:09}", size / unit, size % unit * (1_000_000_000 / unit));
        format!("{sign}{}{name}", text.trim_end_matches('0').trim_end_matches('.'))
    };
    match size {
        0 => "0s".to_owned(),
        n if n < 1_000 => format!("{sign}{n}ns"),
        n if n < 1_000_000 => part(n, 1_000, "µs"),
        n if n < 1_000_000_000 => part(n, 1_000_000, "ms"),
        n => {
            let minutes = n / 60_000_000_000;
            let seconds = format!("{}.{:09}", n / 1_000_000_000 % 60, n % 1_000_000_000);
            let seconds = seconds.trim_end_matches('0').trim_end_matches('.');
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{sign}{seconds}s"),
                (0, minutes) => format!("{sign}{minutes}m{seconds}s"),
                (hours, minutes) => format!("{sign}{hours}h{minutes}m{seconds}s"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_type_a_line_names_has_its_line() {
        for line in SHAPES.lines().filter(|line| !line.starts_with('#')) {
            let (_, fields) = line.split_once(':').unwrap();
            for field in fields.split(';').map(str::trim).filter(|field| !field.is_empty()) {
                let shape = field.split_once(' ').unwrap().1;
                let name = shape
                    .trim_start_matches(['*', '[', ']'])
                    .trim_start_matches("map ")
                    .trim_start_matches("keyed ")
                    .trim_start_matches(['*', '[', ']']);
                let basic =
                    ["text", "int", "float", "bool", "time", "duration", "empty", "any"].contains(&name);
                assert!(basic || super::line(name).is_some() || name == "mount.ClusterOptions", "{field}");
            }
        }
    }

    #[test]
    fn json_prints_as_go_s_types_do() {
        let json = json!({
            "State": {"Status": "running", "Running": true, "Pid": 7},
            "NetworkSettings": {"Ports": {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}]}},
            "Mounts": [], "Args": ["a", "b"]
        });
        let value = typed(&json, "container.InspectResponse");
        let show = |text: &str| {
            super::super::execute(&super::super::parse(text).unwrap(), &value, super::super::Mode::Row)
                .unwrap()
        };
        assert_eq!(show("{{.State}}"), "{running true false false false false 7 0    <nil>}");
        assert_eq!(show("{{.NetworkSettings.Ports}}"), "map[80/tcp:[{0.0.0.0 8080}]]");
        assert_eq!(show("{{.Args}}{{.Mounts}}{{.HostConfig}}"), "[a b][]<nil>");
        assert_eq!(
            show("{{json .Mounts}}{{range .NetworkSettings.Ports}}{{(index . 0).HostPort}}{{end}}"),
            "[]8080"
        );
    }

    #[test]
    fn times_and_durations_are_go_s() {
        assert_eq!(go_time("2024-05-06T07:08:09.100Z"), "2024-05-06 07:08:09.1 +0000 UTC");
        assert_eq!(go_duration(90_500_000_000), "1m30.5s");
        assert_eq!(go_duration(1_500_000), "1.5ms");
        assert_eq!(go_duration(0), "0s");
    }
}
