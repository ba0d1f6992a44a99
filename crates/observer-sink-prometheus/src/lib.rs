//! Event metrics for Prometheus to scrape: a sink that counts.
//!
//! | metric | labels | |
//! |---|---|---|
//! | `observer_events_total` | `source`, `event_kind`, `ok` | counter |
//! | `observer_cycle_duration_seconds` | `source` | histogram from 1 s to 2 h, of the events with `duration_ms` |
//! | `observer_last_event_timestamp_seconds` | `source` | gauge, by the observer's clock; not there before the first event |
//! | `observer_model_cycles_total` | `model`, `ok` | counter, of the events with a `staffer_id` |
//! | `observer_model_calls_total` | `model` | counter, the sum of `turns` |
//! | `observer_input_tokens_total`, `observer_output_tokens_total` | `model` | counters; cached input is part of the input |
//! | `observer_cached_input_tokens_total` | `model` | counter |
//! | `observer_cost_usd_total` | `model` | counter, what producers report as `cost_usd` and nothing else |
//! | `observer_unpriced_events_total` | | counter, events with tokens and without a cost |
//! | `observer_label_overflow_total` | `label` | counter, events with a label value that found no room |
//!
//! Calls, tokens and cost of events that name no model are counted under `model="unknown"`.
//!
//! **Label values come from producers**, so each label holds a limited number of them, and so does
//! the product of sources and event kinds ([`Limits`]). What comes later is counted under `other`,
//! and each such event in `observer_label_overflow_total`. A producer's own `other` is the same
//! series, without being an overflow. Hashes and ids of cycles are never labels.
//!
//! **Restarts don't reset anything.** Each flush writes the counts together with their position in
//! the journal, atomically; the next process goes on from there, and what was delivered after the
//! last flush is read again and counted once. A scrape sees the flushed state, so a counter never
//! goes back, whatever is killed. A snapshot that can't be read is moved aside
//! (`metrics.snapshot.corrupt`) with a warning, and counting starts from zero. A replay of the past
//! changes nothing: it lies before the position.
//!
//! **Zero first.** `rate` and `increase` see only what rises between two scrapes, so the first
//! event of a new series is lost on them. Name in [`Known`] what will come.
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
//! let context = SinkContext { name: "metrics".to_owned(), state_dir: folder };
//! let config = PrometheusConfig::new().with_known_sources(["bot"]).with_known_event_kinds(["ok", "tests_failed"]);
//! let sink = PrometheusSink::new(config, &context)?;
//!
//! let event = Event::parse(r#"{"source":"bot","event_kind":"ok","ok":true,"staffer_id":"gpt-5","turns":3}"#)?;
//! let envelope = Envelope { id: Uuid::nil(), seq: 1, received_at: Timestamp::now(), event };
//! sink.deliver(&Batch::new(1, vec![Arc::new(envelope)])).await?;
//! sink.flush().await?;
//!
//! let registry = sink.registry().clone();
//! let text = tokio::task::spawn_blocking(move || TextEncoder::new().encode_to_string(&registry.gather())).await??;
//! assert!(text.contains(r#"observer_events_total{source="bot",event_kind="ok",ok="true"} 1"#));
//! assert!(text.contains(r#"observer_events_total{source="bot",event_kind="tests_failed",ok="false"} 0"#));
//! assert!(text.contains(r#"observer_model_calls_total{model="gpt-5"} 3"#));
//! # Ok(())
//! # }
//! ```
//!
//! A program that serves all of its metrics from one registry builds with
//! [`PrometheusConfig::build_with`].

mod aggregate;
mod collector;
mod config;
mod exposition;
mod sink;
mod store;
#[cfg(test)]
mod testing;

pub use config::{Known, Limits, PrometheusConfig};
pub use sink::PrometheusSink;
