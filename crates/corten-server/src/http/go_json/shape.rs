//! What bodies of requests look like to Docker's daemon, so that they are read and refused as Go's decoder does whatever
//! the types here are made of: keys of any case get their members' own names, `null` in a list or map of texts is the
//! empty text, and what is of a wrong type is refused with the member's path and Go type.
//!
//! The shapes are a table, [`bodies.tsv`](./bodies.tsv), as dockerd 28.5 tells them when every member is sent as something else.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::{Map, Value};

/// A body that has a shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Shaped {
    /// `POST /containers/create`
    ContainerCreate,
    /// `POST /containers/{id}/update`
    ContainerUpdate,
    /// `POST /containers/{id}/exec`
    ExecCreate,
    /// `POST /exec/{id}/start`
    ExecStart,
    /// `POST /networks/create`
    NetworkCreate,
    /// `POST /networks/{id}/connect`
    NetworkConnect,
    /// `POST /networks/{id}/disconnect`
    NetworkDisconnect,
    /// `POST /volumes/create`
    VolumeCreate,
}

impl Shaped {
    const ALL: [Self; 8] = [
        Self::ContainerCreate,
        Self::ContainerUpdate,
        Self::ExecCreate,
        Self::ExecStart,
        Self::NetworkCreate,
        Self::NetworkConnect,
        Self::NetworkDisconnect,
        Self::VolumeCreate,
    ];

    /// Its name in the table, and Go's name of the struct it is read into.
    const fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::ContainerCreate => ("create", ""),
            Self::ContainerUpdate => ("update", "UpdateConfig"),
            Self::ExecCreate => ("exec", "ExecOptions"),
            Self::ExecStart => ("exec-start", "ExecStartOptions"),
            Self::NetworkCreate => ("network", "CreateRequest"),
            Self::NetworkConnect => ("connect", "ConnectOptions"),
            Self::NetworkDisconnect => ("disconnect", "DisconnectOptions"),
            Self::VolumeCreate => ("volume", "CreateOptions"),
        }
    }
}

/// What something is to Go.
#[derive(Debug, Default)]
struct Shape {
    kind: Kind,
    /// Its type.
    go: &'static str,
    /// Members of a struct, by their own names.
    members: BTreeMap<&'static str, Shape>,
    /// What a list or a map consists of.
    element: Option<Box<Shape>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Kind {
    #[default]
    Struct,
    Text,
    Bool,
    Int,
    List,
    /// A list of texts, or one text.
    Words,
}

static SHAPES: LazyLock<BTreeMap<Shaped, Shape>> = LazyLock::new(|| {
    let mut shapes = BTreeMap::new();
    let lines = include_str!("bodies.tsv").lines().filter(|line| !line.starts_with('#'));
    for fields in lines.map(|line| line.split('\t').collect::<Vec<_>>()) {
        let [body, path, kind, go] = fields[..] else { unreachable!("the table has four columns") };
        let body = Shaped::ALL.into_iter().find(|known| known.names().0 == body);
        let Some(body) = body else { unreachable!("the table names bodies only") };
        let shape = place(shapes.entry(body).or_default(), path);
        shape.go = go;
        shape.kind = match kind {
            "string" => Kind::Text,
            "boolean" => Kind::Bool,
            "integer" => Kind::Int,
            "array" => Kind::List,
            "words" => Kind::Words,
            _ => Kind::Struct,
        };
    }
    shapes
});

/// The shape at a path of the table.
fn place<'a>(root: &'a mut Shape, path: &'static str) -> &'a mut Shape {
    let mut shape = root;
    for part in path.split('.') {
        let end = part.find(['[', '{']).unwrap_or(part.len());
        shape = shape.members.entry(&part[..end]).or_default();
        for _ in 0..(part.len() - end) / 2 {
            shape = shape.element.get_or_insert_default();
        }
    }
    shape
}

/// Fits a tree to a body's shape; the error is Go's text.
pub(super) fn fit(body: Shaped, value: Value) -> Result<Value, String> {
    match (&value, SHAPES.get(&body)) {
        // Anything but an object is refused by the type it is to become.
        (Value::Object(_), Some(shape)) => {
            Fitting { root: body.names().1, path: Vec::new() }.fit(shape, value)
        }
        _ => Ok(value),
    }
}

/// One step on the way to a value.
enum Step {
    /// A member, or a key of a map.
    Key(String),
    /// A place in a list.
    Index(usize),
}

struct Fitting {
    root: &'static str,
    path: Vec<Step>,
}

impl Fitting {
    fn fit(&mut self, shape: &Shape, value: Value) -> Result<Value, String> {
        match (shape.kind, value) {
            (_, Value::Null) => Ok(Value::Null),
            (Kind::Text, value @ Value::String(_)) | (Kind::Bool, value @ Value::Bool(_)) => Ok(value),
            (Kind::Int, Value::Number(number)) if is_of(shape.go, &number) => Ok(Value::Number(number)),
            // Go says which number it is that does not fit.
            (Kind::Int, Value::Number(number)) => Err(self.refuse(&format!("number {number}"), shape.go)),
            (Kind::Words, value) => words(value),
            (Kind::List, Value::Array(list)) => self.list(shape, list),
            (Kind::Struct, Value::Object(map)) => match &shape.element {
                Some(element) => self.map(element, map),
                None => self.members(shape, map),
            },
            (_, value) => Err(self.refuse(name_of(&value), shape.go)),
        }
    }

