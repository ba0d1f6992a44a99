//! A corpus of secrets and of texts that look like secrets, and properties of redaction.
#![expect(clippy::unwrap_used, reason = "in a test, a panic is the message")]

mod look_alikes;
mod properties;
mod secrets;

use fastrand::Rng;
use observer_redact::Redactor;

/// Redacts an event as the parser of events does: only if it passes one of the filters.
///
/// The filters must pass whatever redaction would change.
fn redacted(redactor: &Redactor, json: &str) -> String {
    let redacted = redactor.redact(json, |_| Some(())).map(|redacted| redacted.json);
    let keys = keys(&serde_json::from_str(json).unwrap());
    let passed = redactor.may_match(json)
        || keys.iter().any(|key| redactor.key_filter().may_be_secret(key.as_bytes()));
    assert!(passed || redacted.is_none(), "the filters missed a secret in {json}");
    redacted.unwrap_or_else(|| json.to_owned())
}

fn keys(value: &serde_json::Value) -> Vec<String> {
    match value {
        serde_json::Value::Object(members) => members
            .iter()
            .flat_map(|(key, value)| [vec![key.clone()], keys(value)].concat())
            .collect(),
        serde_json::Value::Array(items) => items.iter().flat_map(keys).collect(),
        _ => Vec::new(),
    }
}

/// Returns the JSON text of a value in which every fourth character of strings is escaped.
fn escaped(value: &serde_json::Value, rng: &mut Rng) -> String {
    let mut string = |text: &str| {
        let mut json = String::from("\"");
        for character in text.chars() {
            match character {
                '/' if rng.bool() => json += "\\/",
                _ if rng.u8(..4) == 0 || character < ' ' || "\"\\".contains(character) => {
                    for unit in character.encode_utf16(&mut [0; 2]) {
                        json += &format!("\\u{unit:04x}");
                    }
                }
                _ => json.push(character),
            }
        }
        json + "\""
    };
    match value {
        serde_json::Value::String(text) => string(text),
        serde_json::Value::Array(items) => {
            let items: Vec<_> = items.iter().map(|item| escaped(item, rng)).collect();
            format!("[{}]", items.join(","))
        }
        serde_json::Value::Object(members) => {
            let keys: Vec<_> = members.keys().map(|key| string(key)).collect();
            let values = members.values().map(|value| escaped(value, rng));
            let members: Vec<_> =
                keys.iter().zip(values).map(|(key, value)| format!("{key}:{value}")).collect();
            format!("{{{}}}", members.join(","))
        }
        other => other.to_string(),
    }
}
