//! Contract of [`EventSink`](observer_core::EventSink) as a test suite.
//!
//! | module | content |
//! |---|---|
//! | `clause`, `violation` | clauses, and the report of a verification |
//! | `destination` | interface that the author of a sink implements |
//! | `trial` | destination and limits for one clause |
//! | `delivery` | clauses about `deliver` and `flush` |
//! | `resolution` | clauses about events that a destination does not accept |
//! | `lifecycle` | clauses about `check`, `position` and `close` |
//! | `driver` | calls of a sink as the pipeline makes them, each with a time limit |
//! | `events`, `compare` | events that are sent, and their comparison with the contents |

mod clause;
mod compare;
mod delivery;
mod destination;
mod driver;
mod events;
mod lifecycle;
mod resolution;
mod trial;
mod violation;

use std::fmt;
use std::time::Duration;

pub use self::clause::Clause;
pub use self::destination::{Contents, Destination, Outage, StoredEvent};
use self::trial::Trial;
use self::violation::{Coverage, Failure};
pub use self::violation::{Report, Violation, Violations};

/// Contract of sinks, with the limits for one sink.
///
/// See the [crate's documentation](crate) for an example.
pub struct SinkContract {
    destination: Box<dyn Fn() -> Box<dyn Destination> + Send + Sync>,
    max_events: usize,
    max_event_bytes: usize,
    call_timeout: Duration,
}

impl SinkContract {
    /// Creates the contract for sinks that write to such destinations.
    ///
    /// The suite calls `destination` once for each clause.
    #[must_use]
    pub fn new<D: Destination + 'static>(
        destination: impl Fn() -> D + Send + Sync + 'static,
    ) -> Self {
        Self {
            destination: Box::new(move || Box::new(destination())),
            max_events: 1_000,
            max_event_bytes: 1 << 20,
            call_timeout: Duration::from_secs(20),
        }
    }

    /// Sets the number of events in the largest batch.
    ///
    /// The default is 1,000, as in the pipeline for sink types without a default of their own.
    #[must_use]
    pub fn max_events(self, max_events: usize) -> Self {
        Self { max_events, ..self }
    }

    /// Sets the approximate size of the largest event in bytes.
    ///
    /// The default is 1 MiB, as in the server.
    #[must_use]
    pub fn max_event_bytes(self, bytes: usize) -> Self {
        Self { max_event_bytes: bytes, ..self }
    }

    /// Sets the limit for each call of the sink. The default is 20 s.
    #[must_use]
    pub fn call_timeout(self, call_timeout: Duration) -> Self {
        Self { call_timeout, ..self }
    }

    /// Verifies each clause against the sink.
    ///
    /// # Errors
    /// If a clause is violated; the error lists each one with the expected and the observed result.
    pub async fn try_verify(&self) -> Result<Report, Violations> {
        let (mut violations, mut skipped) = (Vec::new(), Vec::new());
        for clause in Clause::ALL {
            match self.verify_clause(clause).await {
                Ok(Coverage::Full) => {}
                Ok(Coverage::Skipped(reason)) => skipped.push((clause, reason)),
                Err(Failure { scenario, expected, found }) => {
                    violations.push(Violation { clause, scenario, expected, found });
                }
            }
        }
        if violations.is_empty() { Ok(Report { skipped }) } else { Err(Violations(violations)) }
    }

    /// Verifies each clause against the sink, and returns the clauses that were skipped.
    ///
    /// # Panics
    /// If the sink violates a clause; the message lists all [`Violations`].
    pub async fn verify(&self) -> Report {
        self.try_verify().await.unwrap_or_else(|violations| panic!("{violations}"))
    }

    async fn verify_clause(&self, clause: Clause) -> Result<Coverage, Failure> {
        let trial = Trial {
            destination: (self.destination)(),
            max_events: self.max_events,
            max_event_bytes: self.max_event_bytes,
            call_timeout: self.call_timeout,
        };
        match clause {
            Clause::Order => trial.order().await,
            Clause::Durability => trial.durability().await,
            Clause::Cancellation => trial.cancellation().await,
            Clause::Redelivery => trial.redelivery().await,
            Clause::Rejection => trial.rejection().await,
            Clause::PartialAcceptance => trial.partial_acceptance().await,
            Clause::BatchSizes => trial.batch_sizes().await,
            Clause::FieldValues => trial.field_values().await,
            Clause::Check => trial.check().await,
            Clause::Position => trial.position().await,
            Clause::Close => trial.close().await,
        }
    }
}

impl fmt::Debug for SinkContract {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SinkContract").field("max_events", &self.max_events).finish_non_exhaustive()
    }
}
