//! Amounts, durations, dates and counts as people read them.
//!
//! All functions are deterministic and independent of the locale. Dates are in the time zone that
//! the caller gives; the summary uses UTC.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Formats US dollars: two decimals, `<$0.01` for less, separators for thousands.
///
/// ```
/// use observer_figures::format::usd;
///
/// assert_eq!(usd(1.118), "$1.12");
/// assert_eq!(usd(0.004), "<$0.01");
/// assert_eq!(usd(0.0), "$0.00");
/// assert_eq!(usd(6973.2), "$6,973.20");
/// assert_eq!(usd(-2.5), "-$2.50");
/// ```
#[must_use]
pub fn usd(amount: f64) -> String {
    if !amount.is_finite() {
        return "$?".to_owned();
    }
    let sign = if amount < 0.0 { "-" } else { "" };
    if amount != 0.0 && amount.abs() < 0.01 {
        return format!("{sign}<$0.01");
    }
    let text = format!("{:.2}", amount.abs());
    let (whole, cents) = text.split_once('.').unwrap_or((&text, "00"));
    format!("{sign}${}.{cents}", grouped(whole))
}

/// Formats a count with separators for thousands.
///
/// ```
/// assert_eq!(observer_figures::format::count(1232), "1,232");
/// ```
#[must_use]
pub fn count(count: u64) -> String {
    grouped(&count.to_string())
}

