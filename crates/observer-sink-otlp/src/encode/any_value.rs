//! Conversion of JSON to `AnyValue` of OTLP.
//!
//! | JSON | OTLP |
//! |---|---|
//! | object | key-value list; the last value of a repeated key |
//! | array | array |
//! | string, `true`, `false` | string, bool |
//! | integer in the range of `i64` | int |
//! | larger integer in the range of `u64` | string of its digits |
//! | any other number | double |
//! | `null` | empty value |
//!
//! Some JSON is sent as a string of its text:
//!
//! - Objects and arrays below [`MAX_DEPTH`] levels. Each level takes three levels of Protobuf, and
//!   many receivers limit these to 100.
//! - A whole value that contains a number beyond the range of a double, or an unpaired surrogate.

use std::collections::HashMap;
use std::fmt;

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, KeyValueList};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// Number of levels of objects and arrays that are converted.
const MAX_DEPTH: usize = 24;
/// Number of keys that are searched linearly; a map has the positions of all further keys.
const LINEAR_KEYS: usize = 16;

/// Converts a JSON text.
pub(crate) fn from_json(json: &str) -> AnyValue {
    Seed { depth: 0 }
        .deserialize(&mut serde_json::Deserializer::from_str(json))
        .unwrap_or_else(|_| Value::text(json))
}

/// Returns an attribute.
pub(crate) fn pair(key: impl Into<String>, value: impl Into<AnyValue>) -> KeyValue {
    KeyValue { key: key.into(), value: Some(value.into()), ..KeyValue::default() }
}

/// Constructors of values.
pub(crate) trait NewValue {
    fn text(text: impl Into<String>) -> AnyValue;
    fn int(number: i64) -> AnyValue;
    fn bool(value: bool) -> AnyValue;
    fn double(number: f64) -> AnyValue;
}

impl NewValue for Value {
    fn text(text: impl Into<String>) -> AnyValue {
        AnyValue { value: Some(Self::StringValue(text.into())) }
    }

    fn int(number: i64) -> AnyValue {
        AnyValue { value: Some(Self::IntValue(number)) }
    }

    fn bool(value: bool) -> AnyValue {
        AnyValue { value: Some(Self::BoolValue(value)) }
    }

    fn double(number: f64) -> AnyValue {
        AnyValue { value: Some(Self::DoubleValue(number)) }
    }
}

/// Converts a count to an int, or to a string of its digits if it exceeds `i64`.
pub(crate) fn count(number: u64) -> AnyValue {
    i64::try_from(number).map_or_else(|_| Value::text(number.to_string()), Value::int)
}

#[derive(Clone, Copy)]
struct Seed {
    /// Number of objects and arrays around this value.
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for Seed {
    type Value = AnyValue;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<AnyValue, D::Error> {
        if self.depth < MAX_DEPTH {
            return deserializer.deserialize_any(self);
        }
        let text = <&RawValue>::deserialize(deserializer)?.get();
        if text.starts_with(['{', '[']) {
            Ok(Value::text(text))
        } else {
            serde_json::Deserializer::from_str(text).deserialize_any(self).map_err(D::Error::custom)
        }
    }
}

impl<'de> Visitor<'de> for Seed {
    type Value = AnyValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<AnyValue, E> {
        Ok(AnyValue::default())
    }

    fn visit_bool<E>(self, value: bool) -> Result<AnyValue, E> {
        Ok(Value::bool(value))
    }

