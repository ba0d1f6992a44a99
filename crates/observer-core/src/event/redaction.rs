//! Redaction of the fields that have no meaning to the observer.

use observer_redact::{Found, Redacted, Redactor};

use super::field::Field;
use super::parse::{Key, excerpt};
use super::warning::FieldWarning;

/// Number of secrets that a warning names.
const MAX_NAMED: usize = 3;

/// Replaces the secrets in `extra`, in `labels` and in unknown fields. Values of known fields stay,
/// whatever they are.
pub(super) fn redacted(redactor: &Redactor, event: &str) -> Option<Redacted<&'static str>> {
    redactor.redact(event, |key| {
        let key = Key::of(key);
        key.is_redactable().then_some(match key {
            Key::Field(field) => field.as_str(),
            Key::Event | Key::Unknown => FieldWarning::OTHER,
        })
    })
}

/// Returns a warning for each of `extra`, `labels` and the unknown fields that had secrets.
pub(super) fn warnings(found: &[Found<&'static str>]) -> impl Iterator<Item = FieldWarning> {
    [Field::Extra.as_str(), Field::Labels.as_str(), FieldWarning::OTHER].into_iter().filter_map(
        |field| {
            let found: Vec<_> = found.iter().filter(|found| found.place == field).collect();
            (!found.is_empty()).then(|| FieldWarning { field, detail: detail(&found).into() })
        },
    )
}

fn detail(found: &[&Found<&'static str>]) -> String {
    let named = found.iter().take(MAX_NAMED);
    let named: Vec<_> =
        named.map(|found| format!("{} (rule {})", excerpt(&found.path), found.rule)).collect();
    let more = match found.len().saturating_sub(MAX_NAMED) {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    let secrets = if found.len() == 1 { "a secret was" } else { "secrets were" };
    format!("{secrets} redacted: {}{more}", named.join(", "))
}
