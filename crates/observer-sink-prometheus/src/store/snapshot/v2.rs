//! Version 2 of the body.
//!
//! Times are seconds since 1970 at which a value was last seen, or 0.
//!
//! - `position`: epoch and sequence number up to which events are counted, or `null`.
//! - `sources`: label values, each with its time and totals.
//! - `event_kinds`: label values, each with its time.
//! - `models`: label values, each with its time and the count of `observer_unpriced_events_total`.
//! - `events`: each an index into `sources`, an index into `event_kinds`, the time, the number of
//!   failures and the number of successes.
//! - `phases`: each an index into `sources`, an index into `event_kinds`, the time and the count.
//! - `cycles`: each an index into `sources`, an index into `models`, the time and the totals.
//! - `overflow`: counts by label.
//! - `candidates`: values without a series that were seen once, by table; see
//!   [`EncodedCandidates`]. Tables without any are missing.
//!
//! The first values of each label are the reserved ones.

use std::borrow::Cow;
use std::sync::Arc;

use observer_core::Position;
use serde::{Deserialize, Serialize};

use super::candidates::EncodedCandidates;
use super::slots::Slots;
use super::{Restored, SnapshotError};
use crate::aggregate::Aggregate;
use crate::aggregate::labels::Labels;
use crate::aggregate::pairs::{Pair, Pairs};
use crate::aggregate::table::Row;
use crate::aggregate::time::Second;
use crate::aggregate::totals::{CycleTotals, Overflow, SourceTotals};
use crate::config::PrometheusConfig;
use crate::store::state::State;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Contents<'a> {
    position: Option<Position>,
    #[serde(borrow)]
    sources: Vec<(Cow<'a, str>, Second, Cow<'a, SourceTotals>)>,
    event_kinds: Vec<(Cow<'a, str>, Second)>,
    models: Vec<(Cow<'a, str>, Second, u64)>,
    events: Vec<(usize, usize, Second, u64, u64)>,
    phases: Vec<(usize, usize, Second, u64)>,
    cycles: Vec<(usize, usize, Second, Cow<'a, CycleTotals>)>,
    overflow: Overflow,
    #[serde(default)]
    candidates: CandidatesByTable,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct CandidatesByTable {
    #[serde(skip_serializing_if = "EncodedCandidates::is_empty")]
    sources: EncodedCandidates,
    #[serde(skip_serializing_if = "EncodedCandidates::is_empty")]
    event_kinds: EncodedCandidates,
    #[serde(skip_serializing_if = "EncodedCandidates::is_empty")]
    models: EncodedCandidates,
    #[serde(skip_serializing_if = "EncodedCandidates::is_empty")]
    events: EncodedCandidates,
    #[serde(skip_serializing_if = "EncodedCandidates::is_empty")]
    phases: EncodedCandidates,
    #[serde(skip_serializing_if = "EncodedCandidates::is_empty")]
    cycles: EncodedCandidates,
}

pub(super) fn encode(state: &State) -> Vec<u8> {
    let State { aggregate, position } = state;
    let Aggregate { sources, event_kinds, models, events, phases, cycles, .. } = aggregate;
    let contents = Contents {
        position: *position,
        sources: values(sources, |name, row| (name, row.seen, Cow::Borrowed(&row.totals))),
        event_kinds: values(event_kinds, |name, row| (name, row.seen)),
        models: values(models, |name, row| (name, row.seen, row.totals)),
        events: pairs(events, |source, kind, row| {
            let [failed, ok] = row.totals;
            (source, kind, row.seen, failed, ok)
        }),
        phases: pairs(phases, |source, kind, row| (source, kind, row.seen, row.totals)),
        cycles: pairs(cycles, |source, model, row| {
            (source, model, row.seen, Cow::Borrowed(&row.totals))
        }),
        overflow: aggregate.overflow,
        candidates: CandidatesByTable {
            sources: sources.table().candidates().into(),
            event_kinds: event_kinds.table().candidates().into(),
            models: models.table().candidates().into(),
            events: events.table().candidates().into(),
            phases: phases.table().candidates().into(),
            cycles: cycles.table().candidates().into(),
        },
    };
    serde_json::to_vec(&contents).expect("strings and numbers serialize to JSON")
}

fn values<'a, T: Default, R>(
    labels: &'a Labels<T>,
    encode: impl Fn(Cow<'a, str>, &'a Row<Arc<str>, T>) -> R,
) -> Vec<R> {
    labels.rows().map(|(_, row)| encode(Cow::Borrowed(&row.key), row)).collect()
}

fn pairs<'a, T: Default, R>(
    pairs: &'a Pairs<T>,
    encode: impl Fn(usize, usize, &'a Row<Pair, T>) -> R,
) -> Vec<R> {
    pairs.rows().map(|row| encode(row.key.0.index(), row.key.1.index(), row)).collect()
}

pub(super) fn decode(body: &[u8], config: &PrometheusConfig) -> Result<Restored, SnapshotError> {
    let contents: Contents<'_> = serde_json::from_slice(body).map_err(SnapshotError::Contents)?;
    let mut aggregate = Aggregate::new(config);
    let mut slots = Slots::default();
    for (name, seen, totals) in contents.sources {
        let slot = aggregate.sources.restore(&name, seen);
        if let Some(slot) = slot {
            *aggregate.sources.totals(slot) = totals.into_owned();
        }
        slots.sources.push(slot);
    }
    for (name, seen) in contents.event_kinds {
        slots.event_kinds.push(aggregate.event_kinds.restore(&name, seen));
    }
    for (name, seen, unpriced) in contents.models {
        let slot = aggregate.models.restore(&name, seen);
        if let Some(slot) = slot {
            *aggregate.models.totals(slot) = unpriced;
        }
        slots.models.push(slot);
    }
    for (source, kind, seen, failed, ok) in contents.events {
        let pair = slots.source_and_kind(source, kind)?;
        slots.restore_pair(&mut aggregate.events, pair, seen, [failed, ok]);
    }
    for (source, kind, seen, count) in contents.phases {
        let pair = slots.source_and_kind(source, kind)?;
        slots.restore_pair(&mut aggregate.phases, pair, seen, count);
    }
    for (source, model, seen, totals) in contents.cycles {
        let pair = slots.source_and_model(source, model)?;
        slots.restore_pair(&mut aggregate.cycles, pair, seen, totals.into_owned());
    }
    aggregate.overflow = contents.overflow;
    contents.candidates.restore(&mut aggregate);
    aggregate.seed_except(&slots.event_kinds);
    let state = State { aggregate, position: contents.position };
    Ok(Restored { state, omitted: slots.omitted(), upgraded_from: None })
}

impl CandidatesByTable {
    fn restore(self, aggregate: &mut Aggregate) {
        aggregate.sources.table_mut().set_candidates(self.sources.into());
        aggregate.event_kinds.table_mut().set_candidates(self.event_kinds.into());
        aggregate.models.table_mut().set_candidates(self.models.into());
        aggregate.events.table_mut().set_candidates(self.events.into());
        aggregate.phases.table_mut().set_candidates(self.phases.into());
        aggregate.cycles.table_mut().set_candidates(self.cycles.into());
    }
}
