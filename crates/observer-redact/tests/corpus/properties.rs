//! Properties of redaction for any JSON text.

use std::sync::LazyLock;

use fastrand::Rng;
use observer_redact::{Action, Redactor, Rule};
use proptest::prelude::*;
use serde_json::Value;

use super::{escaped, redacted};

/// Pieces of which the strings of generated texts consist.
const PIECES: &[&str] = &[
    "sk-",
    "sk-ant-",
    "gh",
    "p_",
    "AKIA",
    "AIza",
    "eyJhbGciOiJIUzI1NiJ9",
    ".",
    "Bearer ",
    "basic ",
    "YTpi",
    "://",
    "user:",
    "@",
    "0123456789abcdef",
    "ABCDEFGHIJKLMNOP",
    "Zq8x2Vb7Km3pQ1",
    " ",
    "\n",
    "\"",
    "\\",
    "/",
    "-----BEGIN ",
    "PRIVATE KEY",
    "-----",
    "-----END ",
    "\u{e4}",
    "\u{1f600}",
    "[redacted:",
    "openai",
    "]",
    "%3D",
    "\u{1b}[3",
    "2m",
    "hooks.slack.com/",
    "T/B/",
    "emp_",
    "whsec_",
];

const KEYS: &[&str] =
    &["extra", "token", "API-KEY", "password", "tokens", "note", "a\"b", "\u{e4}"];

fn text() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(PIECES), 0..9).prop_map(|pieces| pieces.concat())
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        4 => text().prop_map(Value::String),
        1 => any::<i32>().prop_map(Value::from),
        1 => Just(Value::Null),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::vec((prop::sample::select(KEYS), inner), 0..4).prop_map(|members| {
                members.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
            }),
        ]
    })
}

/// Returns the JSON text of an object with this member, plain or with escapes.
fn json(value: &Value, seed: Option<u64>) -> String {
    let event = serde_json::json!({ "extra": value });
    seed.map_or_else(|| event.to_string(), |seed| escaped(&event, &mut Rng::with_seed(seed)))
}

/// A redactor for each action.
static REDACTORS: LazyLock<Vec<Redactor>> = LazyLock::new(|| {
    let redactor = |action| {
        let rule = Rule { prefixes: vec!["emp_".into()], min_length: 1, ..Rule::default() };
        let builder = Redactor::builder().action(action).hash_key("key").rule("employee", rule);
        builder.build().unwrap()
    };
    Action::ALL.map(redactor).into()
});

fn redactors() -> impl Strategy<Value = &'static Redactor> {
    (0..REDACTORS.len()).prop_map(|index| &REDACTORS[index])
}

/// Returns a value with all of its strings empty.
fn shape(value: &Value) -> Value {
    match value {
        Value::String(_) => Value::from(""),
        Value::Array(items) => items.iter().map(shape).collect(),
        Value::Object(members) => {
            members.iter().map(|(key, value)| (key.clone(), shape(value))).collect()
        }
        other => other.clone(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn result_is_valid_json_of_the_same_shape(
        value in value(), seed: Option<u64>, redactor in redactors(),
    ) {
        let after: Value = serde_json::from_str(&redacted(redactor, &json(&value, seed))).unwrap();
        prop_assert_eq!(shape(&after["extra"]), shape(&value));
    }

    #[test]
    fn second_redaction_changes_nothing(
        value in value(), seed: Option<u64>, redactor in redactors(),
    ) {
        let json = json(&value, seed);
        let once = redacted(redactor, &json);
        prop_assert!(redactor.redact(&once, |_| Some(())).is_none(), "{} -> {}", json, once);
    }

    #[test]
    fn spelling_does_not_matter(value in value(), seed: u64, redactor in redactors()) {
        let values = [None, Some(seed)].map(|seed| {
            serde_json::from_str::<Value>(&redacted(redactor, &json(&value, seed))).unwrap()
        });
        prop_assert_eq!(&values[0], &values[1]);
    }

    #[test]
    fn text_without_secrets_is_not_rebuilt(value in value(), redactor in redactors()) {
        let json = json(&value, None);
        if let Some(redacted) = redactor.redact(&json, |_| Some(())) {
            prop_assert!(!redacted.found.is_empty());
            prop_assert!(redacted.json != json);
        }
        prop_assert!(redactor.redact(&json, |_| None::<()>).is_none());
    }
}
