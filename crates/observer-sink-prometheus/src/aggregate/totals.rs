//! Totals of sources, and of sources with their models.

use observer_core::{Cost, Usage};
use serde::{Deserialize, Serialize};

use crate::aggregate::durations::Durations;
use crate::aggregate::sum::Sum;

/// Totals of a source.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SourceTotals {
    /// Time of receipt of the last event, in microseconds since 1970.
    pub(crate) last_event: Option<i64>,
    /// Number of outcomes that correct another one.
    pub(crate) corrections: u64,
    /// Number of events with usage that was not understood.
    pub(crate) unread_usage: u64,
}

/// Totals of the cycles of a source with a model.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CycleTotals {
    pub(crate) calls: u64,
    pub(crate) durations: Durations,
    /// Totals of failures and of successes, in this order.
    pub(crate) by_ok: [OutcomeTotals; 2],
}

/// Totals of the cycles of a source with a model that failed, or of those that succeeded.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OutcomeTotals {
    pub(crate) cycles: u64,
    pub(crate) input: u64,
    pub(crate) cached_input: u64,
    pub(crate) cache_creation_input: u64,
    pub(crate) output: u64,
    pub(crate) reasoning: u64,
    pub(crate) reported_usd: Sum,
    pub(crate) priced_usd: Sum,
}

/// Numbers of events with a label value that has no series of its own, by label.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Overflow {
    pub(crate) source: u64,
    pub(crate) event_kind: u64,
    pub(crate) model: u64,
}

impl OutcomeTotals {
    pub(crate) fn add_usage(&mut self, usage: &Usage) {
        for (total, tokens) in [
            (&mut self.input, usage.input),
            (&mut self.cached_input, usage.cached_input),
            (&mut self.cache_creation_input, usage.cache_creation_input),
            (&mut self.output, usage.output),
            (&mut self.reasoning, usage.reasoning),
        ] {
            increase(total, tokens);
        }
    }

    pub(crate) fn add_cost(&mut self, cost: Cost) {
        match cost {
            Cost::Reported(usd) => self.reported_usd.add(usd),
            Cost::Priced(usd) => self.priced_usd.add(usd),
            Cost::Unpriced => {}
        }
    }
}

impl Overflow {
    /// Returns the number of events for each label.
    pub(crate) fn by_label(&self) -> [(&'static str, u64); 3] {
        [("source", self.source), ("event_kind", self.event_kind), ("model", self.model)]
    }
}

/// Adds to a counter, which stays at its maximum: a wrap to zero would look like a restart.
pub(crate) fn increase(counter: &mut u64, by: u64) {
    *counter = counter.saturating_add(by);
}
