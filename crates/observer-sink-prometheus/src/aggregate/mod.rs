//! Counts, and the rules by which an event changes them. No files, locks or metric names here.
//!
//! - [`labels`] assigns label values to slots, and limits their number.
//! - [`pairs`] counts by source and event kind.
//! - [`durations`] is a histogram; [`sum`] adds fractions without loss.

pub(crate) mod durations;
pub(crate) mod labels;
pub(crate) mod pairs;
mod sum;

use observer_core::{Envelope, Phases, Usage};
use serde::{Deserialize, Serialize};

use self::durations::Durations;
use self::labels::{Labels, Slot};
use self::pairs::{ByOk, Pairs};
use self::sum::Sum;
use crate::config::PrometheusConfig;

/// Label value under which values beyond the limits are counted.
const OTHER: &str = "other";

/// Label value for the model of events that name none.
const UNKNOWN: &str = "unknown";

/// All counts. A clone copies flat tables and takes a fraction of a millisecond.
#[derive(Debug, Clone)]
pub(crate) struct Aggregate {
    pub(crate) sources: Labels,
    pub(crate) event_kinds: Labels,
    pub(crate) models: Labels,
    /// Totals in the order of the slots in `sources`.
    pub(crate) by_source: Vec<SourceTotals>,
    /// Totals in the order of the slots in `models`.
    pub(crate) by_model: Vec<ModelTotals>,
    /// Outcomes.
    pub(crate) pairs: Pairs<ByOk>,
    /// Events that report the progress of a cycle.
    pub(crate) phases: Pairs<u64>,
    pub(crate) unpriced: u64,
    pub(crate) overflow: Overflow,
    /// Number of leading slots of `event_kinds` that are reserved or known.
    known_kinds: usize,
}

/// Totals of a source.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct SourceTotals {
    /// Time of receipt of the last event, in microseconds since 1970.
    pub(crate) last_event: Option<i64>,
    pub(crate) durations: Durations,
    /// Number of outcomes that correct another one.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) corrections: u64,
}

/// Totals of a model.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct ModelTotals {
    pub(crate) cycles: ByOk,
    pub(crate) calls: u64,
    pub(crate) input: u64,
    pub(crate) cached_input: u64,
    pub(crate) output: u64,
    pub(crate) cost: Sum,
}

/// Numbers of events with a label value beyond the limits, by label.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Overflow {
    pub(crate) source: u64,
    pub(crate) event_kind: u64,
    pub(crate) model: u64,
}

impl Aggregate {
    /// Creates counts of zero, with series for the known values.
    pub(crate) fn new(config: &PrometheusConfig) -> Self {
        let (known, limits) = (&config.known, &config.limits);
        let sources = Labels::new(&[OTHER], &known.sources, limits.sources, limits.label_bytes);
        let event_kinds =
            Labels::new(&[OTHER], &known.event_kinds, limits.event_kinds, limits.label_bytes);
        let models =
            Labels::new(&[OTHER, UNKNOWN], &known.models, limits.models, limits.label_bytes);
        let mut aggregate = Self {
            by_source: vec![SourceTotals::default(); sources.len()],
            by_model: vec![ModelTotals::default(); models.len()],
            pairs: Pairs::default(),
            phases: Pairs::default(),
            unpriced: 0,
            overflow: Overflow::default(),
            known_kinds: event_kinds.len(),
            sources,
            event_kinds,
            models,
        };
        aggregate.seed();
        aggregate.pairs.limit(limits.event_series / 2);
        aggregate.phases.limit(limits.event_series);
        aggregate
    }

