//! Store with fixed results that records the requests.

use std::future::pending;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use observer_core::query::{
    Attempt, Change, Comparison, Diff, DiffEntry, DiffRequest, DiffSide, EventPage, EventRequest,
    EventStore, EventsRequest, FailureGroup, HintFigures, Hints, HintsRequest, Interval,
    ModelFigures, Models, ModelsRequest, NextModel, Problem, ProblemModel, ProblemPage,
    ProblemRequest, ProblemRow, ProblemState, ProblemsRequest, QueryError, Scope, SolvedBy,
    StoreStatus, StoredEvent, Summary, SummaryRequest, Tokens, Transition, UsageFigures,
    UsageReport, UsageRequest, Verdict,
};
use observer_core::{Envelope, Event, Position, Timestamp, Uuid};
use tokio::sync::Notify;

/// Signature of the only problem.
pub(crate) const SIG_HASH: &str = "03f203cc93b17365";
/// Id of the only event.
pub(crate) const EVENT_ID: Uuid = Uuid::from_u128(7);
/// Cursor of the next page.
pub(crate) const CURSOR: &str = "3-41&x";

/// Request to the store, as Rust formats it.
pub(crate) type Recorded = Arc<Mutex<Vec<String>>>;

/// Behaviour of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behaviour {
    Answers,
    /// Each query is unavailable.
    Unavailable,
    /// Each query runs until it is dropped.
    Hangs,
}

/// Store with one event and one problem of the source `bot`.
pub(crate) struct ScriptedStore {
    behaviour: Behaviour,
    pub(crate) requests: Recorded,
    /// Notified when a query that hangs has started.
    pub(crate) started: Arc<Notify>,
    /// Notified when a query that hangs is dropped.
    pub(crate) dropped: Arc<Notify>,
    /// Position of the event.
    pub(crate) position: Position,
}

struct NotifyOnDrop(Arc<Notify>);

impl Drop for NotifyOnDrop {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

impl ScriptedStore {
    pub(crate) fn new(behaviour: Behaviour) -> Self {
        Self {
            behaviour,
            requests: Recorded::default(),
            started: Arc::default(),
            dropped: Arc::default(),
            position: Position { epoch: 1, seq: 1 },
        }
    }

    async fn answer<T>(&self, request: &impl std::fmt::Debug, result: T) -> Result<T, QueryError> {
        self.requests.lock().unwrap().push(format!("{request:?}"));
        match self.behaviour {
            Behaviour::Answers => Ok(result),
            Behaviour::Unavailable => {
                Err(QueryError::unavailable("no disk", "there is no disk at /secret"))
            }
            Behaviour::Hangs => {
                let _notify = NotifyOnDrop(self.dropped.clone());
                self.started.notify_one();
                pending().await
            }
        }
    }
}

pub(crate) fn time(second: i64) -> Timestamp {
    Timestamp::from_second(1_780_000_000 + second).unwrap()
}

fn stored(position: Position) -> StoredEvent {
    let event = r#"{"source":"bot","event_kind":"tests_failed","ok":false,
        "cycle_id":"c-1","sig_hash":"03f203cc93b17365","staffer_id":"=cmd",
        "turns":3, "labels":{"branch":"a,b"},"extra":{ "é": [1,  2]}}"#;
    let event = Event::parse(event).unwrap();
    let envelope = Envelope { id: EVENT_ID, seq: position.seq, received_at: time(0), event };
    StoredEvent { envelope, position, replaced_by: Some(Uuid::from_u128(8)) }
}

pub(crate) fn problem(request: &ProblemRequest) -> Problem {
    let attempt = |n| Attempt {
        event: Uuid::from_u128(n),
        at: time(n as i64),
        source: "bot".into(),
        kind: "tests_failed".into(),
        ok: n == 1,
        model: Some("gpt-5".into()),
        version: Some("1.2".into()),
        cost: Some(1.5),
        duration_ms: None,
        text: Some("=assert \"x\"".into()),
        corrects: Some(EVENT_ID),
    };
    let history: Vec<_> = (0..3).rev().map(attempt).take(request.history).collect();
    Problem {
        sig_hash: SIG_HASH.into(),
        state: ProblemState::MaybeFixed,
        since: time(1),
        first_seen: time(0),
        last_seen: time(2),
        attempts: 3,
        solved: 1,
        ci: Interval { low: 0.0625, high: 0.75 },
        cost: 4.5,
        wasted: 0.0,
        unpriced: 1,
        cost_per_solved: Some(4.5),
        flip_rate: Some(1.0),
        models: vec![ProblemModel {
            model: None,
            attempts: 3,
            solved: 1,
            ci: Interval { low: 0.0625, high: 0.75 },
            cost: 4.5,
            p50_ms: Some(1_000.0),
            p95_ms: None,
            last: time(2),
        }],
        failures: vec![FailureGroup {
            kind: "tests_failed".into(),
            fingerprint: "f1".into(),
            count: 2,
            text: None,
            last: time(2),
        }],
        solved_by: Some(SolvedBy {
            model: Some("gpt-5".into()),
            event: EVENT_ID,
            at: time(1),
            cost: None,
        }),
        next: Some(NextModel {
            model: Some("gpt-5".into()),
            why: "solved 1 of 3 here".into(),
            comparable_on: 0,
        }),
        hint_id: "h24ae017b4c".into(),
        history: (request.history > 0).then_some(history),
        transitions: (request.transitions > 0).then(|| {
            vec![Transition { state: ProblemState::Broken, at: time(0), event: Some(EVENT_ID) }]
        }),
    }
}

