//! Protobuf JSON as the two collectors write it, in one normal form.
//!
//! Names are in either case, ids in base64 or hexadecimal, enums names or numbers, and default
//! values present or absent.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::mapping::hex;

/// Returns a log record or a span in the form of [`mapping`](super::mapping).
pub(super) fn item(json: &Value) -> Value {
    let fields = json.as_object().unwrap().iter().map(|(name, value)| (snake_case(name), value));
    let mut item = Map::new();
    for (name, value) in fields {
        let value = match &*name {
            "attributes" => pairs(value),
            "body" => any_value(value),
            "trace_id" | "span_id" | "parent_span_id" => id(value.as_str().unwrap()),
            "status" => status(value),
            _ => plain(value),
        };
        if !is_default(&value) {
            assert!(item.insert(name, value).is_none(), "{json}");
        }
    }
    item.into()
}

/// Returns attributes, or the members of a structured value, as an object. Asserts that no key is
/// repeated.
pub(super) fn pairs(list: &Value) -> Value {
    let mut members = Map::new();
    for pair in list.as_array().unwrap() {
        let known =
            members.insert(pair["key"].as_str().unwrap().to_owned(), any_value(&pair["value"]));
        assert!(known.is_none(), "repeated: {pair}");
    }
    members.into()
}

fn any_value(value: &Value) -> Value {
    let Some((kind, inner)) = value.as_object().and_then(|kinds| kinds.iter().next()) else {
        return Value::Null;
    };
    // An empty list is omitted.
    let none = Value::Array(Vec::new());
    let values = inner.get("values").unwrap_or(&none);
    match &*snake_case(kind) {
        "string_value" | "bool_value" => inner.clone(),
        "int_value" => whole(inner).into(),
        "double_value" => inner.as_f64().unwrap_or_else(|| panic!("{value}")).into(),
        "array_value" => values.as_array().unwrap().iter().map(any_value).collect(),
        "kvlist_value" => pairs(values),
        other => panic!("the observer sends no {other}: {value}"),
    }
}

/// Parses a 64-bit integer, which may be written as a string.
fn whole(number: &Value) -> i64 {
    number
        .as_i64()
        .or_else(|| number.as_str()?.parse().ok())
        .unwrap_or_else(|| panic!("no whole number: {number}"))
}

fn status(status: &Value) -> Value {
    let fields = status.as_object().into_iter().flatten();
    let fields = fields
        .map(|(name, value)| (snake_case(name), plain(value)))
        .filter(|(_, value)| !is_default(value));
    fields.collect::<Map<_, _>>().into()
}

fn id(text: &str) -> Value {
    let is_hex = matches!(text.len(), 0 | 16 | 32);
    if is_hex { text.into() } else { hex(&STANDARD.decode(text).unwrap()).into() }
}

/// Returns a scalar: a number may be written as a string, an enum by its name.
fn plain(value: &Value) -> Value {
    let Some(text) = value.as_str() else { return value.clone() };
    match text {
        "SEVERITY_NUMBER_INFO" => 9.into(),
        "SEVERITY_NUMBER_WARN" => 13.into(),
        "SPAN_KIND_INTERNAL" => 1.into(),
        "STATUS_CODE_ERROR" => 2.into(),
        _ => text.parse::<u64>().map_or_else(|_| value.clone(), Value::from),
    }
}

fn is_default(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(is) => !is,
        Value::Number(number) => number.as_u64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Array(values) => values.is_empty(),
        Value::Object(members) => members.is_empty(),
    }
}

fn snake_case(name: &str) -> String {
    name.chars().fold(String::new(), |mut snake, letter| {
        if letter.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
        snake
    })
}
