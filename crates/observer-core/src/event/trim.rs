//! Trimming of `extra`, for events that are too large to be stored whole.

use std::fmt::Write;

use sha2::{Digest, Sha256};

use super::field::Field;
use super::parse::{Key, each_by_serde};
use crate::scan;

/// Returns the event with each value of `extra` replaced by its size and hash. Values that are not
/// larger than their replacement stay, and so does everything else. Returns `None` if the result
/// would be larger than `max` bytes; it is then not built.
pub(super) fn without_extra(event: &str, max: usize) -> Option<String> {
    let mut values = Vec::new();
    let is_extra = |key: Key| matches!(key, Key::Field(Field::Extra));
    let scanned = scan::members(event, |key, range| {
        if is_extra(Key::of(key.as_bytes())) {
            values.push(range);
        }
    });
    if scanned.is_none() {
        values.clear();
        let parsed = each_by_serde(event, |key, range| {
            if is_extra(key) {
                values.push(range);
            }
        });
        if parsed.is_err() {
            return None;
        }
    }
    let mut length = event.len();
    let mut replacements = Vec::new();
    for range in values {
        let replacement = replacement(&event[range.clone()]);
        if replacement.len() < range.len() {
            length -= range.len() - replacement.len();
            replacements.push((range, replacement));
        }
    }
    if length > max {
        return None;
    }
    let (mut trimmed, mut copied) = (String::with_capacity(length), 0);
    for (range, replacement) in replacements {
        trimmed.push_str(&event[copied..range.start]);
        trimmed.push_str(&replacement);
        copied = range.end;
    }
    trimmed.push_str(&event[copied..]);
    Some(trimmed)
}

fn replacement(value: &str) -> String {
    let mut text = format!(r#"{{"observer":{{"trimmed_bytes":{},"sha256":""#, value.len());
    for byte in Sha256::digest(value) {
        let _ = write!(text, "{byte:02x}");
    }
    text + "\"}}"
}
