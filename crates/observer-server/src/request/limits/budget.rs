//! Budgets of memory that clients share: one of request bodies, one of responses.
//!
//! - Up to half of a budget is open to everyone. Above that, no peer and no token gets more than
//!   its share, so that one client can't deny the rest to others.
//! - A part is reserved for small reservations, and half of that for those of complete bodies, so
//!   that single events are accepted while large or slow bodies hold everything else.

use std::collections::HashMap;
use std::hash::Hash;
use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use axum::http::StatusCode;
use observer_pipeline::RejectReason;

use super::peer::Peer;
use crate::problem::Problem;

/// Size up to which a reservation is small, in bytes.
pub(crate) const SMALL: usize = 64 << 10;
/// Part of a budget that is reserved: one in so many.
const RESERVED_PART: usize = 8;

/// Memory in use, and who uses it.
#[derive(Debug, Default)]
pub(crate) struct MemoryBudget {
    used: AtomicUsize,
    /// Large reservations, by their holder.
    large: Mutex<Holdings>,
}

/// Limits of a budget, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BudgetLimits {
    /// Limit of all reservations together.
    pub(crate) max_bytes: usize,
    /// Size that fits into every share.
    pub(crate) min_share: usize,
}

/// Client that a reservation counts for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Holder {
    pub(crate) peer: Peer,
    /// Name of the token, if there is one.
    pub(crate) token: Option<Arc<str>>,
}

/// Memory that is reserved in a budget, and free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Reservation<B: Deref<Target = MemoryBudget>> {
    budget: B,
    limits: BudgetLimits,
    holder: Holder,
    bytes: usize,
    /// Bytes that count as a large reservation of the holder: none, or all.
    large: usize,
}

/// Error for a reservation that a budget has no memory for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BudgetExceeded {
    /// All reservations together would exceed the limit.
    Total { max_bytes: usize },
    /// Those of a peer or token would exceed its share.
    Share { share: usize },
}

/// Bytes of the large reservations of each peer and each token.
#[derive(Debug, Default)]
struct Holdings {
    peers: HashMap<Peer, usize>,
    tokens: HashMap<Arc<str>, usize>,
}

impl BudgetLimits {
    /// Returns the size of the part that large reservations can't use.
    fn reserved(self) -> usize {
        (self.max_bytes / RESERVED_PART).min(self.max_bytes.saturating_sub(self.min_share))
    }

    /// Returns the share of each of some holders, which leaves one more for a newcomer.
    fn share(self, holders: usize) -> usize {
        ((self.max_bytes - self.reserved()) / (holders + 1)).max(self.min_share)
    }
}

impl MemoryBudget {
    /// Adds to the memory in use.
    ///
    /// # Errors
    /// If it would exceed `max_bytes`.
    fn add(&self, more: usize, max_bytes: usize) -> Result<(), ()> {
        let within = |used: usize| used.checked_add(more).filter(|bytes| *bytes <= max_bytes);
        let added = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within);
        added.map(drop).map_err(drop)
    }

    fn large(&self) -> MutexGuard<'_, Holdings> {
        self.large.lock().expect("no thread panics while it holds the lock")
    }
}

impl<B: Deref<Target = MemoryBudget>> Reservation<B> {
    /// Returns an empty reservation.
    pub(crate) fn new(budget: B, limits: BudgetLimits, holder: Holder) -> Self {
        Self { budget, limits, holder, bytes: 0, large: 0 }
    }

    /// Grows the reservation of a body of which more is to come. It never shrinks.
    ///
    /// # Errors
    /// If the budget has no memory for it. The reservation is then unchanged.
    pub(crate) fn grow_to(&mut self, bytes: usize) -> Result<(), BudgetExceeded> {
        let reserved = self.limits.reserved();
        self.grow(bytes, reserved / 2, reserved)
    }

    /// Grows the reservation to that of something complete, which may use all of the reserve if it
    /// is small.
    ///
    /// # Errors
    /// If the budget has no memory for it. The reservation is then unchanged.
    pub(crate) fn grow_to_whole(&mut self, bytes: usize) -> Result<(), BudgetExceeded> {
        self.grow(bytes, 0, self.limits.reserved())
    }

    /// Grows the reservation to that of something complete, which may use all of the reserve also
    /// if it is large. The share of the holder applies nevertheless.
    ///
    /// # Errors
    /// If the budget has no memory for it. The reservation is then unchanged.
    pub(crate) fn grow_into_reserve(&mut self, bytes: usize) -> Result<(), BudgetExceeded> {
        self.grow(bytes, 0, 0)
    }

