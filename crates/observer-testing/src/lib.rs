//! Test kit for sinks: the contract of [`EventSink`](observer_core::EventSink) as a suite, and
//! scripted receivers.
//!
//! - [`SinkContract`] verifies that a sink does what the pipeline relies on.
//! - [`http::HttpReceiver`] and [`otlp::OtlpReceiver`] are servers on a local port. They reply by a
//!   script and record each request, so that a test can produce every response that a sink meets.
//! - [`tls`] issues certificates for a receiver and for its clients.
//!
//! # Verification of a sink
//!
//! A test implements [`Destination`] and calls [`SinkContract::verify`]. The suite delivers
//! batches, cancels and repeats deliveries, and simulates crashes: it drops a sink without
//! `close`, and builds it again. Then it compares the contents of the destination with the events
//! that it sent. A [`Violation`] names the clause, the scenario, and the expected and the observed
//! result.
//!
//! ```
//! use std::sync::{Arc, Mutex};
//!
//! use async_trait::async_trait;
//! use observer_core::{Batch, EventSink, Receipt, SinkError};
//! use observer_testing::{Clause, Contents, Destination, SinkContract};
//!
//! /// Sink that appends lines to a log, which survives a crash of the sink.
//! struct LineSink(Arc<Mutex<String>>);
//!
//! #[async_trait]
//! impl EventSink for LineSink {
//!     async fn deliver(&self, batch: &Batch) -> Result<Receipt, SinkError> {
//!         let lines = batch.events().iter().map(|envelope| envelope.to_json() + "\n");
//!         self.0.lock().expect("no thread panics with the lock").extend(lines);
//!         Ok(Receipt::accepted())
//!     }
//!
//!     async fn flush(&self) -> Result<(), SinkError> {
//!         Ok(())
//!     }
//!
//!     async fn check(&self) -> Result<(), SinkError> {
//!         Ok(())
//!     }
//! }
//!
//! struct Log(Arc<Mutex<String>>);
//!
//! #[async_trait]
//! impl Destination for Log {
//!     fn sink(&self) -> Arc<dyn EventSink> {
//!         Arc::new(LineSink(Arc::clone(&self.0)))
//!     }
//!
//!     async fn contents(&self) -> Contents {
//!         Contents::from_lines(&self.0.lock().expect("no thread panics with the lock"))
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let report = SinkContract::new(|| Log(Arc::default())).verify().await;
//! let skipped: Vec<_> = report.skipped.iter().map(|(clause, _)| *clause).collect();
//! // The log rejects nothing and can't be made unavailable, and the sink keeps no position.
//! let expected =
//!     [Clause::Rejection, Clause::PartialAcceptance, Clause::Check, Clause::Position];
//! assert_eq!(skipped, expected);
//! # }
//! ```
//!
//! # Clauses
//!
//! | clause | scenario | requirement |
//! |---|---|---|
//! | order | batches of many sizes, with gaps | each event once, in order |
//! | durability | deliver, flush, crash | each event once, in order |
//! | cancellation | cancelled deliveries | no event missing; first appearances in order |
//! | redelivery | batches delivered again | no event missing; first appearances in order |
//! | rejection | a batch with an event that the destination rejects | that event alone is not stored |
//! | partial acceptance | a destination that fails within a batch | events named as accepted are stored |
//! | batch sizes | one event, the largest batch | each event once, in order |
//! | field values | extreme values | each event unchanged |
//! | check | available, unavailable, available | succeeds, fails, succeeds; stores no event |
//! | position | crashes, a new epoch | never ahead of the stored events; no duplicates |
//! | close | unused, flushed, cancelled | returns in time |
//!
//! [`Clause`] describes each clause.
//!
//! # How to add a destination
//!
//! 1. Add `observer-testing` as a dev-dependency.
//! 2. Implement [`Destination::sink`]. It builds the sink over the contents that are already there.
//! 3. Implement [`Destination::contents`]. A destination that stores the producer's JSON returns it
//!    in [`StoredEvent::raw`]. One that stores another form returns ids only, and one that stores
//!    aggregates returns [`Contents::Count`].
//! 4. Implement [`Destination::stores`] if the sink omits events.
//! 5. Implement [`Destination::make_unavailable`] and [`Destination::make_available`] if a test can
//!    do that: stop a receiver, put a file where a folder should be.
//! 6. Implement [`Destination::reject`] and [`Destination::fail_after`] if a test can do that.
//! 7. Assert [`Report::skipped`], so that a clause is never skipped unnoticed.
//!
//! A simulated crash is a dropped sink. Tests for files that a killed process left half-written
//! belong to the sink.
//!
//! # Scripted receivers
//!
//! A receiver takes a script of replies: a status, a slow or missing response, a connection that
//! is closed at a given point, a partial success, and so on. Tests wait for requests
//! ([`wait_for_requests`](http::HttpReceiver::wait_for_requests)) or hold a response back with a
//! [gate](http::Reply::gated); they never sleep.

mod contract;
mod delay;
pub mod http;
pub mod otlp;
mod port;
mod script;
pub mod tls;

pub use contract::{
    Clause, Contents, Destination, Outage, Report, SinkContract, StoredEvent, Violation, Violations,
};
