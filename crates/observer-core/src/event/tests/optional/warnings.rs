//! Warnings about fields that can't be read, and errors in their place.

use super::*;

#[test]
fn warnings_name_the_value_and_the_consequence() {
    let long = "x".repeat(100);
    for (fields, field, detail) in [
        (
            r#""turns":-1"#,
            "turns",
            "-1 is not a whole number from 0 to 2^53; the field is treated as absent",
        ),
        (
            r#""timestamp":"yesterday""#,
            "timestamp",
            "\"yesterday\" is not a time from 1970 to 2262, in ISO 8601 or as a Unix time; the \
             field is treated as absent",
        ),
        (
            "\"extra\":[\n1,\t\"a\u{202e}b\"]",
            "extra",
            r#"[ 1, "a\u{202e}b"] is not an object; the field is treated as absent"#,
        ),
        (
            &format!(r#""usage":"{long}""#),
            "usage",
            &format!("\"{}… is not an object; the field is treated as absent", &long[..59]),
        ),
        (
            r#""cycle_id":"a","cycle_id":"b""#,
            "cycle_id",
            "occurs twice; the field is treated as absent",
        ),
        (
            r#""labels":{"a":{"x":1}}"#,
            "labels",
            "the label \"a\":{\"x\":1} is not a string, a number or a boolean; it is treated as \
             absent",
        ),
        (
            r#""labels":{"a":1,"a":1,"b":[]}"#,
            "labels",
            "the label \"a\" occurs twice; 3 labels are treated as absent",
        ),
    ] {
        let warnings = Submission::parse(with(fields)).unwrap().warnings;
        let [warning] = &warnings[..] else { panic!("{warnings:?}") };
        assert_eq!((warning.field, &*warning.detail), (field, detail));
    }
}

#[test]
fn strict_errors_name_the_value_and_the_accepted_ones() {
    let strict = ParseOptions { strict: true, ..ParseOptions::default() };
    for (fields, message) in [
        (
            r#""turns":-1"#,
            "the field `turns` must be a whole number from 0 to 2^53, and this is -1",
        ),
        (r#""turns":1,"turns":1"#, "the field `turns` is there twice"),
        (
            r#""labels":{"a":[]}"#,
            "the field `labels` must be an object of strings, each with a name of its own, and \
             this is one with \"a\":[]",
        ),
    ] {
        let error = Submission::parse_with(with(fields), &strict).unwrap_err();
        assert_eq!((error.to_string().as_str(), error.is_malformed()), (message, false));
    }
}

#[test]
fn every_unreadable_field_has_a_warning_of_its_own() {
    let envelope = format!(
        r#"{{"id":"5f3c9b0e-6a53-5f0e-9e7e-0d8f1c2b3a49","turns":-1,"event":{}}}"#,
        with(r#""turns":-1,"extra":1,"id":[],"labels":{"a":[],"b":[]},"cost_usd":0.5"#),
    );
    let submission = Submission::parse(envelope).unwrap();
    let warned: Vec<_> = submission.warnings.iter().map(|warning| warning.field).collect();
    assert_eq!(warned, ["turns", "extra", "id", "labels"]);
    assert_eq!(submission.event.cost_usd(), Some(0.5));
    assert!(submission.id.is_some());
}
