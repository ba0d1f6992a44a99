//! What the tests of a sink need: its contract as a suite, and receivers that do as they are told.
//!
//! **The contract.** [`SinkContract`] holds any [`EventSink`](observer_core::EventSink) against
//! what the pipeline counts on ([`Clause`] lists it). A test says how the sink is built, what its
//! far side holds and, where it can, how the far side is broken; the suite delivers, drops
//! deliveries half-way, repeats them and drops whole sinks. A violation names the clause, what was
//! done, what was expected and what was there.
//!
//! ```
//! use std::sync::{Arc, Mutex};
//!
//! use async_trait::async_trait;
//! use observer_core::{Batch, EventSink, Receipt, SinkError};
//! use observer_testing::{Clause, Destination, Contents, SinkContract};
//!
//! /// A sink that prints; here on paper that is there after a crash.
//! struct Printer(Arc<Mutex<String>>);
//!
//! #[async_trait]
//! impl EventSink for Printer {
//!     async fn deliver(&self, batch: &Batch) -> Result<Receipt, SinkError> {
//!         let lines: String = batch.events().iter().map(|envelope| envelope.to_json() + "\n").collect();
//!         self.0.lock().expect("no one panics while printing").push_str(&lines);
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
//! struct Paper(Arc<Mutex<String>>);
//!
//! #[async_trait]
//! impl Destination for Paper {
//!     fn sink(&self) -> Arc<dyn EventSink> {
//!         Arc::new(Printer(Arc::clone(&self.0)))
//!     }
//!
//!     async fn contents(&self) -> Contents {
//!         Contents::from_lines(&self.0.lock().expect("no one panics while printing"))
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let report = SinkContract::new(|| Paper(Arc::default())).verify().await;
//! let skipped: Vec<_> = report.skipped.iter().map(|(clause, _)| *clause).collect();
//! assert_eq!(skipped, [Clause::Check, Clause::Position]); // paper can't be broken, and has no position
//! # }
//! ```
//!
//! **Receivers.** [`http::HttpReceiver`] listens on a port of its own, answers by a script (slow,
//! cut off, 429, partial success, …) and keeps every request; [`otlp::OtlpReceiver`] does the same
//! for OTLP, over gRPC and HTTP. Tests wait for requests, never for time.

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
