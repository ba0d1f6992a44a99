//! Model test of deduplication: every acknowledgement and the content of the journal are compared
//! with a plain list of the committed events, across restarts, kills and power cuts.
//!
//! `PROPTEST_CASES=20000 cargo test -p observer-pipeline ingest::model` runs more cases.

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
/// Longest time after a failure for which the journal rejects appends.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

#[derive(Debug, Clone)]
struct Step {
    action: Action,
    /// Fault, with the number of file operations in this step before it.
    fault: Option<(u8, Fault)>,
}

#[derive(Debug, Clone)]
enum Action {
    /// Event with an idempotency key.
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
    let action = prop_oneof![
        3 => sent().prop_map(Action::Keyed),
        3 => sent().prop_map(Action::One),
        4 => proptest::collection::vec(sent(), 1..7).prop_map(Action::Batch),
        4 => (1..6_000_u16).prop_map(|millis| Action::Wait { millis }),
        2 => select(vec![None, Some(Fault::Kill), Some(Fault::PowerCut)]).prop_map(Action::Reopen),
    ];
    let faults = vec![Fault::PowerCut, Fault::Kill, Fault::Error(ErrorKind::Other)];
    (action, proptest::option::weighted(0.15, (0..6_u8, select(faults))))
        .prop_map(|(action, fault)| Step { action, fault })
}

