//! Target `event`: parsing agrees with serde_json, and an event survives a round trip unchanged.

#![no_main]

use libfuzzer_sys::fuzz_target;
use observer_core::{Envelope, Event, EventError, MAX_DEPTH, Submission, Timestamp, Uuid};
use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

const KNOWN: [&str; 13] = [
    "source",
    "event_kind",
    "ok",
    "cycle_id",
    "sig_hash",
    "staffer_id",
    "turns",
    "duration_ms",
    "extra",
    "id",
    "timestamp",
    "traceparent",
    "usage",
];

fuzz_target!(|data: &[u8]| {
    let parsed = Event::parse(data.to_vec());
    if let Err(error) = &parsed {
        let text = error.to_string();
        assert!(!text.is_empty() && text.len() < 500, "{text}");
    }
    match model(trim(data)) {
        Model::NotJson => {
            let error = parsed.expect_err("an event that is not JSON");
            assert!(error.is_malformed(), "{error}");
        }
        Model::NotAnObject => {
            assert!(matches!(parsed, Err(EventError::NotAnObject { .. })), "{parsed:?}")
        }
        Model::Object(fields) => check(trim(data), &fields, parsed),
    }
    if let Ok(submission) = Submission::parse(data.to_vec()) {
        check_submission(&submission);
    }
});

/// Outermost object as serde_json reads it: each key with the text of its value.
enum Model<'a> {
    NotJson,
    NotAnObject,
    Object(Vec<(Vec<u8>, &'a str)>),
}

fn model(data: &[u8]) -> Model<'_> {
    let Ok(text) = std::str::from_utf8(data) else { return Model::NotJson };
    if serde_json::from_str::<&RawValue>(text).is_err() {
        return Model::NotJson;
    }
    if !text.starts_with('{') {
        return Model::NotAnObject;
    }
    let fields = serde_json::Deserializer::from_str(text).deserialize_map(Fields);
    Model::Object(fields.expect("the same text was parsed before"))
}

fn check(data: &[u8], fields: &[(Vec<u8>, &str)], parsed: Result<Event, EventError>) {
    let is_named = |name: &str, key: &[u8]| key == name.as_bytes();
    let count = |name: &str| fields.iter().filter(|(key, _)| is_named(name, key)).count();
    let first =
        |name: &str| fields.iter().find(|(key, _)| is_named(name, key)).map(|(_, value)| *value);
    let value = |name: &str| first(name).filter(|value| *value != "null");
    let text = |name: &str| value(name).map(|value| serde_json::from_str::<String>(value));

    let deep = depth(data) > MAX_DEPTH;
    let repeated = KNOWN.iter().any(|name| count(name) > 1);
    let missing = ["source", "event_kind", "ok"].iter().any(|name| value(name).is_none());
    let event = match parsed {
        Ok(event) => event,
        Err(EventError::TooDeep) => return assert!(deep),
        Err(EventError::Repeated { .. }) => return assert!(repeated),
        Err(EventError::Missing { fields }) => {
            return assert!(missing && fields.iter().all(|name| value(name).is_none()));
        }
        Err(EventError::Invalid { field, .. }) => {
            return assert!(!valid(field, value(field).unwrap()));
        }
        Err(error) => panic!("valid JSON is rejected as malformed: {error}"),
    };
    assert!(!deep && !repeated && !missing);
    for name in KNOWN {
        assert!(value(name).is_none_or(|value| valid(name, value)), "{name}");
    }
    assert_eq!(event.raw(), data);
    let owned = |text: Option<&str>| text.map(str::to_owned);
    let expected = |name| text(name).map(Result::unwrap);
    assert_eq!(Some(event.source().to_owned()), expected("source"));
    assert_eq!(Some(event.event_kind().to_owned()), expected("event_kind"));
    assert_eq!(value("ok"), Some(if event.ok() { "true" } else { "false" }));
    assert_eq!(owned(event.cycle_id()), expected("cycle_id"));
    assert_eq!(owned(event.sig_hash()), expected("sig_hash"));
    assert_eq!(owned(event.staffer_id()), expected("staffer_id"));
    assert_eq!(owned(event.id()), expected("id"));
    assert_eq!(owned(event.traceparent()), expected("traceparent"));
    assert_eq!(event.extra(), value("extra"));
    assert_eq!(
        event.duration_ms(),
        value("duration_ms").map(|value| value.parse::<f64>().unwrap().abs())
    );
    let turns = value("turns")
        .map(|value| value.parse().unwrap_or_else(|_| value.parse::<f64>().unwrap() as u64));
    assert_eq!(event.turns(), turns);
    assert_eq!(event.timestamp().is_some(), value("timestamp").is_some());
    if let Some(usage) = event.usage() {
        assert!(usage.cached_input <= usage.input);
        assert!(usage.cost_usd.is_none_or(|cost| cost.is_finite() && cost >= 0.0));
    }
}

