//! The whole pipeline over a disk that goes wrong at every single operation.
//!
//! A scenario is drawn from a seed and run once without a fault, to count what it does with files.
//! Then it is run again for every one of these operations: the power goes there, the operation
//! fails, or the process is killed (with what the page cache has still there, until the power goes,
//! too), or one of these after the other. After each run everything that was acknowledged has to be
//! where it belongs; what its producer never heard of, and never sent again, may be there or not,
//! but with all sinks alike. Time is paused, and all work is done in one order: the same seed and
//! fault do the same again.
//!
//! `OBSERVER_SIM_SEEDS=100` tries more scenarios, with every fault at each operation;
//! `OBSERVER_SIM_SEED=7 OBSERVER_SIM_FAULT=cut@123` repeats one run alone.

mod far_side;
mod oracle;
mod plan;
mod scenario;
mod world;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use self::plan::Plan;
use self::scenario::Scenario;
use self::world::{Outcome, run};

const SEEDS: u64 = 3;

/// Says how to repeat a run that failed.
struct Repeat(u64, Plan);

impl Drop for Repeat {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self(seed, plan) = self;
            eprintln!(
                "repeat it with: OBSERVER_SIM_SEED={seed} OBSERVER_SIM_FAULT={plan} cargo test -p observer-pipeline simulation"
            );
        }
    }
}

fn tried(seed: u64, plan: Plan) -> Outcome {
    let _repeat = Repeat(seed, plan);
    run(&Scenario::draw(seed), plan)
}

fn variable<T: std::str::FromStr>(name: &str) -> Option<T> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().ok().unwrap_or_else(|| panic!("{name}={value:?} is not understood")))
}

#[test]
fn whatever_goes_wrong_what_was_acknowledged_reaches_every_sink() {
    let alone: Option<u64> = variable("OBSERVER_SIM_SEED");
    if let Some((seed, plan)) = alone.zip(variable("OBSERVER_SIM_FAULT")) {
        let outcome = tried(seed, plan);
        println!("{}", outcome.transcript.join("\n"));
        return;
    }
    let seeds = match alone {
        Some(seed) => seed..=seed,
        None => 1..=variable("OBSERVER_SIM_SEEDS").unwrap_or(SEEDS),
    };
    let asked = alone.is_some() || std::env::var("OBSERVER_SIM_SEEDS").is_ok();
    let plans = if asked { Plan::all_at } else { Plan::some_at };
    let (mut runs, mut operations) = (Vec::new(), 0);
    for seed in seeds {
        let outcome = tried(seed, Plan::Nothing);
        assert!(
            outcome.operations > 80,
            "seed {seed} does too little: {} operations",
            outcome.operations
        );
        operations += outcome.operations;
        runs.extend((0..outcome.operations).flat_map(plans).map(|plan| (seed, plan)));
    }
    let (next, cuts, expired) = (AtomicUsize::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let (there, gone) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some((seed, plan)) = runs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let outcome = tried(*seed, *plan);
                    assert!(outcome.faults > 0, "nothing went wrong with seed {seed} and {plan}");
                    cuts.fetch_add(outcome.cuts, Ordering::Relaxed);
                    expired.fetch_add(outcome.expired, Ordering::Relaxed);
                    there.fetch_add(outcome.unheard.0, Ordering::Relaxed);
                    gone.fetch_add(outcome.unheard.1, Ordering::Relaxed);
                }
            });
        }
    });
    let (cuts, expired) = (cuts.into_inner(), expired.into_inner());
    let (there, gone) = (there.into_inner(), gone.into_inner());
    println!(
        "{operations} operations, {} runs with a fault, {cuts} power cuts and kills, {expired} expired events; \
         of those that nobody was told of, {there} are there and {gone} are not",
        runs.len()
    );
    assert!(
        alone.is_some() || (there > 0 && gone > 0),
        "producers that never come back make no difference"
    );
    // What is in memory doesn't expire; so this takes a power cut.
    assert_eq!(expired > 0, runs.iter().any(|(seed, _)| Scenario::draw(*seed).expires()));
}

#[test]
fn the_same_seed_and_fault_do_the_same_again() {
    for plan in ["none", "cut@40", "eio@60", "eio+cut@80"] {
        let plan = plan.parse().unwrap();
        let (first, second) = (tried(2, plan), tried(2, plan));
        assert_eq!(first.operations, second.operations, "{plan}");
        assert_eq!(first.transcript, second.transcript, "{plan}");
    }
    assert_ne!(tried(1, Plan::Nothing).transcript, tried(2, Plan::Nothing).transcript);
}
