//! Tests of the parser. `optional` has those of optional fields, `phases` those of phases,
//! `redaction` those of redaction, `trim` those of trimming.

mod optional;
mod phases;
mod redaction;
mod trim;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::MAX_DEPTH;

const MINIMAL: &str = r#"{"source":"bot","event_kind":"ok","ok":true}"#;

/// Returns a minimal event with `more` fields.
fn with(more: &str) -> String {
    format!(r#"{{"source":"bot","event_kind":"ok","ok":true,{more}}}"#)
}

#[track_caller]
fn rejected(json: impl Into<Bytes>, expected: &str, malformed: bool) {
    let error = Submission::parse(json).unwrap_err();
    assert_eq!(error.to_string(), expected);
    assert_eq!(error.is_malformed(), malformed, "{error}");
}

#[test]
fn every_field_is_parsed() {
    let event = Event::parse(
        r#" {"turns":83,"source":"b\u006ft","cycle_id":"c","sig_hash":"s","event_kind":"ok",
        "ok":true,"staffer_id":"gpt-5","duration_ms":1.5e3,"id":"mine",
        "timestamp":"2026-01-31T12:00:00+01:00","traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01","extra":{"a":1,"a":2},
        "cost_usd":0.5,"attempt":2,"replaces":"theirs","labels":{"branch":"main"},"usage":{
        "input_tokens":1},
        "new":[1e999]} "#,
    )
    .unwrap();
    assert_eq!((event.source(), event.event_kind(), event.ok()), ("bot", "ok", Some(true)));
    assert_eq!(
        (event.cycle_id(), event.sig_hash(), event.staffer_id()),
        (Some("c"), Some("s"), Some("gpt-5"))
    );
    assert_eq!((event.turns(), event.duration_ms()), (Some(83), Some(1500.0)));
    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    assert_eq!((event.id(), event.traceparent()), (Some("mine"), Some(traceparent)));
    assert_eq!((event.cost_usd(), event.attempt()), (Some(0.5), Some(2)));
    assert_eq!(event.replaces(), Some("theirs"));
    assert!(event.labels().eq([("branch", "main")]));
    assert_eq!(event.usage().map(|usage| usage.cost_usd), Some(Some(0.5)));
    assert!(Field::ALL.into_iter().all(|field| event.has(field)));
    assert_eq!(event.timestamp().unwrap().to_string(), "2026-01-31T11:00:00Z");
    assert_eq!(event.extra(), Some(r#"{"a":1,"a":2}"#));
    assert!(event.raw().starts_with(b"{\"turns\"") && event.raw().ends_with(b"]}"));
}

#[test]
fn null_field_is_absent() {
    let nulls: Vec<_> = Field::OPTIONAL.iter().map(|field| format!(r#""{field}":null"#)).collect();
    let event = Event::parse(with(&nulls.join(","))).unwrap();
    assert!(Field::OPTIONAL.iter().all(|field| !event.has(*field)));
    rejected(
        r#"{"source":null,"event_kind":"ok","ok":true}"#,
        "missing `source`; every event has `source`, `event_kind` and `ok`",
        false,
    );
}

#[test]
fn invalid_json_is_malformed() {
    rejected("", "the body is empty; send one JSON object", true);
    rejected(" \n", "the body is empty; send one JSON object", true);
    rejected(
        &b"{\"source\":\"\xff\"}"[..],
        "not UTF-8: the byte at offset 11 is not part of a character",
        true,
    );
    rejected(
        "{\"source\":",
        "not valid JSON at line 1, column 10: EOF while parsing a value",
        true,
    );
    rejected("ok", "not valid JSON at line 1, column 1: expected value", true);
    rejected("{'source':1}", "not valid JSON at line 1, column 2: key must be a string", true);
    rejected(
        format!("{MINIMAL}\n{MINIMAL}"),
        "another JSON value follows at line 2, column 1",
        true,
    );
    rejected(
        format!("{MINIMAL}{MINIMAL}"),
        &format!("another JSON value follows at line 1, column {}", MINIMAL.len() + 1),
        true,
    );
    rejected(
        format!("{MINIMAL} and more"),
        &format!("not valid JSON at line 1, column {}: trailing characters", MINIMAL.len() + 2),
        true,
    );
    rejected(with("\"ok\":true"), "the field `ok` is there twice", true);
    rejected(
        with("\"extra\":\"a\u{0}b\""),
        "not valid JSON at line 1, column 54: control character (\\u0000-\\u001F) found while \
         parsing a string",
        true,
    );
}

#[test]
fn byte_order_mark_is_ignored_and_utf_16_is_named() {
    let event = Event::parse(format!("\u{feff} {MINIMAL}\n")).unwrap();
    assert_eq!(event.raw(), MINIMAL.as_bytes());
    let message = "the text is UTF-16, and JSON is UTF-8; convert it before it is sent";
    let units: Vec<u16> = MINIMAL.encode_utf16().collect();
    for (mark, to_bytes) in [
        (&b""[..], u16::to_le_bytes as fn(u16) -> [u8; 2]),
        (b"", u16::to_be_bytes),
        (b"\xff\xfe", u16::to_le_bytes),
        (b"\xfe\xff", u16::to_be_bytes),
    ] {
        let text: Vec<u8> = units.iter().flat_map(|unit| to_bytes(*unit)).collect();
        rejected([mark, &text].concat(), message, true);
    }
}

#[test]
fn keys_follow_the_rules_of_strings() {
    for key in ["a\0", "a\n", "\u{1f}", "source\t", r"\x"] {
        let error = Event::parse(with(&format!(r#""{key}":1"#))).unwrap_err();
        assert!(matches!(error, EventError::Syntax { .. }), "{key:?}: {error}");
    }
    let event = Event::parse(with(r#""\u0000":1,"\ud800":2,"\n":3,"cycle\u005fid":"4""#)).unwrap();
    assert_eq!(event.cycle_id(), Some("4"));
}

#[test]
fn invalid_required_field_is_named_with_its_accepted_values() {
    rejected("[1]", "an event is a JSON object, and this is an array", false);
    rejected("null", "an event is a JSON object, and this is null", false);
    rejected(
        r#"{"ok":true}"#,
        "missing `source` and `event_kind`; every event has `source`, `event_kind` and `ok`",
        false,
    );
    rejected(
        r#"{"source":"","event_kind":"ok","ok":true}"#,
        "the field `source` must be a string that is not empty, and this is \"\"",
        false,
    );
    rejected(
        r#"{"source":1,"event_kind":"ok","ok":true}"#,
        "the field `source` must be a string, and this is a number",
        false,
    );
    rejected(
        r#"{"source":"bot","event_kind":"ok","ok":"true"}"#,
        "the field `ok` must be true or false, and this is a string",
        false,
    );
}

/// Status of the error that the parser returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    Malformed,
    Invalid,
}

#[test]
fn malformed_events_are_told_from_invalid_ones() {
    use Status::{Invalid, Malformed};
    let rows: &[(&str, Status)] = &[
        ("", Malformed),
        ("{", Malformed),
        ("\u{feff}\u{feff}{}", Malformed),
        ("\u{feff}{}", Invalid),
        (r#"{"source":"s","source":"s","event_kind":"k","ok":true}"#, Malformed),
        (r#"{"source":"s","so\u0075rce":"t","event_kind":"k","ok":true}"#, Malformed),
        (r#"{"source":null,"source":"s","event_kind":"k","ok":true}"#, Malformed),
        (r#"{"source":"s","event_kind":"k","event_kind":"k","ok":true}"#, Malformed),
        (r#"{"source":"s","event_kind":"k","ok":true,"ok":true}"#, Malformed),
        (r#"{"source":"s","event_kind":"k","ok":true,"id":"1","id":"1"}"#, Malformed),
        (r#"{"ok":true,"turns":1,"turns":1,"ok":true}"#, Malformed),
        (r#"{"event":{},"event":{}}"#, Malformed),
        (r#"{"id":"1","id":"2","event":{}}"#, Malformed),
        ("[]", Invalid),
        ("null", Invalid),
        ("\"\"", Invalid),
        ("{}", Invalid),
        (r#"{"event_kind":"k","ok":true}"#, Invalid),
        (r#"{"source":null,"event_kind":"k","ok":true}"#, Invalid),
        (r#"{"source":"","event_kind":"k","ok":true}"#, Invalid),
        (r#"{"source":7,"event_kind":"k","ok":true}"#, Invalid),
        (r#"{"source":true,"event_kind":"k","ok":true}"#, Invalid),
        (r#"{"source":["s"],"event_kind":"k","ok":true}"#, Invalid),
        (r#"{"source":{},"event_kind":"k","ok":true}"#, Invalid),
        (r#"{"source":"\ud800","event_kind":"k","ok":true}"#, Invalid),
        (r#"{"source":"s","ok":true}"#, Invalid),
        (r#"{"source":"s","event_kind":"","ok":true}"#, Invalid),
        (r#"{"source":"s","event_kind":7,"ok":true}"#, Invalid),
        (r#"{"source":"s","event_kind":"\udfff","ok":true}"#, Invalid),
        (r#"{"source":"s","event_kind":"k"}"#, Invalid),
        (r#"{"source":"s","event_kind":"k","ok":null}"#, Invalid),
        (r#"{"source":"s","event_kind":"k","ok":"true"}"#, Invalid),
        (r#"{"source":"s","event_kind":"k","ok":1}"#, Invalid),
        (r#"{"source":"s","event_kind":"k","ok":[]}"#, Invalid),
        (r#"{"source":"s","event_kind":"k","ok":{}}"#, Invalid),
        (r#"{"source":"s","event_kind":["started"]}"#, Invalid),
        (r#"{"id":7,"event":{}}"#, Invalid),
        (r#"{"id":"","event":{}}"#, Invalid),
        (r#"{"event":{}}"#, Invalid),
    ];
    for (json, expected) in rows {
        let error = Submission::parse(*json).unwrap_err();
        let status = if error.is_malformed() { Malformed } else { Invalid };
        assert_eq!(status, *expected, "{json}: {error}");
    }
}

#[test]
fn opaque_parts_may_hold_any_json() {
    for json in [
        r#""extra":{"x":1e999,"y":"\ud800","\udfff":1}"#,
        r#""\ud800":1"#,
        r#""event":"a name","event":3"#,
    ] {
        let text = with(json);
        assert_eq!(Event::parse(text.clone()).unwrap().raw(), text.as_bytes());
    }
}

#[test]
fn nesting_is_limited_and_brackets_in_strings_do_not_count() {
    let nested = |depth: usize| {
        with(&format!(r#""extra":{{"a":{}{}}}"#, "[".repeat(depth - 2), "]".repeat(depth - 2)))
    };
    assert!(Event::parse(nested(MAX_DEPTH)).is_ok());
    rejected(nested(MAX_DEPTH + 1), "nested deeper than 64 levels", true);
    rejected(nested(100_000), "nested deeper than 64 levels", true);
    assert!(Event::parse(with(&format!(r#""extra":{{"a":"\"{}"}}"#, "[{".repeat(100)))).is_ok());
    assert!(
        Event::parse(with(&format!(r#""extra":{{"a":[{}]}}"#, vec!["[]"; 100].join(",")))).is_ok()
    );
}

#[test]
fn envelope_gives_the_event_its_id() {
    let id = "5f3c9b0e-6a53-5f0e-9e7e-0d8f1c2b3a49";
    let submission = Submission::parse(format!(
        r#"{{"id":"{id}","seq":3,"received_at":"x","event": {MINIMAL} }}"#
    ))
    .unwrap();
    assert_eq!(submission.id.unwrap().to_string(), id);
    assert_eq!(submission.event.raw(), MINIMAL.as_bytes());
    assert_eq!(Submission::parse(format!(r#"{{"event":{MINIMAL}}}"#)).unwrap().id, None);
    rejected(
        format!(r#"{{"id":"mine","event":{MINIMAL}}}"#),
        "the field `id` must be a UUID in an envelope, and this is \"mine\"",
        false,
    );
    rejected(
        format!(r#"{{"event":{MINIMAL},"event":{MINIMAL}}}"#),
        "the field `event` is there twice",
        true,
    );
    rejected(
        format!(r#"{{"event":{{"event":{MINIMAL}}}}}"#),
        "missing `source`, `event_kind` and `ok`; every event has `source`, `event_kind` and `ok`",
        false,
    );
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Submission::parse(bytes);
    }

    #[test]
    fn truncated_event_is_never_accepted(cut in 1..MINIMAL.len()) {
        prop_assert!(Submission::parse(&MINIMAL[..cut]).is_err());
    }
}
