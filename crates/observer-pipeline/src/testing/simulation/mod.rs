//! Simulation of the whole pipeline over a disk with a fault at each of its operations.
//!
//! A scenario is drawn from a seed and run once without a fault, to count its file operations. Then
//! it is run again for each of these operations, with a fault there: a power cut, a failed
//! operation, a kill of the process (which keeps the page cache until a later power cut), or one of
//! these after another. After each run, every sink must have every acknowledged event. An event
//! that was neither acknowledged nor sent again may be present or missing, but for all sinks alike.
//! Time is paused and the order of all work is fixed, so a run with the same seed and fault can be
//! repeated.
//!
//! `OBSERVER_SIM_SEEDS=100` runs more scenarios, with every fault at each operation.
//! `OBSERVER_SIM_SEED=7 OBSERVER_SIM_FAULT=cut@123` repeats a single run.

mod clock;
mod destination;
mod operations;
mod oracle;
mod plan;
mod scenario;
mod world;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use self::plan::Plan;
use self::scenario::Scenario;
use self::world::{RunReport, run};

const SEEDS: u64 = 3;

/// Prints how to repeat a run that failed.
struct Repeat(u64, Plan);

impl Drop for Repeat {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self(seed, plan) = self;
            eprintln!(
                "repeat the run with: OBSERVER_SIM_SEED={seed} OBSERVER_SIM_FAULT={plan} \
                 cargo test -p observer-pipeline simulation"
            );
        }
    }
}

fn run_once(seed: u64, plan: Plan) -> RunReport {
    let _repeat = Repeat(seed, plan);
    run(&Scenario::draw(seed), plan)
}

fn variable<T: std::str::FromStr>(name: &str) -> Option<T> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().ok().unwrap_or_else(|| panic!("invalid {name}={value:?}")))
}

#[test]
fn acknowledged_events_reach_every_sink_despite_any_fault() {
    let single_seed: Option<u64> = variable("OBSERVER_SIM_SEED");
    if let Some((seed, plan)) = single_seed.zip(variable("OBSERVER_SIM_FAULT")) {
        let report = run_once(seed, plan);
        println!("{}", report.transcript.join("\n"));
        return;
    }
    let seeds = match single_seed {
        Some(seed) => seed..=seed,
        None => 1..=variable("OBSERVER_SIM_SEEDS").unwrap_or(SEEDS),
    };
    let all_faults = single_seed.is_some() || std::env::var("OBSERVER_SIM_SEEDS").is_ok();
    let plans = if all_faults { Plan::all_at } else { Plan::some_at };
    let (mut runs, mut operations) = (Vec::new(), 0);
    for seed in seeds {
        let report = run_once(seed, Plan::Nothing);
        assert!(
            report.operations > 80,
            "seed {seed} has too few operations: {}",
            report.operations
        );
        operations += report.operations;
        runs.extend((0..report.operations).flat_map(plans).map(|plan| (seed, plan)));
    }
    let (next, cuts, expired) = (AtomicUsize::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let (present, missing) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some((seed, plan)) = runs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let report = run_once(*seed, *plan);
                    assert!(report.faults > 0, "no fault occurred with seed {seed} and {plan}");
                    cuts.fetch_add(report.cuts, Ordering::Relaxed);
                    expired.fetch_add(report.expired, Ordering::Relaxed);
                    present.fetch_add(report.unacknowledged.0, Ordering::Relaxed);
                    missing.fetch_add(report.unacknowledged.1, Ordering::Relaxed);
                }
            });
        }
    });
    let (cuts, expired) = (cuts.into_inner(), expired.into_inner());
    let (present, missing) = (present.into_inner(), missing.into_inner());
    println!(
        "{operations} operations, {} runs with a fault, {cuts} power cuts and kills, \
         {expired} expired events; \
         of the unacknowledged events, {present} are present and {missing} are missing",
        runs.len()
    );
    assert!(
        single_seed.is_some() || (present > 0 && missing > 0),
        "events that are never sent again cover both cases"
    );
    // Cached events don't expire, so only a run with a power cut has expired ones.
    assert_eq!(expired > 0, runs.iter().any(|(seed, _)| Scenario::draw(*seed).expires()));
}

#[test]
fn same_seed_and_fault_have_the_same_transcript() {
    for plan in ["none", "cut@40", "eio@60", "eio+cut@80"] {
        let plan = plan.parse().unwrap();
        let (first, second) = (run_once(2, plan), run_once(2, plan));
        assert_eq!(first.operations, second.operations, "{plan}");
        assert_eq!(first.transcript, second.transcript, "{plan}");
    }
    assert_ne!(run_once(1, Plan::Nothing).transcript, run_once(2, Plan::Nothing).transcript);
}
