//! Readers of the journal: their positions in memory and on disk, and the segments that are held
//! for them.

use std::collections::{BTreeMap, BTreeSet};

use super::Positions;

/// Policy for records that a reader is not done with when the journal reaches its size limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// The oldest records are removed.
    Optional,
    /// New records are rejected.
    Required,
}

/// Positions of the readers, as set and as durable.
#[derive(Debug, Default)]
pub(crate) struct Readers {
    pub(crate) positions: Positions,
    /// Content of the file, unless `is_file_unknown`.
    pub(crate) durable: Positions,
    /// Replacing the file failed, so it has either its old or its new content.
    pub(crate) is_file_unknown: bool,
    /// Readers for which segments are held.
    pub(crate) held: BTreeMap<String, Hold>,
    /// Held readers that lost records at the size limit. A reader finds the gap when it reads on,
    /// which may be much later.
    pub(crate) lagging: BTreeSet<String>,
}

impl Readers {
    /// Returns the last record that all held readers are durably done with; `None` if there is no
    /// held reader.
    pub(crate) fn floor(&self) -> Option<u64> {
        self.held.keys().map(|name| self.durable_seq(name)).min()
    }

    /// Returns a required reader that is not durably done with `seq`.
    pub(crate) fn required_before(&self, seq: u64) -> Option<String> {
        let required = self.held.iter().filter(|(_, hold)| **hold == Hold::Required);
        required.map(|(name, _)| name).find(|name| self.durable_seq(name) < seq).cloned()
    }

    /// Marks the held readers that lose records when records up to `seq` are removed. Returns those
    /// that were not marked already; the mark ends when the reader has caught up.
    pub(crate) fn mark_lagging(&mut self, seq: u64) -> Vec<String> {
        let (behind, caught_up): (Vec<_>, Vec<_>) =
            self.held.keys().cloned().partition(|name| self.durable_seq(name) < seq);
        caught_up.iter().for_each(|name| {
            self.lagging.remove(name);
        });
        behind.into_iter().filter(|name| self.lagging.insert(name.clone())).collect()
    }

    /// Records that storing `positions` succeeded or failed. After a failure, only a reader that is
    /// in both versions of the file is known to be in the file.
    pub(crate) fn stored(&mut self, positions: Positions, is_durable: bool) {
        if is_durable {
            self.durable = positions;
        } else {
            self.durable.readers.retain(|name, _| positions.readers.contains_key(name));
        }
        self.is_file_unknown = !is_durable;
    }

    /// Returns whether a reader has no durable position yet.
    pub(crate) fn has_new_reader(&self) -> bool {
        self.positions.readers.keys().any(|name| !self.durable.readers.contains_key(name))
    }

    fn durable_seq(&self, name: &str) -> u64 {
        let stored = self.durable.readers.get(name);
        // The current epoch may have begun after the position was stored.
        stored.map_or(0, |stored| self.positions.translate(stored.epoch, stored.seq).unwrap_or(0))
    }
}
