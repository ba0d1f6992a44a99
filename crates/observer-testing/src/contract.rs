//! The contract of [`EventSink`](observer_core::EventSink) as a suite.

mod breach;
mod compare;
mod delivery;
mod driver;
mod events;
mod far_side;
mod life;

use std::fmt;
use std::time::Duration;

pub use self::breach::{Breach, Breaches, Clause, Passed};
use self::breach::{Broken, Tried};
use self::driver::Driver;
pub use self::far_side::{Breakage, FarSide, Held, HeldEvent};

/// The contract that every sink keeps, to be held against one.
///
/// See the [crate's documentation](crate) for an example.
pub struct SinkContract {
    far_side: Box<dyn Fn() -> Box<dyn FarSide> + Send + Sync>,
    max_events: usize,
    largest_event: usize,
    limit: Duration,
}

impl SinkContract {
    /// The contract for the sinks of such far sides. Each clause makes a new one.
    #[must_use]
    pub fn new<F: FarSide + 'static>(far_side: impl Fn() -> F + Send + Sync + 'static) -> Self {
        Self {
            far_side: Box::new(move || Box::new(far_side())),
            max_events: 1_000,
            largest_event: 1 << 20,
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
    pub fn largest_event(self, bytes: usize) -> Self {
        Self { largest_event: bytes, ..self }
    }

    /// How long each call of the sink may take: 20 s.
    #[must_use]
    pub fn within(self, limit: Duration) -> Self {
        Self { limit, ..self }
    }

    /// Hold the contract against the sink.
    ///
    /// # Errors
    /// What it breaks, each clause with what was expected and what was found.
    pub async fn verify(&self) -> Result<Passed, Breaches> {
        let (mut breaches, mut left_out) = (Vec::new(), Vec::new());
        for clause in Clause::ALL {
            match self.try_clause(clause).await {
                Ok(Tried::Whole) => {}
                Ok(Tried::LeftOut(reason)) => left_out.push((clause, reason)),
                Err(Broken { when, expected, found }) => {
                    breaches.push(Breach { clause, when, expected, found })
                }
            }
        }
        if breaches.is_empty() { Ok(Passed { left_out }) } else { Err(Breaches(breaches)) }
    }

    /// As [`verify`](Self::verify), for tests.
    ///
    /// # Panics
    /// With all that the sink breaks.
    pub async fn hold(&self) -> Passed {
        self.verify().await.unwrap_or_else(|breaches| panic!("{breaches}"))
    }

    async fn try_clause(&self, clause: Clause) -> Result<Tried, Broken> {
        let trial = Trial { far_side: (self.far_side)(), contract: self };
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
    far_side: Box<dyn FarSide>,
    contract: &'a SinkContract,
}

impl Trial<'_> {
    /// A sink over what is there.
    fn sink(&self) -> Driver {
        Driver::new(self.far_side.sink(), self.contract.limit)
    }

    /// What is there once the sink is gone, without a word of farewell.
    async fn held_after(&self, sink: Driver) -> Held {
        drop(sink);
        self.far_side.held().await
    }
}
