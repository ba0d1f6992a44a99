//! Moments as parameters of queries have them: in RFC 3339, as a date, or relative to the present.

use jiff::civil::{DateTime, Time};
use jiff::fmt::temporal::Pieces;
use jiff::tz::TimeZone;

use super::QueryError;
use crate::Timestamp;

/// Pattern of an age such as `24h`, as a regular expression.
pub const AGE_PATTERN: &str = "^[1-9][0-9]{0,3}[smhdw]$";

/// Parses a moment. A date, or a time without an offset, is one in `zone`; a date is its first
/// moment. An age such as `24h` or `7d` is subtracted from `now`, and days have 24 hours. A moment
/// on the last or first days of the calendar, which no timestamp has in every time zone, means the
/// last or the first timestamp.
#[must_use]
pub fn parse(text: &str, now: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
    // A plus sign that is not encoded arrives as a space.
    let plus = text.contains('T').then(|| text.replace(' ', "+"));
    let text = plus.as_deref().unwrap_or(text);
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(time);
    }
    if let Ok(local) = text.parse::<DateTime>() {
        return Some(zone.to_timestamp(local).unwrap_or_else(|_| nearest(local)));
    }
    if let Ok(pieces) = Pieces::parse(text)
        && pieces.offset().is_some()
    {
        let time = pieces.time().unwrap_or(Time::midnight());
        return Some(nearest(pieces.date().to_datetime(time)));
    }
    // A number without a unit would be one of several: `0` is a duration, `7` is none.
    let age = text.ends_with(|last: char| last.is_ascii_alphabetic()).then_some(text)?;
    let age = humantime::parse_duration(age).ok()?;
    Some(now.checked_sub(age).map_or(Timestamp::UNIX_EPOCH, |time| time.max(Timestamp::UNIX_EPOCH)))
}

/// Returns the timestamp nearest to a moment that has none.
fn nearest(local: DateTime) -> Timestamp {
    if local.year() > 0 { Timestamp::MAX } else { Timestamp::MIN }
}

/// Returns the error for a parameter that is no moment.
#[must_use]
pub fn invalid(parameter: &'static str, value: &str) -> QueryError {
    QueryError::bad_request(
        parameter,
        format!(
            "is not a time: {value:?}; give a time such as 2026-11-22T17:00:00Z, a date such as \
             2026-11-22, or an age such as 24h or 7d"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_absolute_or_relative_to_the_present() {
        let now: Timestamp = "2026-11-27T12:00:00Z".parse().unwrap();
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        for (text, zone, expected) in [
            ("2026-11-22T17:00:00Z", &TimeZone::UTC, Some("2026-11-22T17:00:00Z")),
            ("2026-11-22T17:00:00.5+01:00", &TimeZone::UTC, Some("2026-11-22T16:00:00.5Z")),
            ("2026-11-22T17:00:00 01:00", &TimeZone::UTC, Some("2026-11-22T16:00:00Z")),
            ("2026-11-22T17:00:00", &TimeZone::UTC, Some("2026-11-22T17:00:00Z")),
            ("2026-11-22T17:00", &berlin, Some("2026-11-22T16:00:00Z")),
            ("2026-11-22", &TimeZone::UTC, Some("2026-11-22T00:00:00Z")),
            ("2026-11-22", &berlin, Some("2026-11-21T23:00:00Z")),
            ("2026-07-22", &berlin, Some("2026-07-21T22:00:00Z")),
            ("24h", &TimeZone::UTC, Some("2026-11-26T12:00:00Z")),
            ("7d", &berlin, Some("2026-11-20T12:00:00Z")),
            ("1h 30m", &TimeZone::UTC, Some("2026-11-27T10:30:00Z")),
            ("500000000000h", &TimeZone::UTC, Some("1970-01-01T00:00:00Z")),
            ("100y", &TimeZone::UTC, Some("1970-01-01T00:00:00Z")),
            ("9999-12-31", &TimeZone::UTC, Some("9999-12-30T22:00:00.999999999Z")),
            ("9999-12-31", &berlin, Some("9999-12-30T22:00:00.999999999Z")),
            ("9999-12-30", &TimeZone::UTC, Some("9999-12-30T00:00:00Z")),
            ("9999-12-31T23:59:59Z", &TimeZone::UTC, Some("9999-12-30T22:00:00.999999999Z")),
            ("9999-12-31T23:59:59 02:00", &berlin, Some("9999-12-30T22:00:00.999999999Z")),
            ("0001-01-01", &TimeZone::UTC, Some("0001-01-01T00:00:00Z")),
            ("-009999-01-01", &TimeZone::UTC, Some("-009999-01-02T01:59:59Z")),
            ("-009999-01-01T00:00Z", &TimeZone::UTC, Some("-009999-01-02T01:59:59Z")),
            ("9999-12-32", &TimeZone::UTC, None),
            ("9999-12-31T25:00:00Z", &TimeZone::UTC, None),
            ("2026-11-31", &TimeZone::UTC, None),
            ("2026-13", &TimeZone::UTC, None),
            ("yesterday", &TimeZone::UTC, None),
            ("-7d", &TimeZone::UTC, None),
            ("7", &TimeZone::UTC, None),
            ("0", &TimeZone::UTC, None),
            ("", &TimeZone::UTC, None),
        ] {
            let expected = expected.map(|time| time.parse().unwrap());
            assert_eq!(parse(text, now, zone), expected, "{text}");
        }
    }
}
