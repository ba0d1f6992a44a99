//! Delay requested by a response.

use std::time::Duration;

use observer_core::Timestamp;
use reqwest::header::{DATE, HeaderMap, HeaderValue, RETRY_AFTER};

/// Longest delay that [`retry_after`] returns, so that a mistake of the destination can't stop a
/// sink for years.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 3600);

/// Returns the delay in `Retry-After` (RFC 9110, section 10.2.3), at most [`MAX_RETRY_AFTER`].
///
/// The header holds seconds or a date. A date counts from the `Date` header of the response, that
/// is by the destination's clock, and from `now` without that header. A date in the past means now.
#[must_use]
pub fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let delay = match value.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let now = headers.get(DATE).and_then(date).unwrap_or(now);
            let until = date(headers.get(RETRY_AFTER)?)?;
            Duration::try_from(until.duration_since(now)).unwrap_or_default()
        }
    };
    Some(delay.min(MAX_RETRY_AFTER))
}

fn date(value: &HeaderValue) -> Option<Timestamp> {
    jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(value.to_str().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_holds_seconds_or_a_date_by_the_destinations_clock() {
        let now = Timestamp::from_second(1_000_000_000).unwrap();
        let check = |after: &str, date: Option<&str>, expected: Option<u64>| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, after.parse().unwrap());
            date.map(|date| headers.insert(DATE, date.parse().unwrap()));
            assert_eq!(retry_after(&headers, now), expected.map(Duration::from_secs), "{after}");
        };
        check("120", None, Some(120));
        check("Sun, 09 Sep 2001 01:47:00 GMT", None, Some(20));
        check("Sun, 06 Nov 1994 08:49:47 GMT", Some("Sun, 06 Nov 1994 08:49:37 GMT"), Some(10));
        check("Sun, 06 Nov 1994 08:49:27 GMT", Some("Sun, 06 Nov 1994 08:49:37 GMT"), Some(0));
        check("99999999999999", None, Some(24 * 3600));
        check("soon", None, None);
        check("-5", None, None);
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }
}
