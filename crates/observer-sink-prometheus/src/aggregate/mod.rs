//! What is counted, and how an event is counted. Knows nothing of files, locks or the exposition.

pub(crate) mod durations;
pub(crate) mod labels;
pub(crate) mod pairs;
mod sum;

use observer_core::{Envelope, Usage};
use serde::{Deserialize, Serialize};

use self::durations::Durations;
use self::labels::{Labels, Slot};
use self::pairs::{ByOk, Pairs};
use self::sum::Sum;
use crate::config::PrometheusConfig;

/// The value of each label for everything that found no room.
const OTHER: &str = "other";

/// The model of events that don't name one.
const UNKNOWN: &str = "unknown";

/// All counts. A copy costs as much as its flat rows and tables: a fraction of a millisecond.
#[derive(Debug, Clone)]
pub(crate) struct Aggregate {
    pub(crate) sources: Labels,
    pub(crate) event_kinds: Labels,
    pub(crate) models: Labels,
    /// In the order of the slots in `sources`.
    pub(crate) by_source: Vec<SourceTotals>,
    /// In the order of the slots in `models`.
    pub(crate) by_model: Vec<ModelTotals>,
    pub(crate) pairs: Pairs,
    pub(crate) unpriced: u64,
    pub(crate) overflow: Overflow,
    /// The slots of `event_kinds` up to this one are known.
    known_kinds: usize,
}

/// What is counted by source.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct SourceTotals {
    /// When the last event was received, in microseconds since 1970.
    pub(crate) last_event: Option<i64>,
    pub(crate) durations: Durations,
}

/// What is counted by model.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct ModelTotals {
    pub(crate) cycles: ByOk,
    pub(crate) calls: u64,
    pub(crate) input: u64,
    pub(crate) cached_input: u64,
    pub(crate) output: u64,
    pub(crate) cost: Sum,
}

/// How many events had a label value that found no room.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Overflow {
    pub(crate) source: u64,
    pub(crate) event_kind: u64,
    pub(crate) model: u64,
}

impl Aggregate {
    /// Zeros for what is known.
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
            unpriced: 0,
            overflow: Overflow::default(),
            known_kinds: event_kinds.len(),
            sources,
            event_kinds,
            models,
        };
        aggregate.seed();
        aggregate.pairs.limit(limits.event_series / 2);
        aggregate
    }

    pub(crate) fn apply(&mut self, envelope: &Envelope) {
        let event = &envelope.event;
        let source = self.source(event.source()).unwrap_or_else(|| {
            increase(&mut self.overflow.source, 1);
            Slot::OTHER
        });
        let pair = match self.event_kinds.slot(event.event_kind()) {
            Some(kind) if self.pairs.has_room(source, kind) => (source, kind),
            _ => {
                increase(&mut self.overflow.event_kind, 1);
                (source, Slot::OTHER)
            }
        };
        increase(&mut self.pairs.entry(pair)[usize::from(event.ok())], 1);

        let totals = &mut self.by_source[source.index()];
        totals.last_event = Some(envelope.received_at.as_microsecond());
        if let Some(milliseconds) = event.duration_ms() {
            totals.durations.add(milliseconds / 1000.0);
        }

        let usage = event.usage();
        // To Prometheus, an empty label value is no label.
        let model = event.staffer_id().filter(|model| !model.is_empty());
        if model.is_some() || usage.is_some() || event.turns().is_some() {
            let slot = self.model(model.unwrap_or(UNKNOWN)).unwrap_or_else(|| {
                increase(&mut self.overflow.model, 1);
                Slot::OTHER
            });
            let totals = &mut self.by_model[slot.index()];
            if model.is_some() {
                increase(&mut totals.cycles[usize::from(event.ok())], 1);
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

    /// The slot of a source, for which all rows are there.
    fn source(&mut self, value: &str) -> Option<Slot> {
        let slot = self.sources.slot(value)?;
        if slot.index() == self.by_source.len() {
            self.by_source.push(SourceTotals::default());
            self.seed_source(slot);
        }
        Some(slot)
    }

    /// The slot of a model, for which its row is there.
    fn model(&mut self, value: &str) -> Option<Slot> {
        let slot = self.models.slot(value)?;
        if slot.index() == self.by_model.len() {
            self.by_model.push(ModelTotals::default());
        }
        Some(slot)
    }

    /// The row of a source that is being restored: without the zeros of its known event kinds,
    /// which may come once everything that was counted has its room.
    pub(crate) fn restore_source(&mut self, value: &str) -> Option<Slot> {
        let slot = self.sources.slot(value)?;
        self.by_source.resize(self.sources.len(), SourceTotals::default());
        Some(slot)
    }

    /// The row of a model that is being restored.
    pub(crate) fn restore_model(&mut self, value: &str) -> Option<Slot> {
        self.model(value)
    }

    /// A zero for each known event kind of each source.
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
        for (kind, _) in
            self.event_kinds.iter().take(self.known_kinds).filter(|(kind, _)| *kind != Slot::OTHER)
        {
            if self.pairs.has_room(source, kind) {
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

/// A counter that is full stays full; starting again at zero would be read as a restart.
fn increase(counter: &mut u64, by: u64) {
    *counter = counter.saturating_add(by);
}

#[cfg(test)]
mod tests;
