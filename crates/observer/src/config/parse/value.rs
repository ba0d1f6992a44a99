//! Deserializer of TOML values with structured errors.
//!
//! The errors of the crate `toml` are text. [`ValueError`] keeps the known keys as a list, so that
//! the reader can suggest the nearest one. It keeps the found value apart from the expected type,
//! so that the reader can hide a secret.

use std::fmt;

use serde::de::value::{MapAccessDeserializer, MapDeserializer, SeqDeserializer};
use serde::de::{self, Deserializer, Expected, IntoDeserializer, Unexpected, Visitor};
use serde::forward_to_deserialize_any;

/// Error type for deserializing a value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ValueError {
    UnknownKey { key: String, known: &'static [&'static str] },
    MissingKey { key: &'static str },
    UnknownName { name: String, known: &'static [&'static str] },
    Mismatch { found: String, expected: String },
    Other(String),
}

impl fmt::Display for ValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownKey { key, .. } => write!(f, "unknown key `{key}`"),
            Self::MissingKey { key } => write!(f, "the key `{key}` is missing"),
            Self::UnknownName { name, .. } => write!(f, "unknown name `{name}`"),
            Self::Mismatch { found, expected } => write!(f, "expected {expected}, found {found}"),
            Self::Other(message) => f.write_str(message),
        }
    }
}

impl std::error::Error for ValueError {}

impl de::Error for ValueError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::Other(message.to_string())
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let found = match found {
            Unexpected::Map => "a table".to_owned(),
            Unexpected::Seq => "a list".to_owned(),
            Unexpected::Str(text) => format!("{text:?}"),
            Unexpected::Bool(flag) => flag.to_string(),
            Unexpected::Signed(number) => number.to_string(),
            Unexpected::Float(number) => number.to_string(),
            found => found.to_string(),
        };
        let expected = describe_type(&expected.to_string());
        Self::Mismatch { found, expected }
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn unknown_variant(name: &str, known: &'static [&'static str]) -> Self {
        Self::UnknownName { name: name.to_owned(), known }
    }

    fn unknown_field(key: &str, known: &'static [&'static str]) -> Self {
        Self::UnknownKey { key: key.to_owned(), known }
    }

    fn missing_field(key: &'static str) -> Self {
        Self::MissingKey { key }
    }
}

/// Translates the type that serde expects from Rust to TOML terms.
fn describe_type(expected: &str) -> String {
    let expected = expected.strip_prefix("expected ").unwrap_or(expected);
    let description = match expected {
        "usize" | "u64" | "u32" | "u16" | "u8" => "a whole number of at least 0",
        "a nonzero usize" | "a nonzero u64" | "a nonzero u32" => "a whole number of at least 1",
        "f64" | "f32" => "a number",
        "a boolean" => "true or false",
        "a sequence" => "a list",
        "a map" => "a table",
        "path string" => "a path",
        name if name.starts_with("struct ") => "a table",
        other => other,
    };
    description.to_owned()
}

/// Value to deserialize.
#[derive(Clone, Copy)]
pub(crate) struct Node<'a>(&'a toml::Value);

/// Returns a deserializer of a table.
pub(crate) fn table(table: &toml::Table) -> impl Deserializer<'_, Error = ValueError> {
    MapAccessDeserializer::new(entries(table))
}

fn entries(
    table: &toml::Table,
) -> MapDeserializer<'_, impl Iterator<Item = (&str, Node<'_>)>, ValueError> {
    MapDeserializer::new(table.iter().map(|(key, value)| (key.as_str(), Node(value))))
}

impl<'de> Deserializer<'de> for Node<'de> {
    type Error = ValueError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        match self.0 {
            toml::Value::String(text) => visitor.visit_borrowed_str(text),
            toml::Value::Integer(number) => visitor.visit_i64(*number),
            toml::Value::Float(number) => visitor.visit_f64(*number),
            toml::Value::Boolean(flag) => visitor.visit_bool(*flag),
            toml::Value::Datetime(time) => visitor.visit_string(time.to_string()),
            toml::Value::Array(values) => {
                SeqDeserializer::new(values.iter().map(Node)).deserialize_any(visitor)
            }
            toml::Value::Table(values) => visitor.visit_map(entries(values)),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        match self.0 {
            toml::Value::String(text) => visitor.visit_enum(text.as_str().into_deserializer()),
            toml::Value::Table(values) => MapAccessDeserializer::new(entries(values))
                .deserialize_enum(name, variants, visitor),
            _ => Err(match self.deserialize_any(ExpectedNames(variants)) {
                Err(error) => error,
                Ok(never) => match never {},
            }),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

impl<'de> IntoDeserializer<'de, ValueError> for Node<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

/// Visitor that accepts no value, so that its error states the found value and the expected names.
struct ExpectedNames(&'static [&'static str]);

impl Visitor<'_> for ExpectedNames {
    type Value = std::convert::Infallible;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.0.iter().map(|name| format!("{name:?}")).collect();
        f.write_str(&names.join(" or "))
    }
}