    fn visit_i64<E>(self, number: i64) -> Result<AnyValue, E> {
        Ok(Value::int(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<AnyValue, E> {
        Ok(count(number))
    }

    fn visit_f64<E>(self, number: f64) -> Result<AnyValue, E> {
        Ok(Value::double(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<AnyValue, E> {
        Ok(Value::text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<AnyValue, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = seq.next_element_seed(Self { depth: self.depth + 1 })? {
            values.push(value);
        }
        Ok(AnyValue { value: Some(Value::ArrayValue(ArrayValue { values })) })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<AnyValue, A::Error> {
        let mut list = List::default();
        while let Some(key) = map.next_key::<String>()? {
            let value = map.next_value_seed(Self { depth: self.depth + 1 })?;
            list.set(key, value);
        }
        Ok(AnyValue { value: Some(Value::KvlistValue(KeyValueList { values: list.pairs })) })
    }
}

/// Key-value list with unique keys, as OTLP requires.
#[derive(Default)]
struct List {
    pairs: Vec<KeyValue>,
    /// Positions of the keys after the first [`LINEAR_KEYS`].
    positions: HashMap<String, usize>,
}

impl List {
    fn set(&mut self, key: String, value: AnyValue) {
        match self.position(&key) {
            Some(position) => self.pairs[position].value = Some(value),
            None => {
                if self.pairs.len() >= LINEAR_KEYS {
                    self.positions.insert(key.clone(), self.pairs.len());
                }
                self.pairs.push(pair(key, value));
            }
        }
    }

    fn position(&self, key: &str) -> Option<usize> {
        let first = &self.pairs[..self.pairs.len().min(LINEAR_KEYS)];
        first.iter().position(|pair| pair.key == key).or_else(|| self.positions.get(key).copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Formats a value as JSON with strings between `<` and `>` and keys without quotes.
    fn format_value(value: &AnyValue) -> String {
        match &value.value {
            None => "null".to_owned(),
            Some(Value::StringValue(text)) => format!("<{text}>"),
            Some(Value::BoolValue(value)) => value.to_string(),
            Some(Value::IntValue(number)) => number.to_string(),
            Some(Value::DoubleValue(number)) => format!("{number:e}"),
            Some(Value::ArrayValue(array)) => {
                format!("[{}]", array.values.iter().map(format_value).collect::<Vec<_>>().join(","))
            }
            Some(Value::KvlistValue(list)) => {
                let pair = |pair: &KeyValue| {
                    format!("{}:{}", pair.key, format_value(pair.value.as_ref().unwrap()))
                };
                format!("{{{}}}", list.values.iter().map(pair).collect::<Vec<_>>().join(","))
            }
            Some(other) => panic!("JSON has no {other:?}"),
        }
    }

    #[track_caller]
    fn check(json: &str, expected: &str) {
        assert_eq!(format_value(&from_json(json)), expected, "{json}");
    }

    #[test]
    fn each_json_type_has_its_otlp_type() {
        check(
            r#" {"a":[1,-2,0.5],"b":"x\n","c":null,"d":true,"e":{}} "#,
            "{a:[1,-2,5e-1],b:<x\n>,c:null,d:true,e:{}}",
        );
        check("9223372036854775807", "9223372036854775807");
        check("9223372036854775808", "<9223372036854775808>");
        check("18446744073709551616", "1.8446744073709552e19");
        check("-0.0", "-0e0");
    }

    #[test]
    fn value_without_an_otlp_form_is_sent_as_text() {
        check(r#"{"a":1e999}"#, r#"<{"a":1e999}>"#);
        check(r#"["\ud800"]"#, r#"<["\ud800"]>"#);
    }

    #[test]
    fn last_value_of_a_repeated_key_is_sent() {
        check(r#"{"a":1,"b":2,"a":3}"#, "{a:3,b:2}");
        let many = (0..100).map(|key| format!("\"k{key}\":0")).collect::<Vec<_>>().join(",");
        let repeated = format!("{{{many},{}}}", many.replace(":0", ":1"));
        check(&repeated, &format!("{{{}}}", many.replace('"', "").replace(":0", ":1")));
    }

    #[test]
    fn values_below_the_maximum_depth_are_sent_as_text() {
        let nested = |levels: usize, inner: &str| {
            format!("{}{inner}{}", "[".repeat(levels), "]".repeat(levels))
        };
        check(&nested(MAX_DEPTH, "7"), &nested(MAX_DEPTH, "7"));
        check(&nested(MAX_DEPTH + 2, "7"), &nested(MAX_DEPTH, "<[[7]]>"));
        let objects = |levels: usize, inner: &str| {
            format!("{}{inner}{}", r#"{"a":"#.repeat(levels), "}".repeat(levels))
        };
        check(
            &objects(MAX_DEPTH + 1, "7"),
            &objects(MAX_DEPTH, r#"<{"a":7}>"#).replacen("\"a\"", "a", MAX_DEPTH),
        );
    }
}
