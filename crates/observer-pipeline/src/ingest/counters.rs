//! Counts of ingested events, some of them by principal.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use observer_core::Uuid;

use crate::ingest::principal::{ANONYMOUS, Principal};
use crate::ingest::reject::RejectCounters;
use crate::status::PrincipalStatus;

/// Label of the principals that are not known.
const OTHER: &str = "other";

/// Maximum number of known principals. Further ones are counted as [`OTHER`].
const MAX_PRINCIPALS: usize = 1000;

/// Shortest time between two warnings about the events of one principal, in microseconds.
const WARN_EVERY: u64 = 10_000_000;

/// Counts of ingested events since the start.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) accepted: AtomicU64,
    pub(crate) rejected: RejectCounters,
    pub(crate) principals: PrincipalCounters,
}

/// Counts of events with a known identity, by principal.
#[derive(Debug)]
pub(crate) struct PrincipalCounters {
    by_label: RwLock<BTreeMap<Arc<str>, Arc<OfPrincipal>>>,
    other: OfPrincipal,
}

#[derive(Debug, Default)]
struct OfPrincipal {
    duplicates: AtomicU64,
    changed: AtomicU64,
    /// Time of the last warning; 0 before the first.
    warned_at: AtomicU64,
    /// Value of `changed` at the last warning.
    warned_of: AtomicU64,
}

impl Default for PrincipalCounters {
    /// Returns counters of the anonymous principal, and of no token.
    fn default() -> Self {
        let anonymous = (ANONYMOUS.into(), Arc::default());
        Self { by_label: RwLock::new([anonymous].into()), other: OfPrincipal::default() }
    }
}

impl PrincipalCounters {
    /// Adds counters of tokens. Counters that exist continue.
    pub(crate) fn add(&self, names: impl IntoIterator<Item = Arc<str>>) {
        let mut by_label = self.by_label.write().unwrap_or_else(PoisonError::into_inner);
        for name in names {
            if by_label.len() < MAX_PRINCIPALS {
                by_label.entry(name).or_default();
            }
        }
    }

    pub(crate) fn duplicate(&self, principal: &Principal) {
        self.with(principal, |counters| counters.duplicates.fetch_add(1, Ordering::Relaxed));
    }

    /// Counts an event whose identity is that of an event with other content, and logs it unless
    /// there was a warning just before.
    pub(crate) fn changed(&self, principal: &Principal, id: Uuid, now: u64) {
        self.with(principal, |counters| {
            let changed = counters.changed.fetch_add(1, Ordering::Relaxed) + 1;
            let last = counters.warned_at.load(Ordering::Relaxed);
            let is_due = last == 0 || now.abs_diff(last) >= WARN_EVERY;
            let warned_at = &counters.warned_at;
            if is_due
                && warned_at
                    .compare_exchange(last, now.max(1), Ordering::Relaxed, Ordering::Relaxed)
                    .is_ok()
            {
                let before = counters.warned_of.swap(changed, Ordering::Relaxed);
                tracing::warn!(
                    principal = principal.label(),
                    %id,
                    events = changed.saturating_sub(before),
                    "an event has the identity of an earlier one and other content; the earlier \
                     one is kept"
                );
            }
        });
    }

    fn with<T>(&self, principal: &Principal, count: impl FnOnce(&OfPrincipal) -> T) -> T {
        let by_label = self.by_label.read().unwrap_or_else(PoisonError::into_inner);
        count(by_label.get(principal.label()).map_or(&self.other, |counters| &**counters))
    }

    /// Returns the counts by label: those of the known principals, and those of the others if there
    /// are any.
    pub(crate) fn snapshot(&self) -> BTreeMap<String, PrincipalStatus> {
        let by_label = self.by_label.read().unwrap_or_else(PoisonError::into_inner);
        let mut counts: BTreeMap<_, _> = by_label
            .iter()
            .map(|(label, counters)| (label.to_string(), counters.snapshot()))
            .collect();
        let other = self.other.snapshot();
        if other != PrincipalStatus::default() {
            let sum = counts.entry(OTHER.to_owned()).or_default();
            sum.duplicates += other.duplicates;
            sum.changed += other.changed;
        }
        counts
    }
}

impl OfPrincipal {
    fn snapshot(&self) -> PrincipalStatus {
        PrincipalStatus {
            duplicates: self.duplicates.load(Ordering::Relaxed),
            changed: self.changed.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn principals_are_counted_by_name_and_unknown_ones_together() {
        let counters = PrincipalCounters::default();
        let counts = |label: &str| {
            counters.snapshot().get(label).map(|counts| (counts.duplicates, counts.changed))
        };
        assert_eq!((counts("anonymous"), counts("other")), (Some((0, 0)), None));
        counters.add(["ci".into(), "edge".into()]);
        assert_eq!(counts("ci"), Some((0, 0)));
        for name in ["ci", "x", "y"] {
            counters.duplicate(&Principal::token(name));
            counters.changed(&Principal::token(name), Uuid::nil(), 1);
        }
        counters.duplicate(&Principal::anonymous());
        counters.add(["ci".into()]);
        assert_eq!(
            [counts("anonymous"), counts("ci"), counts("edge"), counts("other")],
            [Some((1, 0)), Some((1, 1)), Some((0, 0)), Some((2, 2))]
        );
        counters.add((0..2 * MAX_PRINCIPALS).map(|number| format!("{number}").into()));
        assert_eq!(counters.snapshot().len(), MAX_PRINCIPALS + 1);
    }
}
