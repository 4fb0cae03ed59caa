//! What all wire types share: how Go's `encoding/json` reads and writes them.

use serde::{Deserialize, Deserializer};

/// A slice that Go may hold as `nil` (`null` on the wire) or as empty (`[]`); the API tells them apart.
pub type List<T> = Option<Vec<T>>;

/// A map that Go may hold as `nil` (`null`) or as empty (`{}`). Go writes maps sorted by key.
pub type Map<V> = Option<std::collections::BTreeMap<String, V>>;

/// Go's `struct{}`: `{}` on the wire; any value is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Empty;

impl serde::Serialize for Empty {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        serializer.serialize_map(Some(0))?.end()
    }
}

impl<'de> Deserialize<'de> for Empty {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        serde::de::IgnoredAny::deserialize(deserializer).map(|_| Self)
    }
}

/// Reads `null` as the type's default, as Go leaves a field alone that is `null` on the wire.
pub fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// Reads Go's `strslice.StrSlice`: a list of strings, or one string that stands for a list of one.
pub fn string_or_list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<List<String>, D::Error> {
    struct Form;

    impl<'de> serde::de::Visitor<'de> for Form {
        type Value = List<String>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a string or a list of strings")
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_none<E>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
            deserializer.deserialize_any(self)
        }

        fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
            Ok(Some(vec![text.to_owned()]))
        }

        fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut words = Vec::new();
            while let Some(word) = list.next_element::<Option<String>>()? {
                words.push(word.unwrap_or_default());
            }
            Ok(Some(words))
        }
    }

    deserializer.deserialize_any(Form)
}

/// Whether a value is its type's default: Go's `omitempty`.
pub fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Whether a map or list is nil or empty: Go's `omitempty` for them.
pub fn is_none_or_empty<T>(value: &Option<T>) -> bool
where
    for<'a> &'a T: IntoIterator,
{
    value.as_ref().is_none_or(|inner| inner.into_iter().next().is_none())
}

/// Declares wire structs: members named in Go's PascalCase, every one optional on input, `null` read as default.
///
/// A field's own attributes come after the common ones, so `#[serde(rename = "…")]` and
/// `#[serde(skip_serializing_if = "…")]` work as usual. Mark a field with `as list` for Go's `StrSlice`, with
/// `as flat` for an embedded struct.
macro_rules! wire {
    ($($(#[$meta:meta])* pub struct $name:ident { $($body:tt)* })*) => {
        $(wire!(@fields [$(#[$meta])*] $name [] $($body)*);)*
    };
    (@fields [$($meta:tt)*] $name:ident [$($done:tt)*]) => {
        $($meta)*
        #[derive(Debug, Clone, PartialEq, Default, serde::Serialize, serde::Deserialize)]
        #[serde(default, rename_all = "PascalCase")]
        pub struct $name { $($done)* }
    };
    (@fields $meta:tt $name:ident [$($done:tt)*] $(#[$attr:meta])* pub $field:ident : $type:ty as list, $($rest:tt)*) => {
        wire!(@fields $meta $name [$($done)*
            #[serde(deserialize_with = "crate::wire::string_or_list")] $(#[$attr])* pub $field: $type,] $($rest)*);
    };
    (@fields $meta:tt $name:ident [$($done:tt)*] $(#[$attr:meta])* pub $field:ident : $type:ty as flat, $($rest:tt)*) => {
        wire!(@fields $meta $name [$($done)*
            #[serde(flatten)] $(#[$attr])* pub $field: $type,] $($rest)*);
    };
    (@fields $meta:tt $name:ident [$($done:tt)*] $(#[$attr:meta])* pub $field:ident : $type:ty, $($rest:tt)*) => {
        wire!(@fields $meta $name [$($done)*
            #[serde(deserialize_with = "crate::wire::or_default")] $(#[$attr])* pub $field: $type,] $($rest)*);
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    wire! {
        /// A sample.
        pub struct Sample {
            /// A plain member.
            pub host_name: String,
            /// One that Go omits.
            #[serde(skip_serializing_if = "is_default")]
            pub count: i64,
            /// A list or a string.
            pub cmd: List<String> as list,
        }
    }

    #[test]
    fn null_and_absent_are_default_and_unknown_is_ignored() {
        let sample: Sample = serde_json::from_str(r#"{"HostName":null,"Cmd":"true","Other":[1]}"#).unwrap();
        assert_eq!(sample.cmd, Some(vec!["true".to_owned()]));
        assert_eq!(serde_json::to_string(&sample).unwrap(), r#"{"HostName":"","Cmd":["true"]}"#);
        assert_eq!(serde_json::to_string(&Sample::default()).unwrap(), r#"{"HostName":"","Cmd":null}"#);
    }
}
