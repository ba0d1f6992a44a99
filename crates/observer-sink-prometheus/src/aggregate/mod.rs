//! Counts, and the rules by which an event changes them. No files, locks or metric names here.
//!
//! | module | content |
//! |---|---|
//! | `table` | rows of keys, limited in number |
//! | `labels`, `pairs` | tables of label values, and of sources with another label value |
//! | `time` | times of receipt |
//! | `reading` | what an event says beyond its fields |
//! | `totals`, `durations`, `sum` | totals of a row |

pub(crate) mod durations;
pub(crate) mod labels;
pub(crate) mod pairs;
pub(crate) mod reading;
mod sum;
pub(crate) mod table;
#[cfg(test)]
mod tests;
pub(crate) mod time;
pub(crate) mod totals;

use observer_core::{Cost, Envelope, Event, Phases};

use self::labels::{Found, Labels};
use self::pairs::{ByOk, Pair, Pairs};
use self::reading::Reading;
use self::table::Slot;
use self::time::Second;
use self::totals::{CycleTotals, Overflow, SourceTotals, increase};
use crate::config::PrometheusConfig;

/// Reserved values of `source` and of `event_kind`: the one under which values without a series of
/// their own are counted.
const RESERVED: [&str; 1] = ["other"];

/// Reserved values of `model`. Events that name no model have the second one.
pub(crate) const RESERVED_MODELS: [&str; 2] = ["other", "unknown"];

/// All counts. A clone copies flat tables and takes a fraction of a millisecond.
#[derive(Debug, Clone)]
pub(crate) struct Aggregate {
    pub(crate) sources: Labels<SourceTotals>,
    pub(crate) event_kinds: Labels<()>,
    /// Models with their numbers of unpriced events.
    pub(crate) models: Labels<u64>,
    /// Outcomes by source and event kind.
    pub(crate) events: Pairs<ByOk>,
    /// Events that report the progress of a cycle, by source and event kind.
    pub(crate) phases: Pairs<u64>,
    /// Cycles by source and model.
    pub(crate) cycles: Pairs<CycleTotals>,
    pub(crate) overflow: Overflow,
    known_kinds: Vec<KnownKind>,
}

/// Event kind of the configuration.
#[derive(Debug, Clone, Copy)]
struct KnownKind {
    slot: Slot,
    is_phase: bool,
}

impl Aggregate {
    /// Creates counts of zero, with series for the known values.
    pub(crate) fn new(config: &PrometheusConfig) -> Self {
        let (known, limits) = (config.all_known(), &config.limits);
        let max_bytes = limits.label_bytes;
        let sources = Labels::new(&RESERVED, &known.sources, limits.sources, max_bytes);
        let event_kinds = Labels::new(&RESERVED, &known.event_kinds, limits.event_kinds, max_bytes);
        let models = Labels::new(&RESERVED_MODELS, &known.models, limits.models, max_bytes);
        let mut events = Pairs::new(limits.event_series / 2, RESERVED.len());
        let mut phases = Pairs::new(limits.event_series, RESERVED.len());
        let mut cycles = Pairs::new(limits.source_models, RESERVED_MODELS.len());

        let default_phases = Phases::default();
        let known_kinds: Vec<_> = event_kinds
            .rows()
            .skip(RESERVED.len())
            .map(|(slot, row)| KnownKind { slot, is_phase: default_phases.contains(&row.key) })
            .collect();
        for (source, _) in sources.rows().skip(RESERVED.len()) {
            for kind in &known_kinds {
                let pair = (source, kind.slot);
                if kind.is_phase { phases.pin(pair) } else { events.pin(pair) }
            }
            for (model, _) in models.rows().skip(RESERVED_MODELS.len()) {
                cycles.pin((source, model));
            }
        }
        let overflow = Overflow::default();
        Self { sources, event_kinds, models, events, phases, cycles, overflow, known_kinds }
    }

    /// Counts an event.
    pub(crate) fn apply(&mut self, reading: &Reading) {
        let Envelope { received_at, event, .. } = &*reading.envelope;
        let seen = Second::of(*received_at);
        let source = self.source(event.source(), seen);
        let Some(ok) = event.ok() else {
            let kind = self.kind(event.event_kind(), seen);
            increase(self.phases_of((source, kind), seen), 1);
            self.sources.totals(source).last_event = Some(received_at.as_microsecond());
            return;
        };
        if event.replaces().is_some() {
            increase(&mut self.sources.totals(source).corrections, 1);
            return;
        }
        let kind = self.kind(event.event_kind(), seen);
        increase(&mut self.events_of((source, kind), seen)[usize::from(ok)], 1);
        let totals = self.sources.totals(source);
        totals.last_event = Some(received_at.as_microsecond());
        increase(&mut totals.unread_usage, u64::from(event.unread_usage()));
        self.count_cycle(source, ok, event, reading.cost, seen);
    }

