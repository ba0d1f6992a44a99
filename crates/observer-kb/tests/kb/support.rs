//! A knowledge base in a temporary folder, and events for it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use observer_core::query::{
    EventStore, EventsRequest, Problem, ProblemRequest, ProblemsRequest, UsageBy, UsageReport,
    UsageRequest,
};
use observer_core::{
    Batch, Envelope, EventSink, Pricing, SinkContext, Submission, Timestamp, Uuid,
};
use observer_kb::{KbConfig, KbSink, KbStore};
use tempfile::TempDir;

/// A day in microseconds.
pub(crate) const DAY: i64 = 24 * 3_600_000_000;

/// Noon of 1 January 2026.
pub(crate) const START: i64 = 1_767_268_800_000_000;

pub(crate) fn time(micros: i64) -> Timestamp {
    Timestamp::from_microsecond(micros).unwrap()
}

/// Knowledge base whose clock stands still.
pub(crate) struct Kb {
    pub(crate) folder: TempDir,
    config: KbConfig,
    prices: Option<Arc<dyn Pricing>>,
    pub(crate) now: Arc<AtomicI64>,
    pub(crate) sink: KbSink,
    pub(crate) store: Arc<KbStore>,
    next: u64,
}

impl Kb {
    pub(crate) fn new() -> Self {
        Self::with(|config| config)
    }

    pub(crate) fn with(change: impl FnOnce(KbConfig) -> KbConfig) -> Self {
        let folder = TempDir::new().unwrap();
        let now = Arc::new(AtomicI64::new(START));
        let clock = Arc::clone(&now);
        let config = change(KbConfig::in_dir(folder.path().join("kb")))
            .with_clock(move || time(clock.load(Ordering::Relaxed)));
        let (sink, store) = build(&config, None);
        Self { folder, config, prices: None, now, sink, store, next: 1 }
    }

    /// Drops the sink without a flush, and builds another one over the same file.
    pub(crate) fn reopen(&mut self) {
        (self.sink, self.store) = build(&self.config, self.prices.clone());
    }

    /// Changes the configuration, and builds another sink over the same file.
    pub(crate) fn configure(&mut self, change: impl FnOnce(KbConfig) -> KbConfig) {
        self.config = change(self.config.clone());
        self.reopen();
    }

    pub(crate) fn set_prices(&mut self, prices: Arc<dyn Pricing>) {
        self.prices = Some(prices);
        self.reopen();
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("kb/kb.sqlite")
    }

    /// Sets the clock.
    pub(crate) fn at(&self, micros: i64) {
        self.now.store(micros, Ordering::Relaxed);
    }

    /// Returns the next event, received at the present time.
    pub(crate) fn envelope(&mut self, json: &str) -> Envelope {
        let seq = self.next;
        self.next += 1;
        envelope(seq, self.now.load(Ordering::Relaxed), json)
    }

    /// Delivers events without a flush.
    pub(crate) async fn deliver(&self, envelopes: Vec<Envelope>) {
        let batch = Batch::new(1, envelopes.into_iter().map(Arc::new).collect());
        self.sink.deliver(&batch).await.unwrap();
    }

    /// Delivers and flushes events that are received at the present time. Returns their ids.
    pub(crate) async fn send<S: AsRef<str>>(&mut self, events: &[S]) -> Vec<Uuid> {
        let envelopes: Vec<Envelope> =
            events.iter().map(|json| self.envelope(json.as_ref())).collect();
        let ids = envelopes.iter().map(|envelope| envelope.id).collect();
        self.deliver(envelopes).await;
        self.sink.flush().await.unwrap();
        ids
    }

    pub(crate) async fn sink_flush(&self) {
        self.sink.flush().await.unwrap();
    }

    pub(crate) async fn sink_close(&self) {
        self.sink.close().await.unwrap();
    }

    pub(crate) async fn problem(&self, sig_hash: &str) -> Problem {
        let request = ProblemRequest {
            sig_hash: sig_hash.to_owned(),
            history: 1_000,
            transitions: 100,
            ..ProblemRequest::default()
        };
        self.store.problem(request).await.unwrap()
    }

    pub(crate) async fn usage(&self, by: UsageBy) -> UsageReport {
        self.store.usage(usage_request(by)).await.unwrap()
    }
}

fn build(config: &KbConfig, prices: Option<Arc<dyn Pricing>>) -> (KbSink, Arc<KbStore>) {
    let mut context = SinkContext::new("kb", "unused");
    if let Some(prices) = prices {
        context = context.with_prices(prices);
    }
    let sink = KbSink::new(config.clone(), &context).unwrap();
    let store = sink.store();
    (sink, store)
}

/// Returns an event with an id that follows from its sequence number.
pub(crate) fn envelope(seq: u64, received: i64, json: &str) -> Envelope {
    let event =
        Submission::parse(json.to_owned()).unwrap_or_else(|error| panic!("{error}: {json}"));
    let id = Uuid::from_u128(u128::from(seq) << 64 | 0xdead_beef);
    Envelope { id, seq, received_at: time(received), event: event.event }
}

/// Returns an outcome of source `bot`.
pub(crate) fn outcome(signature: &str, model: &str, ok: bool) -> String {
    let kind = if ok { "ok" } else { "tests_failed" };
    format!(
        concat!(
            r#"{{"source":"bot","cycle_id":"c","sig_hash":"{}","event_kind":"{}","ok":{},"#,
            r#""staffer_id":"{}"}}"#
        ),
        signature, kind, ok, model
    )
}

/// Returns an event with further fields.
pub(crate) fn with(event: &str, fields: &str) -> String {
    let body = event.strip_suffix('}').unwrap();
    format!("{body},{fields}}}")
}

pub(crate) fn events_request(limit: usize) -> EventsRequest {
    EventsRequest { limit, ..EventsRequest::default() }
}

pub(crate) fn problems_request(limit: usize) -> ProblemsRequest {
    ProblemsRequest { limit, ..ProblemsRequest::default() }
}

pub(crate) fn usage_request(by: UsageBy) -> UsageRequest {
    UsageRequest {
        scope: observer_core::query::Scope::all(),
        by,
        source: None,
        model: None,
        since: None,
        until: None,
        tz: jiff::tz::TimeZone::UTC,
        limit: 1_000,
    }
}

/// Waits until the upkeep of the writer, which runs by itself, has brought something about.
pub(crate) async fn wait_until(kb: &Kb, mut holds: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !holds().await {
        assert!(start.elapsed() < Duration::from_secs(60), "timed out");
        kb.sink_flush().await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
