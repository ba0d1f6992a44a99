//! Target `event`: parsing agrees with serde_json, and an event survives a round trip unchanged.

#![no_main]

use libfuzzer_sys::fuzz_target;
use observer_core::{
    Envelope, Event, EventError, Field, MAX_DEPTH, Submission, Timestamp, Traceparent, Uuid,
};
use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Fields that make an event malformed if they occur twice.
const UNREPEATABLE: [&str; 4] = ["source", "event_kind", "ok", "id"];

/// Event kinds that need no `ok`.
const PHASES: [&str; 3] = ["started", "heartbeat", "progress"];

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
    let repeated = UNREPEATABLE.iter().any(|name| count(name) > 1);
    let is_phase = text("event_kind")
        .is_some_and(|kind| kind.is_ok_and(|kind| PHASES.contains(&kind.as_str())));
    let required: &[&str] =
        if is_phase { &["source", "event_kind"] } else { &["source", "event_kind", "ok"] };
    let missing = required.iter().any(|name| value(name).is_none());
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
    for name in required {
        assert!(value(name).is_none_or(|value| valid(name, value)), "{name}");
    }
    assert_eq!(event.raw(), data);
    assert_eq!(event.is_phase(), is_phase);
    // A valid value is read. Other values may have a form that is understood, too.
    for field in Field::OPTIONAL {
        let name = field.as_str();
        if value(name).is_none() || count(name) > 1 {
            assert!(!event.has(field) || name == "usage", "{name}");
        } else if valid(name, value(name).unwrap()) && !["usage", "labels"].contains(&name) {
            assert!(event.has(field), "{name}");
        }
    }
    let read = |name: &str, is_read: bool| is_read && valid(name, value(name).unwrap());
    let owned = |text: Option<&str>| text.map(str::to_owned);
    let expected = |name| text(name).map(Result::unwrap);
    assert_eq!(Some(event.source().to_owned()), expected("source"));
    assert_eq!(Some(event.event_kind().to_owned()), expected("event_kind"));
    let ok = value("ok").filter(|_| !is_phase);
    assert_eq!(ok, event.ok().map(|ok| if ok { "true" } else { "false" }));
    for (name, found) in [
        ("cycle_id", event.cycle_id()),
        ("sig_hash", event.sig_hash()),
        ("staffer_id", event.staffer_id()),
        ("id", event.id()),
        ("traceparent", event.traceparent()),
        ("replaces", event.replaces()),
    ] {
        if read(name, found.is_some()) {
            assert_eq!(owned(found), expected(name), "{name}");
        }
    }
    if event.extra().is_some() {
        assert_eq!(event.extra(), value("extra"));
    }
    for (name, found) in [("duration_ms", event.duration_ms()), ("cost_usd", event.cost_usd())] {
        if read(name, found.is_some()) {
            assert_eq!(found, value(name).map(|value| value.parse::<f64>().unwrap().abs()));
        }
        assert!(found.is_none_or(|number| (0.0..=3_155_760_000_000.0).contains(&number)));
    }
    for (name, found) in [("turns", event.turns()), ("attempt", event.attempt())] {
        if read(name, found.is_some()) {
            let number = value(name).map(|value| {
                value.parse().unwrap_or_else(|_| value.parse::<f64>().unwrap() as u64)
            });
            assert_eq!(found, number, "{name}");
        }
        assert!(found.is_none_or(|count| count <= 1 << 53));
    }
    let again = Event::from_parsed(event.raw().clone());
    assert_eq!(again.usage(), event.usage());
    assert_eq!(again.unread_usage(), event.unread_usage());
    for field in Field::ALL {
        assert_eq!(again.has(field), event.has(field), "{field}");
    }
    assert_eq!(again.timestamp(), event.timestamp());
    assert!(again.labels().eq(event.labels()));
    if let Some(usage) = event.usage() {
        assert!(usage.cached_input + usage.cache_creation_input <= usage.input);
        assert!(usage.cache_creation_1h_input <= usage.cache_creation_input);
        assert!(usage.reasoning <= usage.output);
        assert!(usage.cost_usd.is_none_or(|cost| cost.is_finite() && cost >= 0.0));
    }
}

/// Returns whether a value is valid for a field.
fn valid(name: &str, value: &str) -> bool {
    match name {
        "ok" => matches!(value, "true" | "false"),
        "extra" | "usage" | "labels" => value.starts_with('{'),
        "turns" | "attempt" => value.parse::<u64>().is_ok_and(|count| count <= 1 << 53),
        "duration_ms" => is_amount(value, 3_155_760_000_000.0),
        "cost_usd" => is_amount(value, 1e12),
        "traceparent" => serde_json::from_str::<String>(value)
            .is_ok_and(|text| Traceparent::parse(&text).is_some()),
        "replaces" => serde_json::from_str::<String>(value).is_ok_and(|text| !text.is_empty()),
        "source" | "event_kind" => {
            serde_json::from_str::<String>(value).is_ok_and(|text| !text.is_empty())
        }
        "timestamp" => serde_json::from_str::<String>(value)
            .ok()
            .and_then(|text| text.parse::<Timestamp>().ok())
            .is_some_and(|time| (0..9_246_182_400_000_000_000).contains(&time.as_nanosecond())),
        _ => serde_json::from_str::<String>(value).is_ok(),
    }
}

fn is_amount(value: &str, max: f64) -> bool {
    value.parse::<f64>().is_ok_and(|number| (0.0..=max).contains(&number))
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
