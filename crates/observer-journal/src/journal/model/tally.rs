//! Coverage of the cases.

/// Number of occurrences of each kind of event.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) acknowledged: u64,
    pub(super) rejected: u64,
    pub(super) full: u64,
    pub(super) removed_for_space: u64,
    pub(super) removed_expired: u64,
    pub(super) gaps: u64,
    pub(super) opened: u64,
    pub(super) power_cuts: u64,
    pub(super) kills: u64,
    pub(super) errors: u64,
    pub(super) committed_though_rejected: u64,
    pub(super) reappeared: u64,
    pub(super) epochs: u64,
    pub(super) late_epochs: u64,
}

impl Tally {
    fn all(&mut self) -> [&mut u64; 14] {
        let Self {
            acknowledged,
            rejected,
            full,
            removed_for_space,
            removed_expired,
            gaps,
            opened,
            ..
        } = self;
        let Self {
            power_cuts,
            kills,
            errors,
            committed_though_rejected,
            reappeared,
            epochs,
            late_epochs,
            ..
        } = self;
        [
            acknowledged,
            rejected,
            full,
            removed_for_space,
            removed_expired,
            gaps,
            opened,
            power_cuts,
            kills,
            errors,
            committed_though_rejected,
            reappeared,
            epochs,
            late_epochs,
        ]
    }

    pub(super) fn add(&mut self, mut other: Self) {
        self.all().into_iter().zip(other.all()).for_each(|(sum, count)| *sum += *count);
    }

    pub(super) fn has_all(&mut self) -> bool {
        self.all().iter().all(|count| **count > 0)
    }
}
