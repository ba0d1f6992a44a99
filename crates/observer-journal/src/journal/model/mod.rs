//! Model test: compares the journal with a reference model after each step.
//!
//! A case is a list of steps: groups are appended, consumers read and commit positions, time
//! passes, the journal is closed, killed, loses power or loses its end, and is opened again. During
//! a step, file operations may fail: the power is cut, the process is killed, the disk is full, or
//! an I/O error occurs. `reference.rs` describes the effect of each step without faults, down to
//! the sizes of the segments, and the journal must behave exactly like that. After a fault:
//!
//! - Acknowledged records can be read, in order, byte for byte, and in their original blocks. A
//!   rejected group is committed completely or not at all.
//! - The positions of all consumers are those stored last, or those being stored.
//! - Removed segments may reappear if their folder was not synced since. No other segment than
//!   those that had to be removed is missing.
//! - No consumer is past a record that it has not read, even if the journal has lost its end and
//!   used the sequence numbers again.
//!
//! `PROPTEST_CASES=20000 cargo test -p observer-journal model` runs more cases. A failure prints
//! the shortest failing case, and the seed that reproduces it.

mod act;
mod check;
mod consumer;
mod open;
mod read;
mod reference;
mod steps;
mod tally;
mod world;

use proptest::test_runner::{Config, RngSeed, TestError, TestRunner, contextualize_config};

use self::steps::case;
use self::tally::Tally;
use self::world::World;

fn config() -> Config {
    // A known seed reproduces a failure without a regression file in the repository.
    let rng_seed = RngSeed::Fixed(fastrand::u64(..));
    contextualize_config(Config {
        cases: 768,
        failure_persistence: None,
        max_shrink_iters: 2_000,
        rng_seed,
        ..Config::default()
    })
}

#[test]
fn journal_behaves_as_the_reference_model() {
    let config = config();
    let cases = config.cases;
    let RngSeed::Fixed(seed) = config.rng_seed else {
        unreachable!("the configuration has a seed")
    };
    let tally = std::cell::RefCell::new(Tally::default());
    let result = TestRunner::new(config).run(&case(), |case| {
        let mut world = World::new(&case);
        for step in &case.steps {
            world.step(step);
        }
        world.finish();
        tally.borrow_mut().add(world.tally);
        Ok(())
    });
    match result {
        Ok(()) => {}
        Err(TestError::Abort(reason)) => panic!("{reason}"),
        Err(TestError::Fail(reason, case)) => {
            let steps: String = case.steps.iter().map(|step| format!("  {step:?}\n")).collect();
            let again = format!("PROPTEST_RNG_SEED={seed} PROPTEST_CASES={cases} reproduces it");
            let of = (case.seed, case.max_size, case.required);
            panic!("{reason}\n{again}; the shortest case, of {of:?}:\n{steps}");
        }
    }
    let mut tally = tally.into_inner();
    println!("{cases} cases: {tally:?}");
    assert!(cases < 768 || tally.has_all(), "an event never occurred: {tally:?}");
}
