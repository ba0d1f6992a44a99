//! Version 1 of the body, which version 0.1 wrote.
//!
//! - `position`: epoch and sequence number up to which events are counted, or `null`.
//! - `event_kinds`: label values. The first one is always `other`.
//! - `sources`: label values with their totals.
//! - `pairs`: counts of `observer_events_total`, each as an index into `sources`, an index into
//!   `event_kinds`, the number of failures and the number of successes.
//! - `phases`: counts of `observer_phases_total`, each as an index into `sources`, an index into
//!   `event_kinds`, and the count. Missing if there are none.
//! - `overflow`: counts by label.
//! - `models`, `unpriced`, and the durations of sources: totals whose present metrics have more
//!   labels. They can't be split, and restart at zero.
//!
//! Label values have no times. Each counts as seen when the last event was received.

use std::borrow::Cow;

use observer_core::{Position, Timestamp};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::slots::Slots;
use super::{Restored, SnapshotError};
use crate::aggregate::Aggregate;
use crate::aggregate::time::Second;
use crate::aggregate::totals::{Overflow, SourceTotals};
use crate::config::PrometheusConfig;
use crate::store::state::State;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Contents<'a> {
    position: Option<Position>,
    #[serde(borrow)]
    event_kinds: Vec<Cow<'a, str>>,
    #[serde(borrow)]
    sources: Vec<(Cow<'a, str>, Source)>,
    #[serde(rename = "models")]
    _models: IgnoredAny,
    pairs: Vec<(usize, usize, u64, u64)>,
    #[serde(default)]
    phases: Vec<(usize, usize, u64)>,
    #[serde(rename = "unpriced")]
    _unpriced: IgnoredAny,
    overflow: Overflow,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Source {
    last_event: Option<i64>,
    #[serde(rename = "durations")]
    _durations: IgnoredAny,
    #[serde(default)]
    corrections: u64,
}

pub(super) fn decode(body: &[u8], config: &PrometheusConfig) -> Result<Restored, SnapshotError> {
    let contents: Contents<'_> = serde_json::from_slice(body).map_err(SnapshotError::Contents)?;
    let last_event = contents.sources.iter().filter_map(|(_, source)| source.last_event).max();
    let seen = last_event
        .and_then(|micros| Timestamp::from_microsecond(micros).ok())
        .map(Second::of)
        .unwrap_or_default();
    let mut aggregate = Aggregate::new(config);
    let mut slots = Slots::default();
    for (name, Source { last_event, corrections, .. }) in contents.sources {
        let slot = aggregate.sources.restore(&name, seen);
        if let Some(slot) = slot {
            *aggregate.sources.totals(slot) =
                SourceTotals { last_event, corrections, ..SourceTotals::default() };
        }
        slots.sources.push(slot);
    }
    for name in contents.event_kinds {
        slots.event_kinds.push(aggregate.event_kinds.restore(&name, seen));
    }
    for (source, kind, failed, ok) in contents.pairs {
        let pair = slots.source_and_kind(source, kind)?;
        slots.restore_pair(&mut aggregate.events, pair, seen, [failed, ok]);
    }
    for (source, kind, count) in contents.phases {
        let pair = slots.source_and_kind(source, kind)?;
        slots.restore_pair(&mut aggregate.phases, pair, seen, count);
    }
    aggregate.overflow = contents.overflow;
    aggregate.seed_except(&slots.event_kinds);
    let state = State { aggregate, position: contents.position };
    Ok(Restored { state, omitted: slots.omitted(), upgraded_from: Some(1) })
}