fn figures() -> UsageFigures {
    UsageFigures {
        key: Some("gpt-5".into()),
        attempts: 616,
        solved: 262,
        ci: Interval { low: 0.387, high: 0.465 },
        tokens: Tokens { input: 10, output: 5, ..Tokens::default() },
        cost: 1_217.9,
        reported: 1_217.9,
        priced: 0.0,
        unpriced: 0,
        unpriced_tokens: 0,
        turns: 12,
        duration_ms: 1.5,
        p50_ms: None,
        p95_ms: Some(2.0),
    }
}

#[async_trait]
impl EventStore for ScriptedStore {
    async fn events(&self, request: EventsRequest) -> Result<EventPage, QueryError> {
        let events =
            if request.scope.allows("bot") { vec![stored(self.position)] } else { Vec::new() };
        let is_first = request.cursor.is_none();
        let cursor = (!events.is_empty() && is_first).then(|| CURSOR.to_owned());
        self.answer(&request, EventPage { events, cursor }).await
    }

    async fn event(&self, request: EventRequest) -> Result<StoredEvent, QueryError> {
        self.answer(&request, ()).await?;
        let is_own = request.id == EVENT_ID.to_string() || request.id == "mine/1";
        if is_own && request.scope.allows("bot") {
            return Ok(stored(self.position));
        }
        Err(QueryError::not_found(format!("event with the id {:?}", request.id)))
    }

    async fn problems(&self, request: ProblemsRequest) -> Result<ProblemPage, QueryError> {
        let Problem { sig_hash, state, since, first_seen, last_seen, attempts, solved, .. } =
            problem(&ProblemRequest::default());
        let row = ProblemRow {
            sig_hash,
            state,
            since,
            first_seen,
            last_seen,
            attempts,
            solved,
            cost: 4.5,
            wasted: 0.25,
            unpriced: 0,
            last_kind: "tests_failed".into(),
            last_model: None,
        };
        let cursor = Some(CURSOR.to_owned());
        self.answer(&request, ProblemPage { problems: vec![row], cursor }).await
    }

    async fn problem(&self, request: ProblemRequest) -> Result<Problem, QueryError> {
        let found = self.answer(&request, problem(&request)).await?;
        if request.sig_hash == SIG_HASH && request.scope.allows("bot") {
            return Ok(found);
        }
        Err(QueryError::not_found(format!("problem {:?}", request.sig_hash)))
    }

    async fn summary(&self, request: SummaryRequest) -> Result<Summary, QueryError> {
        let summary = Summary {
            text: "1 of 3 solved.".into(),
            hint_id: Some("h24ae017b4c".into()),
            similar: Vec::new(),
        };
        self.answer(&request, summary).await
    }

    async fn similar_signatures(
        &self,
        scope: Scope,
        sig_hash: String,
        limit: usize,
    ) -> Result<Vec<String>, QueryError> {
        let similar = if scope.allows("bot") { vec![SIG_HASH.to_owned()] } else { Vec::new() };
        self.answer(&(scope, sig_hash, limit), similar).await
    }

    async fn models(&self, request: ModelsRequest) -> Result<Models, QueryError> {
        let comparison = request.compare.clone().map(|(a, b)| Comparison {
            a,
            b,
            verdict: Verdict::Same,
            common: 616,
            both: 206,
            only_a: 56,
            only_b: 68,
            neither: 286,
            p: Some(0.323),
            a_cost_per_solved: Some(4.65),
            b_cost_per_solved: None,
            text: "same quality as far as shown".into(),
        });
        let UsageFigures { key, attempts, solved, ci, tokens, cost, reported, .. } = figures();
        let model = ModelFigures {
            model: key,
            source: request.by_source.then(|| "bot".into()),
            attempts,
            solved,
            ci,
            cost,
            reported,
            priced: 0.0,
            unpriced: 0,
            cost_per_solved: None,
            tokens,
            turns: 12,
            p50_ms: Some(1.0),
            p95_ms: None,
            problems: 616,
            comparable_on: 616,
        };
        self.answer(&request, Models { models: vec![model], comparison }).await
    }

    async fn usage(&self, request: UsageRequest) -> Result<UsageReport, QueryError> {
        let total = UsageFigures { key: None, ..figures() };
        self.answer(&request, UsageReport { rows: vec![figures()], total, omitted: 1 }).await
    }

    async fn diff(&self, request: DiffRequest) -> Result<Diff, QueryError> {
        let side = DiffSide {
            attempts: 2,
            solved: 1,
            last_kind: "ok".into(),
            last_model: None,
            last: time(0),
            mean_cost: Some(0.5),
            mean_ms: None,
        };
        let entry = DiffEntry {
            sig_hash: SIG_HASH.into(),
            change: Change::NoLongerRun,
            before: side,
            after: None,
        };
        let diff = Diff { since: request.since, entries: vec![entry], omitted: 0 };
        self.answer(&request, diff).await
    }

    async fn hints(&self, request: HintsRequest) -> Result<Hints, QueryError> {
        let figures = |attempts| HintFigures {
            attempts,
            solved: 1,
            ci: Interval { low: 0.0, high: 1.0 },
            cost: 1.0,
            unpriced: 0,
            cost_per_solved: None,
        };
        self.answer(&request, Hints { with: figures(4), without: figures(9) }).await
    }

    async fn status(&self) -> Result<StoreStatus, QueryError> {
        let status = StoreStatus {
            events: 1,
            problems: 1,
            oldest: Some(time(0)),
            position: Some(self.position),
            bytes: 1,
            max_bytes: 2,
        };
        self.answer(&(), status).await
    }
}
