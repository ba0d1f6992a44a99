//! Cost of the filters and of a redaction: `cargo bench -p observer-redact [RUNS.ndjson]`.
//!
//! The cost of copying the same bytes is reported too, for comparison between machines.
#![expect(clippy::unwrap_used, reason = "in a benchmark, a panic is the message")]

use std::hint::black_box;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use observer_redact::Redactor;

const ROUNDS: u32 = 25;

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
    let redactor = Redactor::default();
    let keys: Vec<Vec<_>> = lines.iter().map(|line| keys(line)).collect();
    println!("keys an event: {}", keys.iter().map(Vec::len).sum::<usize>() / lines.len());
    let passed = lines.iter().filter(|line| redactor.may_match(line)).count();
    println!("events that pass the filter of prefixes: {passed} of {}", lines.len());

    let report = |what: &str, work: &dyn Fn(usize)| {
        let time = best(lines.len(), work);
        println!("{what:<28} {:>6.0} ns an event", time.as_secs_f64() * 1e9 / lines.len() as f64);
    };
    report("copy the bytes", &|at| {
        black_box(lines[at].as_bytes().to_vec());
    });
    report("filter of prefixes", &|at| {
        black_box(redactor.may_match(lines[at]));
    });
    report("filter of keys", &|at| {
        let filter = redactor.key_filter();
        black_box(keys[at].iter().filter(|key| filter.may_be_secret(key)).count());
    });
    report("search for secrets", &|at| {
        black_box(redactor.redact(lines[at], |_| Some(())));
    });
}

/// Returns the strings before colons.
fn keys(json: &str) -> Vec<&[u8]> {
    let parts: Vec<_> = json.split('"').collect();
    let pairs = parts.windows(2).skip(1).step_by(2);
    pairs.filter(|pair| pair[1].starts_with(':')).map(|pair| pair[0].as_bytes()).collect()
}

/// Returns the shortest time of several rounds over all events.
fn best(events: usize, work: &dyn Fn(usize)) -> Duration {
    let round = |_| {
        let start = Instant::now();
        for _ in 0..10 {
            (0..events).for_each(work);
        }
        start.elapsed() / 10
    };
    (0..ROUNDS).map(round).min().unwrap()
}
