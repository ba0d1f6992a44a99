//! Size limit of a destination, learnt from its responses.

use std::sync::{Mutex, PoisonError};

/// Number of accepted requests after which a learnt limit is probed: the next larger request is
/// sent. The number doubles with each probe that fails.
const FIRST_PROBE: u32 = 64;
/// Largest number of accepted requests between two probes.
const MAX_PROBE: u32 = 4096;
/// Number of times that a request with one event must fail, each time after a smaller one was
/// accepted, until its size counts as the reason.
const ROUNDS_ALONE: u32 = 3;

/// Size from which on requests are too large for a destination.
///
/// A destination does not announce its limit. It is learnt from a refusal that
/// [says so](Refusal::TooLarge). Over gRPC, the same code also means an exhausted quota. Without
/// such words, a size counts as too large once it was refused, a smaller request was accepted, and
/// the size was refused again; for a request with one event, once that happened three times.
///
/// A learnt limit saves requests that would be refused. It rejects nothing: a request that can't be
/// split is sent whatever its size. The limit is probed now and then, and forgotten once a request
/// of that size is accepted.
#[derive(Debug, Default)]
pub struct SizeLimit(Mutex<State>);

/// Reason for which a request was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The destination says that the request is too large.
    TooLarge,
    /// The request is too large, or a quota is exhausted.
    Unspecified,
}

#[derive(Debug, Default)]
struct State {
    limit: Option<Limit>,
    suspect: Option<Suspect>,
}

/// Learnt limit.
#[derive(Debug)]
struct Limit {
    /// Smallest size that is too large.
    bytes: usize,
    /// Number of requests that were accepted since the last refusal.
    accepted: u32,
    /// Number of accepted requests until the next probe.
    probe_after: u32,
}

/// Size that was refused without a reason.
#[derive(Debug)]
struct Suspect {
    bytes: usize,
    /// True if a smaller request was accepted since the last refusal.
    smaller_accepted: bool,
    /// Number of refusals of which each followed the acceptance of a smaller request.
    rounds: u32,
}

impl SizeLimit {
    /// Returns whether a request is known to be too large, and can be split.
    #[must_use]
    pub fn must_split(&self, bytes: usize, events: usize) -> bool {
        let exceeds = |limit: &Limit| bytes >= limit.bytes && limit.accepted < limit.probe_after;
        events > 1 && self.with(|state| state.limit.as_ref().is_some_and(exceeds))
    }

    /// Records the refusal of a request. Returns whether its size is the reason.
    pub fn refused(&self, bytes: usize, events: usize, refusal: Refusal) -> bool {
        self.with(|state| {
            let is_too_large = match refusal {
                Refusal::TooLarge => true,
                Refusal::Unspecified => state.suspect(bytes, events),
            };
            if is_too_large {
                state.learn(bytes);
            }
            is_too_large
        })
    }

    /// Records that a request was accepted.
    pub fn accepted(&self, bytes: usize) {
        self.with(|state| {
            match &mut state.suspect {
                Some(suspect) if bytes < suspect.bytes => suspect.smaller_accepted = true,
                suspect => *suspect = None,
            }
            match &mut state.limit {
                Some(limit) if bytes < limit.bytes => limit.accepted += 1,
                limit => *limit = None,
            }
        });
    }

