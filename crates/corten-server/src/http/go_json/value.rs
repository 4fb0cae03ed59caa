//! From a JSON tree to a typed value, as Go's decoder would fill a struct.

use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{self, DeserializeOwned, DeserializeSeed, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

pub(super) fn decode<T: DeserializeOwned>(value: Value) -> Result<T, Refusal> {
    T::deserialize(Tree(value))
}

/// Why a tree does not fit a type.
#[derive(Debug)]
pub(super) struct Refusal {
    what: What,
    /// The innermost struct, and the members on the way to the place.
    place: Option<(&'static str, Vec<String>)>,
}

#[derive(Debug)]
enum What {
    /// What is there, and the type that was wanted.
    Mismatch(String, String),
    /// What a type's own rules say.
    Custom(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.what, &self.place) {
            (What::Custom(text), _) => f.write_str(text),
            (What::Mismatch(found, wanted), None) => {
                write!(f, "json: cannot unmarshal {found} into Go value of type {wanted}")
            }
            (What::Mismatch(found, wanted), Some((name, path))) => {
                write!(
                    f,
                    "json: cannot unmarshal {found} into Go struct field {name}.{} of type {wanted}",
                    path.join(".")
                )
            }
        }
    }
}

impl std::error::Error for Refusal {}

impl de::Error for Refusal {
    fn custom<T: fmt::Display>(text: T) -> Self {
        Self { what: What::Custom(text.to_string()), place: None }
    }
}

impl Refusal {
    fn mismatch(found: &Value, wanted: impl Into<String>) -> Self {
        let found = match found {
            Value::Null => "null",
            Value::Bool(_) => "bool",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        Self { what: What::Mismatch(found.into(), wanted.into()), place: None }
    }

    /// Notes the member in which it happened.
    fn inside(mut self, name: &'static str, member: &str) -> Self {
        let (_, path) = self.place.get_or_insert_with(|| (name, Vec::new()));
        path.insert(0, member.to_owned());
        self
    }
}

struct Tree(Value);

/// Reads a number as the type a visitor wants, refused when it is another kind of number.
macro_rules! number {
    ($($method:ident, $visit:ident, $read:ident, $go:literal;)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
            match &self.0 {
                Value::Number(number) => match number.$read().and_then(|n| n.try_into().ok()) {
                    Some(n) => visitor.$visit(n),
                    None => Err(Refusal { what: What::Mismatch(format!("number {number}"), $go.into()), place: None }),
                },
                other => Err(Refusal::mismatch(other, $go)),
            }
        })*
    };
}

