//! Event pipeline: ingest into a durable journal, and one worker per sink.
//!
//! A [`Pipeline`] gives each event its [identity], makes it durable in the journal, and then
//! acknowledges it. One worker per sink reads the journal from that sink's position on. It filters,
//! collects batches, delivers them, retries, parks the sink, writes dead letters, flushes, and
//! commits the position. An acknowledgement never waits for a sink, nor does one sink for another.
//!
//! The modules, in the order in which an event passes them:
//!
//! - `ingest`: requirements, identity, deduplication, and the append to the journal.
//! - `event_log`: the journal as a log of events, the tail cache, and reading from either.
//! - `worker`: batches, deliveries, retries, flushes and commits of one sink.
//! - `dead_letters`: the store of rejected events, and their redelivery.
//! - `replay`: delivery of retained events once more.
//! - `pipeline`: the handle over all of these, and the status.
//!
//! A pipeline needs a tokio runtime, and no server:
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use async_trait::async_trait;
//! use observer_core::{Batch, Event, EventSink, Receipt, SinkError};
//! use observer_pipeline::{Pipeline, SinkSpec};
//!
//! struct Print;
//!
//! #[async_trait]
//! impl EventSink for Print {
//!     async fn deliver(&self, batch: &Batch) -> Result<Receipt, SinkError> {
//!         batch.events().iter().for_each(|envelope| println!("{}", envelope.to_json()));
//!         Ok(Receipt::accepted())
//!     }
//!     async fn flush(&self) -> Result<(), SinkError> {
//!         Ok(())
//!     }
//!     async fn check(&self) -> Result<(), SinkError> {
//!         Ok(())
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let pipeline = Pipeline::builder().sink(SinkSpec::new("print", Arc::new(Print))).start().await?;
//! let event = Event::parse(r#"{"source":"job","event_kind":"ok","ok":true}"#)?;
//! let ack = pipeline.ingest(event).await?;
//! println!("{} is durable", ack.id);
//! pipeline.shutdown(Duration::from_secs(10)).await;
//! # Ok(())
//! # }
//! ```

mod account;
mod blocking;
mod dead_letters;
mod error;
mod event_log;
mod follow;
mod ingest;
mod lock;
mod pipeline;
mod replay;
mod spans;
mod spec;
mod status;
#[cfg(test)]
mod testing;
mod worker;

pub use account::Account;
pub use dead_letters::divert::Diversion;
pub use dead_letters::handle::{
    DeadLetterCursor, DeadLetterError, DeadLetterPage, DeadLetterSelection, InvalidCursor,
    Redelivery,
};
pub use dead_letters::index::DeadLetter;
pub use error::{Failure, Unavailable};
pub use follow::{Followed, Follower, GapReason, UnknownPosition};
pub use ingest::identity;
pub use ingest::principal::Principal;
pub use ingest::reject::RejectReason;
pub use ingest::require::{MissingFields, Requirements};
pub use ingest::window::DedupWindow;
pub use ingest::{Ack, AckStatus, IngestError, IngestOptions};
pub use observer_core::FieldWarning;
pub use observer_journal::{
    AppendError, Durability, DurationsSnapshot, Hold, JournalStatus, Options as JournalOptions,
    Recovery, Runner, fs,
};
pub use pipeline::standing::{EventState, Standing};
pub use pipeline::{
    AddSinkError, AdoptError, ForgetSinkError, Pipeline, PipelineBuilder, StartError,
    verify_versions,
};
pub use replay::handle::ReplayError;
pub use replay::state::{ReplaySelection, ReplayState, ReplayStatus, is_replay_reader};
pub use spans::SPAN_TARGET;
pub use spec::SinkSpec;
pub use status::{IngestStatus, PrincipalStatus, SinkState, SinkStatus, Status};
pub use worker::attempt::Outcome;
