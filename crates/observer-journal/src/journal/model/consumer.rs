//! Consumers of the records.

use std::collections::BTreeMap;

use crate::Reader;

pub(super) const OPTIONAL: usize = 0;
pub(super) const REQUIRED: usize = 1;
/// Index of the consumer that stores its position itself. No segments are held for it.
pub(super) const OWN: usize = 2;

pub(super) struct Consumer {
    pub(super) name: &'static str,
    pub(super) reader: Option<Reader>,
    /// Next record to read.
    pub(super) next: u64,
    /// Last record that the consumer has read.
    pub(super) reached: u64,
    /// Numbers of the records up to `reached`, without those that had expired, by sequence number.
    pub(super) seen: BTreeMap<u64, u64>,
    /// Epoch and sequence number that the consumer stores itself.
    pub(super) own: Option<(u64, u64)>,
    /// True if the consumer has not resumed since the journal was opened.
    pub(super) is_absent: bool,
}

impl Consumer {
    pub(super) fn new(name: &'static str) -> Self {
        Self {
            name,
            reader: None,
            next: 1,
            reached: 0,
            seen: BTreeMap::new(),
            own: None,
            is_absent: false,
        }
    }

    /// Resumes after `seq`, and forgets the records read after it.
    pub(super) fn resume_after(&mut self, seq: u64, reader: Reader) {
        assert!(seq <= self.reached, "{} has never read {seq}", self.name);
        self.seen.split_off(&(seq + 1));
        (self.reached, self.next, self.reader) = (seq, seq + 1, Some(reader));
    }
}
