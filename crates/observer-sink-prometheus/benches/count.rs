//! Cost of counting an event: `cargo bench -p observer-sink-prometheus [RUNS.ndjson]`.
//!
//! The cost of reading the fields and the usage of the same events is reported too, for comparison
//! between machines. Sinks share what one of them has read.
#![expect(clippy::unwrap_used, reason = "in a benchmark, a panic is the message")]

use std::hint::black_box;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use observer_core::{Batch, Envelope, Event, EventSink, SinkContext, Timestamp, Uuid};
use observer_sink_prometheus::{PrometheusConfig, PrometheusSink};
use tokio::runtime::Runtime;

/// Allocator of the program.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const EVENTS: u64 = 1000;
const ROUNDS: u64 = 300;

fn main() {
    let path = std::env::args_os()
        .skip(1)
        .find(|arg| !arg.to_string_lossy().starts_with('-'))
        .map_or_else(
            || {
                PathBuf::from(env!("CARGO_MANIFEST_DIR"))
                    .join("../../tests/fixtures/agent-runs.ndjson")
            },
            PathBuf::from,
        );
    let runs = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<_> = runs.lines().cycle().take(EVENTS as usize).collect();
    let bytes: usize = lines.iter().map(|line| line.len()).sum();
    println!("{}: {} bytes an event, batches of {EVENTS}", path.display(), bytes / lines.len());

    let read_all = |batch: &Batch| {
        for envelope in batch {
            black_box((envelope.event.source(), envelope.event.usage()));
        }
    };
    let read = best(|round| {
        let batch = batch(&lines, round);
        let start = Instant::now();
        read_all(&batch);
        start.elapsed()
    });
    report("read fields and usage", read, read);

    let runtime = Runtime::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let context = SinkContext::new("metrics", folder.path().join("metrics"));
    let sink = PrometheusSink::new(PrometheusConfig::new(), &context).unwrap();
    let mut seq = 0;
    for (what, is_read) in [("read and count", false), ("count what is read", true)] {
        let counted = best(|round| {
            let batch = batch(&lines, seq + round);
            if is_read {
                read_all(&batch);
            }
            let start = Instant::now();
            runtime.block_on(sink.deliver(&batch)).unwrap();
            start.elapsed()
        });
        seq += ROUNDS;
        report(what, counted, read);
    }
    let flushed = best(|round| {
        runtime.block_on(sink.deliver(&batch(&lines, seq + round))).unwrap();
        let start = Instant::now();
        runtime.block_on(sink.flush()).unwrap();
        start.elapsed()
    });
    println!("{:<24} {:>6.0} µs, once a second", "flush", flushed.as_secs_f64() * 1e6);
}

/// Returns events as the journal returns them, without parsed fields.
fn batch(lines: &[&str], round: u64) -> Batch {
    let envelope = |(seq, line): (u64, &&str)| {
        Arc::new(Envelope {
            id: Uuid::from_u128(seq.into()),
            seq: round * EVENTS + seq,
            received_at: Timestamp::from_second(1_767_225_600).unwrap(),
            event: Event::from_parsed(line.as_bytes().to_vec().into()),
        })
    };
    Batch::new(1, (1..).zip(lines).map(envelope).collect())
}

/// Returns the shortest time of several rounds.
fn best(work: impl FnMut(u64) -> Duration) -> Duration {
    (0..ROUNDS).map(work).min().unwrap()
}

fn report(what: &str, batch: Duration, read: Duration) {
    let ratio = batch.as_secs_f64() / read.as_secs_f64();
    let event = batch.as_secs_f64() * 1e9 / EVENTS as f64;
    println!("{what:<24} {event:>6.0} ns an event, {ratio:>5.2} times the reading");
}
