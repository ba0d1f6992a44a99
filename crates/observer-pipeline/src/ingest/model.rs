//! Which event is the same as which, against a plain list of all that were committed: every answer,
//! and what the journal holds, while it is closed, killed, cut off, and opened again.
//!
//! `PROPTEST_CASES=20000 cargo test -p observer-pipeline ingest::model` tries more.

use std::io::ErrorKind;
use std::sync::atomic::AtomicU64;

use observer_journal::fs::{Fault, Faulty};
use observer_journal::{Chunk, Options, Runner};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, RngSeed};
use tokio::runtime::{Builder, Runtime};

use super::*;

const WINDOW: Duration = Duration::from_secs(10);
const MAX_KEYS: usize = 12;
/// The longest time for which no fresh segment is tried after a failure.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

#[derive(Debug, Clone)]
struct Step {
    what: What,
    /// This goes wrong with the operation on files that comes after so many others in this step.
    fault: Option<(u8, Fault)>,
}

#[derive(Debug, Clone)]
enum What {
    /// An event by an idempotency key.
    Keyed(Sent),
    One(Sent),
    Batch(Vec<Sent>),
    Wait {
        millis: u16,
    },
    Reopen(Option<Fault>),
}

#[derive(Debug, Clone, Copy)]
struct Sent {
    number: u8,
    body: u8,
}

fn step() -> impl Strategy<Value = Step> {
    let sent = || (0..24_u8, 0..2_u8).prop_map(|(number, body)| Sent { number, body });
    let what = prop_oneof![
        3 => sent().prop_map(What::Keyed),
        3 => sent().prop_map(What::One),
        4 => proptest::collection::vec(sent(), 1..7).prop_map(What::Batch),
        4 => (1..6_000_u16).prop_map(|millis| What::Wait { millis }),
        2 => select(vec![None, Some(Fault::Kill), Some(Fault::PowerCut)]).prop_map(What::Reopen),
    ];
    let faults = vec![Fault::PowerCut, Fault::Kill, Fault::Error(ErrorKind::Other)];
    (what, proptest::option::weighted(0.15, (0..6_u8, select(faults))))
        .prop_map(|(what, fault)| Step { what, fault })
}

/// A committed event: its id, what it was sent with, and when it was received.
#[derive(Debug, Clone, PartialEq)]
struct Committed {
    id: Uuid,
    line: String,
    received_at: u64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Said {
    Accepted(Uuid),
    Duplicate(Uuid),
    Reused,
    /// Not now.
    Refused,
}

struct World {
    runtime: Runtime,
    disk: Faulty,
    clock: Arc<AtomicU64>,
    open: Option<(Arc<Journal>, Ingest)>,
    committed: Vec<Committed>,
    /// Not acknowledged, and in the journal all the same, or not: each as a whole, in place of the
    /// others.
    refused: Vec<Vec<Committed>>,
    failed_at: Option<u64>,
    wrong: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut world = Self {
            runtime: Builder::new_current_thread()
                .enable_time()
                .start_paused(true)
                .build()
                .unwrap(),
            disk: Faulty::new(seed),
            clock: Arc::new(AtomicU64::new(1_000_000_000)),
            open: None,
            committed: Vec::new(),
            refused: Vec::new(),
            failed_at: None,
            wrong: 0,
        };
        world.open();
        world
    }

    fn now(&self) -> u64 {
        self.clock.load(Ordering::Relaxed)
    }

    fn struck(&self) -> bool {
        self.disk.fault_count() > self.wrong
    }

    fn try_to_open(&self) -> Option<(Arc<Journal>, Ingest)> {
        let clock: Clock = Arc::new({
            let clock = self.clock.clone();
            move || clock.load(Ordering::Relaxed)
        });
        let dedup = DedupWindow::new(WINDOW, MAX_KEYS);
        let shared = Arc::new(Shared::new(dedup));
        let committed = shared.clone();
        let options = Options::new("j")
            .file_system(self.disk.clone())
            .runner(Runner::Caller)
            .segment_size(4096)
            .seed(1);
        let options = options.clock(clock.clone());
        let opened = Journal::open(options, move |group| committed.finish(group));
        let journal = Arc::new(opened.ok()?.0);
        let ingest = Ingest::open(
            journal.clone(),
            shared,
            IngestOptions { dedup, ..Default::default() },
            clock,
        );
        Some((journal, ingest.ok()?))
    }

    fn open(&mut self) {
        loop {
            let opened = self.try_to_open();
            self.disk.clear_faults();
            match opened {
                Some(opened) if !self.disk.is_off() => break self.open = Some(opened),
                opened => {
                    assert!(self.struck(), "nothing went wrong, and yet it doesn't open");
                    drop(opened);
                    self.disk.restart();
                }
            }
        }
        self.failed_at = None;
        let found = self.records();
        let (known, new) = found.split_at(self.committed.len().min(found.len()));
        assert_eq!(known, self.committed, "what was acknowledged is there");
        assert!(
            new.is_empty() || self.refused.iter().any(|refused| refused == new),
            "no one has sent {new:?}"
        );
        self.committed = found;
        self.refused.clear();
    }

