//! Descriptions of damage, as text and as JSON.

use std::ops::{Range, RangeInclusive};

use observer_journal::Damage;
use serde_json::{Value, json};

/// Returns one indented line per damage.
pub(super) fn list(damage: &[Damage]) -> String {
    damage.iter().map(|damage| format!("  {damage}\n")).collect()
}

/// Returns the number of records known to be unreadable.
pub(super) fn lost(damage: &[Damage]) -> u64 {
    damage.iter().filter_map(|damage| damage.records.as_ref()).map(number_of).sum()
}

pub(super) fn number_of(records: &RangeInclusive<u64>) -> u64 {
    records.end() - records.start() + 1
}

pub(super) fn named(records: &RangeInclusive<u64>) -> String {
    if records.start() == records.end() {
        return format!("record {}", records.start());
    }
    format!("records {} to {}", records.start(), records.end())
}

pub(super) fn damage_json(damage: &[Damage]) -> Value {
    let one = |damage: &Damage| {
        json!({
            "kind": damage.kind.name(),
            "file": damage.file,
            "bytes": bytes_json(&damage.bytes),
            "records": damage.records.as_ref().map(records_json),
            "explained": damage.description(),
        })
    };
    damage.iter().map(one).collect()
}

pub(super) fn bytes_json(bytes: &Range<u64>) -> Value {
    json!({ "offset": bytes.start, "length": bytes.end - bytes.start })
}

pub(super) fn records_json(records: &RangeInclusive<u64>) -> Value {
    json!({ "first_seq": records.start(), "last_seq": records.end() })
}
