//! The journal against a plain model of it: what it should hold and answer after each step,
//! whatever goes wrong meanwhile.
//!
//! A case is a list of steps: groups are appended, consumers read and settle, time passes, the
//! journal is closed, killed, loses power or loses its end, and is opened again. During a step one
//! file operation may go wrong: the power goes, the process is killed, there is no space, an I/O
//! error. `plain.rs` says what each step does when nothing goes wrong; the journal has to do
//! exactly that, down to the sizes of its segments. When something went wrong:
//!
//! - what was acknowledged is there, in order, byte for byte, in the blocks it came in; of a group
//!   that was refused, all or nothing;
//! - positions are, all of them together, those that were stored last, or those that were being
//!   stored;
//! - segments that were removed may be there again, if no sync of their folder came after that;
//!   only what had to go is gone;
//! - no consumer ever stands behind a record that it has not seen, also when the journal has lost
//!   its end and its numbers came again.
//!
//! `PROPTEST_CASES=20000 cargo test -p observer-journal model` tries more. A failure shows the
//! shortest case that fails, and the seed that finds it again.

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
    // With a seed that is known, no file has to be kept in the repository to find a failure again.
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
fn the_journal_does_as_the_model() {
    let config = config();
    let cases = config.cases;
    let RngSeed::Fixed(seed) = config.rng_seed else { unreachable!("it is never left to chance") };
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
            let again = format!("PROPTEST_RNG_SEED={seed} PROPTEST_CASES={cases} finds it again");
            let of = (case.seed, case.max_size, case.required);
            panic!("{reason}\n{again}; the shortest case is, of {of:?}:\n{steps}");
        }
    }
    let mut tally = tally.into_inner();
    println!("{cases} cases: {tally:?}");
    assert!(cases < 768 || tally.has_all(), "something was never tried: {tally:?}");
}