    /// Forgets the limit, since the destination may have changed.
    pub fn reset(&self) {
        self.with(|state| *state = State::default());
    }

    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl State {
    /// Records a refusal without a reason. Returns whether the evidence suffices.
    fn suspect(&mut self, bytes: usize, events: usize) -> bool {
        let suspect =
            self.suspect.get_or_insert(Suspect { bytes, smaller_accepted: false, rounds: 0 });
        if bytes < suspect.bytes {
            *suspect = Suspect { bytes, smaller_accepted: false, rounds: 0 };
        } else if suspect.smaller_accepted {
            suspect.smaller_accepted = false;
            suspect.rounds += 1;
        }
        suspect.rounds >= if events > 1 { 1 } else { ROUNDS_ALONE }
    }

    fn learn(&mut self, bytes: usize) {
        let limit = self.limit.take();
        let (least, probe_after) = limit.map_or((bytes, FIRST_PROBE), |limit| {
            let is_probe = limit.accepted >= limit.probe_after;
            let factor = if is_probe { 2 } else { 1 };
            (limit.bytes.min(bytes), (limit.probe_after * factor).min(MAX_PROBE))
        });
        self.limit = Some(Limit { bytes: least, accepted: 0, probe_after });
    }
}

#[cfg(test)]
mod tests {
    use super::Refusal::{TooLarge, Unspecified};
    use super::*;

    #[test]
    fn refusal_that_names_the_size_sets_the_limit() {
        let limit = SizeLimit::default();
        assert!(limit.refused(1000, 10, TooLarge));
        assert!(limit.must_split(1000, 10) && !limit.must_split(999, 10));
        limit.refused(500, 5, TooLarge);
        limit.accepted(250);
        assert!(limit.must_split(500, 2) && !limit.must_split(499, 2));
        assert!(!limit.must_split(1_000_000, 1), "one event can't be split, so it is sent");
        limit.reset();
        assert!(!limit.must_split(1000, 10));
    }

    #[test]
    fn quota_teaches_no_size() {
        let limit = SizeLimit::default();
        for _ in 0..100 {
            assert!(!limit.refused(1000, 10, Unspecified), "nothing smaller was accepted");
        }
        limit.accepted(1000);
        limit.accepted(100);
        assert!(!limit.refused(1000, 10, Unspecified), "this size was accepted in between");
        limit.accepted(2000);
        assert!(!limit.must_split(1000, 10));
    }

    #[test]
    fn size_that_fails_again_after_a_smaller_one_was_accepted_is_too_large() {
        let limit = SizeLimit::default();
        assert!(!limit.refused(1000, 10, Unspecified));
        limit.accepted(500);
        assert!(!limit.must_split(1000, 10));
        assert!(limit.refused(1000, 10, Unspecified));
        assert!(limit.must_split(1000, 10) && !limit.must_split(999, 10));
    }

    #[test]
    fn single_event_needs_three_rounds() {
        let limit = SizeLimit::default();
        let mut rounds = Vec::new();
        for _ in 0..5 {
            rounds.push(limit.refused(1000, 1, Unspecified));
            limit.accepted(10);
        }
        assert_eq!(rounds, [false, false, false, true, true]);
    }

    /// Returns the number of accepted requests until a request of 1000 bytes is sent again.
    fn accepted_until_probe(limit: &SizeLimit) -> u32 {
        let mut count = 0;
        while limit.must_split(1000, 10) {
            limit.accepted(500);
            count += 1;
        }
        count
    }

    #[test]
    fn limit_is_probed_and_forgotten_when_the_probe_is_accepted() {
        let limit = SizeLimit::default();
        limit.refused(1000, 10, TooLarge);
        let mut intervals = Vec::new();
        for _ in 0..8 {
            intervals.push(accepted_until_probe(&limit));
            limit.refused(1000, 10, TooLarge);
        }
        assert_eq!(intervals, [64, 128, 256, 512, 1024, 2048, 4096, 4096]);
        accepted_until_probe(&limit);
        limit.accepted(1000);
        assert!(!limit.must_split(1_000_000, 10));
    }

    #[test]
    fn failed_probe_of_a_quota_keeps_the_limit() {
        let limit = SizeLimit::default();
        limit.refused(1000, 10, Unspecified);
        limit.accepted(500);
        limit.refused(1000, 10, Unspecified);
        accepted_until_probe(&limit);
        assert!(limit.refused(1000, 10, Unspecified));
        assert!(limit.must_split(1000, 10));
    }
}
