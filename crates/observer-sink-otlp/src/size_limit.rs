//! How much the far side takes in one request, as far as it has shown.

use std::sync::{Mutex, PoisonError};

/// A far side doesn't say how much it takes, so it is learnt: what was refused as too large while
/// something smaller was accepted next is too large from then on.
///
/// The proof is needed because over gRPC the same answer means that a quota is used up. A
/// [`reset`](Self::reset) forgets it all, since the far side may be another one by then.
#[derive(Debug, Default)]
pub(crate) struct Sizes(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// The smallest that is known to be too large.
    too_large: Option<usize>,
    /// The smallest that was refused, without a proof yet.
    refused: Option<usize>,
}

impl Sizes {
    pub(crate) fn is_too_large(&self, bytes: usize) -> bool {
        self.known(|known| known.too_large.is_some_and(|too_large| bytes >= too_large))
    }

    pub(crate) fn refused(&self, bytes: usize) {
        self.known(|known| {
            known.refused = Some(known.refused.map_or(bytes, |refused| refused.min(bytes)))
        });
    }

    pub(crate) fn accepted(&self, bytes: usize) {
        self.known(|known| {
            let proven = known.refused.take().filter(|refused| bytes < *refused);
            known.too_large = known.too_large.into_iter().chain(proven).min();
        });
    }

    pub(crate) fn reset(&self) {
        self.known(|known| *known = Known::default());
    }

    fn known<T>(&self, then: impl FnOnce(&mut Known) -> T) -> T {
        then(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_too_large_once_a_smaller_one_was_accepted() {
        let sizes = Sizes::default();
        sizes.refused(1000);
        assert!(!sizes.is_too_large(1000), "it may have been a quota");
        sizes.refused(500);
        sizes.accepted(250);
        assert!(sizes.is_too_large(500) && !sizes.is_too_large(499));
        sizes.refused(400);
        sizes.accepted(100);
        assert!(sizes.is_too_large(400) && !sizes.is_too_large(399));
        sizes.reset();
        assert!(!sizes.is_too_large(1000));
    }

    #[test]
    fn what_larger_requests_show_proves_nothing() {
        let sizes = Sizes::default();
        sizes.refused(100);
        sizes.accepted(100);
        assert!(!sizes.is_too_large(100), "the same size was taken");
        sizes.refused(100);
        sizes.accepted(1000);
        sizes.accepted(50);
        assert!(!sizes.is_too_large(100), "it was something else that was wrong");
    }
}
