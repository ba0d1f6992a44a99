//! Result of one attempt to deliver events.

use std::time::Duration;

use observer_core::{ErrorKind, Receipt, SinkError};

use crate::worker::resolution::evidence::Class;

/// Result of one attempt to deliver a batch or a part of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Attempt {
    /// The destination accepted every event.
    Accepted,
    /// The destination accepted the events, except those that it rejected by index or by number.
    PartlyRejected {
        /// Index of each rejected event, in rising order, with the destination's reason.
        rejected: Vec<(usize, String)>,
        /// Number of further events that were rejected without being named.
        refused: usize,
    },
    /// The destination refused the events, except for the `accepted` ones.
    Refused { class: Class, accepted: Vec<usize>, reason: String },
    /// The destination can't accept events at the moment, except for the `accepted` ones.
    Unavailable { accepted: Vec<usize>, retry_after: Option<Duration>, reason: String },
    /// There was no result within the sink's timeout.
    TimedOut { reason: String },
    /// Nothing can be delivered because of a local condition.
    Blocked { reason: String },
}

impl Attempt {
    /// Returns the attempt that a sink's result describes, for a delivery of `count` events.
    pub(crate) fn of(result: Result<Receipt, SinkError>, count: usize) -> Self {
        match result {
            Ok(receipt) => Self::of_receipt(receipt, count),
            Err(error) => Self::of_error(error, count),
        }
    }

    fn of_receipt(receipt: Receipt, count: usize) -> Self {
        let mut rejected: Vec<_> = receipt
            .rejected
            .into_iter()
            .map(|rejected| (rejected.index, rejected.reason))
            .collect();
        rejected.sort_by_key(|(index, _)| *index);
        rejected.dedup_by_key(|(index, _)| *index);
        if let Some((index, _)) = rejected.last().filter(|(index, _)| *index >= count) {
            // Which of the events was rejected is unknown, so that none counts as delivered.
            let reason = format!(
                "the sink reports the event with index {index} of {count} as rejected; this is a \
                 fault of the sink"
            );
            return Self::Refused { class: Class::Failed, accepted: Vec::new(), reason };
        }
        let left = count - rejected.len();
        let refused = receipt.refused.map_or(0, |refused| refused.count);
        let refused = usize::try_from(refused).unwrap_or(usize::MAX).min(left);
        if rejected.is_empty() && refused == 0 {
            Self::Accepted
        } else {
            Self::PartlyRejected { rejected, refused }
        }
    }

    fn of_error(error: SinkError, count: usize) -> Self {
        let reason = error.report();
        let SinkError { kind, retry_after, mut accepted, .. } = error;
        accepted.retain(|index| *index < count);
        accepted.sort_unstable();
        accepted.dedup();
        let class = match kind {
            ErrorKind::Blocked => return Self::Blocked { reason },
            ErrorKind::Transient => return Self::Unavailable { accepted, retry_after, reason },
            _ if retry_after.is_some() => {
                return Self::Unavailable { accepted, retry_after, reason };
            }
            ErrorKind::Failed => Class::Failed,
            ErrorKind::Permanent | ErrorKind::TooLarge => Class::Permanent,
            ErrorKind::Unauthenticated => Class::Unauthenticated,
            ErrorKind::Denied => Class::Denied,
        };
        Self::Refused { class, accepted, reason }
    }

    /// Returns the pause that the destination demands.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Unavailable { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// Returns the reason for which no event was accepted, or only some.
    pub(crate) fn reason(&self) -> Option<&str> {
        match self {
            Self::Accepted => None,
            Self::PartlyRejected { rejected, .. } => {
                rejected.first().map(|(_, reason)| reason.as_str())
            }
            Self::Refused { reason, .. }
            | Self::Unavailable { reason, .. }
            | Self::TimedOut { reason }
            | Self::Blocked { reason } => Some(reason),
        }
    }

    /// Returns the outcome by which the duration is counted.
    pub(crate) fn outcome(&self) -> Outcome {
        match self {
            Self::Accepted | Self::PartlyRejected { .. } => Outcome::Accepted,
            Self::Refused { .. } => Outcome::Refused,
            Self::Unavailable { .. } | Self::Blocked { .. } => Outcome::Unavailable,
            Self::TimedOut { .. } => Outcome::TimedOut,
        }
    }
}

/// Outcome of an attempt, by which its duration is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// The destination accepted the events, or some of them.
    Accepted,
    /// The destination refused the events.
    Refused,
    /// The destination was unavailable, or could not be reached.
    Unavailable,
    /// There was no result within the timeout.
    TimedOut,
}

impl Outcome {
    /// All outcomes.
    pub const ALL: [Self; 4] = [Self::Accepted, Self::Refused, Self::Unavailable, Self::TimedOut];

    /// Returns the name of the outcome, as metrics show it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Refused => "refused",
            Self::Unavailable => "unavailable",
            Self::TimedOut => "timed_out",
        }
    }
}

#[cfg(test)]
mod tests {
    use observer_core::{Refused, Rejected};

    use super::*;

    fn rejected(indices: &[usize]) -> Receipt {
        let rejected =
            indices.iter().map(|index| Rejected { index: *index, reason: "no".into() }).collect();
        Receipt { rejected, refused: None }
    }

    #[test]
    fn receipt_with_an_index_outside_the_batch_is_a_refusal() {
        let attempt = Attempt::of(Ok(rejected(&[1, 3])), 3);
        let Attempt::Refused { class: Class::Failed, accepted, reason } = attempt else {
            panic!("{attempt:?}")
        };
        assert!(accepted.is_empty() && reason.contains("index 3 of 3"), "{reason}");
        assert_eq!(
            Attempt::of(Ok(rejected(&[2, 1, 2])), 3),
            Attempt::PartlyRejected {
                rejected: vec![(1, "no".into()), (2, "no".into())],
                refused: 0
            }
        );
    }

    #[test]
    fn number_of_refused_events_is_limited_by_the_batch() {
        let receipt = Receipt {
            refused: Some(Refused { count: u64::MAX, reason: String::new() }),
            ..rejected(&[0])
        };
        let Attempt::PartlyRejected { refused, .. } = Attempt::of(Ok(receipt), 3) else {
            panic!("some are rejected")
        };
        assert_eq!(refused, 2);
    }

    #[test]
    fn each_class_of_error_has_its_attempt() {
        let of = |kind, retry_after: Option<u64>| {
            let mut error = SinkError::new(kind, "no").with_accepted([7, 1, 1]);
            error.retry_after = retry_after.map(Duration::from_secs);
            Attempt::of(Err(error), 3)
        };
        let refused = |class| Attempt::Refused { class, accepted: vec![1], reason: "no".into() };
        let unavailable = |retry_after: Option<u64>| Attempt::Unavailable {
            accepted: vec![1],
            retry_after: retry_after.map(Duration::from_secs),
            reason: "no".into(),
        };
        for (kind, expected) in [
            (ErrorKind::Transient, unavailable(None)),
            (ErrorKind::Failed, refused(Class::Failed)),
            (ErrorKind::Permanent, refused(Class::Permanent)),
            (ErrorKind::TooLarge, refused(Class::Permanent)),
            (ErrorKind::Unauthenticated, refused(Class::Unauthenticated)),
            (ErrorKind::Denied, refused(Class::Denied)),
            (ErrorKind::Blocked, Attempt::Blocked { reason: "no".into() }),
        ] {
            assert_eq!(of(kind, None), expected);
            if kind != ErrorKind::Blocked {
                assert_eq!(of(kind, Some(9)), unavailable(Some(9)), "{kind:?}");
            }
        }
    }
}
