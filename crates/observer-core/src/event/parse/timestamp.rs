//! Times, in the forms that producers use.
//!
//! | form | example |
//! |---|---|
//! | RFC 3339 | `"2026-01-31T12:00:00+01:00"` |
//! | ISO 8601 without an offset, taken as UTC | `"2026-01-31T12:00:00.5"`, `"2026-01-31 12:00:00"` |
//! | date, taken as its midnight in UTC | `"2026-01-31"` |
//! | Unix time, as a number or a string of one | `1769857200`, `"1769857200123"` |
//!
//! The unit of a Unix time follows from its magnitude: below 10^11 it is seconds, below 10^14
//! milliseconds, below 10^17 microseconds, else nanoseconds.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;

use crate::scalar::{self, unquoted};

/// End of the year 2262, in seconds since 1970. Nanoseconds in 64 bits end in that year.
const END: i64 = 9_246_182_400;

/// Reads a time in the years from 1970 to 2262 from a JSON value.
pub(super) fn timestamp(value: &str) -> Option<Timestamp> {
    let time = if scalar::is_number(value) {
        unix_time(value)?
    } else {
        let text = unquoted(value)?;
        text.parse().ok().or_else(|| other_form(&text, value))?
    };
    (time >= Timestamp::UNIX_EPOCH && time.as_second() < END).then_some(time)
}

fn other_form(text: &str, value: &str) -> Option<Timestamp> {
    if let Some(digits) = scalar::digits(value)
        && let Some(time) = unix_time(&digits)
    {
        return Some(time);
    }
    let text = text.trim();
    let cut = cut_to_nanoseconds(text);
    let text = cut.as_deref().unwrap_or(text);
    text.parse().ok().or_else(|| without_offset(text))
}

/// Cuts a fraction of a second to nine digits, which RFC 3339 does not limit. Returns `None` if it
/// has no more of them.
fn cut_to_nanoseconds(text: &str) -> Option<String> {
    let start = text.find(['.', ','])? + 1;
    let fraction = &text[start..];
    let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
    (digits > 9).then(|| format!("{}{}", &text[..start + 9], &fraction[digits..]))
}

/// Parses a date and time without an offset.
fn without_offset(text: &str) -> Option<Timestamp> {
    // `DateTime` ignores an offset. One that `Timestamp` did not accept must not be ignored.
    let is_part =
        |byte| matches!(byte, b'0'..=b'9' | b'-' | b':' | b'.' | b',' | b'T' | b't' | b' ');
    let date = "2026-01-31".len();
    if !text.bytes().all(is_part) || text.bytes().skip(date).any(|byte| byte == b'-') {
        return None;
    }
    Offset::UTC.to_timestamp(text.parse::<DateTime>().ok()?).ok()
}

/// Parses a decimal number as a Unix time. All digits count, since a fraction of a second has more
/// of them than double precision.
fn unix_time(text: &str) -> Option<Timestamp> {
    /// Length of the whole part of the largest time, which is in nanoseconds.
    const MAX_DIGITS: i32 = 19;
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse().ok()?),
        None => (text, 0_i32),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = || whole.bytes().chain(fraction.bytes());
    if whole.is_empty() || !digits().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let zeros = digits().take_while(|digit| *digit == b'0').count();
    let significant = || digits().skip(zeros).map(|digit| i128::from(digit - b'0'));
    // Number of digits before the decimal point.
    let point = i32::try_from(whole.len()).ok()? - i32::try_from(zeros).ok()?;
    let point = point.checked_add(exponent)?;
    if significant().next().is_none() {
        return Some(Timestamp::UNIX_EPOCH);
    }
    if point > MAX_DIGITS {
        return None;
    }
    // The first `count` digits behind the decimal point belong to the nanoseconds.
    let digits_to_nanos = match point {
        ..=11 => 9,
        12..=14 => 6,
        15..=17 => 3,
        _ => 0,
    };
    let length = usize::try_from(point.saturating_add(digits_to_nanos)).unwrap_or(0);
    let nanos = significant()
        .chain(std::iter::repeat(0))
        .take(length)
        .fold(0_i128, |nanos, digit| nanos * 10 + digit);
    Timestamp::from_nanosecond(nanos).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fraction_of_a_second_has_any_number_of_digits() {
        let expected: Timestamp = "2026-01-20T12:00:00.123456789Z".parse().unwrap();
        for text in [
            "2026-01-20T12:00:00.123456789Z",
            "2026-01-20T12:00:00.1234567899Z",
            "2026-01-20T13:00:00,123456789012345678901234567890+01:00",
            "2026-01-20 12:00:00.12345678999",
        ] {
            assert_eq!(timestamp(&format!("\"{text}\"")), Some(expected), "{text}");
        }
        for text in ["2026-01-20T12:00:00.1234567890x", "1.1234567890.1", ".12345678901", "é.5"] {
            assert_eq!(timestamp(&format!("\"{text}\"")), None, "{text}");
        }
    }

    #[test]
    fn range_ends_with_the_year_2262() {
        let end: Timestamp = "2263-01-01T00:00:00Z".parse().unwrap();
        assert_eq!(end.as_second(), END);
    }
}
