//! Curve of the knowledge base from no events to many: rate of delivery, latency of queries,
//! memory.
//!
//! `cargo bench -p observer-kb`. Variables: `OBSERVER_KB_EVENTS` (number of events, 200,000),
//! `OBSERVER_KB_SIGNATURES` (100,000), `OBSERVER_KB_QUERIES` (histories per step, 200),
//! `OBSERVER_KB_KEYS` (`uniform`, or `recent`: nine of ten
//! events belong to problems of the last hours), `OBSERVER_TEST_RUNS` (file of events that are
//! varied).

use std::sync::Arc;
use std::time::{Duration, Instant};

use observer_core::query::{
    EventStore, EventsRequest, ModelsRequest, ProblemRequest, ProblemState, ProblemsRequest,
    QueryError, Scope, UsageBy, UsageRequest,
};
use observer_core::{Batch, Envelope, Event, EventSink, SinkContext, Timestamp, Uuid};
use observer_kb::{KbConfig, KbSink, KbStore};

const BATCH: u64 = 8_192;
const MODELS: u64 = 20;
/// Time that the events are spread over, in microseconds: 30 days.
const SPAN: i64 = 30 * 24 * 3_600 * 1_000_000;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build();
    runtime.expect("a runtime starts").block_on(run());
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Varies events of real runs.
struct Source {
    templates: Vec<String>,
    random: fastrand::Rng,
    signatures: u64,
    recent: bool,
    total: u64,
}

impl Source {
    fn new(total: u64) -> Self {
        let fixture =
            concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/agent-runs.ndjson");
        let path = std::env::var("OBSERVER_TEST_RUNS").unwrap_or_else(|_| fixture.to_owned());
        let text = std::fs::read_to_string(&path).expect("the file of events can be read");
        Self {
            templates: text.lines().map(tail).collect(),
            random: fastrand::Rng::with_seed(7),
            signatures: number("OBSERVER_KB_SIGNATURES", 100_000),
            recent: std::env::var("OBSERVER_KB_KEYS").is_ok_and(|keys| keys == "recent"),
            total,
        }
    }

    fn signature(&mut self, seq: u64) -> u64 {
        if !self.recent || self.random.u8(..) < 26 {
            return self.random.u64(..self.signatures);
        }
        // A window of a hundredth of the problems moves over all of them.
        let window = (self.signatures / 100).max(1);
        let start = seq * self.signatures / self.total;
        (start + self.random.u64(..window)) % self.signatures
    }

    /// Returns the hash of a random problem.
    fn hash(&mut self, seq: u64) -> String {
        format!("{:016x}", self.signature(seq).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// Returns the time of an event in microseconds.
    fn time(&self, seq: u64) -> i64 {
        1_790_000_000_000_000 + (SPAN as u128 * u128::from(seq) / u128::from(self.total)) as i64
    }

    fn envelope(&mut self, seq: u64) -> Envelope {
        let signature = self.hash(seq);
        let ok = self.random.u8(..) < 110;
        let kind = if ok { "ok" } else { "tests_failed" };
        let model = self.random.u64(..MODELS);
        let tail = &self.templates[self.random.usize(..self.templates.len())];
        let raw = format!(
            concat!(
                r#"{{"source":"bot","cycle_id":"cycle-{}","sig_hash":"{}","event_kind":"{}","#,
                r#""ok":{},"staffer_id":"model-{}","duration_ms":{},{}"#
            ),
            seq,
            signature,
            kind,
            ok,
            model,
            1_000 + self.random.u32(..600_000),
            tail,
        );
        let at = self.time(seq);
        Envelope {
            id: Uuid::from_u128(self.random.u128(..)),
            seq,
            received_at: Timestamp::from_microsecond(at).expect("a time of this century"),
            event: Event::from_parsed(raw.into()),
        }
    }

    fn batch(&mut self, from: u64) -> Batch {
        let events = (from..from + BATCH).map(|seq| Arc::new(self.envelope(seq)));
        Batch::new(1, events.collect())
    }
}

/// Returns the fields of a run that are kept as they are.
fn tail(run: &str) -> String {
    let event = Event::parse(run.to_owned()).expect("the file has one event per line");
    let extra = event.extra().unwrap_or("{}");
    format!(r#""turns":{},"extra":{extra}}}"#, event.turns().unwrap_or(1))
}

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or(0) / 1024
}

/// Returns the CPU time of the writer's thread.
fn writer_cpu() -> Duration {
    const TICK: Duration = Duration::from_millis(10);
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let stats = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("stat")).ok());
    let writer = stats.into_iter().find(|stat| stat.contains("(kb-writer)"));
    let fields = writer.as_deref().and_then(|stat| stat.split_once(") ")).map(|(_, rest)| rest);
    let ticks = fields.into_iter().flat_map(|fields| fields.split(' ').skip(11).take(2));
    TICK * ticks.filter_map(|ticks| ticks.parse::<u32>().ok()).sum()
}