    /// Counts an event.
    pub(crate) fn apply(&mut self, envelope: &Envelope) {
        let event = &envelope.event;
        let source = self.source(event.source()).unwrap_or_else(|| {
            increase(&mut self.overflow.source, 1);
            Slot::OTHER
        });
        let received_at = envelope.received_at.as_microsecond();
        let Some(ok) = event.ok() else {
            let kind = self.kind(source, event.event_kind(), |aggregate| &aggregate.phases);
            increase(self.phases.entry((source, kind)), 1);
            self.by_source[source.index()].last_event = Some(received_at);
            return;
        };
        if event.replaces().is_some() {
            increase(&mut self.by_source[source.index()].corrections, 1);
            return;
        }
        let kind = self.kind(source, event.event_kind(), |aggregate| &aggregate.pairs);
        increase(&mut self.pairs.entry((source, kind))[usize::from(ok)], 1);

        let totals = &mut self.by_source[source.index()];
        totals.last_event = Some(received_at);
        if let Some(milliseconds) = event.duration_ms() {
            totals.durations.add(milliseconds / 1000.0);
        }

        let usage = event.usage();
        // Prometheus treats an empty label value as a missing label.
        let model = event.staffer_id().filter(|model| !model.is_empty());
        if model.is_some() || usage.is_some() || event.turns().is_some() {
            let slot = self.model(model.unwrap_or(UNKNOWN)).unwrap_or_else(|| {
                increase(&mut self.overflow.model, 1);
                Slot::OTHER
            });
            let totals = &mut self.by_model[slot.index()];
            if model.is_some() {
                increase(&mut totals.cycles[usize::from(ok)], 1);
            }
            increase(&mut totals.calls, event.turns().unwrap_or(0));
            if let Some(usage) = usage {
                totals.add(usage);
            }
        }
        if usage
            .is_some_and(|usage| usage.cost_usd.is_none() && (usage.input > 0 || usage.output > 0))
        {
            increase(&mut self.unpriced, 1);
        }
    }

    /// Returns the slot of a source. A new source gets its totals and its known event kinds.
    fn source(&mut self, value: &str) -> Option<Slot> {
        let slot = self.sources.slot(value)?;
        if slot.index() == self.by_source.len() {
            self.by_source.push(SourceTotals::default());
            self.seed_source(slot);
        }
        Some(slot)
    }

    /// Returns the slot of an event kind, or of `other` if the pair of source and kind exceeds the
    /// limits of a table.
    fn kind<T: Default>(
        &mut self,
        source: Slot,
        value: &str,
        table: fn(&Self) -> &Pairs<T>,
    ) -> Slot {
        let kind = self.event_kinds.slot(value);
        kind.filter(|kind| table(self).accepts(source, *kind)).unwrap_or_else(|| {
            increase(&mut self.overflow.event_kind, 1);
            Slot::OTHER
        })
    }

    /// Returns the slot of a model. A new model gets its totals.
    fn model(&mut self, value: &str) -> Option<Slot> {
        let slot = self.models.slot(value)?;
        if slot.index() == self.by_model.len() {
            self.by_model.push(ModelTotals::default());
        }
        Some(slot)
    }

    /// Returns the slot of a source that is restored from a snapshot. Its known event kinds are not
    /// added here but by [`Aggregate::seed`], after all restored pairs.
    pub(crate) fn restore_source(&mut self, value: &str) -> Option<Slot> {
        let slot = self.sources.slot(value)?;
        self.by_source.resize(self.sources.len(), SourceTotals::default());
        Some(slot)
    }

    /// Returns the slot of a model that is restored from a snapshot.
    pub(crate) fn restore_model(&mut self, value: &str) -> Option<Slot> {
        self.model(value)
    }

    /// Adds a count of zero for each known event kind of each source.
    pub(crate) fn seed(&mut self) {
        let sources: Vec<_> = self.sources.iter().map(|(slot, _)| slot).collect();
        for source in sources {
            self.seed_source(source);
        }
    }

    fn seed_source(&mut self, source: Slot) {
        if source == Slot::OTHER {
            return;
        }
        let default_phases = Phases::default();
        for (kind, value) in
            self.event_kinds.iter().take(self.known_kinds).filter(|(kind, _)| *kind != Slot::OTHER)
        {
            if default_phases.contains(value) {
                if self.phases.accepts(source, kind) {
                    self.phases.entry((source, kind));
                }
            } else if self.pairs.accepts(source, kind) {
                self.pairs.entry((source, kind));
            }
        }
    }
}

impl ModelTotals {
    fn add(&mut self, usage: &Usage) {
        increase(&mut self.input, usage.input);
        increase(&mut self.cached_input, usage.cached_input);
        increase(&mut self.output, usage.output);
        if let Some(cost) = usage.cost_usd {
            self.cost.add(cost);
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Adds to a counter, which stays at its maximum: a wrap to zero would look like a restart.
fn increase(counter: &mut u64, by: u64) {
    *counter = counter.saturating_add(by);
}

#[cfg(test)]
mod tests;
