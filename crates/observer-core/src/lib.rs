//! The vocabulary of the observer: events, sinks, and what they say to each other.
//!
//! A cycle of an agent, a bot or a job ends in an [`Event`]. The observer makes it durable, puts it
//! into an [`Envelope`] with its identity, and hands [`Batch`]es of them to every [`EventSink`].
//! This crate knows no runtime, no HTTP and no file format: it is all that a sink crate needs.
//!
//! ```
//! use observer_core::{Filter, Submission};
//!
//! let submission = Submission::parse(
//!     r#"{"source":"bot","cycle_id":"c-17","sig_hash":"9f2c","event_kind":"tests_failed","ok":false,
//!         "staffer_id":"gpt-oss:120b","extra":{"usage":{"prompt_eval_count":1200,"eval_count":300}}}"#,
//! )?;
//! let event = submission.event;
//! assert_eq!(event.event_kind(), "tests_failed");
//! assert_eq!(event.usage().map(|usage| usage.input), Some(1200));
//! # Ok::<(), observer_core::EventError>(())
//! ```

mod config;
mod envelope;
mod event;
mod filter;
mod position;
mod scan;
mod sink;
pub mod sink_name;
mod state_file;
mod trace_context;
pub mod units;
mod usage;

pub use config::{
    BatchSettings, BuildError, RetrySettings, SinkConfig, SinkContext, SinkPart, SinkSettings,
    Start,
};
pub use envelope::{Batch, Envelope};
pub use event::{Event, EventError, Field, Submission};
pub use filter::{AnyOf, Filter};
pub use jiff::Timestamp;
pub use position::Position;
pub use scan::MAX_DEPTH;
pub use sink::{ErrorKind, EventSink, Receipt, Refused, Rejected, SinkError, report};
pub use state_file::StateFile;
pub use trace_context::Traceparent;
pub use usage::Usage;
pub use uuid::Uuid;
