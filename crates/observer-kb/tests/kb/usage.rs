//! Usage by day and label, prices, hints, and summaries.

use std::sync::Arc;

use jiff::tz::{Offset, TimeZone};
use observer_core::query::{
    Change, DiffRequest, EventStore, HintsRequest, ProblemRequest, Scope, SummaryRequest, UsageBy,
    UsageReport, UsageRequest,
};
use observer_core::{Pricing, RateQuery, Rates};

use super::support::{
    DAY, Kb, START, outcome, problems_request, time, usage_request, wait_until, with,
};

const HOUR: i64 = DAY / 24;

#[tokio::test]
async fn days_are_those_of_the_time_zone() {
    let mut kb = Kb::new();
    // 12:00, 18:15, 18:30 and 23:45 UTC.
    for minutes in [0, 375, 390, 705] {
        kb.at(START + minutes * 60_000_000);
        kb.send(&[with(&outcome("p", "m", true), r#""cost_usd":1,"duration_ms":1000"#)]).await;
    }
    let counts = |tz: TimeZone| {
        let request = UsageRequest { tz, ..usage_request(UsageBy::Day) };
        let store = Arc::clone(&kb.store);
        async move {
            let report = store.usage(request).await.unwrap();
            report.rows.into_iter().map(|row| (row.key.unwrap(), row.attempts)).collect::<Vec<_>>()
        }
    };
    let day = |day: &str, attempts| (day.to_owned(), attempts);
    assert_eq!(counts(TimeZone::UTC).await, [day("2026-01-01", 4)]);
    let india = TimeZone::fixed(Offset::from_seconds(5 * 3_600 + 1_800).unwrap());
    assert_eq!(counts(india).await, [day("2026-01-01", 2), day("2026-01-02", 2)]);
    let nepal = TimeZone::fixed(Offset::from_seconds(5 * 3_600 + 2_700).unwrap());
    assert_eq!(counts(nepal).await, [day("2026-01-01", 1), day("2026-01-02", 3)]);

    let request = UsageRequest {
        since: Some(time(START + 6 * HOUR)),
        until: Some(time(START + 7 * HOUR)),
        ..usage_request(UsageBy::Source)
    };
    let total = kb.store.usage(request).await.unwrap().total;
    assert_eq!((total.attempts, total.duration_ms), (2, 2_000.0));
}

#[tokio::test]
async fn days_far_apart_are_listed_and_the_latest_kept() {
    let mut kb = Kb::new();
    let event = |at: &str| with(&outcome("p", "m", true), &format!(r#""timestamp":"{at}""#));
    let times = ["1970-01-02T00:00:00Z", "2025-12-30T01:00:00Z", "2026-01-01T00:00:00Z"];
    kb.send(&times.map(event)).await;
    let report = |limit| {
        let request = UsageRequest { limit, ..usage_request(UsageBy::Day) };
        let store = Arc::clone(&kb.store);
        async move { store.usage(request).await.unwrap() }
    };
    let keys = |report: &UsageReport| -> Vec<_> {
        report.rows.iter().map(|row| row.key.clone().unwrap()).collect()
    };
    let all = report(10).await;
    assert_eq!(keys(&all), ["1970-01-02", "2025-12-30", "2026-01-01"]);
    assert_eq!((all.total.attempts, all.omitted), (3, 0));
    let latest = report(2).await;
    assert_eq!(keys(&latest), ["2025-12-30", "2026-01-01"]);
    assert_eq!((latest.total.attempts, latest.omitted), (3, 1));
}

#[tokio::test]
async fn labels_are_counted_and_the_rest_has_no_key() {
    let mut kb = Kb::new();
    let labelled = |team: &str| {
        with(&outcome("p", "m", true), &format!(r#""cost_usd":1,"labels":{{"team":"{team}"}}"#))
    };
    kb.send(&[labelled("red"), labelled("blue"), labelled("red"), outcome("p", "m", false)]).await;
    let usage = kb.usage(UsageBy::Label("team".into())).await;
    let rows: Vec<_> =
        usage.rows.iter().map(|row| (row.key.as_deref(), row.attempts, row.cost)).collect();
    assert_eq!(rows, [(Some("red"), 2, 2.0), (Some("blue"), 1, 1.0), (None, 1, 0.0)]);
    assert_eq!((usage.total.attempts, usage.total.solved), (4, 3));
    let unknown = kb.usage(UsageBy::Label("host".into())).await;
    assert_eq!((unknown.rows.len(), unknown.rows[0].attempts), (1, 4));

    let limited = UsageRequest { limit: 1, ..usage_request(UsageBy::Label("team".into())) };
    let limited = kb.store.usage(limited).await.unwrap();
    assert_eq!((limited.rows.len(), limited.omitted, limited.total.attempts), (1, 2, 4));
}

#[tokio::test]
async fn row_without_a_label_has_every_figure() {
    let mut kb = Kb::new();
    let took = |ms: u32, usd: f64, fields: &str| {
        let fields = format!(r#""duration_ms":{ms},"cost_usd":{usd}{fields}"#);
        with(&outcome("p", "m", true), &fields)
    };
    let label = r#","labels":{"team":"red"}"#;
    let mut events: Vec<_> = (1..=10).map(|n| took(n * 1_000, 0.1, label)).collect();
    events.extend((1..=20).map(|n| took(n * 100_000, 0.0, "")));
    kb.send(&events).await;
    let rows = kb.usage(UsageBy::Label("team".into())).await.rows;
    let near = |found: Option<f64>, ms: f64| found.is_some_and(|at| (at / ms - 1.0).abs() < 0.05);
    let [red, rest] = rows.as_slice() else { panic!("{rows:?}") };
    assert!(near(red.p50_ms, 5_000.0) && near(red.p95_ms, 10_000.0), "{red:?}");
    assert_eq!((rest.key.as_deref(), rest.attempts), (None, 20));
    assert!(near(rest.p50_ms, 1_000_000.0) && near(rest.p95_ms, 1_900_000.0), "{rest:?}");
    // Sums of decimal fractions leave no rest.
    assert_eq!((rest.cost, rest.reported), (0.0, 0.0));
}

#[tokio::test]
async fn percentiles_are_absent_without_durations_alone() {
    let mut kb = Kb::new();
    let labelled = |fields: &str| {
        with(&outcome("p", "m", true), &format!(r#""labels":{{"team":"red"}}{fields}"#))
    };
    kb.send(&[labelled(""), outcome("p", "m", true)]).await;
    let rows = kb.usage(UsageBy::Label("team".into())).await.rows;
    assert!(rows.iter().all(|row| row.p50_ms.is_none() && row.p95_ms.is_none()), "{rows:?}");
    kb.send(&[labelled(r#","duration_ms":0"#)]).await;
    let rows = kb.usage(UsageBy::Label("team".into())).await.rows;
    assert_eq!((rows[0].p50_ms, rows[1].p50_ms), (Some(0.0), None));
}

#[tokio::test]
async fn values_of_a_label_beyond_the_limit_are_counted_together() {
    let mut kb = Kb::new();
    let events: Vec<String> = (0..1_005)
        .map(|n| with(&outcome("p", "m", true), &format!(r#""labels":{{"run":"{n}"}}"#)))
        .collect();
    kb.send(&events).await;
    let usage = kb.usage(UsageBy::Label("run".into())).await;
    assert_eq!(usage.total.attempts, 1_005);
    let other = usage.rows.iter().find(|row| row.key.as_deref() == Some("other")).unwrap();
    assert_eq!(other.attempts, 5);
}

#[tokio::test]
async fn sources_and_models_beyond_the_limit_are_counted_together() {
    let mut kb = Kb::new();
    let events: Vec<String> = (0..1_003).map(|n| outcome("p", &format!("m{n}"), true)).collect();
    kb.send(&events).await;
    kb.send(&[outcome("p", "m1002", false)]).await;
    let usage = kb.usage(UsageBy::Model).await;
    assert_eq!((usage.rows.len(), usage.omitted, usage.total.attempts), (1_000, 1, 1_004));
    let other = usage.rows.iter().find(|row| row.key.as_deref() == Some("other")).unwrap();
    assert_eq!((other.attempts, other.solved), (4, 3));
    let problem = kb.problem("p").await;
    assert_eq!((problem.attempts, problem.models.len()), (1_004, 257));
    let other = problem.models.iter().find(|row| row.model.as_deref() == Some("other")).unwrap();
    assert_eq!((other.attempts, other.solved), (748, 747));
}

/// A price per token for one model.
#[derive(Debug)]
struct Price(f64);

impl Pricing for Price {
    fn rates(&self, query: &RateQuery<'_>) -> Option<Rates> {
        let mut rates = Rates::default();
        (rates.input, rates.output) = (self.0, self.0);
        (query.model == "priced").then_some(rates)
    }
}

#[tokio::test]
async fn stored_tokens_have_the_present_price() {
    let mut kb = Kb::new();
    let tokens = r#""usage":{"prompt_tokens":8,"completion_tokens":2}"#;
    kb.send(&[
        with(&outcome("p", "priced", true), tokens),
        with(&outcome("p", "unknown", false), tokens),
        with(&outcome("p", "priced", false), r#""cost_usd":7"#),
    ])
    .await;
    let before = kb.usage(UsageBy::Model).await.total;
    assert_eq!((before.reported, before.priced, before.unpriced), (7.0, 0.0, 2));
    kb.set_prices(Arc::new(Price(0.5)));
    let after = kb.usage(UsageBy::Model).await.total;
    assert_eq!((after.reported, after.priced, after.unpriced), (7.0, 5.0, 1));
    assert_eq!((after.cost, after.unpriced_tokens, after.tokens.input), (12.0, 10, 16));
    let problem = kb.problem("p").await;
    assert_eq!((problem.cost, problem.unpriced), (12.0, 1));
    assert_eq!(problem.history.unwrap()[2].cost, Some(5.0));
    // The list follows once the upkeep has computed the rows anew.
    wait_until(&kb, async || {
        kb.store.problems(problems_request(9)).await.unwrap().problems[0].cost == 12.0
    })
    .await;
}

/// Prices without a model.
#[derive(Debug)]
struct NoPrices;

impl Pricing for NoPrices {
    fn rates(&self, _: &RateQuery<'_>) -> Option<Rates> {
        None
    }
}

#[tokio::test]
async fn removed_price_no_longer_counts() {
    let mut kb = Kb::new();
    kb.set_prices(Arc::new(Price(0.5)));
    let tokens = r#""usage":{"prompt_tokens":8,"completion_tokens":2}"#;
    kb.send(&[with(&outcome("p", "priced", true), tokens)]).await;
    let row = async |kb: &Kb| kb.store.problems(problems_request(9)).await.unwrap().problems;
    assert_eq!((row(&kb).await[0].cost, row(&kb).await[0].unpriced), (5.0, 0));
    kb.set_prices(Arc::new(NoPrices));
    let total = kb.usage(UsageBy::Model).await.total;
    assert_eq!((total.cost, total.unpriced), (0.0, 1));
    let problem = kb.problem("p").await;
    assert_eq!((problem.cost, problem.unpriced), (0.0, 1));
    wait_until(&kb, async || row(&kb).await[0].cost == 0.0).await;
}

#[tokio::test]
async fn hints_are_compared_with_their_absence() {
    let mut kb = Kb::new();
    let hinted = with(&outcome("p", "m", true), r#""cost_usd":1,"labels":{"hint_id":"h1"}"#);
    kb.send(&[hinted.clone(), hinted, outcome("p", "m", false)]).await;
    let hints = kb.store.hints(HintsRequest::default()).await.unwrap();
    assert_eq!((hints.with.attempts, hints.with.solved), (2, 2));
    assert_eq!(hints.with.cost_per_solved, Some(1.0));
    assert_eq!((hints.without.attempts, hints.without.cost_per_solved), (1, None));
}

#[tokio::test]
async fn summary_names_what_failed_and_what_worked() {
    let mut kb = Kb::new();
    let error = r#""extra":{"error":"cannot find table 42"}"#;
    kb.send(&[
        with(&outcome("p", "a", false), error),
        with(&outcome("p", "a", false), &error.replace("42", "43")),
        with(&outcome("p", "b", true), r#""cost_usd":1.12"#),
    ])
    .await;
    let request =
        |max_chars| SummaryRequest { sig_hash: "p".into(), max_chars, ..SummaryRequest::default() };
    let summary = kb.store.summary(request(1_000)).await.unwrap();
    assert!(summary.text.starts_with("1 of 3 solved."), "{}", summary.text);
    assert!(summary.text.contains("cannot find table"), "{}", summary.text);
    let problem = kb.problem("p").await;
    assert_eq!(summary.hint_id, Some(problem.hint_id));
    assert_eq!((problem.failures.len(), problem.failures[0].count), (1, 2));
    assert_eq!(problem.next.unwrap().model.as_deref(), Some("b"));
    let short = kb.store.summary(request(40)).await.unwrap();
    assert!(short.text.chars().count() <= 40);
}

#[tokio::test]
async fn diff_lists_what_changed_by_kind() {
    let mut kb = Kb::new();
    let cost = |event: &str, usd: f64, ms: u32| {
        with(event, &format!(r#""cost_usd":{usd},"duration_ms":{ms}"#))
    };
    kb.send(&[
        cost(&outcome("broke", "m", true), 1.0, 1_000),
        cost(&outcome("fixed", "m", false), 1.0, 1_000),
        cost(&outcome("dear", "m", true), 1.0, 1_000),
        cost(&outcome("gone", "m", true), 1.0, 1_000),
        cost(&outcome("same", "m", true), 1.0, 1_000),
    ])
    .await;
    kb.at(START + DAY);
    kb.send(&[
        cost(&outcome("broke", "m", false), 1.0, 1_000),
        cost(&outcome("fixed", "m", true), 1.0, 1_000),
        cost(&outcome("dear", "m", true), 2.0, 3_000),
        cost(&outcome("same", "m", true), 1.2, 1_200),
        cost(&outcome("new", "m", false), 1.0, 1_000),
    ])
    .await;
    kb.at(START + DAY + HOUR);
    let request = DiffRequest {
        scope: Scope::all(),
        since: time(START + DAY / 2),
        source: None,
        model: None,
        changes: Vec::new(),
        limit: 100,
    };
    let diff = kb.store.diff(request.clone()).await.unwrap();
    let found: Vec<_> =
        diff.entries.iter().map(|entry| (entry.change, entry.sig_hash.as_str())).collect();
    assert_eq!(
        found,
        [
            (Change::Failed, "broke"),
            (Change::Fixed, "fixed"),
            (Change::Dearer, "dear"),
            (Change::Slower, "dear"),
            (Change::NoLongerRun, "gone"),
        ]
    );
    let only = DiffRequest { changes: vec![Change::Slower], ..request };
    assert_eq!(kb.store.diff(only).await.unwrap().entries.len(), 1);
}

#[tokio::test]
async fn model_that_failed_is_not_next_for_another_one() {
    let mut kb = Kb::new();
    let mut events = vec![outcome("p", "a", false), outcome("p", "b", false)];
    for n in 0..20 {
        events.push(outcome(&format!("other-{n}"), "a", false));
        events.push(outcome(&format!("other-{n}"), "b", true));
    }
    events.push(outcome("q", "a", false));
    kb.send(&events).await;
    for (signature, model, expected) in [
        ("q", None, Some("b")),
        ("p", None, None),
        ("p", Some("a"), None),
        ("q", Some("a"), Some("b")),
    ] {
        let model = model.map(str::to_owned);
        let request =
            ProblemRequest { sig_hash: signature.into(), model, ..ProblemRequest::default() };
        let problem = kb.store.problem(request).await.unwrap();
        assert_eq!(problem.next.unwrap().model.as_deref(), expected, "{signature}");
    }
}