/// Committed event.
#[derive(Debug, Clone, PartialEq)]
struct Committed {
    id: Uuid,
    line: String,
    received_at: u64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Reply {
    Accepted(Uuid),
    Duplicate(Uuid),
    KeyReused,
    Unavailable,
}

struct World {
    runtime: Runtime,
    disk: Faulty,
    clock: Arc<AtomicU64>,
    open: Option<(Arc<Journal>, Ingest)>,
    committed: Vec<Committed>,
    /// Appends without an acknowledgement. After a restart, one of them may be in the journal, as a
    /// whole.
    unacknowledged: Vec<Vec<Committed>>,
    failed_at: Option<u64>,
    faults_before: u64,
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
            unacknowledged: Vec::new(),
            failed_at: None,
            faults_before: 0,
        };
        world.open();
        world
    }

    fn now(&self) -> u64 {
        self.clock.load(Ordering::Relaxed)
    }

    /// Returns whether a fault occurred in the current step.
    fn had_fault(&self) -> bool {
        self.disk.fault_count() > self.faults_before
    }

    fn try_open(&self) -> Option<(Arc<Journal>, Ingest)> {
        let clock: Clock = Arc::new({
            let clock = self.clock.clone();
            move || clock.load(Ordering::Relaxed)
        });
        let dedup = DedupWindow::new(WINDOW, MAX_KEYS);
        let commit_state = Arc::new(CommitState::new(dedup));
        let committed = commit_state.clone();
        let options = Options::new("j")
            .file_system(self.disk.clone())
            .runner(Runner::Caller)
            .segment_size(4096)
            .seed(1);
        let options = options.clock(clock.clone());
        let opened = Journal::open(options, move |group| committed.on_commit(group));
        let journal = Arc::new(opened.ok()?.0);
        let ingest = Ingest::open(
            journal.clone(),
            commit_state,
            IngestOptions { dedup, ..Default::default() },
            clock,
        );
        Some((journal, ingest.ok()?))
    }

    fn open(&mut self) {
        loop {
            let opened = self.try_open();
            self.disk.clear_faults();
            match opened {
                Some(opened) if !self.disk.is_off() => break self.open = Some(opened),
                opened => {
                    assert!(self.had_fault(), "the journal does not open, without a fault");
                    drop(opened);
                    self.disk.restart();
                }
            }
        }
        self.failed_at = None;
        let found = self.records();
        let (acknowledged, new) = found.split_at(self.committed.len().min(found.len()));
        assert_eq!(acknowledged, self.committed, "acknowledged events are in the journal");
        assert!(
            new.is_empty() || self.unacknowledged.iter().any(|append| append == new),
            "no append has the events {new:?}"
        );
        self.committed = found;
        self.unacknowledged.clear();
    }

    /// Returns all events in the journal.
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

    /// Schedules the fault of a step.
    fn schedule_fault(&self, step: &Step) {
        if let Some((after, fault)) = step.fault {
            self.disk.fail_at(self.disk.operations() + u64::from(after), fault);
        }
    }

    fn step(&mut self, step: &Step) {
        self.faults_before = self.disk.fault_count();
        match &step.action {
            Action::Wait { millis } => {
                self.clock.fetch_add(u64::from(*millis) * 1_000, Ordering::Relaxed);
            }
            Action::Reopen(fault) => {
                match fault {
                    None => {}
                    Some(Fault::Kill) => self.disk.kill(),
                    Some(_) => self.disk.cut_power(),
                }
                self.open = None;
                if fault.is_some() {
                    self.disk.restart();
                }
                self.schedule_fault(step);
                self.open();
            }
            Action::Keyed(sent) => self.send(step, &[*sent], Some(&format!("key {}", sent.number))),
            Action::One(sent) => self.send(step, &[*sent], None),
            Action::Batch(sent) => self.send(step, sent, None),
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
            let head = r#""source":"s","event_kind":"k","ok":true"#;
            format!(r#"{{{head},"id":"{number}","extra":{{"body":{body}}}}}"#)
        };
        let lines: Vec<_> = sent.iter().map(line).collect();
        let submissions: Vec<_> =
            lines.iter().map(|line| Submission::parse(line.clone()).unwrap()).collect();
        let ids: Vec<_> =
            submissions.iter().map(|sent| Identity::of(&sent.event, None, key).id).collect();
        let (expected, new) = self.expected(&ids, &lines, key.is_some());

        self.schedule_fault(step);
        let (_, ingest) = self.open.as_ref().unwrap();
        let results = match key {
            Some(_) => vec![
                self.runtime.block_on(ingest.ingest(submissions.into_iter().next().unwrap(), key)),
            ],
            None => self.runtime.block_on(ingest.ingest_batch(submissions)),
        };
        let replies: Vec<_> = results.iter().map(reply).collect();
        if replies == expected {
            if !new.is_empty() {
                self.committed.extend(new);
                self.unacknowledged.clear();
                self.failed_at = None;
            }
            return;
        }
        let unavailable = expected.into_iter().zip(&ids).map(|(expected, id)| match expected {
            // Duplicates of a pending event fail with it.
            Reply::Accepted(_) | Reply::Duplicate(_) if new.iter().any(|new| new.id == *id) => {
                Reply::Unavailable
            }
            expected => expected,
        });
        assert_eq!(replies, unavailable.collect::<Vec<_>>());
        let pause = u64::try_from(LONGEST_PAUSE.as_micros()).unwrap();
        let paused = self.failed_at.is_some_and(|at| self.now() < at + pause);
        assert!(self.had_fault() || paused, "events are rejected without a fault: {results:?}");
        if self.had_fault() {
            self.failed_at = Some(self.now());
            self.unacknowledged.push(new);
        }
    }

    /// Returns the expected replies, and the new events.
    fn expected(
        &self,
        ids: &[Uuid],
        lines: &[String],
        is_keyed: bool,
    ) -> (Vec<Reply>, Vec<Committed>) {
        let oldest = self.now() - u64::try_from(WINDOW.as_micros()).unwrap();
        let recent =
            self.committed.iter().rev().take(MAX_KEYS).filter(|known| known.received_at >= oldest);
        let recent: Vec<_> = recent.collect();
        let mut new = Vec::<Committed>::new();
        let mut expected = Vec::new();
        for (id, line) in ids.iter().zip(lines) {
            let known = recent.iter().copied().chain(&new).find(|known| known.id == *id);
            expected.push(match known {
                Some(known) if is_keyed && known.line != *line => Reply::KeyReused,
                Some(_) => Reply::Duplicate(*id),
                None => Reply::Accepted(*id),
            });
            if known.is_none() {
                new.push(Committed { id: *id, line: line.clone(), received_at: self.now() });
            }
        }
        (expected, new)
    }
}

fn reply(result: &Result<Ack, IngestError>) -> Reply {
    match result {
        Ok(Ack { id, status: AckStatus::Accepted, .. }) => Reply::Accepted(*id),
        Ok(Ack { id, status: AckStatus::Duplicate, .. }) => Reply::Duplicate(*id),
        Err(IngestError::KeyReused) => Reply::KeyReused,
        Err(IngestError::Unavailable(Unavailable::Journal(_))) => Reply::Unavailable,
        Err(error) => panic!("{error}"),
    }
}

proptest! {
    #![proptest_config(Config {
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(fastrand::u64(..)),
        ..Config::default()
    })]

    #[test]
    fn event_is_new_once_within_the_window(
        seed in any::<u64>(),
        steps in proptest::collection::vec(step(), 1..60),
    ) {
        let mut world = World::new(seed);
        for step in &steps {
            world.step(step);
        }
        world.step(&Step { action: Action::Reopen(None), fault: None });
    }
}