async fn run() {
    let total = number("OBSERVER_KB_EVENTS", 200_000);
    let folder = tempfile::Builder::new().prefix("kb").tempdir_in(".").expect("a folder");
    let config = KbConfig::in_dir(folder.path().join("kb"));
    let sink = KbSink::new(config, &SinkContext::new("kb", folder.path())).expect("a sink");
    sink.check().await.expect("the file can be opened");
    let mut source = Source::new(total);
    let step = (total / 10).max(BATCH);
    println!(
        "{:>10} {:>10} {:>12} {:>8} {:>9} {:>8}",
        "events", "events/s", "CPU us/event", "longest", "file MiB", "RSS MiB"
    );
    let mut cpu = writer_cpu();
    let (mut seq, mut spent, mut since) = (1, Duration::ZERO, 0);
    let (mut flushed, mut longest) = (Duration::ZERO, Duration::ZERO);
    while seq <= total {
        let batch = source.batch(seq);
        seq += BATCH;
        since += BATCH;
        let start = Instant::now();
        sink.deliver(&batch).await.expect("the batch is stored");
        let took = start.elapsed();
        (spent, flushed, longest) = (spent + took, flushed + took, longest.max(took));
        if flushed >= Duration::from_secs(1) {
            let start = Instant::now();
            sink.flush().await.expect("the batch is flushed");
            let took = start.elapsed();
            (spent, longest, flushed) = (spent + took, longest.max(took), Duration::ZERO);
        }
        if since >= step || seq > total {
            let size = size(folder.path()) >> 20;
            let now = writer_cpu();
            println!(
                "{:>10} {:>10.0} {:>12.1} {:>8.2?} {:>9} {:>8}",
                seq - 1,
                since as f64 / spent.as_secs_f64(),
                (now - cpu).as_micros() as f64 / since as f64,
                longest,
                size,
                resident()
            );
            (spent, since, longest) = (Duration::ZERO, 0, Duration::ZERO);
            queries(&sink.store(), &mut source, seq).await;
            cpu = writer_cpu();
        }
    }
    sink.close().await.expect("the file can be closed");
}

/// Prints latencies of queries.
async fn queries(store: &KbStore, source: &mut Source, seq: u64) {
    let last = Timestamp::from_microsecond(source.time(seq)).expect("a time of this century");
    let since = Some(last - jiff::SignedDuration::from_hours(30 * 24));
    let mut histories = Vec::new();
    // The first query computes the comparison of models, which is kept.
    for number in 0..=number("OBSERVER_KB_QUERIES", 200) {
        let sig_hash = source.hash(seq);
        let request = ProblemRequest { sig_hash, history: 20, ..ProblemRequest::default() };
        let took = timed(store.problem(request)).await;
        if number > 0 {
            histories.push(took);
        }
    }
    histories.sort_unstable();
    let filters = [
        EventsRequest { ok: Some(true), ..EventsRequest::default() },
        EventsRequest { staffer_id: vec!["model-7".into()], ..EventsRequest::default() },
        EventsRequest { sig_hash: vec![source.hash(seq)], ..EventsRequest::default() },
        EventsRequest { cycle_id: vec!["cycle-1".into()], ..EventsRequest::default() },
    ];
    let mut page = Duration::ZERO;
    for filter in filters {
        page = page.max(timed(store.events(EventsRequest { since, limit: 50, ..filter })).await);
    }
    let models = ModelsRequest {
        since,
        compare: Some(("model-1".into(), "model-2".into())),
        ..ModelsRequest::default()
    };
    let usage = |by| UsageRequest {
        scope: Scope::all(),
        by,
        source: None,
        model: None,
        since,
        until: None,
        tz: jiff::tz::TimeZone::fixed(jiff::tz::offset(2)),
        limit: 100,
    };
    let problems = ProblemsRequest {
        states: vec![ProblemState::Broken],
        since,
        limit: 20,
        ..ProblemsRequest::default()
    };
    println!(
        "{:>10} history p50 {:.2?} p99 {:.2?}, page {:.2?}, models {:.2?}, usage {:.2?}, by day \
         {:.2?}, problems {:.2?}",
        "",
        histories[histories.len() / 2],
        histories[histories.len() * 99 / 100],
        page,
        timed(store.models(models)).await,
        timed(store.usage(usage(UsageBy::Model))).await,
        timed(store.usage(usage(UsageBy::Day))).await,
        timed(store.problems(problems)).await,
    );
}

/// Returns how long a query took that succeeds.
async fn timed<T>(query: impl Future<Output = Result<T, QueryError>>) -> Duration {
    let start = Instant::now();
    if let Err(error) = query.await {
        assert!(matches!(error, QueryError::NotFound { .. }), "{error:?}");
    }
    start.elapsed()
}

fn size(folder: &std::path::Path) -> u64 {
    let files = std::fs::read_dir(folder.join("kb")).into_iter().flatten().flatten();
    files.filter_map(|file| file.metadata().ok()).map(|meta| meta.len()).sum()
}
