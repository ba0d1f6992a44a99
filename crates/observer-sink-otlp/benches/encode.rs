//! Cost of encoding an event as OTLP: `cargo bench -p observer-sink-otlp [RUNS.ndjson]`.
//!
//! The cost of copying the same bytes is reported too, for comparison between machines.
#![expect(clippy::unwrap_used, reason = "in a benchmark, a panic is the message")]

use std::hint::black_box;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use observer_core::{Batch, Envelope, Event, Timestamp, Uuid};
use observer_sink_otlp::{Encoder, Signal};

/// Allocator of the program.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const ROUNDS: u32 = 7;

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
    let lines: Vec<_> = runs.lines().cycle().take(1000).collect();
    let bytes: usize = lines.iter().map(|line| line.len()).sum();
    println!(
        "{}: {} bytes an event, batches of {}",
        path.display(),
        bytes / lines.len(),
        lines.len()
    );

    let encoder = Encoder::new([("service.name", "agents")]);
    let copied =
        best(|| lines.iter().map(|line| line.as_bytes().to_vec()).collect::<Vec<_>>().len());
    report("copy the bytes", copied, copied, None);
    for signal in [Signal::Logs, Signal::Traces] {
        let encoded = best(|| encoder.encode(signal, &batch(&lines)).bytes.len());
        report(
            &format!("parse and encode as {signal}"),
            encoded,
            copied,
            Some(encoder.encode(signal, &batch(&lines)).bytes.len()),
        );
        let message = encoder.encode(signal, &batch(&lines)).bytes;
        let compressed = best(|| gzip(&message));
        report(&format!("gzip {signal}"), compressed, copied, Some(gzip(&message)));
    }
}

/// Returns events as the journal returns them, without parsed fields.
fn batch(lines: &[&str]) -> Batch {
    let envelope = |(seq, line): (u64, &&str)| {
        Arc::new(Envelope {
            id: Uuid::from_u128(seq.into()),
            seq,
            received_at: Timestamp::from_second(1_767_225_600).unwrap(),
            event: Event::from_parsed(line.as_bytes().to_vec().into()),
        })
    };
    Batch::new(1, (1..).zip(lines).map(envelope).collect())
}

fn gzip(message: &[u8]) -> usize {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(message).unwrap();
    gzip.finish().unwrap().len()
}

/// Returns the shortest time of several rounds for one batch.
fn best(mut work: impl FnMut() -> usize) -> Duration {
    let round = |_| {
        let start = Instant::now();
        for _ in 0..20 {
            black_box(work());
        }
        start.elapsed() / 20
    };
    (0..ROUNDS).map(round).min().unwrap()
}

fn report(what: &str, batch: Duration, copied: Duration, bytes: Option<usize>) {
    let ratio = batch.as_secs_f64() / copied.as_secs_f64();
    let bytes = bytes.map(|bytes| format!(", {} bytes an event", bytes / 1000)).unwrap_or_default();
    println!(
        "{what:<24} {:>6.2} µs an event, {ratio:>5.1} times the copy{bytes}",
        batch.as_secs_f64() * 1e3
    );
}