impl<'de> de::Deserializer<'de> for Tree {
    type Error = Refusal;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(value),
            Value::Number(number) => visit_number(&number, visitor),
            Value::String(text) => visitor.visit_string(text),
            Value::Array(list) => visitor.visit_seq(List(list.into_iter())),
            Value::Object(map) => visitor.visit_map(Members::of_map(map)),
        }
    }

    number! {
        deserialize_i8, visit_i8, as_i64, "int8";
        deserialize_i16, visit_i16, as_i64, "int16";
        deserialize_i32, visit_i32, as_i64, "int";
        deserialize_i64, visit_i64, as_i64, "int64";
        deserialize_u8, visit_u8, as_u64, "uint8";
        deserialize_u16, visit_u16, as_u64, "uint16";
        deserialize_u32, visit_u32, as_u64, "uint32";
        deserialize_u64, visit_u64, as_u64, "uint64";
        deserialize_f64, visit_f64, as_f64, "float64";
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        match self.0 {
            Value::Bool(value) => visitor.visit_bool(value),
            other => Err(Refusal::mismatch(&other, "bool")),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        self.deserialize_string(visitor)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        match self.0 {
            Value::String(text) => visitor.visit_string(text),
            other => Err(Refusal::mismatch(&other, "string")),
        }
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        self.deserialize_string(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        if self.0.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        match self.0 {
            Value::Array(list) => visitor.visit_seq(List(list.into_iter())),
            other => Err(Refusal::mismatch(&other, "[]string")),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Refusal> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        match self.0 {
            Value::Object(map) => visitor.visit_map(Members::of_map(map)),
            other => Err(Refusal::mismatch(&other, "map[string]string")),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        members: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        match self.0 {
            Value::Object(map) => visitor.visit_map(Members::of_struct(map, name, members)),
            other => Err(Refusal::mismatch(&other, name)),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        match self.0 {
            Value::String(text) => visitor.visit_enum(text.into_deserializer()),
            other => Err(Refusal::mismatch(&other, "string")),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! { bytes byte_buf unit unit_struct identifier i128 u128 }
}

fn visit_number<'de, V: Visitor<'de>>(number: &Number, visitor: V) -> Result<V::Value, Refusal> {
    match (number.as_u64(), number.as_i64(), number.as_f64()) {
        (Some(n), _, _) => visitor.visit_u64(n),
        (_, Some(n), _) => visitor.visit_i64(n),
        (_, _, n) => visitor.visit_f64(n.unwrap_or(f64::INFINITY)),
    }
}

struct List(std::vec::IntoIter<Value>);

impl<'de> SeqAccess<'de> for List {
    type Error = Refusal;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Refusal> {
        self.0.next().map(|value| seed.deserialize(Tree(value))).transpose()
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.0.len())
    }
}

/// The members of an object on their way into a map, or into a struct's fields.
struct Members {
    members: std::vec::IntoIter<(String, Value)>,
    current: Option<(String, Value)>,
    of: Option<&'static str>,
}

impl Members {
    fn of_map(map: Map<String, Value>) -> Self {
        Self { members: map.into_iter().collect::<Vec<_>>().into_iter(), current: None, of: None }
    }

    /// Keys become the fields they mean; nulls are left out; of several keys for one field the last stays.
    fn of_struct(map: Map<String, Value>, name: &'static str, fields: &'static [&'static str]) -> Self {
        let mut members: Vec<(String, Value)> = Vec::with_capacity(map.len());
        for (key, value) in map {
            let exact = fields.iter().find(|f| **f == key);
            let field = exact.or_else(|| fields.iter().find(|f| f.eq_ignore_ascii_case(&key)));
            let Some(field) = field.filter(|_| !value.is_null()) else { continue };
            match members.iter_mut().find(|(k, _)| k == field) {
                Some(member) => member.1 = value,
                None => members.push(((*field).to_owned(), value)),
            }
        }
        Self { members: members.into_iter(), current: None, of: Some(name) }
    }
}

impl<'de> MapAccess<'de> for Members {
    type Error = Refusal;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Refusal> {
        self.current = self.members.next();
        let Some((key, _)) = &self.current else { return Ok(None) };
        let key: StrDeserializer<'_, Refusal> = key.as_str().into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Refusal> {
        let (key, value) = self.current.take().unwrap_or_default();
        seed.deserialize(Tree(value)).map_err(|refusal| match self.of {
            Some(name) => refusal.inside(name, &key),
            None => refusal,
        })
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.members.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use serde_json::json;
    use std::collections::BTreeMap;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default, rename_all = "PascalCase")]
    struct Outer {
        count: i64,
        small: u16,
        flag: Option<bool>,
        inner: Option<Inner>,
        ports: BTreeMap<String, Vec<Inner>>,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default, rename_all = "PascalCase")]
    struct Inner {
        host_port: String,
        list: Vec<String>,
    }

    fn refusal(value: Value) -> String {
        decode::<Outer>(value).unwrap_err().to_string()
    }

    #[test]
    fn nested_values_arrive() {
        let outer: Outer = decode(json!({
            "count": 7, "Flag": true, "Inner": {"hostport": "80", "List": ["a", "b"]}, "Ports": {"80/tcp": [{"HostPort": "1"}]},
            "Ignored": {"x": [1, 2]}, "Small": null
        }))
        .unwrap();
        assert_eq!(outer.count, 7);
        assert_eq!(outer.flag, Some(true));
        assert_eq!(
            outer.inner.unwrap(),
            Inner { host_port: "80".into(), list: vec!["a".into(), "b".into()] }
        );
        assert_eq!(outer.ports["80/tcp"][0].host_port, "1");
    }

    #[test]
    fn refusals_name_the_way_to_the_place() {
        assert_eq!(
            refusal(json!({"Count": "x"})),
            "json: cannot unmarshal string into Go struct field Outer.Count of type int64"
        );
        assert_eq!(
            refusal(json!({"Count": 1.5})),
            "json: cannot unmarshal number 1.5 into Go struct field Outer.Count of type int64"
        );
        assert_eq!(
            refusal(json!({"Small": 70000})),
            "json: cannot unmarshal number 70000 into Go struct field Outer.Small of type uint16"
        );
        assert_eq!(
            refusal(json!({"Inner": {"HostPort": 80}})),
            "json: cannot unmarshal number into Go struct field Inner.Inner.HostPort of type string"
        );
        assert_eq!(refusal(json!([])), "json: cannot unmarshal array into Go value of type Outer");
    }
}