    fn list(&mut self, shape: &Shape, list: Vec<Value>) -> Result<Value, String> {
        let Some(element) = &shape.element else { return Ok(Value::Array(list)) };
        let mut fitted = Vec::with_capacity(list.len());
        for (at, value) in list.into_iter().enumerate() {
            fitted.push(self.at(Step::Index(at), element, value)?);
        }
        // An array of Go's takes what it has room for, and fills up with zeros.
        if let Some(length) = shape.go.strip_prefix('[').and_then(|rest| rest.split(']').next()?.parse().ok())
        {
            fitted.resize(length, Value::from(0));
        }
        Ok(Value::Array(fitted))
    }

    fn map(&mut self, element: &Shape, map: Map<String, Value>) -> Result<Value, String> {
        let mut fitted = Map::new();
        for (key, value) in map {
            let value = self.at(Step::Key(key.clone()), element, value)?;
            fitted.insert(key, value);
        }
        Ok(Value::Object(fitted))
    }

    /// An element of a list or a map. `null` leaves it as Go makes it.
    fn at(&mut self, step: Step, element: &Shape, value: Value) -> Result<Value, String> {
        self.path.push(step);
        let fitted = self.fit(element, value)?;
        self.path.pop();
        Ok(match (fitted, element.kind) {
            (Value::Null, Kind::Text) => Value::String(String::new()),
            (Value::Null, Kind::Int) => Value::from(0),
            (fitted, _) => fitted,
        })
    }

    fn members(&mut self, shape: &Shape, map: Map<String, Value>) -> Result<Value, String> {
        if shape.members.is_empty() {
            return Ok(Value::Object(map));
        }
        let mut fitted = Map::new();
        let mut exact = Vec::new();
        for (key, value) in map {
            let own = shape.members.get_key_value(key.as_str());
            let own = own.or_else(|| shape.members.iter().find(|(name, _)| name.eq_ignore_ascii_case(&key)));
            let Some((&name, member)) = own else {
                // Of older versions, or nobody's: those who read it know.
                fitted.insert(key, value);
                continue;
            };
            // A refusal shows the key as it was written.
            self.path.push(Step::Key(key.clone()));
            let value = self.fit(member, value)?;
            self.path.pop();
            if name == key {
                exact.push(name);
            } else if exact.contains(&name) {
                continue;
            }
            fitted.insert(name.to_owned(), value);
        }
        Ok(Value::Object(fitted))
    }

