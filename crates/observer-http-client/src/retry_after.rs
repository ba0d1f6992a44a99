//! Delay requested by a response.

use std::time::Duration;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use observer_core::Timestamp;
use reqwest::header::{DATE, HeaderMap, HeaderName, RETRY_AFTER};

/// Longest delay that a destination can request, so that a mistake of it can't stop a sink for
/// years.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 3600);

/// Obsolete formats of a date, which a recipient must accept (RFC 9110, section 5.6.7): RFC 850
/// and asctime. Both are in UTC.
const OBSOLETE_DATES: [&str; 2] = ["%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"];

/// Returns the delay in `Retry-After` (RFC 9110, section 10.2.3), at most [`MAX_RETRY_AFTER`].
///
/// The header holds seconds or a date; of several headers the longest delay counts. Seconds with
/// decimals are accepted, too. A date counts from the `Date` header of the response, that is by the
/// destination's clock, and from `now` without that header. A date in the past means now.
#[must_use]
pub fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let texts = |name: HeaderName| {
        headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok().map(str::trim))
    };
    let now = texts(DATE).next().and_then(date).unwrap_or(now);
    let delay = |value| {
        let until = |date: Timestamp| Duration::try_from(date.duration_since(now));
        seconds(value).or_else(|| Some(until(date(value)?).unwrap_or_default()))
    };
    texts(RETRY_AFTER).filter_map(delay).max().map(bounded_delay)
}

/// Returns a delay that a destination requested, bounded by [`MAX_RETRY_AFTER`].
///
/// ```
/// use std::time::Duration;
///
/// use observer_http_client::{MAX_RETRY_AFTER, bounded_delay};
///
/// assert_eq!(bounded_delay(Duration::from_secs(7)), Duration::from_secs(7));
/// assert_eq!(bounded_delay(Duration::MAX), MAX_RETRY_AFTER);
/// ```
#[must_use]
pub fn bounded_delay(delay: Duration) -> Duration {
    delay.min(MAX_RETRY_AFTER)
}

/// Parses a number of seconds. One beyond every range is the longest duration.
fn seconds(text: &str) -> Option<Duration> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !is_number(whole) || !is_number(fraction) {
        return None;
    }
    let seconds = text.parse().unwrap_or(f64::INFINITY);
    Some(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
}

fn date(text: &str) -> Option<Timestamp> {
    let rfc_9110 = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok();
    rfc_9110.or_else(|| {
        let parsed = OBSOLETE_DATES.iter().find_map(|form| DateTime::strptime(form, text).ok())?;
        parsed.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
    })
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    const RECEIVED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

    fn delay(after: &str, date: Option<&str>) -> Option<Duration> {
        let now = Timestamp::from_second(1_000_000_000).unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, after.parse().unwrap());
        date.map(|date| headers.insert(DATE, date.parse().unwrap()));
        retry_after(&headers, now)
    }

    #[test]
    fn retry_after_holds_seconds() {
        let day = 24 * 3600 * 1000;
        for (text, milliseconds) in [
            ("120", 120_000),
            (" 7 ", 7000),
            ("0", 0),
            ("2.0", 2000),
            ("0.25", 250),
            ("86401", day),
            ("99999999999999", day),
            ("999999999999999999999999999999", day),
        ] {
            assert_eq!(delay(text, None), Some(Duration::from_millis(milliseconds)), "{text}");
        }
        let long = "9".repeat(400);
        assert_eq!(delay(&long, None), Some(MAX_RETRY_AFTER));
        for text in ["soon", "-5", "1e3", ".5", "5.", "", "5 s", "inf", "NaN"] {
            assert_eq!(delay(text, None), None, "{text}");
        }
    }

    #[test]
    fn longest_of_several_headers_counts() {
        let headers = |values: &[&'static str]| {
            values.iter().map(|value| (RETRY_AFTER, HeaderValue::from_static(value))).collect()
        };
        for (values, seconds) in [
            (&["3", "120"][..], Some(120)),
            (&["120", "3"], Some(120)),
            (&["soon", "7"], Some(7)),
            (&["7", "Sun, 09 Sep 2001 01:47:00 GMT"], Some(20)),
            (&["soon", "later"], None),
        ] {
            let now = Timestamp::from_second(1_000_000_000).unwrap();
            let delay = retry_after(&headers(values), now);
            assert_eq!(delay, seconds.map(Duration::from_secs), "{values:?}");
        }
    }

    #[test]
    fn retry_after_holds_a_date_by_the_destinations_clock() {
        for (text, date, seconds) in [
            ("Sun, 09 Sep 2001 01:47:00 GMT", None, 20),
            ("Sun, 06 Nov 1994 08:49:47 GMT", Some(RECEIVED), 10),
            ("Sunday, 06-Nov-94 08:49:47 GMT", Some(RECEIVED), 10),
            ("Sun Nov  6 08:49:47 1994", Some(RECEIVED), 10),
            ("Sun Nov 13 08:49:37 1994", Some(RECEIVED), 24 * 3600),
            ("Sun Nov  6 08:49:47 1994", Some("Sunday, 06-Nov-94 08:49:37 GMT"), 10),
            ("Sun, 06 Nov 1994 08:49:27 GMT", Some(RECEIVED), 0),
            ("Fri, 31 Dec 2100 23:59:59 GMT", None, 24 * 3600),
        ] {
            assert_eq!(delay(text, date), Some(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), Timestamp::UNIX_EPOCH), None);
    }
}
