//! Tests of redaction.

use observer_redact::{Action, Rule};

use super::*;

/// Returns a token. It is put together here, so that scanners of source code find none.
fn token() -> String {
    format!("ghp_{}", "Zq8x2Vb7Km3pQ1Zq8x2Vb7Km3pQ1Zq8x2Vb7Km3p")
}

fn options() -> ParseOptions {
    ParseOptions { redactor: Some(Redactor::default()), ..ParseOptions::default() }
}

#[track_caller]
fn parsed(json: &str) -> Submission {
    Submission::parse_with(json.to_owned(), &options()).unwrap()
}

fn raw(submission: &Submission) -> &str {
    std::str::from_utf8(submission.event.raw()).unwrap()
}

#[test]
fn secrets_are_replaced_in_extra_labels_and_unknown_fields() {
    let token = token();
    let json = with(&format!(
        r#""extra":{{"log":"a {token}"}},"labels":{{"token":"t"}},"x":["{token}"],"api-key":"k""#
    ));
    let submission = parsed(&json);
    assert_eq!(
        raw(&submission),
        with(concat!(
            r#""extra":{"log":"a [redacted:github]"},"labels":{"token":"[redacted:token]"},"#,
            r#""x":["[redacted:github]"],"api-key":"[redacted:api_key]""#,
        ))
    );
    assert!(submission.event.labels().eq([("token", "[redacted:token]")]));
    let warnings: Vec<_> = submission
        .warnings
        .iter()
        .map(|warning| (warning.field, warning.detail.as_ref()))
        .collect();
    assert_eq!(
        warnings,
        [
            ("extra", "a secret was redacted: extra.log (rule github)"),
            ("labels", "a secret was redacted: labels.token (rule token)"),
            ("other", "secrets were redacted: x[0] (rule github), api-key (rule api_key)"),
        ]
    );
}

#[test]
fn values_of_known_fields_stay_as_they_are() {
    let token = token();
    for field in Field::ALL {
        if matches!(field, Field::Extra | Field::Labels) || Field::REQUIRED.contains(&field) {
            continue;
        }
        let value = format!(r#""{field}":"{token}","extra":{{}}"#);
        assert_eq!(raw(&parsed(&with(&value))), with(&value), "{field}");
        let value = format!(r#""{field}":{{"password":"{token}"}}"#);
        assert_eq!(raw(&parsed(&with(&value))), with(&value), "{field}");
    }
    let json = format!(r#"{{"source":"{token}","event_kind":"{token}","ok":true}}"#);
    assert_eq!(raw(&parsed(&json)), json);
}

#[test]
fn redacted_event_shares_the_bytes_if_nothing_is_found() {
    let json = Bytes::from(with(r#""extra":{"tokens":"17","url":"https://example.com/"}"#));
    let submission = Submission::parse_with(json.clone(), &options()).unwrap();
    assert_eq!(submission.event.raw().as_ptr(), json.as_ptr());
    assert!(submission.warnings.is_empty());
}

#[test]
fn event_that_serde_reads_is_redacted_as_well() {
    let token = token();
    let deep =
        format!(r#""x":{}"{token}"{}"#, "[".repeat(MAX_DEPTH - 1), "]".repeat(MAX_DEPTH - 1));
    for json in [
        with(r#""\u0061pi_key":"k-1""#),
        with(r#""\u0078":{"p\u0061ssword":"k-1"}"#),
        with(&format!(r#""\ud800":"{token}""#)),
        with(&deep),
    ] {
        let submission = parsed(&json);
        assert!(raw(&submission).contains("[redacted:"), "{json}");
        assert_eq!(submission.warnings.len(), 1, "{json}");
    }
}

#[test]
fn event_in_an_envelope_is_redacted_and_the_envelope_is_not() {
    let json = format!(r#"{{"note":"{}","event":{}}}"#, token(), with(r#""token":"t""#));
    let submission = parsed(&json);
    assert_eq!(raw(&submission), with(r#""token":"[redacted:token]""#));
    let event = with(&format!(r#""event":{{"token":"{}"}}"#, token()));
    assert_eq!(raw(&parsed(&event)), with(r#""event":{"token":"[redacted:token]"}"#));
}

#[test]
fn warnings_and_errors_have_no_secret() {
    let token = token();
    for more in [
        format!(r#""extra":"{token}""#),
        format!(r#""labels":{{"a":["{token}"]}}"#),
        format!(r#""labels":"{token}""#),
    ] {
        let json = with(&more);
        let warnings = parsed(&json).warnings;
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        assert!(!format!("{warnings:?}").contains(&token), "{warnings:?}");
        let strict = ParseOptions { strict: true, ..options() };
        let error = Submission::parse_with(json, &strict).unwrap_err().to_string();
        assert!(!error.contains(&token), "{error}");
    }
}

#[test]
fn warning_names_the_first_secrets_only() {
    let drop = Rule { action: Some(Action::Drop), ..Rule::default() };
    let redactor = Redactor::builder().rule("password", drop).build().unwrap();
    let options = ParseOptions { redactor: Some(redactor), ..ParseOptions::default() };
    let item = r#"{"password":"p"}"#;
    let json = with(&format!(r#""extra":{{"a":[{item},{item},{item},{item},{item}]}}"#));
    let submission = Submission::parse_with(json, &options).unwrap();
    assert_eq!(
        submission.warnings[0].detail,
        "secrets were redacted: extra.a[0].password (rule password), extra.a[1].password (rule \
         password), extra.a[2].password (rule password), and 2 more"
    );
    assert!(raw(&submission).contains(r#"{"a":[{"password":""},"#));
}

#[test]
fn trimmed_event_has_the_hash_of_its_redacted_bytes() {
    let large = "x".repeat(500);
    let event = |token: &str| with(&format!(r#""extra":{{"token":"{token}","log":"{large}"}}"#));
    let mut redacted = parsed(&event("t-1"));
    let mut plain = Submission::parse(event("[redacted:token]")).unwrap();
    assert!(redacted.trim(300) && plain.trim(300));
    assert_eq!(redacted.event, plain.event);
    assert_eq!(redacted.content(), plain.content());
}
