//! Conditions on events.

use observer_core::query::EventsRequest;
use observer_core::{Envelope, Event};

use crate::index::{Field, Term, term};

/// Conditions of a request, as the index and as events can meet them.
#[derive(Debug)]
pub(super) struct Matcher {
    request: EventsRequest,
}

impl Matcher {
    /// Returns the conditions, or `None` if no event can meet them.
    pub(super) fn new(mut request: EventsRequest) -> Option<Self> {
        if let Some(allowed) = &request.scope.sources {
            if request.source.is_empty() {
                request.source = allowed.clone();
            } else {
                request.source.retain(|source| allowed.contains(source));
            }
            if request.source.is_empty() {
                return None;
            }
        }
        Some(Self { request })
    }

    /// Returns the conditions as terms. An event must have one term of each list.
    pub(super) fn terms(&self) -> Vec<Vec<Term>> {
        let request = &self.request;
        let any = |field: Field, values: &[String]| -> Option<Vec<Term>> {
            let terms = values.iter().map(|value| term(field, &[value.as_bytes()]));
            (!values.is_empty()).then(|| terms.collect())
        };
        // The most selective conditions first.
        let mut terms: Vec<Vec<Term>> =
            [any(Field::Cycle, &request.cycle_id), any(Field::Signature, &request.sig_hash)]
                .into_iter()
                .flatten()
                .collect();
        terms.extend(self.labels().map(|(name, values)| {
            let term = |value: &str| term(Field::Label, &[name.as_bytes(), value.as_bytes()]);
            values.map(term).collect()
        }));
        terms.extend(any(Field::Model, &request.staffer_id));
        terms.extend(any(Field::Kind, &request.event_kind));
        terms.extend(any(Field::Source, &request.source));
        terms.extend(request.ok.map(|ok| vec![term(Field::Ok, &[&[u8::from(ok)]])]));
        terms
    }

    /// Returns the range of times of receipt in microseconds, without its end.
    pub(super) fn received(&self) -> (i64, i64) {
        let micros = |time: observer_core::Timestamp| {
            // A time between two microseconds lies after the first one.
            let rest = time.as_nanosecond().rem_euclid(1_000);
            time.as_microsecond() + i64::from(rest > 0 && time.as_nanosecond() >= 0)
        };
        let since = self.request.since.map_or(i64::MIN, micros);
        (since, self.request.until.map_or(i64::MAX, micros))
    }

    /// Returns whether an event meets all conditions.
    pub(super) fn matches(&self, envelope: &Envelope) -> bool {
        let received = envelope.received_at.as_microsecond();
        let (since, until) = self.received();
        since <= received && received < until && self.matches_event(&envelope.event)
    }

    fn matches_event(&self, event: &Event) -> bool {
        let request = &self.request;
        let any = |accepted: &[String], value: Option<&str>| {
            accepted.is_empty()
                || value.is_some_and(|value| accepted.iter().any(|accepted| accepted == value))
        };
        request.ok.is_none_or(|ok| event.ok() == Some(ok))
            && any(&request.source, Some(event.source()))
            && any(&request.event_kind, Some(event.event_kind()))
            && any(&request.sig_hash, event.sig_hash())
            && any(&request.cycle_id, event.cycle_id())
            && any(&request.staffer_id, event.staffer_id())
            && self.labels().all(|(name, mut values)| {
                let found = event.labels().find(|(label, _)| *label == name);
                found.is_some_and(|(_, found)| values.any(|value| value == found))
            })
    }

    /// Returns each required label with its accepted values.
    fn labels(&self) -> impl Iterator<Item = (&str, impl Iterator<Item = &str>)> {
        let labels = &self.request.labels;
        let first = |(index, (name, _)): &(usize, &(String, String))| {
            !labels[..*index].iter().any(|(earlier, _)| earlier == name)
        };
        labels.iter().enumerate().filter(first).map(|(_, (name, _))| {
            let values = labels.iter().filter(move |(other, _)| other == name);
            (name.as_str(), values.map(|(_, value)| value.as_str()))
        })
    }
}