    /// All that is in the journal.
    fn records(&self) -> Vec<Committed> {
        let (journal, _) = self.open.as_ref().unwrap();
        let (mut reader, mut found) = (journal.reader(0), Vec::new());
        while let Some(chunk) = reader.read().unwrap() {
            let Chunk::Records { records, .. } = chunk else { panic!("{chunk:?}") };
            found.extend(records.into_iter().map(|record| Committed {
                id: Uuid::from_bytes(record.id),
                line: String::from_utf8(record.payload.to_vec()).unwrap(),
                received_at: record.received_at,
            }));
        }
        found
    }

    fn arm(&self, step: &Step) {
        if let Some((after, fault)) = step.fault {
            self.disk.fail_at(self.disk.operations() + u64::from(after), fault);
        }
    }

    fn step(&mut self, step: &Step) {
        self.wrong = self.disk.fault_count();
        match &step.what {
            What::Wait { millis } => {
                self.clock.fetch_add(u64::from(*millis) * 1_000, Ordering::Relaxed);
            }
            What::Reopen(how) => {
                match how {
                    None => {}
                    Some(Fault::Kill) => self.disk.kill(),
                    Some(_) => self.disk.cut_power(),
                }
                self.open = None;
                if how.is_some() {
                    self.disk.restart();
                }
                self.arm(step);
                self.open();
            }
            What::Keyed(sent) => self.send(step, &[*sent], Some(&format!("key {}", sent.number))),
            What::One(sent) => self.send(step, &[*sent], None),
            What::Batch(sent) => self.send(step, sent, None),
        }
        self.disk.clear_faults();
        if self.disk.is_off() {
            self.open = None;
            self.disk.restart();
            self.open();
        }
    }

    fn send(&mut self, step: &Step, sent: &[Sent], key: Option<&str>) {
        let line = |Sent { number, body }: &Sent| {
            format!(
                r#"{{"source":"s","event_kind":"k","ok":true,"id":"{number}","extra":{{"body":{body}}}}}"#
            )
        };
        let lines: Vec<_> = sent.iter().map(line).collect();
        let submissions: Vec<_> =
            lines.iter().map(|line| Submission::parse(line.clone()).unwrap()).collect();
        let ids: Vec<_> =
            submissions.iter().map(|sent| Identity::of(&sent.event, None, key).id).collect();
        let (expected, new) = self.expected(&ids, &lines, key.is_some());

        self.arm(step);
        let (_, ingest) = self.open.as_ref().unwrap();
        let results = match key {
            Some(_) => vec![
                self.runtime.block_on(ingest.ingest(submissions.into_iter().next().unwrap(), key)),
            ],
            None => self.runtime.block_on(ingest.ingest_batch(submissions)),
        };
        let said: Vec<_> = results.iter().map(said).collect();
        if said == expected {
            if !new.is_empty() {
                self.committed.extend(new);
                self.refused.clear();
                self.failed_at = None;
            }
            return;
        }
        let refused = expected.into_iter().zip(&ids).map(|(expected, id)| match expected {
            // Those that wait for one that is refused are refused, too.
            Said::Accepted(_) | Said::Duplicate(_) if new.iter().any(|new| new.id == *id) => {
                Said::Refused
            }
            expected => expected,
        });
        assert_eq!(said, refused.collect::<Vec<_>>());
        let pause = u64::try_from(LONGEST_PAUSE.as_micros()).unwrap();
        let paused = self.failed_at.is_some_and(|at| self.now() < at + pause);
        assert!(self.struck() || paused, "nothing went wrong, and yet: {results:?}");
        if self.struck() {
            self.failed_at = Some(self.now());
            self.refused.push(new);
        }
    }

    /// What should be said, and which events are new.
    fn expected(
        &self,
        ids: &[Uuid],
        lines: &[String],
        is_keyed: bool,
    ) -> (Vec<Said>, Vec<Committed>) {
        let oldest = self.now() - u64::try_from(WINDOW.as_micros()).unwrap();
        let recent =
            self.committed.iter().rev().take(MAX_KEYS).filter(|known| known.received_at >= oldest);
        let recent: Vec<_> = recent.collect();
        let mut new = Vec::<Committed>::new();
        let mut expected = Vec::new();
        for (id, line) in ids.iter().zip(lines) {
            let known = recent.iter().copied().chain(&new).find(|known| known.id == *id);
            expected.push(match known {
                Some(known) if is_keyed && known.line != *line => Said::Reused,
                Some(_) => Said::Duplicate(*id),
                None => Said::Accepted(*id),
            });
            if known.is_none() {
                new.push(Committed { id: *id, line: line.clone(), received_at: self.now() });
            }
        }
        (expected, new)
    }
}

fn said(result: &Result<Ack, IngestError>) -> Said {
    match result {
        Ok(Ack { id, status: AckStatus::Accepted, .. }) => Said::Accepted(*id),
        Ok(Ack { id, status: AckStatus::Duplicate, .. }) => Said::Duplicate(*id),
        Err(IngestError::KeyReused) => Said::Reused,
        Err(IngestError::Unavailable(Unavailable::Journal(_))) => Said::Refused,
        Err(error) => panic!("{error}"),
    }
}

proptest! {
    #![proptest_config(Config { failure_persistence: None, rng_seed: RngSeed::Fixed(fastrand::u64(..)), ..Config::default() })]

    #[test]
    fn an_event_is_new_once_within_the_window(seed in any::<u64>(), steps in proptest::collection::vec(step(), 1..60)) {
        let mut world = World::new(seed);
        for step in &steps {
            world.step(step);
        }
        world.step(&Step { what: What::Reopen(None), fault: None });
    }
}
