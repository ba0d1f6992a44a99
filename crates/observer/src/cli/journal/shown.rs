//! Damage and tables, for people and for programs.

use std::fmt::Write;
use std::ops::{Range, RangeInclusive};

use observer_journal::Damage;
use serde_json::{Value, json};

/// Columns as wide as what stands in them, with two blanks between them.
pub(in crate::cli) fn table<const N: usize>(headings: [&str; N], rows: &[[String; N]]) -> String {
    let headings = headings.map(str::to_owned);
    let lines = || std::iter::once(&headings).chain(rows);
    let widths: [usize; N] =
        std::array::from_fn(|at| lines().map(|row| row[at].chars().count()).max().unwrap_or(0));
    let mut text = String::new();
    for row in lines() {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            let _ = write!(line, "{cell:width$}  ");
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

/// A line for each, indented.
pub(super) fn list(damage: &[Damage]) -> String {
    damage.iter().map(|damage| format!("  {damage}\n")).collect()
}

/// `1 problem`, `2 problems`.
pub(in crate::cli) fn count(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// How many records can't be read, as far as that can be told.
pub(super) fn lost(damage: &[Damage]) -> u64 {
    damage
        .iter()
        .filter_map(|damage| damage.records.as_ref())
        .map(|records| records.end() - records.start() + 1)
        .sum()
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

fn records_json(records: &RangeInclusive<u64>) -> Value {
    json!({ "first_seq": records.start(), "last_seq": records.end() })
}
