//! Types that every part of the observer shares: events, and the contract of sinks.
//!
//! A cycle of an agent, a bot or a job ends in an [`Event`], its outcome. The observer gives it an
//! identity, makes it durable, and delivers it to every [`EventSink`] in a [`Batch`] of
//! [`Envelope`]s. This crate does not depend on a runtime, on HTTP or on a file format. It is all
//! that the crate of a sink needs.
//!
//! ```
//! use observer_core::Event;
//!
//! let event = Event::parse(
//!     r#"{
//!         "source": "bot", "cycle_id": "c-17", "sig_hash": "9f2c",
//!         "event_kind": "tests_failed", "ok": false, "staffer_id": "gpt-oss:120b",
//!         "extra": { "usage": { "prompt_eval_count": 1200, "eval_count": 300 } }
//!     }"#,
//! )?;
//! assert_eq!(event.event_kind(), "tests_failed");
//! assert_eq!(event.usage().map(|usage| usage.input), Some(1200));
//! # Ok::<(), observer_core::EventError>(())
//! ```
//!
//! | module | content |
//! |---|---|
//! | `event` | [`Event`] and its parser; [`Field`], the table of fields; [`Phases`] |
//! | `usage`, `trace_context` | the parts of an event that have a structure of their own |
//! | `pricing` | [`Cost`] of an event, and the contract of price tables |
//! | `filter` | selection of events |
//! | `envelope`, `position` | accepted events, and positions in the journal |
//! | `sink` | [`EventSink`], the contract of sinks; start here to write one |
//! | [`query`] | [`EventStore`](query::EventStore), the contract of stores that can be queried |
//! | `config`, `units` | [`SinkConfig`], the configuration of a type of sink |
//! | [`sink_name`] | names of sinks and their parts |
//! | `state_file` | a small durable file for the state of a sink |
//! | [`private_files`] | files and folders that only the user of the process can access |
//! | [`suggest`] | the nearest known name, for messages about an unknown one |
//! | `scan` | a fast scanner for JSON objects |
//! | `scalar` | JSON strings and numbers |

mod config;
mod envelope;
mod event;
mod filter;
mod folder;
mod position;
mod pricing;
pub mod private_files;
pub mod query;
mod scalar;
mod scan;
mod sink;
pub mod sink_name;
mod state_file;
pub mod suggest;
mod trace_context;
pub mod units;
mod usage;

pub use config::{
    BatchSettings, BuildError, Evidence, RetrySettings, SinkConfig, SinkContext, SinkPart,
    SinkSettings, Start,
};
pub use envelope::{Batch, Envelope, EnvelopeError};
pub use event::{Event, EventError, Field, FieldWarning, ParseOptions, Phases, Submission};
pub use filter::{AnyOf, Filter, Range};
pub use folder::{FolderError, verify_writable};
pub use jiff::Timestamp;
pub use observer_redact as redact;
pub use position::Position;
pub use pricing::{
    CONTEXT_THRESHOLDS, Cost, NoPrices, Pricing, RateQuery, Rates, ServiceTier, context_bucket,
};
pub use scan::MAX_DEPTH;
pub use sink::{Adopted, ErrorKind, EventSink, Receipt, Refused, Rejected, SinkError, report};
pub use state_file::StateFile;
pub use trace_context::Traceparent;
pub use usage::Usage;
pub use uuid::Uuid;
