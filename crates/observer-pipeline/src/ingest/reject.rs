//! Reasons for which events are rejected, and their counts.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

/// Reason for which an event is rejected, by the pipeline or by a server in front of it.
///
/// The text of a reason is the value of the label `reason` of `observer_rejected_events_total`, and
/// `reason` in the problem details that a producer receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum RejectReason {
    /// The connection ended before the body was complete.
    BrokenOff,
    /// The token lacks the required scope.
    Forbidden,
    /// A field that every event has is missing, or a field has an invalid value.
    Invalid,
    /// The idempotency key was used for another event before.
    KeyReused,
    /// The request or the event can't be parsed.
    Malformed,
    /// A field that `ingest.require` demands is missing.
    MissingField,
    /// The content type of the request isn't JSON.
    NotJson,
    /// The limit of requests or bytes in flight is reached.
    Overloaded,
    /// The token's rate limit is exceeded.
    RateLimited,
    /// The head or the body of the request arrived too slowly.
    Timeout,
    /// The event, the batch or the body exceeds a size limit.
    TooLarge,
    /// The request has no token, or an unknown one.
    Unauthorized,
    /// The journal can't store the event at the moment.
    Unavailable,
    /// The request names a host that isn't configured.
    UnknownHost,
}

impl RejectReason {
    /// All reasons, in the order of their texts.
    pub const ALL: [Self; 14] = [
        Self::BrokenOff,
        Self::Forbidden,
        Self::Invalid,
        Self::KeyReused,
        Self::Malformed,
        Self::MissingField,
        Self::NotJson,
        Self::Overloaded,
        Self::RateLimited,
        Self::Timeout,
        Self::TooLarge,
        Self::Unauthorized,
        Self::Unavailable,
        Self::UnknownHost,
    ];

    /// Returns the reason as metrics and problem details spell it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BrokenOff => "broken_off",
            Self::Forbidden => "forbidden",
            Self::Invalid => "invalid",
            Self::KeyReused => "key_reused",
            Self::Malformed => "malformed",
            Self::MissingField => "missing_field",
            Self::NotJson => "not_json",
            Self::Overloaded => "overloaded",
            Self::RateLimited => "rate_limited",
            Self::Timeout => "timeout",
            Self::TooLarge => "too_large",
            Self::Unauthorized => "unauthorized",
            Self::Unavailable => "unavailable",
            Self::UnknownHost => "unknown_host",
        }
    }
}

/// Number of rejected events per reason since the start.
#[derive(Debug, Default)]
pub(crate) struct RejectCounters([AtomicU64; RejectReason::ALL.len()]);

impl RejectCounters {
    pub(crate) fn increment(&self, reason: RejectReason) {
        self.0[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the count of every reason, zeros included.
    pub(crate) fn snapshot(&self) -> BTreeMap<RejectReason, u64> {
        RejectReason::ALL
            .into_iter()
            .map(|reason| (reason, self.0[reason as usize].load(Ordering::Relaxed)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_lists_each_reason_once_in_the_order_of_its_text() {
        for (index, reason) in RejectReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index, "{reason:?}");
        }
        assert!(RejectReason::ALL.is_sorted_by(|one, next| one.as_str() < next.as_str()));
    }
}
