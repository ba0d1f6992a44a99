//! The contract of [`EventSink`](observer_core::EventSink) as a suite.

mod compare;
mod delivery;
mod destination;
mod driver;
mod events;
mod lifecycle;
mod violation;

use std::fmt;
use std::time::Duration;

pub use self::destination::{Contents, Destination, Outage, StoredEvent};
use self::driver::Driver;
use self::violation::{Broken, Tried};
pub use self::violation::{Clause, Report, Violation, Violations};

/// The contract that every sink keeps, to be held against one.
///
/// See the [crate's documentation](crate) for an example.
pub struct SinkContract {
    destination: Box<dyn Fn() -> Box<dyn Destination> + Send + Sync>,
    max_events: usize,
    max_event_bytes: usize,
    limit: Duration,
}

impl SinkContract {
    /// The contract for the sinks of such far sides. Each clause makes a new one.
    #[must_use]
    pub fn new<F: Destination + 'static>(
        destination: impl Fn() -> F + Send + Sync + 'static,
    ) -> Self {
        Self {
            destination: Box::new(move || Box::new(destination())),
            max_events: 1_000,
            max_event_bytes: 1 << 20,
            limit: Duration::from_secs(20),
        }
    }

    /// How many events the largest batch has: 1,000, as the pipeline has it where the sink's type
    /// says nothing.
    #[must_use]
    pub fn max_events(self, max_events: usize) -> Self {
        Self { max_events, ..self }
    }

    /// About how many bytes the largest event has: 1 MiB, as the server takes it.
    #[must_use]
    pub fn max_event_bytes(self, bytes: usize) -> Self {
        Self { max_event_bytes: bytes, ..self }
    }

    /// How long each call of the sink may take: 20 s.
    #[must_use]
    pub fn call_timeout(self, limit: Duration) -> Self {
        Self { limit, ..self }
    }

    /// Hold the contract against the sink.
    ///
    /// # Errors
    /// What it breaks, each clause with what was expected and what was found.
    pub async fn try_verify(&self) -> Result<Report, Violations> {
        let (mut violations, mut skipped) = (Vec::new(), Vec::new());
        for clause in Clause::ALL {
            match self.try_clause(clause).await {
                Ok(Tried::Whole) => {}
                Ok(Tried::LeftOut(reason)) => skipped.push((clause, reason)),
                Err(Broken { when, expected, found }) => {
                    violations.push(Violation { clause, when, expected, found })
                }
            }
        }
        if violations.is_empty() { Ok(Report { skipped }) } else { Err(Violations(violations)) }
    }

    /// As [`verify`](Self::verify), for tests.
    ///
    /// # Panics
    /// With all that the sink breaks.
    pub async fn verify(&self) -> Report {
        self.try_verify().await.unwrap_or_else(|violations| panic!("{violations}"))
    }

    async fn try_clause(&self, clause: Clause) -> Result<Tried, Broken> {
        let trial = Trial { destination: (self.destination)(), contract: self };
        match clause {
            Clause::Order => trial.order().await,
            Clause::Durable => trial.durable().await,
            Clause::Cancelled => trial.cancelled().await,
            Clause::Repeated => trial.repeated().await,
            Clause::Sizes => trial.sizes().await,
            Clause::Fields => trial.fields().await,
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

/// One clause, with a far side of its own.
struct Trial<'a> {
    destination: Box<dyn Destination>,
    contract: &'a SinkContract,
}

impl Trial<'_> {
    /// A sink over what is there.
    fn sink(&self) -> Driver {
        Driver::new(self.destination.sink(), self.contract.limit)
    }

    /// What is there once the sink is gone, without a word of farewell.
    async fn held_after(&self, sink: Driver) -> Contents {
        drop(sink);
        self.destination.contents().await
    }
}
