//! Slots of the restored label values, by their index in the file.

use super::SnapshotError;
use crate::aggregate::pairs::{Pair, Pairs};
use crate::aggregate::table::Slot;
use crate::aggregate::time::Second;

/// Slots of the label values of a snapshot, or `None` for values beyond the limits.
#[derive(Default)]
pub(super) struct Slots {
    pub(super) sources: Vec<Option<Slot>>,
    pub(super) event_kinds: Vec<Option<Slot>>,
    pub(super) models: Vec<Option<Slot>>,
    omitted_pairs: usize,
}

impl Slots {
    /// Returns a pair by its indexes in the file; `None` if one of its values is omitted.
    pub(super) fn source_and_kind(
        &self,
        source: usize,
        kind: usize,
    ) -> Result<Option<Pair>, SnapshotError> {
        Ok(at(&self.sources, source)?.zip(at(&self.event_kinds, kind)?))
    }

    /// Returns a pair by its indexes in the file; `None` if one of its values is omitted.
    pub(super) fn source_and_model(
        &self,
        source: usize,
        model: usize,
    ) -> Result<Option<Pair>, SnapshotError> {
        Ok(at(&self.sources, source)?.zip(at(&self.models, model)?))
    }

    /// Restores a pair, or counts it as omitted.
    pub(super) fn restore_pair<T: Default>(
        &mut self,
        pairs: &mut Pairs<T>,
        pair: Option<Pair>,
        seen: Second,
        totals: T,
    ) {
        match pair.and_then(|pair| pairs.restore(pair, seen)) {
            Some(restored) => *restored = totals,
            None => self.omitted_pairs += 1,
        }
    }

    /// Returns the number of values and pairs beyond the limits.
    pub(super) fn omitted(&self) -> usize {
        let labels = [&self.sources, &self.event_kinds, &self.models];
        let values = labels.into_iter().flatten().filter(|slot| slot.is_none()).count();
        values + self.omitted_pairs
    }
}

fn at(slots: &[Option<Slot>], index: usize) -> Result<Option<Slot>, SnapshotError> {
    slots.get(index).copied().ok_or(SnapshotError::Dangling)
}
