//! Cost of parsing an event, of reading its usage and of redacting it:
//! `cargo bench -p observer-core [RUNS.ndjson]`.
//!
//! The cost of copying the same bytes is reported too, for comparison between machines.
#![expect(clippy::unwrap_used, reason = "in a benchmark, a panic is the message")]

use std::hint::black_box;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use observer_core::redact::Redactor;
use observer_core::{Event, ParseOptions, Submission};

const ROUNDS: u32 = 15;

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
    let lines: Vec<_> = runs.lines().collect();
    println!("{}: {} bytes an event", path.display(), runs.len() / lines.len());

    let copied = best(&lines, |line| {
        black_box(line.as_bytes().to_vec());
    });
    let parsed = best(&lines, |line| {
        black_box(Event::parse(line.as_bytes().to_vec()).unwrap());
    });
    let options = ParseOptions { redactor: Some(Redactor::default()), ..ParseOptions::default() };
    let submitted = best(&lines, |line| {
        black_box(Submission::parse(line.as_bytes().to_vec()).unwrap());
    });
    let redacted = best(&lines, |line| {
        black_box(Submission::parse_with(line.as_bytes().to_vec(), &options).unwrap());
    });
    let read = best(&lines, |line| {
        black_box(Event::parse(line.as_bytes().to_vec()).unwrap().usage());
    });
    for (what, time) in [
        ("copy the bytes", copied),
        ("parse", parsed),
        ("parse and read the usage", read),
        ("read the usage", read.saturating_sub(parsed)),
        ("parse a submission", submitted),
        ("parse and redact it", redacted),
        ("redact it", redacted.saturating_sub(submitted)),
    ] {
        let nanos = time.as_secs_f64() * 1e9 / lines.len() as f64;
        let ratio = time.as_secs_f64() / copied.as_secs_f64();
        println!("{what:<24} {nanos:>6.0} ns an event, {ratio:>5.1} times the copy");
    }
}

/// Returns the shortest time of several rounds over all lines.
fn best(lines: &[&str], work: impl Fn(&str)) -> Duration {
    let round = |_| {
        let start = Instant::now();
        for _ in 0..10 {
            lines.iter().for_each(|line| work(line));
        }
        start.elapsed() / 10
    };
    (0..ROUNDS).map(round).min().unwrap()
}
