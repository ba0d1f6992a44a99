//! Pipeline without the server, in a program that records its own outcomes: one sink writes them to
//! a file, another one counts them as metrics.
//!
//! Run it with `cargo run -p examples --example embed`.

use std::time::Duration;

use observer_core::{Event, SinkConfig, SinkContext};
use observer_pipeline::{JournalOptions, Pipeline, SinkSpec};
use observer_sink_file::FileConfig;
use observer_sink_prometheus::PrometheusConfig;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // The program gathers this registry where it serves /metrics.
    let metrics = prometheus::Registry::new();
    let context = |name: &str| SinkContext::new(name, format!("observer-data/{name}"));
    let archive = FileConfig::new("observer-data/events.jsonl").build(&context("archive"))?;
    let counts = PrometheusConfig::new().build_with(&context("counts"), &metrics)?;

    let pipeline = Pipeline::builder()
        .journal(JournalOptions::new("observer-data/journal"))
        .sinks(SinkSpec::from_parts("archive", archive))
        .sinks(SinkSpec::from_parts("counts", counts))
        .start()
        .await?;
    let event =
        Event::parse(r#"{"source":"nightly","event_kind":"ok","ok":true,"duration_ms":1200}"#)?;
    println!("{} is on disk", pipeline.ingest(event).await?.id);
    pipeline.shutdown(Duration::from_secs(5)).await;
    Ok(())
}