    /// Counts the model, calls, duration, tokens and cost of an outcome.
    fn count_cycle(
        &mut self,
        source: Slot,
        ok: bool,
        event: &Event,
        cost: Option<Cost>,
        seen: Second,
    ) {
        let (usage, turns, duration) = (event.usage(), event.turns(), event.duration_ms());
        // Prometheus treats an empty label value as a missing label.
        let model = event.staffer_id().filter(|model| !model.is_empty());
        if model.is_none() && usage.is_none() && turns.is_none() && duration.is_none() {
            return;
        }
        let slot = model.map_or(Slot::UNKNOWN, |model| self.model(model, seen));
        if cost == Some(Cost::Unpriced) {
            increase(self.models.totals(slot), 1);
        }
        let totals = self.cycles_of((source, slot), seen);
        increase(&mut totals.calls, turns.unwrap_or(0));
        if let Some(milliseconds) = duration {
            totals.durations.add(milliseconds / 1000.0);
        }
        let totals = &mut totals.by_ok[usize::from(ok)];
        increase(&mut totals.cycles, u64::from(model.is_some()));
        if let Some(usage) = usage {
            totals.add_usage(usage);
        }
        if let Some(cost) = cost {
            totals.add_cost(cost);
        }
    }

    /// Returns the slot of a source. A new source gets its known event kinds.
    fn source(&mut self, value: &str, seen: Second) -> Slot {
        match self.sources.find_or_add(value, seen) {
            Some(Found::Present(slot)) => slot,
            Some(Found::Added(slot)) => {
                self.seed(slot, seen);
                slot
            }
            Some(Found::Replaced(slot)) => {
                self.remove_pairs(|(source, _)| *source == slot);
                self.cycles.retain(|(source, _)| *source != slot);
                self.seed(slot, seen);
                slot
            }
            None => {
                increase(&mut self.overflow.source, 1);
                Slot::OTHER
            }
        }
    }

    fn kind(&mut self, value: &str, seen: Second) -> Slot {
        match self.event_kinds.find_or_add(value, seen) {
            Some(Found::Present(slot) | Found::Added(slot)) => slot,
            Some(Found::Replaced(slot)) => {
                self.remove_pairs(|(_, kind)| *kind == slot);
                slot
            }
            None => {
                increase(&mut self.overflow.event_kind, 1);
                Slot::OTHER
            }
        }
    }

    fn model(&mut self, value: &str, seen: Second) -> Slot {
        match self.models.find_or_add(value, seen) {
            Some(Found::Present(slot) | Found::Added(slot)) => slot,
            Some(Found::Replaced(slot)) => {
                self.cycles.retain(|(_, model)| *model != slot);
                slot
            }
            None => {
                increase(&mut self.overflow.model, 1);
                Slot::OTHER
            }
        }
    }

    /// Removes pairs of a source and an event kind.
    fn remove_pairs(&mut self, is_removed: impl Fn(&Pair) -> bool) {
        self.events.retain(|pair| !is_removed(pair));
        self.phases.retain(|pair| !is_removed(pair));
    }

    fn events_of(&mut self, pair: Pair, seen: Second) -> &mut ByOk {
        let names = (self.sources.name(pair.0), self.event_kinds.name(pair.1));
        self.events.find_or_other(pair, names, seen, &mut self.overflow.event_kind)
    }

    fn phases_of(&mut self, pair: Pair, seen: Second) -> &mut u64 {
        let names = (self.sources.name(pair.0), self.event_kinds.name(pair.1));
        self.phases.find_or_other(pair, names, seen, &mut self.overflow.event_kind)
    }

    fn cycles_of(&mut self, pair: Pair, seen: Second) -> &mut CycleTotals {
        let names = (self.sources.name(pair.0), self.models.name(pair.1));
        self.cycles.find_or_other(pair, names, seen, &mut self.overflow.model)
    }

    /// Adds a count of zero for each known event kind of each source, without the kinds that were
    /// `restored`, whose counts were restored, too.
    pub(crate) fn seed_except(&mut self, restored: &[Option<Slot>]) {
        let new = |kind: &&KnownKind| !restored.contains(&Some(kind.slot));
        let kinds: Vec<_> = self.known_kinds.iter().filter(new).copied().collect();
        for (source, row) in self.sources.rows().skip(RESERVED.len()) {
            for kind in &kinds {
                kind.seed(source, row.seen, &mut self.events, &mut self.phases);
            }
        }
    }

    /// Adds a count of zero for each known event kind of a source.
    fn seed(&mut self, source: Slot, seen: Second) {
        for kind in &self.known_kinds {
            kind.seed(source, seen, &mut self.events, &mut self.phases);
        }
    }
}

impl KnownKind {
    /// Adds a count of zero for this kind of a source.
    fn seed(self, source: Slot, seen: Second, events: &mut Pairs<ByOk>, phases: &mut Pairs<u64>) {
        let pair = (source, self.slot);
        if self.is_phase { phases.seed(pair, seen) } else { events.seed(pair, seen) }
    }
}
