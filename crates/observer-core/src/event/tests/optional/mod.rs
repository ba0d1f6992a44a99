//! Optional fields: each form in which a producer may send them. `timestamps` has those of
//! timestamps, `warnings` what is said about others, `properties` any value.

mod properties;
mod timestamps;
mod warnings;

use super::*;

/// Reading of an optional field.
#[derive(Debug, Clone, Copy)]
enum Reading {
    /// The field has this value, in the form of [`shown`].
    Is(&'static str),
    /// The field is absent, without a warning.
    Absent,
    /// The field is absent, with a warning.
    Unreadable,
    /// The field has this value, and a part of it is absent, with a warning.
    Partly(&'static str),
}

use Reading::{Absent, Is, Partly, Unreadable};

const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// Returns the value of a field by its accessor, as text.
fn shown(event: &Event, field: Field) -> Option<String> {
    let labels = || {
        let pairs: Vec<_> = event.labels().map(|(name, value)| format!("{name}={value}")).collect();
        (!pairs.is_empty()).then(|| pairs.join(" "))
    };
    match field {
        Field::Source => Some(event.source().to_owned()),
        Field::EventKind => Some(event.event_kind().to_owned()),
        Field::Ok => event.ok().map(|ok| ok.to_string()),
        Field::CycleId => event.cycle_id().map(str::to_owned),
        Field::SigHash => event.sig_hash().map(str::to_owned),
        Field::StafferId => event.staffer_id().map(str::to_owned),
        Field::Id => event.id().map(str::to_owned),
        Field::Traceparent => event.traceparent().map(str::to_owned),
        Field::Replaces => event.replaces().map(str::to_owned),
        Field::Extra => event.extra().map(str::to_owned),
        Field::Turns => event.turns().map(|number| number.to_string()),
        Field::Attempt => event.attempt().map(|number| number.to_string()),
        Field::DurationMs => event.duration_ms().map(|number| format!("{number:?}")),
        Field::CostUsd => event.cost_usd().map(|number| format!("{number:?}")),
        Field::Timestamp => event.timestamp().map(|time| time.to_string()),
        Field::Usage => event.usage().map(|usage| format!("{} {}", usage.input, usage.output)),
        Field::Labels => labels(),
    }
}

/// Parses an event with one optional field in all ways, and compares each with the reading.
#[track_caller]
fn check(field: Field, value: &str, reading: Reading) {
    let (expected, has_warning) = match reading {
        Is(value) => (Some(value), false),
        Absent => (None, false),
        Unreadable => (None, true),
        Partly(value) => (Some(value), true),
    };
    // An escaped key makes `serde_json` parse the event, with the same result.
    for more in ["", r#","\u0061":0"#] {
        let json = with(&format!(r#""{field}":{value}{more}"#));
        let submission = Submission::parse(json.clone())
            .unwrap_or_else(|error| panic!("{json} is rejected: {error}"));
        let event = submission.event;
        assert_eq!(event.raw(), json.as_bytes());
        assert_eq!(shown(&event, field).as_deref(), expected, "{json}");
        let warned: Vec<_> = submission.warnings.iter().map(|warning| warning.field).collect();
        let expected_warning: &[&str] = if has_warning { &[field.as_str()] } else { &[] };
        assert_eq!(warned, expected_warning, "{json}: {:?}", submission.warnings);
        for FieldWarning { detail, .. } in &submission.warnings {
            assert!(detail.len() < 400 && detail.ends_with("treated as absent"), "{detail}");
        }

        let strict = ParseOptions { strict: true, ..ParseOptions::default() };
        let rejected = Submission::parse_with(json.clone(), &strict).map(|strict| {
            assert_eq!(strict.warnings, []);
            assert_eq!(shown(&strict.event, field).as_deref(), expected, "{json}");
        });
        assert_eq!(rejected.is_err(), has_warning, "{json}: {rejected:?}");
        if let Err(error) = rejected {
            assert!(!error.is_malformed(), "{error}");
            assert_eq!(error.field(), Some(field.as_str()), "{error}");
        }

        let again = Event::from_parsed(event.raw().clone());
        for other in Field::ALL {
            assert_eq!(shown(&again, other), shown(&event, other), "{other} of {json}");
        }
    }
}

#[test]
fn texts_are_read_from_strings_and_numbers() {
    for field in [Field::CycleId, Field::SigHash, Field::StafferId, Field::Id, Field::Replaces] {
        for (value, reading) in [
            (r#""c-17""#, Is("c-17")),
            (r#""\u0063\n""#, Is("c\n")),
            (r#""🦀""#, Is("🦀")),
            (r#""\ud83e\udd80""#, Is("🦀")),
            ("17", Is("17")),
            ("-1.50e3", Is("-1.50e3")),
            ("123456789012345678901234567890", Is("123456789012345678901234567890")),
            ("null", Absent),
            ("true", Unreadable),
            ("false", Unreadable),
            ("{}", Unreadable),
            (r#"{"id":"x"}"#, Unreadable),
            ("[]", Unreadable),
            (r#"["c"]"#, Unreadable),
            (r#""\ud800""#, Unreadable),
            (r#""c\udc00\ud800""#, Unreadable),
        ] {
            check(field, value, reading);
        }
    }
    for field in [Field::CycleId, Field::SigHash, Field::StafferId, Field::Id] {
        check(field, r#""""#, Is(""));
    }
    check(Field::Replaces, r#""""#, Unreadable);
    for field in [Field::CycleId, Field::SigHash, Field::StafferId, Field::Replaces] {
        check(field, &format!(r#""a","{field}":"b""#), Unreadable);
        check(field, &format!(r#""a","{field}":"a""#), Unreadable);
        check(field, &format!(r#"null,"{field}":"a""#), Unreadable);
        check(field, &format!(r#""a","{field}":"b","{field}":"c""#), Unreadable);
    }
}

#[test]
fn counts_are_whole_numbers_up_to_2_to_the_53() {
    for field in [Field::Turns, Field::Attempt] {
        for (value, reading) in [
            ("0", Is("0")),
            ("7", Is("7")),
            ("-0", Is("0")),
            ("-0.0", Is("0")),
            ("7.0", Is("7")),
            ("7e0", Is("7")),
            ("1.2E+3", Is("1200")),
            ("1200e-2", Is("12")),
            ("9007199254740992", Is("9007199254740992")),
            (r#""1200""#, Is("1200")),
            (r#"" 3 ""#, Is("3")),
            (r#""\t3\n""#, Is("3")),
            (r#""\u0033""#, Is("3")),
            (r#""3.0""#, Is("3")),
            (r#""1e3""#, Is("1000")),
            ("null", Absent),
            ("9007199254740993", Unreadable),
            ("18446744073709551615", Unreadable),
            ("18446744073709551616", Unreadable),
            ("1e16", Unreadable),
            ("1e999", Unreadable),
            ("-1", Unreadable),
            ("-1e999", Unreadable),
            ("1.5", Unreadable),
            ("1e-1", Unreadable),
            (r#""-1""#, Unreadable),
            (r#""1.5""#, Unreadable),
            (r#""9007199254740993""#, Unreadable),
            (r#""""#, Unreadable),
            (r#"" ""#, Unreadable),
            (r#""three""#, Unreadable),
            (r#""3 turns""#, Unreadable),
            (r#""1,200""#, Unreadable),
            (r#""0x10""#, Unreadable),
            (r#""NaN""#, Unreadable),
            (r#""inf""#, Unreadable),
            (r#""-""#, Unreadable),
            (r#""\ud800""#, Unreadable),
            ("true", Unreadable),
            ("[3]", Unreadable),
            ("{}", Unreadable),
        ] {
            check(field, value, reading);
        }
        check(field, &"9".repeat(100_000), Unreadable);
        check(field, &format!(r#"1,"{field}":1"#), Unreadable);
        check(field, &format!(r#"-1,"{field}":2"#), Unreadable);
    }
}

#[test]
fn amounts_are_numbers_up_to_their_bounds() {
    for field in [Field::DurationMs, Field::CostUsd] {
        for (value, reading) in [
            ("0", Is("0.0")),
            ("-0.0", Is("0.0")),
            ("1500.25", Is("1500.25")),
            ("1.5e3", Is("1500.0")),
            ("5e-324", Is("5e-324")),
            (r#""1200""#, Is("1200.0")),
            (r#"" 0.5 ""#, Is("0.5")),
            (r#""1.5e3""#, Is("1500.0")),
            ("null", Absent),
            ("-1", Unreadable),
            ("-0.1", Unreadable),
            (r#""-0.1""#, Unreadable),
            ("1e13", Unreadable),
            ("1.7e308", Unreadable),
            ("1e999", Unreadable),
            ("-1e999", Unreadable),
            (r#""1e999""#, Unreadable),
            (r#""""#, Unreadable),
            (r#""n/a""#, Unreadable),
            (r#""12 s""#, Unreadable),
            (r#""$3.20""#, Unreadable),
            (r#""NaN""#, Unreadable),
            (r#""Infinity""#, Unreadable),
            (r#""\udfff""#, Unreadable),
            ("false", Unreadable),
            ("[]", Unreadable),
            (r#"{"ms":5}"#, Unreadable),
        ] {
            check(field, value, reading);
        }
        check(field, &format!(r#"1,"{field}":1"#), Unreadable);
    }
    check(Field::DurationMs, "3155760000000", Is("3155760000000.0"));
    check(Field::DurationMs, "3155760000001", Unreadable);
    check(Field::CostUsd, "1e12", Is("1000000000000.0"));
    check(Field::CostUsd, "1000000000000.1", Unreadable);
}

#[test]
fn traceparents_follow_the_standard() {
    let with_version = r#""cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more""#;
    check(Field::Traceparent, &format!("\"{TRACE}\""), Is(TRACE));
    check(
        Field::Traceparent,
        with_version,
        Is("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more"),
    );
    check(Field::Traceparent, "null", Absent);
    for value in [
        format!("\"{}\"", TRACE.to_uppercase()),
        format!("\" {TRACE}\""),
        format!("\"{TRACE}-more\""),
        format!("\"ff{}\"", &TRACE[2..]),
        format!("\"{}\"", &TRACE[..54]),
        r#""00-00000000000000000000000000000000-b7ad6b7169203331-01""#.to_owned(),
        r#""00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01""#.to_owned(),
        r#""00-x""#.to_owned(),
        r#""""#.to_owned(),
        r#""\ud800""#.to_owned(),
        "7".to_owned(),
        "true".to_owned(),
        "[]".to_owned(),
        "{}".to_owned(),
        format!(r#""{TRACE}","traceparent":"{TRACE}""#),
    ] {
        check(Field::Traceparent, &value, Unreadable);
    }
}

#[test]
fn objects_are_read_from_objects_and_usage_from_lists() {
    check(Field::Extra, r#"{"a":1,"a":2}"#, Is(r#"{"a":1,"a":2}"#));
    check(Field::Extra, "{}", Is("{}"));
    check(Field::Usage, r#"{"input_tokens":5,"output_tokens":2}"#, Is("5 2"));
    check(Field::Usage, r#"{"unknown":5}"#, Absent);
    check(Field::Usage, r#"[{"input_tokens":5},{"input_tokens":6,"output_tokens":2}]"#, Is("11 2"));
    for field in [Field::Extra, Field::Usage, Field::Labels] {
        check(field, "null", Absent);
        for value in
            ["[]", r#"[{"a":1}]"#, r#""n/a""#, r#""""#, "7", "0", "true", r#""\ud800""#, "1e999"]
        {
            check(field, value, Unreadable);
        }
        check(field, &format!(r#"{{}},"{field}":{{}}"#), Unreadable);
    }
    // Usage within `extra` takes the place of a usage that can't be read.
    check(
        Field::Usage,
        r#""n/a","extra":{"usage":{"input_tokens":5,"output_tokens":2}}"#,
        Partly("5 2"),
    );
}

#[test]
fn labels_are_read_one_by_one() {
    for (value, reading) in [
        ("{}", Absent),
        (r#"{"branch":"main"}"#, Is("branch=main")),
        (r#"{ "branch" : "main" , "host":"h-1"}"#, Is("branch=main host=h-1")),
        (r#"{"br\u0061nch":"m\u0061in"}"#, Is("branch=main")),
        (r#"{"b":"2","a":"1"}"#, Is("b=2 a=1")),
        (r#"{"n":7,"f":-1.50,"t":true,"u":false}"#, Is("n=7 f=-1.50 t=true u=false")),
        (r#"{"":""}"#, Is("=")),
        (r#"{"a":null}"#, Absent),
        (r#"{"a":null,"b":"x"}"#, Is("b=x")),
        (r#"{"a":{},"b":"x"}"#, Partly("b=x")),
        (r#"{"b":"x","a":{"c":"d"}}"#, Partly("b=x")),
        (r#"{"a":["x"],"b":"x","c":[[{}]]}"#, Partly("b=x")),
        (r#"{"a":["x"]}"#, Unreadable),
        (r#"{"a":"\ud800","b":"x"}"#, Partly("b=x")),
        (r#"{"\ud800":"a","b":"x"}"#, Partly("b=x")),
        (r#"{"a":"1","b":"x","a":"2"}"#, Partly("b=x")),
        (r#"{"a":"1","b":"x","\u0061":"1"}"#, Partly("b=x")),
        (r#"{"a":"1","a":"1"}"#, Unreadable),
        (r#"{"a":"1"},"labels":{"b":"2"}"#, Unreadable),
    ] {
        check(Field::Labels, value, reading);
    }
}

#[test]
fn cost_usd_overrides_the_cost_of_usage() {
    for (fields, expected) in [
        (r#""cost_usd":2"#, (0, Some(2.0))),
        (r#""cost_usd":2,"usage":{"input_tokens":5,"cost_usd":1}"#, (5, Some(2.0))),
        (r#""cost_usd":-2,"usage":{"input_tokens":5,"cost_usd":1}"#, (5, Some(1.0))),
        (r#""cost_usd":2,"extra":{"usage":{"input_tokens":5}}"#, (5, Some(2.0))),
    ] {
        let event = Event::parse(with(fields)).unwrap();
        let usage = event.usage().unwrap();
        assert_eq!((usage.input, usage.cost_usd), expected, "{fields}");
    }
}
