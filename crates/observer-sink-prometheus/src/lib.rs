//! A sink that counts events and exports the counts as Prometheus metrics.
//!
//! - `observer_events_total{source, event_kind, ok}`: counter of outcomes.
//! - `observer_phases_total{source, event_kind}`: counter of events that report the progress of a
//!   cycle. They count in no other metric; the time of the last event includes them.
//! - `observer_corrections_total{source}`: counter of outcomes with a `replaces`. They count in no
//!   other metric.
//! - `observer_cycle_duration_seconds{source, model}`: histogram of `duration_ms`, from 100 ms to
//!   2 h.
//! - `observer_model_cycles_total{source, model, ok}`: counter of outcomes with a `staffer_id`.
//! - `observer_model_calls_total{source, model}`: counter, the sum of `turns`.
//! - `observer_input_tokens_total{source, model, ok}`, and likewise `cached_input`,
//!   `cache_creation_input`, `output` and `reasoning`: counters of tokens. Input includes both
//!   kinds of cached input, and output includes reasoning.
//! - `observer_cost_usd_total{source, model, ok, basis}`: counter of the cost, by its basis:
//!   `reported` or `priced`, see [`Cost`](observer_core::Cost).
//! - `observer_unpriced_events_total{model}`: counter of outcomes with tokens but no cost.
//! - `observer_unread_usage_events_total{source}`: counter of outcomes with
//!   [unread usage](observer_core::Event::unread_usage).
//! - `observer_last_event_timestamp_seconds{source}`: gauge, by the observer's clock; absent before
//!   the first event.
//! - `observer_label_overflow_total{label}`: counter of events with a label value that has no
//!   series of its own.
//!
//! Calls, durations, tokens and cost of events without a model are counted under `model="unknown"`.
//!
//! **Bounded cardinality.** Label values come from producers. Each label therefore holds a limited
//! number of them, and so do the pairs of a source with an event kind or a model ([`Limits`]).
//! Further values are counted under `other`, and each such event in
//! `observer_label_overflow_total`. A burst of values takes at most half of a limit; the other half
//! is for values that recur in another hour, which replace idle ones in the end. A producer's own
//! value `other` belongs to the same series but is not an overflow. Hashes and cycle ids are never
//! labels.
//!
//! **Counters survive restarts.** Each flush writes the counts together with their position in the
//! journal, atomically. The next process continues from there: events that were delivered after
//! the last flush are delivered again and counted once. A scrape shows the flushed state, so a
//! counter never decreases, even after a kill. A snapshot that can't be read is renamed to
//! `metrics.snapshot.corrupt` with a warning, and counting starts from zero; a snapshot of a newer
//! version blocks the sink. The sink rejects replays, whose events lie before its position.
//!
//! **Zero values.** `rate` and `increase` only see a rise between two scrapes, so they miss the
//! first event of a new series. Series of the values in [`Known`] are exported as zero from the
//! start.
//!
//! ```
//! use std::sync::Arc;
//!
//! use observer_core::{Batch, Envelope, Event, EventSink, SinkContext, Timestamp, Uuid};
//! use observer_sink_prometheus::{PrometheusConfig, PrometheusSink};
//! use prometheus::TextEncoder;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let folder = folder.path().join("sinks/metrics");
//! let context = SinkContext::new("metrics", folder);
//! let config = PrometheusConfig::new()
//!     .with_known_sources(["bot"])
//!     .with_known_event_kinds(["ok", "tests_failed"]);
//! let sink = PrometheusSink::new(config, &context)?;
//!
//! let event = Event::parse(
//!     r#"{"source":"bot","event_kind":"ok","ok":true,"staffer_id":"gpt-5","turns":3}"#,
//! )?;
//! let envelope = Envelope { id: Uuid::nil(), seq: 1, received_at: Timestamp::now(), event };
//! sink.deliver(&Batch::new(1, vec![Arc::new(envelope)])).await?;
//! sink.flush().await?;
//!
//! let registry = sink.registry().clone();
//! let gather = move || TextEncoder::new().encode_to_string(&registry.gather());
//! let text = tokio::task::spawn_blocking(gather).await??;
//! for sample in [
//!     r#"observer_events_total{source="bot",event_kind="ok",ok="true"} 1"#,
//!     r#"observer_events_total{source="bot",event_kind="tests_failed",ok="false"} 0"#,
//!     r#"observer_model_calls_total{source="bot",model="gpt-5"} 3"#,
//! ] {
//!     assert!(text.contains(sample));
//! }
//! # Ok(())
//! # }
//! ```
//!
//! A program that serves all of its metrics from one registry builds the sink with
//! [`PrometheusConfig::build_with`].
//!
//! # Modules
//!
//! - `config` parses and checks the configuration.
//! - `sink` implements the sink on top of a `store`.
//! - `store` holds the state in memory and its snapshot on disk.
//! - `aggregate` counts events; it does not depend on files or metric names.
//! - `exposition` defines the metrics; `collector` registers them.

mod aggregate;
mod collector;
mod config;
mod exposition;
mod sink;
mod store;
mod sync;
#[cfg(test)]
mod testing;

pub use config::{Known, LabelSettings, Limits, PrometheusConfig};
pub use sink::PrometheusSink;