    /// Grows the reservation. A small one leaves `kept_by_small` bytes to others, a large one
    /// `kept_by_large`.
    fn grow(
        &mut self,
        bytes: usize,
        kept_by_small: usize,
        kept_by_large: usize,
    ) -> Result<(), BudgetExceeded> {
        let more = bytes.saturating_sub(self.bytes);
        let max_bytes = self.limits.max_bytes;
        if bytes <= SMALL {
            let added = self.budget.add(more, max_bytes - kept_by_small);
            added.map_err(|()| BudgetExceeded::Total { max_bytes })?;
        } else if more > 0 {
            self.grow_large(bytes, more, max_bytes - kept_by_large)?;
        }
        self.bytes += more;
        Ok(())
    }

    fn grow_large(
        &mut self,
        bytes: usize,
        more: usize,
        max_used: usize,
    ) -> Result<(), BudgetExceeded> {
        let mut large = self.budget.large();
        let used = self.budget.used.load(Ordering::Relaxed);
        if used.saturating_add(more) > self.limits.max_bytes / 2 {
            large.check(&self.holder, bytes - self.large, self.limits)?;
        }
        let added = self.budget.add(more, max_used);
        added.map_err(|()| BudgetExceeded::Total { max_bytes: self.limits.max_bytes })?;
        large.add(&self.holder, bytes - self.large);
        self.large = bytes;
        Ok(())
    }
}

