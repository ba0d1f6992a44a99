//! The knowledge base against a plain list of events.

use std::collections::{BTreeMap, BTreeSet};

use observer_core::query::{EventStore, ModelsRequest, UsageBy};
use observer_core::{Envelope, Timestamp};
use observer_figures::state::{Attempt, Fold, Rules, event_time};
use proptest::prelude::*;

use super::support::{DAY, Kb, START, events_request, problems_request};

/// One random step.
#[derive(Debug, Clone)]
enum Step {
    /// An event: problem, model, success, cost in cents, days by which it is late, and the number
    /// of the event that it corrects.
    Send {
        problem: u8,
        model: u8,
        ok: bool,
        cents: u16,
        late: u8,
        corrects: Option<u8>,
    },
    /// A phase.
    Phase,
    /// An event that was sent before, in another epoch.
    Repeat(u8),
    Flush,
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let send = (
        0..3_u8,
        0..3_u8,
        any::<bool>(),
        0..500_u16,
        0..20_u8,
        prop::option::weighted(0.2, any::<u8>()),
    )
        .prop_map(|(problem, model, ok, cents, late, corrects)| Step::Send {
            problem,
            model,
            ok,
            cents,
            late: late.saturating_sub(12),
            corrects,
        });
    let step = prop_oneof![
        12 => send,
        1 => Just(Step::Phase),
        1 => any::<u8>().prop_map(Step::Repeat),
        3 => Just(Step::Flush),
        1 => Just(Step::Reopen),
    ];
    prop::collection::vec(step, 1..40)
}

/// Events in the order of receipt.
#[derive(Default)]
struct Model {
    events: Vec<(u64, i64, String)>,
}

/// Attempt as the model sees it.
#[derive(Debug, Clone)]
struct Seen {
    n: u64,
    at: Timestamp,
    problem: String,
    model: String,
    ok: bool,
    cost: f64,
}

impl Model {
    fn envelopes(&self) -> Vec<Envelope> {
        let event = |(seq, received, json): &(u64, i64, String)| {
            super::support::envelope(*seq, *received, json)
        };
        self.events.iter().map(event).collect()
    }

    /// Returns the attempts with their corrections, by the definition.
    fn attempts(&self) -> Vec<Seen> {
        let events = self.envelopes();
        let mut attempts: BTreeMap<u64, Seen> = BTreeMap::new();
        for event in events.iter().filter(|event| event.event.replaces().is_none()) {
            if event.event.is_phase() {
                continue;
            }
            let at = event_time(event.event.timestamp(), event.received_at);
            attempts.insert(event.seq, seen(event, event.seq, at));
        }
        for event in events.iter().filter(|event| event.event.replaces().is_some()) {
            if let Some(attempt) = original(&events, event).and_then(|seq| attempts.get_mut(&seq)) {
                *attempt = seen(event, attempt.n, attempt.at);
            }
        }
        attempts.into_values().collect()
    }
}

/// Returns the outcome that a correction belongs to.
fn original<'a>(events: &'a [Envelope], mut event: &'a Envelope) -> Option<u64> {
    let mut seen = BTreeSet::new();
    while let Some(target) = event.event.replaces() {
        event = events.iter().find(|other| other.event.id() == Some(target))?;
        if !seen.insert(event.seq) {
            return None;
        }
    }
    Some(event.seq)
}

fn seen(event: &Envelope, n: u64, at: Timestamp) -> Seen {
    Seen {
        n,
        at,
        problem: event.event.sig_hash().unwrap().to_owned(),
        model: event.event.staffer_id().unwrap().to_owned(),
        ok: event.event.ok().unwrap(),
        cost: event.event.cost_usd().unwrap(),
    }
}

