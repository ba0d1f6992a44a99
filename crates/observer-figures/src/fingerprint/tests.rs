use proptest::prelude::*;

use super::*;

fn text(json: &str) -> Option<String> {
    summarize("tests_failed", json).text
}

#[test]
fn error_text_is_found_by_name() {
    for (json, expected) in [
        (r#"{"error":"boom"}"#, Some("boom")),
        (r#"{"error":{"message":"boom","type":"t"}}"#, Some("boom")),
        (r#"{"error":{"type":"overloaded_error","code":529}}"#, Some("overloaded_error")),
        (r#"{"error":{"detail":{"message":"boom"}}}"#, Some("boom")),
        (r#"{"lastError":"boom"}"#, Some("boom")),
        (r#"{"error_message":"boom"}"#, Some("boom")),
        (r#"{"Failure-Text":"boom"}"#, Some("boom")),
        (r#"{"errors":["first","second"]}"#, Some("first")),
        (r#"{"failures":[{"name":"test_a","message":"boom"}]}"#, Some("boom")),
        (r#"{"exception":"ValueError: x"}"#, Some("ValueError: x")),
        (r#"{"reason":"boom"}"#, Some("boom")),
        (r#"{"stderr":"boom","message":"told"}"#, Some("told")),
        (r#"{"message":"told","error":"boom"}"#, Some("boom")),
        (r#"{"traceback":"a","stderr":"boom"}"#, Some("boom")),
        (r#"{"source":"bot","ok":false,"extra":{"run":{"err":"boom"}}}"#, Some("boom")),
        (r#"{"output":"all good\nFAILED tests/a.py"}"#, Some("FAILED tests/a.py")),
        (r#"{"output":"all good, 0 errors"}"#, None),
        (r#"{"error":null,"is_error":true,"error_count":3,"errors":[]}"#, None),
        (r#"{"error":" \n"}"#, None),
        (r#"{"commit":{"message":"fix it"},"usage":{"error":"x"}}"#, None),
        (r#"{"a":{"b":{"c":{"d":{"error":"boom"}}}}}"#, Some("boom")),
        (r#"{"a":{"b":{"c":{"d":{"e":{"f":{"error":"boom"}}}}}}}"#, None),
        (r#"{"error":"cut of"#, None),
        (r#"{"error":"boom","rest":"#, Some("boom")),
        ("[1,2]", None),
        ("", None),
    ] {
        assert_eq!(text(json).as_deref(), expected, "{json}");
    }
}

#[test]
fn error_line_names_the_error() {
    for (name, value, expected) in [
        ("error", "expected 3\n at error.js:5", "expected 3"),
        ("error", "\n  warning: unused\nerror[E0308]: mismatched", "error[E0308]: mismatched"),
        ("error", "warning: unused", "warning: unused"),
        ("stderr", "Compiling a\nerror: mismatched types", "error: mismatched types"),
        ("stderr", "Compiling a\nlinker gave up", "Compiling a"),
        ("stderr", "found no error\n--- FAIL: TestX", "--- FAIL: TestX"),
        ("stderr", "thread 'main' panicked at a.rs:2:5:\nindex 3", "panicked: index 3"),
        (
            "stderr",
            "thread 'main' panicked at a.rs:2:5:",
            "panicked: thread 'main' panicked at a.rs:2:5:",
        ),
        (
            "traceback",
            "Traceback (most recent call last):\n  File \"a\"\nKeyError: 'x'",
            "KeyError: 'x'",
        ),
        (
            "error",
            "Traceback (most recent call last):\n  File \"a\"",
            "Traceback (most recent call last):",
        ),
        ("log", "\u{1b}[31mFatal\u{1b}[0m: gone", "Fatal: gone"),
    ] {
        let json = serde_json::json!({ name: value }).to_string();
        assert_eq!(text(&json).as_deref(), Some(expected), "{value:?}");
    }
}

#[test]
fn what_differs_between_runs_is_removed() {
    for (line, expected) in [
        ("timed out after 30 s", "timed out after # s"),
        ("took 1.5s, not 1,232.75 ms", "took #s, not # ms"),
        ("expected -3, got +4", "expected #, got #"),
        ("at 12:05:30.5 on 2026-11-27T12:00:00Z", "at # on #-#-#T#:#Z"),
        ("in /tmp/x7/a.py:12: bad", "in <path>: bad"),
        ("(C:\\src\\a.rs) and ~/b, ./c; src/main.rs:1:2", "(<path>) and <path>, <path>; <path>"),
        ("see https://example.org/a?b=1.", "see <path>."),
        ("read/write of N/A", "read/write of N/A"),
        ("job 3f2504e0-4f89-11d3-9a0c-0305e82c3301!", "job <id>!"),
        ("commit 00c70ce7b0541cfc94afe567 at 0xDEADbeef", "commit <id> at <id>"),
        ("request req_011CQabcd2Ef failed", "request req_<id> failed"),
        ("deadbeef feedback 1234567", "deadbeef feedback #"),
        ("test_foo_2_bar[a-3]", "test_foo_#_bar[a-#]"),
        ("error[E0308]: x86 utf8", "error[E#]: x# utf#"),
        ("naïve 日本3", "naïve 日本#"),
        ("  spaced\t\x1b[1mout\x1b[0m ", "spaced out"),
        ("", ""),
    ] {
        assert_eq!(normalized(line), expected, "{line}");
    }
}

#[test]
fn fingerprints_are_stable() {
    // Stored by knowledge bases: a change here needs a new recipe and a rebuild.
    let fingerprint = Fingerprint::of("tests_failed", Some("KeyError: 'x' at 3"));
    assert_eq!(fingerprint.to_string(), "c76d1d6864ac");
    assert_eq!(Fingerprint::of("tests_failed", None).to_string(), "86488d3fed5c");
}

#[test]
fn long_errors_are_bounded() {
    let json = format!(r#"{{"a":"{}","error":"{}"}}"#, "x".repeat(1_000), "y".repeat(100_000));
    assert_eq!(text(&json).unwrap().chars().count(), TEXT_LIMIT);
    let late = format!(r#"{{"a":"{}","error":"boom"}}"#, "x".repeat(300_000));
    assert_eq!(text(&late), None);
    let deep = "[".repeat(5_000);
    assert_eq!(text(&deep), None);
}

proptest! {
    #[test]
    fn any_text_is_summarized(kind: String, json in ".{0,200}", message: String) {
        let _ = summarize(&kind, &json);
        let json = serde_json::json!({ "error": message }).to_string();
        let summary = summarize(&kind, &json);
        if let Some(text) = &summary.text {
            prop_assert!(!text.is_empty() && text.chars().count() <= TEXT_LIMIT);
            prop_assert!(!text.chars().any(|c| c.is_control() || clean::is_invisible(c)));
        }
    }

    #[test]
    fn numbers_paths_and_ids_do_not_matter(a in 0..99_999_u32, b in 0..99_999_u32, c: u128) {
        let line = |n: u32, id: u128| {
            format!("step {n}: /srv/run-{n}/a.rs:{n} lost {id:032x} after {n}.{n} s")
        };
        prop_assume!(format!("{c:032x}").bytes().any(|b| b.is_ascii_alphabetic()));
        let fingerprint = |text: &str| Fingerprint::of("k", Some(text));
        prop_assert_eq!(fingerprint(&line(a, c)), fingerprint(&line(b, 0xabc0)));
    }
}
