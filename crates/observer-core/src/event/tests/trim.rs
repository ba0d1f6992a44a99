//! Trimming of `extra`.

use sha2::{Digest, Sha256};

use super::*;

/// Returns the value that replaces a value of `extra`.
fn replacement(value: &str) -> String {
    let hash: String = Sha256::digest(value).iter().map(|byte| format!("{byte:02x}")).collect();
    format!(r#"{{"observer":{{"trimmed_bytes":{},"sha256":"{hash}"}}}}"#, value.len())
}

fn long(open: &str, close: &str) -> String {
    format!("{open}{}{close}", "x".repeat(500))
}

#[test]
fn only_the_value_of_extra_is_replaced() {
    let value = long(r#"{ "log" : [ "a}\"]{" , {"b":"\u00e9"} , ""#, "\"]\n}");
    let required = r#""source" : "bot","event_kind":"ok","ok":true"#;
    let layouts = [
        ("{ \"extra\" : ", format!(" ,{required}}}")),
        (r#"{"source":"s","extra":"#, r#","event_kind":"ok","ok":true,"team":[1,{}]}"#.to_owned()),
        (r#"{"source":"s","event_kind":"ok","ok":true,"extra":"#, "}".to_owned()),
        (
            r#"{"source":"s","event_kind":"ok","ok":true,"\u0065xtra" :"#,
            "\t,\"extra2\":{}}".to_owned(),
        ),
        (
            r#"{"source":"s","event_kind":"ok","ok":true,"a\"extra\":":"\"extra\":{","extra":"#,
            r#","\ud800":1}"#.to_owned(),
        ),
        (
            r#"{"event_kind":"ok","ok":true,"x":{"extra":1},"extra":"#,
            r#","source":"s"}"#.to_owned(),
        ),
    ];
    for (before, after) in layouts {
        let event = Event::parse(format!("{before}{value}{after}")).unwrap();
        let trimmed = event.trimmed(event.raw().len() - 1).unwrap();
        let expected = format!("{before}{}{after}", replacement(&value));
        assert_eq!(std::str::from_utf8(trimmed.raw()).unwrap(), expected);
        let parsed = Submission::parse(trimmed.raw().clone()).unwrap();
        assert_eq!(parsed.warnings, []);
        assert_eq!(parsed.event.extra(), Some(&*replacement(&value)));
        assert_eq!(trimmed.extra(), parsed.event.extra());
    }
}

#[test]
fn unreadable_extra_is_replaced_too() {
    for value in [long("\"", "\""), long("[\"", "\"]")] {
        let event = Event::parse(with(&format!(r#""extra":{value}"#))).unwrap();
        let expected = with(&format!(r#""extra":{}"#, replacement(&value)));
        assert_eq!(event.trimmed(400).unwrap().raw(), expected.as_bytes());
    }
    let (first, second) = (long("{\"a\":\"", "\"}"), long("{\"b\":\"", "\"}"));
    let event = Event::parse(with(&format!(r#""extra":{first},"extra":{second}"#))).unwrap();
    let (first, second) = (replacement(&first), replacement(&second));
    let expected = with(&format!(r#""extra":{first},"extra":{second}"#));
    assert_eq!(event.trimmed(500).unwrap().raw(), expected.as_bytes());
}

#[test]
fn small_event_is_returned_unchanged() {
    let json = with(&format!(r#""extra":{}"#, long("{\"a\":\"", "\"}")));
    let event = Event::parse(json.clone()).unwrap();
    assert_eq!(event.trimmed(json.len()).unwrap().raw(), json.as_bytes());
}

#[test]
fn event_that_is_still_too_large_is_none() {
    let extra = long("{\"a\":\"", "\"}");
    let large = long("", "");
    for fields in [
        format!(r#""team":"{large}""#),
        format!(r#""team":"{large}","extra":null"#),
        format!(r#""team":"{large}","extra":{{}}"#),
        format!(r#""team":"{large}","extra":{extra}"#),
    ] {
        assert!(Event::parse(with(&fields)).unwrap().trimmed(500).is_none(), "{fields}");
    }
    let event = Event::parse(with(&format!(r#""extra":{extra}"#))).unwrap();
    let smallest = with(&format!(r#""extra":{}"#, replacement(&extra))).len();
    assert!(event.trimmed(smallest).is_some());
    assert!(event.trimmed(smallest - 1).is_none());
}
