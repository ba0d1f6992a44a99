//! JSON as OTLP's `AnyValue`.
//!
//! | JSON | OTLP |
//! |---|---|
//! | object, array | key-value list, array; of a key that is there twice the last one |
//! | string, true, false | the same |
//! | whole number | int, or a string of its digits where it is past 64 bits with a sign and within those without |
//! | any other number | double |
//! | null | an empty value |
//!
//! What lies deeper than [`MAX_DEPTH`] is sent as its JSON text: each level is three of Protobuf's,
//! and many receivers read no more than a hundred of these. So is all of a value that has a number
//! past any double, or half of a surrogate pair.

use std::collections::HashMap;
use std::fmt;

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, KeyValueList};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// Levels of objects and arrays that are sent as such.
const MAX_DEPTH: usize = 24;
/// With so many keys, the next one is looked for one by one.
const FEW: usize = 16;

pub(crate) fn of_json(json: &str) -> AnyValue {
    let depth = Seed { above: 0 };
    depth
        .deserialize(&mut serde_json::Deserializer::from_str(json))
        .unwrap_or_else(|_| Value::text(json))
}

/// An attribute.
pub(crate) fn pair(key: impl Into<String>, value: impl Into<AnyValue>) -> KeyValue {
    KeyValue { key: key.into(), value: Some(value.into()), ..KeyValue::default() }
}

/// Short for what is made often.
pub(crate) trait Make {
    fn text(text: impl Into<String>) -> AnyValue;
    fn int(number: i64) -> AnyValue;
    fn bool(is: bool) -> AnyValue;
    fn double(number: f64) -> AnyValue;
}

impl Make for Value {
    fn text(text: impl Into<String>) -> AnyValue {
        AnyValue { value: Some(Self::StringValue(text.into())) }
    }

    fn int(number: i64) -> AnyValue {
        AnyValue { value: Some(Self::IntValue(number)) }
    }

    fn bool(is: bool) -> AnyValue {
        AnyValue { value: Some(Self::BoolValue(is)) }
    }

    fn double(number: f64) -> AnyValue {
        AnyValue { value: Some(Self::DoubleValue(number)) }
    }
}

/// What a count becomes: an int, or its digits.
pub(crate) fn count(number: u64) -> AnyValue {
    i64::try_from(number).map_or_else(|_| Value::text(number.to_string()), Value::int)
}

#[derive(Clone, Copy)]
struct Seed {
    /// How many levels this value lies in.
    above: usize,
}

impl<'de> DeserializeSeed<'de> for Seed {
    type Value = AnyValue;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<AnyValue, D::Error> {
        if self.above < MAX_DEPTH {
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

    fn visit_bool<E>(self, is: bool) -> Result<AnyValue, E> {
        Ok(Value::bool(is))
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
        while let Some(value) = seq.next_element_seed(Self { above: self.above + 1 })? {
            values.push(value);
        }
        Ok(AnyValue { value: Some(Value::ArrayValue(ArrayValue { values })) })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<AnyValue, A::Error> {
        let mut list = List::default();
        while let Some(key) = map.next_key::<String>()? {
            let value = map.next_value_seed(Self { above: self.above + 1 })?;
            list.set(key, value);
        }
        Ok(AnyValue { value: Some(Value::KvlistValue(KeyValueList { values: list.pairs })) })
    }
}

/// Pairs with each key once, as OTLP wants them.
#[derive(Default)]
struct List {
    pairs: Vec<KeyValue>,
    /// Where each key is, once there are many.
    places: HashMap<String, usize>,
}

impl List {
    fn set(&mut self, key: String, value: AnyValue) {
        match self.place(&key) {
            Some(place) => self.pairs[place].value = Some(value),
            None => {
                if self.pairs.len() >= FEW {
                    self.places.insert(key.clone(), self.pairs.len());
                }
                self.pairs.push(pair(key, value));
            }
        }
    }

    fn place(&self, key: &str) -> Option<usize> {
        let first = &self.pairs[..self.pairs.len().min(FEW)];
        first.iter().position(|pair| pair.key == key).or_else(|| self.places.get(key).copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Back to JSON, in which a string that was made of something else stands between `<` and `>`.
    fn shown(value: &AnyValue) -> String {
        match &value.value {
            None => "null".to_owned(),
            Some(Value::StringValue(text)) => format!("<{text}>"),
            Some(Value::BoolValue(is)) => is.to_string(),
            Some(Value::IntValue(number)) => number.to_string(),
            Some(Value::DoubleValue(number)) => format!("{number:e}"),
            Some(Value::ArrayValue(array)) => {
                format!("[{}]", array.values.iter().map(shown).collect::<Vec<_>>().join(","))
            }
            Some(Value::KvlistValue(list)) => {
                let pair = |pair: &KeyValue| {
                    format!("{}:{}", pair.key, shown(pair.value.as_ref().unwrap()))
                };
                format!("{{{}}}", list.values.iter().map(pair).collect::<Vec<_>>().join(","))
            }
            Some(other) => panic!("JSON is no {other:?}"),
        }
    }

    #[track_caller]
    fn check(json: &str, expected: &str) {
        assert_eq!(shown(&of_json(json)), expected, "{json}");
    }

    #[test]
    fn each_kind_of_value_is_what_it_is() {
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
    fn what_otlp_has_no_form_for_is_sent_as_its_text() {
        check(r#"{"a":1e999}"#, r#"<{"a":1e999}>"#);
        check(r#"["\ud800"]"#, r#"<["\ud800"]>"#);
    }

    #[test]
    fn of_a_key_that_is_there_twice_the_last_counts() {
        check(r#"{"a":1,"b":2,"a":3}"#, "{a:3,b:2}");
        let many = (0..100).map(|key| format!("\"k{key}\":0")).collect::<Vec<_>>().join(",");
        let twice = format!("{{{many},{}}}", many.replace(":0", ":1"));
        check(&twice, &format!("{{{}}}", many.replace('"', "").replace(":0", ":1")));
    }

    #[test]
    fn what_lies_too_deep_for_others_to_read_is_sent_as_its_text() {
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