impl<B: Deref<Target = MemoryBudget>> Drop for Reservation<B> {
    fn drop(&mut self) {
        if self.large > 0 {
            self.budget.large().remove(&self.holder, self.large);
        }
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Holdings {
    /// Checks that the holder may have `more` bytes.
    fn check(
        &self,
        Holder { peer, token }: &Holder,
        more: usize,
        limits: BudgetLimits,
    ) -> Result<(), BudgetExceeded> {
        check_share(&self.peers, &peer.limited(), more, limits)?;
        token.as_ref().map_or(Ok(()), |token| check_share(&self.tokens, token, more, limits))
    }

    fn add(&mut self, Holder { peer, token }: &Holder, more: usize) {
        *self.peers.entry(peer.limited()).or_default() += more;
        if let Some(token) = token {
            *self.tokens.entry(token.clone()).or_default() += more;
        }
    }

    fn remove(&mut self, Holder { peer, token }: &Holder, bytes: usize) {
        subtract(&mut self.peers, &peer.limited(), bytes);
        if let Some(token) = token {
            subtract(&mut self.tokens, token, bytes);
        }
    }
}

fn check_share<K: Eq + Hash>(
    held: &HashMap<K, usize>,
    holder: &K,
    more: usize,
    limits: BudgetLimits,
) -> Result<(), BudgetExceeded> {
    let own = held.get(holder);
    let share = limits.share(held.len() + usize::from(own.is_none()));
    if own.unwrap_or(&0).saturating_add(more) > share {
        return Err(BudgetExceeded::Share { share });
    }
    Ok(())
}

/// Subtracts from what a holder has, which is forgotten when it has nothing.
fn subtract<K: Eq + Hash>(held: &mut HashMap<K, usize>, holder: &K, bytes: usize) {
    if let Some(own) = held.get_mut(holder) {
        *own = own.saturating_sub(bytes);
        if *own == 0 {
            held.remove(holder);
        }
    }
}

impl BudgetExceeded {
    /// Returns the problem of a request whose body is not read.
    pub(crate) fn of_body(self) -> Problem {
        let detail = match self {
            Self::Total { max_bytes } => format!(
                "the bodies of the requests in flight would exceed {max_bytes} bytes \
                 (`max_bytes_in_flight`); try again later"
            ),
            Self::Share { share } => format!(
                "the bodies of this client's requests in flight would exceed {share} bytes, its \
                 share of `max_bytes_in_flight` while more than half of that is in use; send fewer \
                 at the same time, or try again later"
            ),
        };
        Problem::new(StatusCode::TOO_MANY_REQUESTS, detail)
            .reason(RejectReason::Overloaded)
            .closing()
    }

    /// Returns the problem of a request whose response is not sent.
    pub(crate) fn of_response(self) -> Problem {
        let detail = match self {
            Self::Total { max_bytes } => format!(
                "the responses that are being sent would exceed {max_bytes} bytes \
                 (`max_bytes_in_flight`); try again later"
            ),
            Self::Share { share } => format!(
                "the responses that this client has not read yet would exceed {share} bytes, its \
                 share of `max_bytes_in_flight` while more than half of that is in use; read them, \
                 or try again later"
            ),
        };
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MIB: usize = 1 << 20;
    const LIMITS: BudgetLimits = BudgetLimits { max_bytes: 32 * MIB, min_share: 16 * MIB };

    fn holder(number: u8, token: Option<&str>) -> Holder {
        let peer = Peer::from(std::net::SocketAddr::from(([192, 0, 2, number], 1)));
        Holder { peer, token: token.map(Arc::from) }
    }

    fn reservation(budget: &MemoryBudget, number: u8) -> Reservation<&MemoryBudget> {
        Reservation::new(budget, LIMITS, holder(number, None))
    }

    #[test]
    fn reservations_together_stay_within_the_budget() {
        let budget = MemoryBudget::default();
        let limits = BudgetLimits { max_bytes: 100, min_share: 100 };
        let reservation = || Reservation::new(&budget, limits, Holder::default());
        let mut one = reservation();
        one.grow_to(60).unwrap();
        one.grow_to(50).unwrap();
        let mut two = reservation();
        assert_eq!(two.grow_to(41), Err(BudgetExceeded::Total { max_bytes: 100 }));
        two.grow_to(40).unwrap();
        drop(one);
        two.grow_to(100).unwrap();
        assert_eq!(two.grow_to(usize::MAX), Err(BudgetExceeded::Share { share: 100 }));
        drop(two);
        assert_eq!(budget.used.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn peer_with_two_large_bodies_leaves_memory_to_others() {
        let budget = MemoryBudget::default();
        let (mut first, mut second) = (reservation(&budget, 1), reservation(&budget, 1));
        first.grow_to(16 * MIB - 1).unwrap();
        let exceeded = second.grow_to(MIB).unwrap_err();
        assert_eq!(exceeded, BudgetExceeded::Share { share: 16 * MIB });
        let mut other = reservation(&budget, 2);
        other.grow_to(12 * MIB).unwrap();
        assert!(matches!(other.grow_to(13 * MIB), Err(BudgetExceeded::Total { .. })));
        drop(first);
        second.grow_to(MIB).unwrap();
    }

    #[test]
    fn token_has_one_share_from_whatever_peer() {
        let budget = MemoryBudget::default();
        let of = |number, token| Reservation::new(&budget, LIMITS, holder(number, Some(token)));
        let (mut one, mut two, mut other) = (of(1, "ci"), of(2, "ci"), of(3, "ops"));
        one.grow_to(16 * MIB).unwrap();
        assert!(matches!(two.grow_to(MIB), Err(BudgetExceeded::Share { .. })));
        other.grow_to(MIB).unwrap();
    }

    #[test]
    fn small_bodies_fit_into_the_reserve_and_complete_ones_last() {
        let budget = MemoryBudget::default();
        let (mut one, mut two) = (reservation(&budget, 1), reservation(&budget, 2));
        one.grow_to(16 * MIB).unwrap();
        two.grow_to(12 * MIB).unwrap();
        let mut slow = Vec::new();
        let full = loop {
            let mut reservation = reservation(&budget, 3);
            match reservation.grow_to(SMALL) {
                Ok(()) => slow.push(reservation),
                Err(error) => break error,
            }
        };
        assert_eq!(full, BudgetExceeded::Total { max_bytes: 32 * MIB });
        assert_eq!(slow.len() * SMALL, 2 * MIB);
        reservation(&budget, 3).grow_to_whole(SMALL).unwrap();
        reservation(&budget, 3).grow_into_reserve(2 * MIB).unwrap();
        assert!(reservation(&budget, 3).grow_to_whole(SMALL + 1).is_err());
    }

    proptest! {
        #[test]
        fn dropped_reservations_leave_nothing(
            steps in proptest::collection::vec((0..3_u8, 0..20 * MIB, any::<bool>()), 0..40)
        ) {
            let budget = MemoryBudget::default();
            let mut open = Vec::new();
            for (number, bytes, has_token) in steps {
                let holder = holder(number, has_token.then_some("ci"));
                let mut reservation = Reservation::new(&budget, LIMITS, holder);
                let _ = reservation.grow_to(bytes / 2);
                let _ = reservation.grow_to(bytes);
                open.push(reservation);
                prop_assert!(budget.used.load(Ordering::Relaxed) <= LIMITS.max_bytes);
                let sum: usize = open.iter().map(|reservation| reservation.bytes).sum();
                prop_assert_eq!(budget.used.load(Ordering::Relaxed), sum);
            }
            drop(open);
            prop_assert_eq!(budget.used.load(Ordering::Relaxed), 0);
            let large = budget.large();
            prop_assert!(large.peers.is_empty() && large.tokens.is_empty());
        }
    }
}
