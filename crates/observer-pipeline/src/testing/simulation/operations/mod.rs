//! Simulation of operators: replays, redelivery, diversions and retries, beside destinations that
//! refuse some events always, or everything for a while.
//!
//! A script is drawn from a seed: what producers send, how the destinations change, what operators
//! do, and when the power is cut, the process killed, or a file operation failed. It ends with
//! healthy destinations. The [`oracle`] knows nothing of the pipeline but its promises: it compares
//! the dead letters on disk and the status with the [`history`] of each destination.
//!
//! `OBSERVER_SIM_RUNS=2000` runs more scripts, `OBSERVER_SIM_RUN=7` a single one.

mod destination;
mod history;
mod oracle;
mod script;
mod world;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use self::world::{Coverage, run};
use super::variable;

const RUNS: u64 = 60;

/// Prints how to repeat a run that failed.
struct Repeat(u64);

impl Drop for Repeat {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "repeat the run with: OBSERVER_SIM_RUN={} cargo test -p observer-pipeline \
                 operations",
                self.0
            );
        }
    }
}

fn run_once(seed: u64) -> (Coverage, Vec<String>) {
    let _repeat = Repeat(seed);
    run(seed)
}

#[test]
fn every_event_has_one_result_despite_operators_and_faults() {
    if let Some(seed) = variable("OBSERVER_SIM_RUN") {
        let (coverage, transcript) = run_once(seed);
        println!("{}\n{coverage:?}", transcript.join("\n"));
        return;
    }
    let (runs, next) = (variable("OBSERVER_SIM_RUNS").unwrap_or(RUNS), AtomicU64::new(1));
    let total = Mutex::new(Coverage::default());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed > runs {
                        return;
                    }
                    let (coverage, _) = run_once(seed);
                    *total.lock().unwrap() += coverage;
                }
            });
        }
    });
    let total = total.into_inner().unwrap();
    println!("{total:?}");
    assert!(total.is_complete(), "the scripts cover every situation: {total:?}");
}

#[test]
fn same_seed_has_the_same_transcript() {
    for seed in [2, 3] {
        assert_eq!(run_once(seed), run_once(seed));
    }
    assert_ne!(run_once(2).1, run_once(3).1);
}
