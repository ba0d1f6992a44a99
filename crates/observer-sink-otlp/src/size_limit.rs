//! Size limit of the destination, learnt from its responses.

use std::sync::{Mutex, PoisonError};

/// Size from which on requests are too large for the destination.
///
/// A destination does not announce its limit. A size counts as too large once it was rejected and
/// the next accepted request was smaller. The second condition is needed because over gRPC the
/// status for a message that is too large also means an exhausted quota.
///
/// [`reset`](Self::reset) forgets the limit, because the destination may have changed.
#[derive(Debug, Default)]
pub(crate) struct SizeLimit(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Smallest size that is known to be too large.
    too_large: Option<usize>,
    /// Smallest size that was rejected since the last accepted request.
    rejected: Option<usize>,
}

impl SizeLimit {
    pub(crate) fn is_exceeded(&self, bytes: usize) -> bool {
        self.with(|state| state.too_large.is_some_and(|too_large| bytes >= too_large))
    }

    /// Records that a request of this size was rejected as too large.
    pub(crate) fn add_too_large(&self, bytes: usize) {
        self.with(|state| {
            state.rejected = Some(state.rejected.map_or(bytes, |rejected| rejected.min(bytes)));
        });
    }

    /// Records that a request of this size was accepted.
    pub(crate) fn accepted(&self, bytes: usize) {
        self.with(|state| {
            let proven = state.rejected.take().filter(|rejected| bytes < *rejected);
            state.too_large = state.too_large.into_iter().chain(proven).min();
        });
    }

    pub(crate) fn reset(&self) {
        self.with(|state| *state = State::default());
    }

    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejected_size_is_too_large_once_a_smaller_one_was_accepted() {
        let limit = SizeLimit::default();
        limit.add_too_large(1000);
        assert!(!limit.is_exceeded(1000), "the rejection may have been a quota");
        limit.add_too_large(500);
        limit.accepted(250);
        assert!(limit.is_exceeded(500) && !limit.is_exceeded(499));
        limit.add_too_large(400);
        limit.accepted(100);
        assert!(limit.is_exceeded(400) && !limit.is_exceeded(399));
        limit.reset();
        assert!(!limit.is_exceeded(1000));
    }

    #[test]
    fn larger_accepted_request_proves_no_limit() {
        let limit = SizeLimit::default();
        limit.add_too_large(100);
        limit.accepted(100);
        assert!(!limit.is_exceeded(100), "the same size was accepted");
        limit.add_too_large(100);
        limit.accepted(1000);
        limit.accepted(50);
        assert!(!limit.is_exceeded(100), "the rejection had another reason");
    }
}
