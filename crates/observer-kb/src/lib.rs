//! The knowledge base: a sink of events that can be queried.
//!
//! [`KbSink`] stores events and derives figures from them: attempts by problem, problems with their
//! states, sums by time. [`KbStore`] answers the questions of
//! [`EventStore`](observer_core::query::EventStore) from the same file.
//!
//! ```
//! use std::sync::Arc;
//!
//! use observer_core::query::{EventStore, SummaryRequest};
//! use observer_core::{Batch, Envelope, Event, EventSink, SinkContext, Timestamp, Uuid};
//! use observer_kb::{KbConfig, KbSink};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let folder = tempfile::tempdir()?;
//! let config = KbConfig::in_dir(folder.path().join("kb"));
//! let sink = KbSink::new(config, &SinkContext::new("kb", folder.path()))?;
//!
//! let event = Event::parse(concat!(
//!     r#"{"source":"bot","sig_hash":"9f2c","event_kind":"tests_failed","ok":false,"#,
//!     r#""staffer_id":"gpt-5","extra":{"error":"no such table: runs"}}"#,
//! ))?;
//! let envelope = Envelope { id: Uuid::now_v7(), seq: 1, received_at: Timestamp::now(), event };
//! sink.deliver(&Batch::new(1, vec![Arc::new(envelope)])).await?;
//! sink.flush().await?;
//!
//! let request = SummaryRequest {
//!     sig_hash: "9f2c".into(),
//!     max_chars: 1_000,
//!     ..SummaryRequest::default()
//! };
//! let summary = sink.store().summary(request).await?;
//! assert!(summary.text.starts_with("0 of 1 solved. gpt-5 failed"));
//! assert!(summary.text.contains("no such table: runs"));
//! # Ok(())
//! # }
//! ```
//!
//! # How it works
//!
//! One thread writes, and a few read. A batch is one transaction with its position inside, so that
//! a crash neither loses nor doubles a row. Figures are derived when the sink is flushed, about
//! once a second, from all events since; a query between two flushes sees those of the last one.
//! After many events they wait for up to three seconds, since the row of a problem that changes once
//! costs less than one that changes three times.
//!
//! A random page for each event would bound the rate. Everything that has a random key is therefore
//! collected, sorted, and written in order: the inverted index of events (`index`) and the attempts
//! by problem (`attempts`). What remains are the rows of problems, once for each flush, and sums.
//!
//! | module | content |
//! |---|---|
//! | `config`, `settings` | configuration, and the values that follow from it |
//! | `sink`, `rebuild` | ways in |
//! | `writer` | the thread that writes: batches, figures, corrections, upkeep |
//! | `reader` | the threads that read, and the answers to queries |
//! | `attempts`, `problems`, `rollup` | the stored figures, each with its form on disk |
//! | `index` | the inverted index of events |
//! | `outcome` | what figures need from an event |
//! | `schema` | tables, versions and connections; dictionaries |
//! | `error` | errors of the file |

mod attempts;
mod config;
mod error;
mod index;
mod outcome;
mod problems;
mod reader;
mod rebuild;
mod rollup;
mod schema;
mod settings;
mod sink;
mod writer;

pub use config::{KbConfig, StatesConfig};
pub use error::KbError;
pub use reader::KbStore;
pub use rebuild::{Rebuild, RebuildError};
pub use sink::KbSink;
