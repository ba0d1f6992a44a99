//! Model test of deduplication: every acknowledgement and the content of the journal are compared
//! with a plain list of the committed events, across restarts, kills and power cuts. Several
//! principals send outcomes and phases with all kinds of identities, again and with other content.
//!
//! `PROPTEST_CASES=20000 cargo test -p observer-pipeline ingest::model` runs more cases.

use std::collections::{BTreeMap, BTreeSet};
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
    Keyed(Sender, Sent),
    One(Sender, Sent),
    Batch(Sender, Vec<Sent>),
    Wait {
        millis: u16,
    },
    Reopen(Option<Fault>),
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Sender {
    token: Option<&'static str>,
    may_relay: bool,
}

#[derive(Debug, Clone, Copy)]
struct Sent {
    number: u8,
    body: u8,
    is_phase: bool,
    form: Form,
}

/// Identity that an event is sent with.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Form {
    Id,
    Uuid,
    Envelope,
    Cycle,
}

/// Identity as the documentation describes it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Described {
    Key(Option<&'static str>, u8),
    Uuid(Uuid),
    UuidOf(&'static str, Uuid),
    Id(Option<&'static str>, u8),
    Phase(Option<&'static str>, String, String),
    Outcome(Option<&'static str>, String),
}

impl Sender {
    fn principal(self) -> Principal {
        let principal = self.token.map_or(Principal::anonymous(), Principal::token);
        principal.with_relay(self.may_relay)
    }
}

impl Sent {
    fn uuid(self) -> Uuid {
        Uuid::from_u128(u128::from(self.number))
    }

    /// Returns the event.
    fn line(self) -> String {
        let id = match self.form {
            Form::Id => format!(r#","id":"{}""#, self.number),
            Form::Uuid => format!(r#","id":"{}""#, self.uuid()),
            Form::Cycle => format!(r#","cycle_id":"{}""#, self.number),
            Form::Envelope => String::new(),
        };
        let kind = if self.is_phase { "progress" } else { "k" };
        let head = format!(r#""source":"s","event_kind":"{kind}","ok":true{id}"#);
        format!(r#"{{{head},"extra":{{"body":{}}}}}"#, self.body)
    }

    fn submission(self) -> Submission {
        let (line, id) = (self.line(), self.uuid());
        let sent = match self.form {
            Form::Envelope => format!(r#"{{"id":"{id}","event":{line}}}"#),
            _ => line,
        };
        Submission::parse(sent).unwrap()
    }

    fn described(self, sender: Sender, is_keyed: bool) -> Described {
        let Sender { token, may_relay } = sender;
        if is_keyed {
            return Described::Key(token, self.number);
        }
        if self.form == Form::Envelope && may_relay {
            return Described::Uuid(self.uuid());
        }
        if self.form == Form::Cycle {
            return Described::Outcome(token, self.line());
        }
        if self.is_phase {
            let is_text = self.form == Form::Id;
            let id = if is_text { self.number.to_string() } else { self.uuid().to_string() };
            return Described::Phase(token, id, self.line());
        }
        match (self.form, token) {
            (Form::Id, _) => Described::Id(token, self.number),
            (_, None) => Described::Uuid(self.uuid()),
            (_, Some(token)) => Described::UuidOf(token, self.uuid()),
        }
    }
}

fn sender() -> impl Strategy<Value = Sender> {
    let sender = |token, may_relay| Sender { token, may_relay };
    select(vec![
        sender(None, true),
        sender(None, false),
        sender(Some("a"), false),
        sender(Some("b"), false),
        sender(Some("b"), true),
    ])
}

fn sent() -> impl Strategy<Value = Sent> {
    let forms = vec![Form::Id, Form::Uuid, Form::Envelope, Form::Cycle];
    (0..12_u8, 0..2_u8, any::<bool>(), select(forms)).prop_map(|(number, body, is_phase, form)| {
        // A phase without an id has no identity.
        Sent { number, body, is_phase: is_phase && form != Form::Cycle, form }
    })
}

fn step() -> impl Strategy<Value = Step> {
    let action = prop_oneof![
        3 => (sender(), sent()).prop_map(|(sender, sent)| Action::Keyed(sender, sent)),
        3 => (sender(), sent()).prop_map(|(sender, sent)| Action::One(sender, sent)),
        4 => (sender(), proptest::collection::vec(sent(), 1..7))
            .prop_map(|(sender, sent)| Action::Batch(sender, sent)),
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
    tag: u16,
}

/// Identities that the window should have, in the order of their commits.
#[derive(Debug, Default)]
struct ReferenceWindow(Vec<Committed>);

impl ReferenceWindow {
    /// Adds an event. If there are too many, the principal with the most events loses its oldest.
    fn remember(&mut self, event: &Committed) {
        let Self(events) = self;
        events.push(event.clone());
        if events.len() <= MAX_KEYS {
            return;
        }
        let share = |event: &Committed| event.tag & 511;
        let mut counts = BTreeMap::new();
        events.iter().for_each(|event| *counts.entry(share(event)).or_insert(0) += 1);
        let most = counts.values().copied().max();
        let (largest, _) = counts.into_iter().find(|(_, count)| Some(*count) == most).unwrap();
        let oldest = events.iter().position(|event| share(event) == largest);
        events.remove(oldest.unwrap());
    }

    /// Returns the last event with this identity.
    fn find(&self, id: Uuid) -> Option<&Committed> {
        self.0.iter().rfind(|event| event.id == id)
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Reply {
    /// With the number of warnings.
    Accepted(Uuid, usize),
    Duplicate(Uuid, usize),
    KeyReused,
    Unavailable,
}

struct World {
    runtime: Runtime,
    disk: Faulty,
    clock: Arc<AtomicU64>,
    open: Option<(Arc<Journal>, Ingest)>,
    committed: Vec<Committed>,
    window: ReferenceWindow,
    /// Counts of duplicates and of changed events by principal since the journal was opened.
    counts: BTreeMap<&'static str, (u64, u64)>,
    /// Ids that were returned, by their identity.
    ids: BTreeMap<Described, Uuid>,
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
            window: ReferenceWindow::default(),
            counts: BTreeMap::new(),
            ids: BTreeMap::new(),
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
            0,
            clock,
        );
        let ingest = ingest.ok()?;
        ingest.counters().principals.add(["a".into(), "b".into()]);
        Some((journal, ingest))
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
        self.counts.clear();
        let oldest = self.oldest();
        self.window = ReferenceWindow::default();
        let first =
            self.committed.len().saturating_sub(scanned_keys(&DedupWindow::new(WINDOW, MAX_KEYS)));
        for event in self.committed[first..].iter().filter(|event| event.received_at >= oldest) {
            self.window.remember(event);
        }
    }

    /// Returns the time before which events are forgotten.
    fn oldest(&self) -> u64 {
        self.now() - u64::try_from(WINDOW.as_micros()).unwrap()
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
                tag: record.tag,
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
            Action::Keyed(sender, sent) => {
                self.send(step, *sender, &[*sent], Some(&format!("key {}", sent.number)));
            }
            Action::One(sender, sent) => self.send(step, *sender, &[*sent], None),
            Action::Batch(sender, sent) => self.send(step, *sender, sent, None),
        }
        self.disk.clear_faults();
        if self.disk.is_off() {
            self.open = None;
            self.disk.restart();
            self.open();
        }
    }

    fn send(&mut self, step: &Step, sender: Sender, sent: &[Sent], key: Option<&str>) {
        let principal = sender.principal();
        let ids: Vec<_> = sent.iter().map(|sent| self.id(sender, *sent, key)).collect();
        let (expected, new) = self.expected(sender, &ids, sent, key.is_some());

        self.schedule_fault(step);
        let (_, ingest) = self.open.as_ref().unwrap();
        let mut submissions: Vec<_> = sent.iter().map(|sent| sent.submission()).collect();
        let results = match submissions.pop() {
            Some(one) if submissions.is_empty() => {
                vec![self.runtime.block_on(ingest.ingest(&principal, one, key))]
            }
            last => {
                submissions.extend(last);
                self.runtime.block_on(ingest.ingest_batch(&principal, submissions))
            }
        };
        let replies: Vec<_> = results.iter().map(reply).collect();
        self.count(&principal, sender, sent, &replies);
        if replies == expected {
            if !new.is_empty() {
                new.iter().for_each(|event| self.window.remember(event));
                self.committed.extend(new);
                self.unacknowledged.clear();
                self.failed_at = None;
            }
            return;
        }
        let unavailable = expected.into_iter().zip(&ids).map(|(expected, id)| match expected {
            // Duplicates of a pending event fail with it.
            Reply::Accepted(..) | Reply::Duplicate(..) if new.iter().any(|new| new.id == *id) => {
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

    /// Returns the id of an event. Asserts that it follows from the described identity.
    fn id(&mut self, sender: Sender, sent: Sent, key: Option<&str>) -> Uuid {
        let found = Identity::of(&sender.principal(), &sent.submission(), key).id;
        let described = sent.described(sender, key.is_some());
        if let Described::Uuid(id) = described {
            assert_eq!(found, id);
        }
        assert_eq!(*self.ids.entry(described).or_insert(found), found);
        let distinct: BTreeSet<_> = self.ids.values().collect();
        assert_eq!(distinct.len(), self.ids.len(), "different identities have the same id");
        found
    }

    /// Returns the expected replies, and the new events.
    fn expected(
        &mut self,
        sender: Sender,
        ids: &[Uuid],
        sent: &[Sent],
        is_keyed: bool,
    ) -> (Vec<Reply>, Vec<Committed>) {
        let oldest = self.oldest();
        self.window.0.retain(|event| event.received_at >= oldest);
        let mut new = Vec::<Committed>::new();
        let mut expected = Vec::new();
        for (id, sent) in ids.iter().zip(sent) {
            let line = sent.line();
            let mut warnings =
                usize::from(sent.form == Form::Envelope && !sender.may_relay && !is_keyed);
            let known = self.window.find(*id).or_else(|| new.iter().find(|new| new.id == *id));
            expected.push(match known {
                Some(known) if is_keyed && known.line != line => Reply::KeyReused,
                Some(known) => {
                    warnings += usize::from(known.line != line);
                    Reply::Duplicate(*id, warnings)
                }
                None => Reply::Accepted(*id, warnings),
            });
            if known.is_none() {
                let tag = sender.principal().tag(sent.is_phase);
                new.push(Committed { id: *id, line, received_at: self.now(), tag });
            }
        }
        (expected, new)
    }

    /// Counts replies, and compares the counts with those of the ingest.
    fn count(&mut self, principal: &Principal, sender: Sender, sent: &[Sent], replies: &[Reply]) {
        let counts = self.counts.entry(sender.token.unwrap_or("anonymous")).or_default();
        for (sent, reply) in sent.iter().zip(replies) {
            match reply {
                Reply::Duplicate(_, warnings) => {
                    let is_not_adopted = sent.form == Form::Envelope && !sender.may_relay;
                    // With a key, a duplicate has the same content and no warning.
                    let is_changed = *warnings > usize::from(is_not_adopted);
                    *counts = (counts.0 + 1, counts.1 + u64::from(is_changed));
                }
                Reply::KeyReused => counts.1 += 1,
                Reply::Accepted(..) | Reply::Unavailable => {}
            }
        }
        let (_, ingest) = self.open.as_ref().unwrap();
        let found = ingest.counters().principals.snapshot()[principal.label()];
        assert_eq!((found.duplicates, found.changed), *counts, "{principal:?}");
    }
}

fn reply(result: &Result<Ack, IngestError>) -> Reply {
    match result {
        Ok(Ack { id, status, warnings, .. }) => match status {
            AckStatus::Accepted => Reply::Accepted(*id, warnings.len()),
            AckStatus::Duplicate => Reply::Duplicate(*id, warnings.len()),
        },
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