async fn run(steps: Vec<Step>) {
    let mut kb = Kb::new();
    let mut model = Model::default();
    let mut now = START;
    let mut epoch = 1;
    for step in steps {
        now += DAY / 3;
        kb.at(now);
        match step {
            Step::Send { problem, model: m, ok, cents, late, corrects } => {
                let number = model.events.len();
                let target = corrects.map(|of| usize::from(of) % (number + 2));
                let replaces = target
                    .filter(|&target| target != number)
                    .map_or_else(String::new, |target| format!(r#","replaces":"e{target}""#));
                let at = super::support::time(now - i64::from(late) * DAY);
                let json = format!(
                    concat!(
                        r#"{{"source":"bot","cycle_id":"c","sig_hash":"p{}","event_kind":"k","#,
                        r#""ok":{},"staffer_id":"m{}","cost_usd":{},"id":"e{}","#,
                        r#""timestamp":"{}"{}}}"#
                    ),
                    problem,
                    ok,
                    m,
                    f64::from(cents) / 100.0,
                    number,
                    at,
                    replaces
                );
                send(&mut kb, &mut model, &mut epoch, json, now).await;
            }
            Step::Phase => {
                let json =
                    r#"{"source":"bot","cycle_id":"c","sig_hash":"p0","event_kind":"started"}"#;
                send(&mut kb, &mut model, &mut epoch, json.to_owned(), now).await;
            }
            Step::Repeat(of) => {
                if let Some((seq, received, json)) =
                    model.events.get(usize::from(of) % model.events.len().max(1))
                {
                    epoch += 1;
                    let again = super::support::envelope(*seq, *received, json);
                    deliver(&kb, epoch, again).await;
                }
            }
            Step::Flush => kb.sink_flush().await,
            Step::Reopen => kb.reopen(),
        }
    }
    kb.sink_flush().await;
    check(&kb, &model).await;
}

async fn send(kb: &mut Kb, model: &mut Model, epoch: &mut u64, json: String, now: i64) {
    let seq = model.events.len() as u64 + 1;
    let envelope = super::support::envelope(seq, now, &json);
    model.events.push((seq, now, json));
    // A new epoch, since a repetition may have moved the position.
    *epoch += 1;
    deliver(kb, *epoch, envelope).await;
}

async fn deliver(kb: &Kb, epoch: u64, envelope: Envelope) {
    use observer_core::EventSink;
    let batch = observer_core::Batch::new(epoch, vec![std::sync::Arc::new(envelope)]);
    kb.sink.deliver(&batch).await.unwrap();
}

async fn check(kb: &Kb, model: &Model) {
    let attempts = model.attempts();
    let events = match kb.store.events(events_request(1_000)).await {
        Ok(page) => page.events,
        Err(_) => Vec::new(),
    };
    let ids: Vec<_> = events.iter().map(|stored| stored.envelope.id).collect();
    let expected: Vec<_> = model.envelopes().iter().rev().map(|event| event.id).collect();
    assert_eq!(ids, expected);
    if model.events.is_empty() {
        return;
    }
    let total = kb.usage(UsageBy::Day).await.total;
    assert_eq!(total.attempts, attempts.len() as u64);
    assert_eq!(total.solved, attempts.iter().filter(|attempt| attempt.ok).count() as u64);
    let cost: f64 = attempts.iter().map(|attempt| attempt.cost).sum();
    assert!((total.cost - cost).abs() < 1e-6, "{} {cost}", total.cost);
    check_days(kb, &attempts).await;
    check_models(kb, &attempts).await;
    check_problems(kb, &attempts).await;
}

async fn check_days(kb: &Kb, attempts: &[Seen]) {
    let mut days: BTreeMap<String, u64> = BTreeMap::new();
    for attempt in attempts {
        let day = attempt.at.to_zoned(jiff::tz::TimeZone::UTC).date().to_string();
        *days.entry(day).or_default() += 1;
    }
    let rows = kb.usage(UsageBy::Day).await.rows;
    let found: BTreeMap<_, _> =
        rows.into_iter().map(|row| (row.key.unwrap(), row.attempts)).collect();
    assert_eq!(found, days);
}

async fn check_models(kb: &Kb, attempts: &[Seen]) {
    let tried = |model: &str| -> BTreeMap<&str, bool> {
        let mut tried = BTreeMap::new();
        for attempt in attempts.iter().filter(|attempt| attempt.model == model) {
            *tried.entry(attempt.problem.as_str()).or_default() |= attempt.ok;
        }
        tried
    };
    let compare = Some(("m0".to_owned(), "m1".to_owned()));
    let models = kb.store.models(ModelsRequest { compare, ..Default::default() }).await.unwrap();
    for row in &models.models {
        let name = row.model.as_deref().unwrap();
        let own: Vec<_> = attempts.iter().filter(|attempt| attempt.model == name).collect();
        assert_eq!(row.attempts, own.len() as u64);
        assert_eq!(row.solved, own.iter().filter(|attempt| attempt.ok).count() as u64);
        assert_eq!(row.problems, tried(name).len() as u64);
    }
    let (a, b) = (tried("m0"), tried("m1"));
    let count = |wanted: (bool, bool)| {
        let common = a.iter().filter_map(|(problem, ok)| Some((*ok, *b.get(problem)?)));
        common.filter(|found| *found == wanted).count() as u64
    };
    let found = models.comparison.unwrap();
    assert_eq!(
        (found.both, found.only_a, found.only_b, found.neither),
        (count((true, true)), count((true, false)), count((false, true)), count((false, false)))
    );
}

async fn check_problems(kb: &Kb, attempts: &[Seen]) {
    let mut problems: BTreeMap<&str, Vec<&Seen>> = BTreeMap::new();
    for attempt in attempts {
        problems.entry(&attempt.problem).or_default().push(attempt);
    }
    let listed = kb.store.problems(problems_request(100)).await.unwrap().problems;
    assert_eq!(listed.len(), problems.len());
    let now = super::support::time(kb.now.load(std::sync::atomic::Ordering::Relaxed));
    for (name, mut attempts) in problems {
        attempts.sort_by_key(|attempt| (attempt.at, attempt.n));
        let problem = kb.problem(name).await;
        let history: Vec<_> = problem.history.unwrap();
        let found: Vec<_> = history.iter().rev().map(|a| (a.at, a.ok, a.cost)).collect();
        let expected: Vec<_> = attempts.iter().map(|a| (a.at, a.ok, Some(a.cost))).collect();
        assert_eq!(found, expected);
        let folded: Vec<_> = attempts
            .iter()
            .map(|attempt| Attempt::new(attempt.n, attempt.at, attempt.ok).model(&attempt.model))
            .collect();
        let standing = Fold::of(&folded, &Rules::default()).standing(now, &Rules::default());
        let standing = standing.unwrap();
        assert_eq!(problem.state.as_str(), standing.state.as_str());
        assert_eq!((problem.since, problem.attempts), (standing.since, standing.attempts));
        assert_eq!(problem.solved, standing.solved);
        let changes = attempts.windows(2).filter(|pair| pair[0].ok != pair[1].ok).count();
        let pairs = attempts.len() as f64 - 1.0;
        assert_eq!(problem.flip_rate, (pairs > 0.0).then(|| changes as f64 / pairs));
        let row = listed.iter().find(|row| row.sig_hash == name).unwrap();
        assert_eq!(
            (row.state, row.attempts, row.solved),
            (problem.state, problem.attempts, problem.solved)
        );
        assert!((row.cost - problem.cost).abs() < 1e-6);
        let cost: f64 = attempts.iter().map(|attempt| attempt.cost).sum();
        assert!((row.cost - cost).abs() < 1e-6);
        assert_eq!(row.last_seen, attempts.last().unwrap().at);
        assert_eq!(row.first_seen, attempts[0].at);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn answers_equal_those_of_a_plain_list(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(run(steps));
    }
}
