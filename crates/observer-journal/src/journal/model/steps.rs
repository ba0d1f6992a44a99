//! Strategies for cases and their steps.

use std::io::ErrorKind;

use proptest::prelude::*;
use proptest::sample::select;

use crate::Hold;
use crate::fs::Fault;

#[derive(Debug, Clone)]
pub(super) struct Case {
    /// Seed of the disk and of the salts.
    pub(super) seed: u64,
    pub(super) max_size: u64,
    /// Hold of the second consumer.
    pub(super) required: Hold,
    pub(super) steps: Vec<Step>,
}

#[derive(Debug, Clone)]
pub(super) struct Step {
    pub(super) operation: Operation,
    /// Number of operations in this step before the faults, and the faults of the next operations.
    pub(super) faults: Option<(u8, Vec<Fault>)>,
}

#[derive(Debug, Clone)]
pub(super) enum Operation {
    /// Append one group; the sizes of the records of each append, in bytes.
    Append(Vec<Vec<u16>>),
    Read {
        consumer: usize,
        chunks: u8,
    },
    /// Move the optional consumer back, to this fraction of its position in 255ths.
    MoveBack {
        of_255: u8,
    },
    /// Commit the position of a consumer.
    Commit {
        consumer: usize,
    },
    Maintain,
    Wait {
        seconds: u8,
    },
    /// End the hold of the optional consumer.
    Release,
    /// Remove the position and the hold of the optional consumer.
    Forget,
    Reopen(Ending),
    /// While the journal is closed, remove segments at its end, and truncate the one before them to
    /// this fraction in 255ths.
    LoseEnd {
        ending: Ending,
        segments: u8,
        of_255: u8,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    Closed,
    Killed,
    PowerCut,
}

pub(super) fn case() -> impl Strategy<Value = Case> {
    let sizes = select(vec![10 << 10, 16 << 10, 64 << 10]);
    let holds = select(vec![Hold::Required, Hold::Optional]);
    // Most cases lose no segments, and some lose them repeatedly.
    let steps = |losses| proptest::collection::vec(step(losses), 1..60);
    let steps = prop_oneof![2 => steps(0), 1 => steps(1), 1 => steps(10)];
    (any::<u64>(), sizes, holds, steps).prop_map(|(seed, max_size, required, steps)| Case {
        seed,
        max_size,
        required,
        steps,
    })
}

fn step(losses: u32) -> impl Strategy<Value = Step> {
    let after = prop_oneof![3 => 0..8_u8, 1 => 8..30_u8];
    let ends = || select(vec![Fault::PowerCut, Fault::Kill]);
    let fails = (select(vec![ErrorKind::StorageFull, ErrorKind::Other]), select(vec![1, 1, 2, 4]));
    let fails = fails.prop_map(|(kind, times)| vec![Fault::Error(kind); times]);
    let faults = prop_oneof![
        4 => ends().prop_map(|ends| vec![ends]),
        3 => fails.clone(),
        1 => (fails, ends()).prop_map(|(fails, ends)| [fails, vec![ends]].concat()),
    ];
    (operation(losses), proptest::option::weighted(0.2, (after, faults)))
        .prop_map(|(operation, faults)| Step { operation, faults })
}

fn operation(losses: u32) -> impl Strategy<Value = Operation> {
    let size = prop_oneof![8 => 0..700_u16, 1 => 700..6_000_u16];
    let records = proptest::collection::vec(size, 1..5);
    let chunks = select(vec![1, 3, 50, 50]);
    let ending = || select(vec![Ending::Closed, Ending::Killed, Ending::PowerCut]);
    prop_oneof![
        16 => proptest::collection::vec(records, 1..4).prop_map(Operation::Append),
        12 => (0..3_usize, chunks)
            .prop_map(|(consumer, chunks)| Operation::Read { consumer, chunks }),
        10 => (0..3_usize).prop_map(|consumer| Operation::Commit { consumer }),
        1 => any::<u8>().prop_map(|of_255| Operation::MoveBack { of_255 }),
        8 => Just(Operation::Maintain),
        4 => (1..200_u8).prop_map(|seconds| Operation::Wait { seconds }),
        1 => select(vec![Operation::Release, Operation::Forget]),
        2 => ending().prop_map(Operation::Reopen),
        losses => (ending(), 0..3_u8, any::<u8>())
            .prop_map(|(ending, segments, of_255)| Operation::LoseEnd { ending, segments, of_255 }),
    ]
}
