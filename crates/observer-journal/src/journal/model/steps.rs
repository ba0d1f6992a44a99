//! What a case is made of.

use std::io::ErrorKind;

use proptest::prelude::*;
use proptest::sample::select;

use crate::Hold;
use crate::fs::Fault;

#[derive(Debug, Clone)]
pub(super) struct Case {
    /// Of the disk and of the salts.
    pub(super) seed: u64,
    pub(super) max_size: u64,
    /// How the second consumer is held.
    pub(super) required: Hold,
    pub(super) steps: Vec<Step>,
}

#[derive(Debug, Clone)]
pub(super) struct Step {
    pub(super) what: What,
    /// After so many operations in this step, this goes wrong with the next ones.
    pub(super) faults: Option<(u8, Vec<Fault>)>,
}

#[derive(Debug, Clone)]
pub(super) enum What {
    /// One group of appends, each of records of so many bytes.
    Append(Vec<Vec<u16>>),
    Read {
        consumer: usize,
        chunks: u8,
    },
    /// The optional consumer goes back, to so many 255ths of where it stands.
    GoBack {
        of_255: u8,
    },
    /// What a consumer has read is settled.
    Settle {
        consumer: usize,
    },
    Maintain,
    Wait {
        seconds: u8,
    },
    /// No segments are kept for the optional consumer any more.
    Release,
    /// It is as if it had never been there.
    Forget,
    Reopen(Ending),
    /// While the journal is closed, so many segments at its end are lost, and of the one before
    /// them what comes after so many 255ths.
    LoseTheEnd {
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
    // Most cases lose nothing, and some again and again.
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
    (what(losses), proptest::option::weighted(0.2, (after, faults)))
        .prop_map(|(what, faults)| Step { what, faults })
}

fn what(losses: u32) -> impl Strategy<Value = What> {
    let size = prop_oneof![8 => 0..700_u16, 1 => 700..6_000_u16];
    let records = proptest::collection::vec(size, 1..5);
    let chunks = select(vec![1, 3, 50, 50]);
    let ending = || select(vec![Ending::Closed, Ending::Killed, Ending::PowerCut]);
    prop_oneof![
        16 => proptest::collection::vec(records, 1..4).prop_map(What::Append),
        12 => (0..3_usize, chunks).prop_map(|(consumer, chunks)| What::Read { consumer, chunks }),
        10 => (0..3_usize).prop_map(|consumer| What::Settle { consumer }),
        1 => any::<u8>().prop_map(|of_255| What::GoBack { of_255 }),
        8 => Just(What::Maintain),
        4 => (1..200_u8).prop_map(|seconds| What::Wait { seconds }),
        1 => select(vec![What::Release, What::Forget]),
        2 => ending().prop_map(What::Reopen),
        losses => (ending(), 0..3_u8, any::<u8>())
            .prop_map(|(ending, segments, of_255)| What::LoseTheEnd { ending, segments, of_255 }),
    ]
}