    fn refuse(&self, found: &str, go: &str) -> String {
        let mut place = self.root.to_owned();
        for step in &self.path {
            match step {
                Step::Key(key) => place.push_str(&format!(".{key}")),
                Step::Index(index) => place.push_str(&format!(".{index}")),
            }
        }
        let of = if matches!(self.path.last(), Some(Step::Index(_))) { "" } else { "Go struct field " };
        format!("json: cannot unmarshal {found} into {of}{place} of type {go}")
    }
}

/// A list of texts, or one text; Go reads it by itself, without a path.
fn words(value: Value) -> Result<Value, String> {
    let whole = match &value {
        Value::String(_) => true,
        Value::Array(list) => list.iter().all(|word| word.is_string() || word.is_null()),
        _ => false,
    };
    if !whole {
        return Err(format!("json: cannot unmarshal {} into Go value of type string", name_of(&value)));
    }
    Ok(match value {
        Value::String(word) => Value::Array(vec![Value::String(word)]),
        Value::Array(list) => {
            let text = |word: Value| if word.is_null() { Value::String(String::new()) } else { word };
            Value::Array(list.into_iter().map(text).collect())
        }
        other => other,
    })
}

/// Whether a number fits an integer type of Go's.
fn is_of(go: &str, number: &serde_json::Number) -> bool {
    let (signed, unsigned) = (number.as_i64(), number.as_u64());
    match go {
        "uint16" => unsigned.is_some_and(|n| u16::try_from(n).is_ok()),
        "fs.FileMode" => unsigned.is_some_and(|n| u32::try_from(n).is_ok()),
        "uint" | "uint64" => unsigned.is_some(),
        _ => signed.is_some(),
    }
}

fn name_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn keys_of_any_case_get_their_own_names() {
        let value = json!({ "image": "a", "hostconfig": { "MEMORY": 5, "portbindings": { "80/tcp": [{ "hostport": "1" }] } } });
        let fitted = fit(Shaped::ContainerCreate, value).unwrap();
        assert_eq!(
            fitted,
            json!({ "Image": "a", "HostConfig": { "Memory": 5, "PortBindings": { "80/tcp": [{ "HostPort": "1" }] } } })
        );
        // The exact name wins; keys of maps are nobody's names.
        let value = json!({ "Image": "exact", "image": "folded", "Labels": { "image": "x" } });
        assert_eq!(
            fit(Shaped::ContainerCreate, value).unwrap(),
            json!({ "Image": "exact", "Labels": { "image": "x" } })
        );
    }

    #[test]
    fn refusals_have_the_path_and_the_type() {
        for (value, text) in [
            (
                json!({ "Hostname": 5 }),
                "json: cannot unmarshal number into Go struct field .Hostname of type string",
            ),
            (json!({ "Env": ["a", 5] }), "json: cannot unmarshal number into .Env.1 of type string"),
            (
                json!({ "hostconfig": { "init": 1 } }),
                "json: cannot unmarshal number into Go struct field .hostconfig.init of type bool",
            ),
            (json!({ "Cmd": 5 }), "json: cannot unmarshal number into Go value of type string"),
            (
                json!({ "HostConfig": { "Memory": 1.5 } }),
                "json: cannot unmarshal number 1.5 into Go struct field .HostConfig.Memory of type int64",
            ),
            (
                json!({ "HostConfig": { "BlkioWeight": -1 } }),
                "json: cannot unmarshal number -1 into Go struct field .HostConfig.BlkioWeight of type uint16",
            ),
            (
                json!({ "HostConfig": { "Mounts": [{ "Type": 1 }] } }),
                "json: cannot unmarshal number into Go struct field .HostConfig.Mounts.0.Type of type mount.Type",
            ),
            (
                json!({ "Labels": { "a": 1 } }),
                "json: cannot unmarshal number into Go struct field .Labels.a of type string",
            ),
        ] {
            assert_eq!(fit(Shaped::ContainerCreate, value).unwrap_err(), text);
        }
    }

    #[test]
    fn nothing_is_what_go_makes_of_it() {
        let value =
            json!({ "Env": [null], "Cmd": "one", "HostConfig": { "ConsoleSize": [1], "Memory": null } });
        assert_eq!(
            fit(Shaped::ContainerCreate, value).unwrap(),
            json!({ "Env": [""], "Cmd": ["one"], "HostConfig": { "ConsoleSize": [1, 0], "Memory": null } })
        );
    }
}