fn grouped(digits: &str) -> String {
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Formats a ratio as a whole percentage; only 0 is `0 %` and only 1 is `100 %`.
///
/// ```
/// use observer_figures::format::percent;
///
/// assert_eq!(percent(0.4253), "43 %");
/// assert_eq!(percent(0.001), "<1 %");
/// assert_eq!(percent(0.999), ">99 %");
/// ```
#[must_use]
pub fn percent(ratio: f64) -> String {
    if ratio > 0.0 && ratio < 0.01 {
        return "<1 %".to_owned();
    }
    if ratio > 0.99 && ratio < 1.0 {
        return ">99 %".to_owned();
    }
    format!("{:.0} %", ratio * 100.0)
}

/// Formats a p-value with three decimals.
///
/// ```
/// use observer_figures::format::p_value;
///
/// assert_eq!(p_value(0.32325), "p = 0.323");
/// assert_eq!(p_value(2e-7), "p < 0.001");
/// ```
#[must_use]
pub fn p_value(p: f64) -> String {
    if p < 0.001 { "p < 0.001".to_owned() } else { format!("p = {p:.3}") }
}

/// Units of a duration: name and seconds.
const UNITS: [(&str, u64); 4] = [("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)];

/// Formats a duration in milliseconds with at most two units; whole seconds from ten on.
///
/// ```
/// use observer_figures::format::duration;
///
/// assert_eq!(duration(0.4), "<1 ms");
/// assert_eq!(duration(350.0), "350 ms");
/// assert_eq!(duration(1_260.0), "1.3 s");
/// assert_eq!(duration(49_081.172), "49 s");
/// assert_eq!(duration(327_129.0), "5 min 27 s");
/// assert_eq!(duration(7_200_000.0), "2 h");
/// assert_eq!(duration(200_000_000.0), "2 d 7 h");
/// ```
#[must_use]
pub fn duration(ms: f64) -> String {
    if ms > 0.0 && ms < 1.0 {
        return "<1 ms".to_owned();
    }
    if ms < 999.5 || ms.is_nan() {
        return format!("{:.0} ms", ms.max(0.0));
    }
    if ms < 9_950.0 {
        return format!("{:.1} s", ms / 1_000.0);
    }
    spans((ms / 1_000.0).round() as u64)
}

fn spans(seconds: u64) -> String {
    let unit = UNITS.iter().position(|&(_, size)| seconds >= size).unwrap_or(UNITS.len() - 1);
    let (name, size) = UNITS[unit];
    let whole = count(seconds / size);
    let Some(&(next, next_size)) = UNITS.get(unit + 1) else { return format!("{whole} {name}") };
    match seconds % size / next_size {
        0 => format!("{whole} {name}"),
        rest => format!("{whole} {name} {rest} {next}"),
    }
}

/// Formats the time since `at` in one unit; `now` within the last second and for the future.
///
/// ```
/// use observer_figures::format::age;
///
/// let now = "2026-11-27T12:00:00Z".parse()?;
/// assert_eq!(age("2026-11-24T11:00:00Z".parse()?, now), "3 d ago");
/// assert_eq!(age(now, now), "now");
/// # Ok::<(), jiff::Error>(())
/// ```
#[must_use]
pub fn age(at: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(at).as_secs().max(0) as u64;
    let unit = UNITS.iter().find(|&&(_, size)| seconds >= size);
    unit.map_or_else(
        || "now".to_owned(),
        |&(name, size)| format!("{} {name} ago", count(seconds / size)),
    )
}

/// Formats a date, without the year if it is that of `now`.
///
/// ```
/// use jiff::tz::TimeZone;
/// use observer_figures::format::date;
///
/// let now = "2026-11-27T12:00:00Z".parse()?;
/// assert_eq!(date("2026-11-21T23:59:00Z".parse()?, now, &TimeZone::UTC), "21 Nov");
/// assert_eq!(date("2025-11-01T00:00:00Z".parse()?, now, &TimeZone::UTC), "1 Nov 2025");
/// # Ok::<(), jiff::Error>(())
/// ```
#[must_use]
pub fn date(at: Timestamp, now: Timestamp, zone: &TimeZone) -> String {
    let (date, today) = (zone.to_datetime(at).date(), zone.to_datetime(now).date());
    let format = if date.year() == today.year() { "%-d %b" } else { "%-d %b %Y" };
    date.strftime(format).to_string()
}

/// Formats a moment to the minute: the time alone if it is of the same day as `now`.
///
/// ```
/// use jiff::tz::TimeZone;
/// use observer_figures::format::moment;
///
/// let now = "2026-11-27T12:00:00Z".parse()?;
/// assert_eq!(moment("2026-11-27T09:05:59Z".parse()?, now, &TimeZone::UTC), "09:05");
/// assert_eq!(moment("2026-11-21T14:02:00Z".parse()?, now, &TimeZone::UTC), "21 Nov 14:02");
/// # Ok::<(), jiff::Error>(())
/// ```
#[must_use]
pub fn moment(at: Timestamp, now: Timestamp, zone: &TimeZone) -> String {
    let (then, today) = (zone.to_datetime(at), zone.to_datetime(now));
    let time = then.strftime("%H:%M");
    if then.date() == today.date() {
        return time.to_string();
    }
    format!("{} {time}", date(at, now, zone))
}

/// Formats a count with its noun: `1 attempt`, `5 attempts`.
///
/// ```
/// assert_eq!(observer_figures::format::counted(1, "attempt"), "1 attempt");
/// assert_eq!(observer_figures::format::counted(1232, "attempt"), "1,232 attempts");
/// ```
#[must_use]
pub fn counted(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", count(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_near_the_bounds_are_rounded_once() {
        for (amount, text) in [
            (0.009_999, "<$0.01"),
            (0.01, "$0.01"),
            (0.995, "$0.99"),
            (999.999, "$1,000.00"),
            (1_234_567.891, "$1,234,567.89"),
            (-0.001, "-<$0.01"),
            (f64::NAN, "$?"),
            (f64::INFINITY, "$?"),
        ] {
            assert_eq!(usd(amount), text, "{amount}");
        }
    }

    #[test]
    fn durations_near_the_bounds_carry() {
        for (ms, text) in [
            (0.0, "0 ms"),
            (-5.0, "0 ms"),
            (999.4, "999 ms"),
            (999.6, "1.0 s"),
            (9_949.0, "9.9 s"),
            (9_960.0, "10 s"),
            (59_600.0, "1 min"),
            (3_599_600.0, "1 h"),
            (3_660_000.0, "1 h 1 min"),
            (3.156e12, "36,527 d 18 h"),
        ] {
            assert_eq!(duration(ms), text, "{ms}");
        }
    }

    #[test]
    fn ages_are_in_one_unit() {
        let now = Timestamp::UNIX_EPOCH;
        for (seconds, text) in
            [(-5, "now"), (0, "now"), (59, "59 s ago"), (61, "1 min ago"), (7_199, "1 h ago")]
        {
            let at = now - jiff::SignedDuration::from_secs(seconds);
            assert_eq!(age(at, now), text, "{seconds}");
        }
    }
}
