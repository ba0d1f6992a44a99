//! Days of an event, which are part of file names.

use std::time::Duration;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use observer_core::{BuildError, Envelope, Timestamp};

use crate::names::template::{Days, Piece, Template};

/// Rule by which events get their days.
#[derive(Debug, Clone)]
pub(crate) struct Placement {
    has_date: bool,
    has_event_date: bool,
    /// `None` means UTC.
    zone: Option<TimeZone>,
    /// In microseconds.
    max_skew: i64,
}

impl Placement {
    /// # Errors
    /// If the time zone is unknown, or names contain no day.
    pub(crate) fn new(
        template: &Template,
        zone: Option<&str>,
        max_skew: Duration,
    ) -> Result<Self, BuildError> {
        let key = "timezone";
        if zone.is_some() && !template.has_day() {
            let problem = "has no effect without {date} or {event_date} in `path`";
            return Err(BuildError::new(key, problem));
        }
        let zone = zone.map(|name| {
            TimeZone::get(name).map_err(|_| {
                let problem = format!("must be the IANA name of a time zone, not {name:?}");
                BuildError::new(key, problem)
            })
        });
        Ok(Self {
            has_date: template.has(&Piece::Date),
            has_event_date: template.has(&Piece::EventDate),
            zone: zone.transpose()?,
            max_skew: i64::try_from(max_skew.as_micros()).unwrap_or(i64::MAX),
        })
    }

    /// Returns the day of a time in the zone.
    pub(crate) fn day(&self, time: Timestamp) -> Date {
        match &self.zone {
            None => TimeZone::UTC.to_datetime(time).date(),
            Some(zone) => zone.to_datetime(time).date(),
        }
    }
}

/// Placement of consecutive events, with a cache of the last day.
#[derive(Debug)]
pub(crate) struct Placer<'a> {
    placement: &'a Placement,
    last: Option<(i64, Date)>,
    /// Number of events whose own time was too far from their receipt.
    pub(crate) skewed: u64,
}

impl<'a> Placer<'a> {
    pub(crate) fn new(placement: &'a Placement) -> Self {
        Self { placement, last: None, skewed: 0 }
    }

    /// Returns the days of an event that names contain.
    pub(crate) fn days(&mut self, envelope: &Envelope) -> Days {
        let Placement { has_date, has_event_date, max_skew, .. } = *self.placement;
        let received = envelope.received_at;
        let event = has_event_date.then(|| {
            let time = envelope.event.timestamp().filter(|time| {
                let skew = time.as_microsecond().abs_diff(received.as_microsecond());
                let is_near = skew <= max_skew.unsigned_abs();
                self.skewed += u64::from(!is_near);
                is_near
            });
            self.day(time.unwrap_or(received))
        });
        Days { received: has_date.then(|| self.day(received)), event }
    }

    fn day(&mut self, time: Timestamp) -> Date {
        if self.placement.zone.is_some() {
            return self.placement.day(time);
        }
        let number = time.as_microsecond().div_euclid(86_400_000_000);
        match self.last {
            Some((last, date)) if last == number => date,
            _ => self.last.insert((number, self.placement.day(time))).1,
        }
    }
}

#[cfg(test)]
mod tests {
    use observer_core::{Event, Uuid};

    use super::*;

    /// Days of an event that was received at 2026-11-22T02:00:00Z, and whether it is skewed.
    #[track_caller]
    fn check(zone: Option<&str>, timestamp: &str, received: &str, event: &str, skewed: u64) {
        let template = Template::parse("{date}/{event_date}.jsonl").unwrap();
        let placement = Placement::new(&template, zone, Duration::from_secs(7 * 86_400)).unwrap();
        let event_text =
            format!(r#"{{"source":"bot","event_kind":"ok","ok":true,"timestamp":"{timestamp}"}}"#);
        let envelope = Envelope {
            id: Uuid::nil(),
            seq: 1,
            received_at: "2026-11-22T02:00:00Z".parse().unwrap(),
            event: Event::parse(event_text).unwrap(),
        };
        let mut placer = Placer::new(&placement);
        let days = placer.days(&envelope);
        let date = |text: &str| Some(text.parse().unwrap());
        assert_eq!(days, Days { received: date(received), event: date(event) }, "{timestamp}");
        assert_eq!(placer.skewed, skewed, "{timestamp}");
    }

    #[test]
    fn event_date_is_that_of_an_event_near_its_receipt() {
        check(None, "2026-11-20T23:30:00-08:00", "2026-11-22", "2026-11-21", 0);
        check(None, "2026-11-20T23:30:00Z", "2026-11-22", "2026-11-20", 0);
        check(None, "2026-11-15T02:00:00Z", "2026-11-22", "2026-11-15", 0);
        check(None, "2026-11-15T01:59:59Z", "2026-11-22", "2026-11-22", 1);
        check(None, "2026-11-29T02:00:00Z", "2026-11-22", "2026-11-29", 0);
        check(None, "2026-11-29T02:00:01Z", "2026-11-22", "2026-11-22", 1);
        check(None, "2226-11-29T02:00:01Z", "2026-11-22", "2026-11-22", 1);
    }

    #[test]
    fn days_are_those_of_the_time_zone() {
        let zone = Some("America/Los_Angeles");
        check(zone, "2026-11-20T23:30:00-08:00", "2026-11-21", "2026-11-20", 0);
        check(zone, "2026-11-21T08:30:00Z", "2026-11-21", "2026-11-21", 0);
        check(Some("Asia/Tokyo"), "2026-11-21T15:00:00Z", "2026-11-22", "2026-11-22", 0);
    }
}
