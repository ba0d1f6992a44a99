//! JSON scalars: strings, numbers, and strings that hold a number.

use std::borrow::Cow;

/// Largest count (2^53): up to it, every whole number is exact in double precision.
pub(crate) const MAX_COUNT: u64 = 1 << 53;

/// Highest cost of a cycle in US dollars.
pub(crate) const MAX_COST_USD: f64 = 1e12;

/// Returns the string of a JSON value; `None` for another type or a lone surrogate.
pub(crate) fn unquoted(value: &str) -> Option<Cow<'_, str>> {
    let inner = value.strip_prefix('"')?;
    if value.contains('\\') {
        serde_json::from_str(value).ok().map(Cow::Owned)
    } else {
        Some(Cow::Borrowed(&inner[..inner.len() - 1]))
    }
}

/// Returns whether a JSON value is a number.
pub(crate) fn is_number(value: &str) -> bool {
    value.starts_with(|first: char| first == '-' || first.is_ascii_digit())
}

/// Reads a whole number from a JSON value. JSON has one type of number: 7.0 and 7e0 are whole
/// numbers too (RFC 8259).
pub(crate) fn count(value: &str) -> Option<u64> {
    let digits = digits(value)?;
    if let Ok(count) = digits.parse::<u64>() {
        return (count <= MAX_COUNT).then_some(count);
    }
    let number = amount(value, MAX_COUNT as f64)?;
    (number.fract() == 0.0).then_some(number as u64)
}

/// Reads a number from 0 to `max` from a JSON value.
pub(crate) fn amount(value: &str, max: f64) -> Option<f64> {
    let number: f64 = digits(value)?.parse().ok()?;
    // `-0` is in the range.
    (0.0..=max).contains(&number).then_some(number.abs())
}

/// Returns the text of a number, or of a string that looks like one, without white space.
pub(crate) fn digits(value: &str) -> Option<Cow<'_, str>> {
    if is_number(value) {
        return Some(Cow::Borrowed(value));
    }
    let text = match unquoted(value)? {
        Cow::Borrowed(text) => Cow::Borrowed(text.trim()),
        Cow::Owned(text) => Cow::Owned(text.trim().to_owned()),
    };
    // Rust also parses "inf" and "nan".
    let is_numeric = |byte| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
    text.bytes().all(is_numeric).then_some(text)
}