/// Returns whether a value is valid for a field.
fn valid(name: &str, value: &str) -> bool {
    match name {
        "ok" => matches!(value, "true" | "false"),
        "extra" | "usage" => value.starts_with('{'),
        "turns" | "duration_ms" => {
            let number =
                value.parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0);
            let is_whole = |number: f64| number.fract() == 0.0 && number <= 9_007_199_254_740_992.0;
            number.is_some_and(|number| {
                name != "turns" || is_whole(number) || value.parse::<u64>().is_ok()
            })
        }
        "source" | "event_kind" => {
            serde_json::from_str::<String>(value).is_ok_and(|text| !text.is_empty())
        }
        "timestamp" => serde_json::from_str::<String>(value)
            .is_ok_and(|text| text.parse::<Timestamp>().is_ok()),
        _ => serde_json::from_str::<String>(value).is_ok(),
    }
}

/// Asserts that a delivered envelope parses to the same event with the same id.
fn check_submission(submission: &Submission) {
    let parse = |bytes: &[u8]| {
        Submission::parse(bytes.to_vec()).expect("an envelope around an event is valid")
    };
    let id = submission.id.unwrap_or(Uuid::from_u128(7));
    let received_at = Timestamp::from_microsecond(1_767_225_600_000_001).unwrap();
    let envelope = |event| Envelope { id, seq: 7, received_at, event };
    let raw = submission.event.raw().clone();
    let line = envelope(parse(&raw_submission(&raw)).event).to_json();
    assert!(!line.contains(['\n', '\r']));
    let again = parse(line.as_bytes());
    assert_eq!(again.id, Some(id));
    let same = raw
        .iter()
        .zip(again.event.raw())
        .all(|(a, b)| a == b || (matches!(a, b'\n' | b'\r') && *b == b' '));
    assert!(same && raw.len() == again.event.raw().len());
    assert_eq!(envelope(again.event).to_json(), line);
}

/// Returns an envelope that has an event alone.
fn raw_submission(event: &[u8]) -> Vec<u8> {
    [b"{\"event\":", event, b"}"].concat()
}

fn trim(data: &[u8]) -> &[u8] {
    let is_white = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
    let start = data.iter().position(|byte| !is_white(byte)).unwrap_or(data.len());
    let end = data.iter().rposition(|byte| !is_white(byte)).map_or(start, |last| last + 1);
    &data[start..end]
}

/// Returns the nesting depth of valid JSON.
fn depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest, mut bytes) = (0, 0, json.iter());
    while let Some(byte) = bytes.next() {
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth -= 1,
            b'"' => {
                while let Some(byte) = bytes.next().filter(|byte| **byte != b'"') {
                    if *byte == b'\\' {
                        bytes.next();
                    }
                }
            }
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

struct Fields;

impl<'de> Visitor<'de> for Fields {
    type Value = Vec<(Vec<u8>, &'de str)>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Vec::new();
        while let Some(key) = map.next_key_seed(Key)? {
            fields.push((key, map.next_value::<&RawValue>()?.get()));
        }
        Ok(fields)
    }
}

/// Key as bytes, since it may have lone surrogates.
struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Vec<u8>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<u8>, D::Error> {
        deserializer.deserialize_bytes(self)
    }
}

impl Visitor<'_> for Key {
    type Value = Vec<u8>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a key")
    }

    fn visit_bytes<E>(self, key: &[u8]) -> Result<Vec<u8>, E> {
        Ok(key.to_owned())
    }
}
