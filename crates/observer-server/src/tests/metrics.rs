use std::collections::BTreeMap;

use observer_core::{AnyOf, SinkSettings};
use observer_pipeline::{Pipeline, RejectReason};
use prometheus::Registry;

use super::support::client::{Client, TEST_TIMEOUT};
use super::support::setup::{EVENT, event, options, serve, serve_plain, sink};
use crate::request::access::{Access, Scope, Scopes, Token, TokenDigest};
use crate::{BindError, Server, ServerOptions};

/// Returns the samples by name and labels. Panics at a line that is neither sample nor comment.
async fn samples(client: &mut Client) -> BTreeMap<String, f64> {
    let response = client.get("/metrics").await;
    assert_eq!(response.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let lines = response.body.lines().filter(|line| !line.starts_with("# "));
    let sample = |line: &str| {
        let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
        (series.to_owned(), value.parse().unwrap_or_else(|_| panic!("{line}")))
    };
    lines.map(sample).collect()
}

#[tokio::test]
async fn account_of_each_sink_adds_up() {
    let mut all = SinkSettings::default();
    all.filter.event_kind = Some(AnyOf::Many(["ok", "dead", "failed"].map(str::to_owned).into()));
    let mut successes = SinkSettings::default();
    successes.filter.ok = Some(true);
    let stuck = SinkSettings::default();
    let builder = Pipeline::builder()
        .sink(sink("all", all))
        .sink(sink("successes", successes))
        .sink(sink("stuck", stuck));
    let server = serve(options(), builder.start().await.unwrap()).await;
    let mut client = server.client().await;
    for kind in ["hang", "ok", "dead", "failed", "ok"] {
        assert_eq!(client.post(&event(kind)).await.status, 200);
    }
    let processed = async {
        loop {
            let accounts = accounts(&mut client).await;
            for (name, account) in &accounts {
                assert_eq!(
                    account.accepted,
                    account.results.values().sum::<f64>() + account.pending,
                    "{name}"
                );
                assert_eq!(account.accepted, 5.0, "{name}");
            }
            if accounts["all"].pending + accounts["successes"].pending == 0.0 {
                return accounts;
            }
        }
    };
    let accounts =
        tokio::time::timeout(TEST_TIMEOUT, processed).await.expect("two sinks process all events");
    let counts = |name: &str| accounts[name].results.values().copied().collect::<Vec<_>>();
    assert_eq!(counts("all"), [1.0, 3.0, 0.0, 1.0, 0.0, 0.0]);
    assert_eq!(counts("successes"), [0.0, 2.0, 0.0, 3.0, 0.0, 0.0]);
    assert_eq!(accounts["stuck"].pending, 5.0);
    assert!(
        samples(&mut client).await["observer_sink_delivery_seconds_count{sink=\"all\",outcome=\"accepted\"}"]
            >= 1.0
    );
}

const RESULTS: [&str; 6] = ["dead", "delivered", "expired", "filtered", "lost", "refused"];

struct Account {
    accepted: f64,
    results: BTreeMap<&'static str, f64>,
    pending: f64,
}

/// Returns the accounts of one scrape.
async fn accounts(client: &mut Client) -> BTreeMap<&'static str, Account> {
    let samples = samples(client).await;
    let account = |sink| {
        let result = |result| {
            (
                result,
                samples[&format!("observer_sink_events_total{{sink={sink:?},result={result:?}}}")],
            )
        };
        Account {
            accepted: samples[&format!("observer_sink_accepted_events_total{{sink={sink:?}}}")],
            results: RESULTS.map(result).into(),
            pending: samples[&format!("observer_sink_pending_events{{sink={sink:?}}}")],
        }
    };
    ["all", "successes", "stuck"].map(|sink| (sink, account(sink))).into()
}

#[tokio::test]
async fn known_series_start_at_zero_and_count() {
    let server = serve_plain().await;
    let mut client = server.client().await;
    let before = samples(&mut client).await;
    let reasons = [
        "broken_off",
        "forbidden",
        "invalid",
        "key_reused",
        "malformed",
        "missing_field",
        "not_json",
        "overloaded",
        "rate_limited",
        "timeout",
        "too_large",
        "unauthorized",
        "unavailable",
        "unknown_host",
    ];
    assert_eq!(RejectReason::ALL.map(RejectReason::as_str), reasons);
    for reason in reasons {
        assert_eq!(before[&format!("observer_rejected_events_total{{reason=\"{reason}\"}}")], 0.0);
    }
    for class in ["ingest", "query", "stream", "admin", "probe"] {
        let name = format!("observer_request_duration_seconds_count{{route_class=\"{class}\"}}");
        assert_eq!(before[&name], 0.0);
    }
    assert_eq!(before["observer_journal_limit_bytes"], f64::from(256 << 20));
    for name in ["duplicate", "changed"] {
        let name = format!("observer_{name}_events_total{{principal=\"anonymous\"}}");
        assert_eq!(before[&name], 0.0);
    }
    assert_eq!(before["observer_journal_failing"], 0.0);
    assert_eq!(
        before[concat!("observer_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"}")],
        1.0
    );

    let same = r#"{"source":"job","id":"7","event_kind":"ok","ok":true}"#;
    for body in [same, same, &same.replace('}', r#","turns":1}"#), "[]"] {
        client.post(body).await;
    }
    let after = samples(&mut client).await;
    assert_eq!(after["observer_accepted_events_total"], 1.0);
    assert_eq!(after["observer_duplicate_events_total{principal=\"anonymous\"}"], 2.0);
    assert_eq!(after["observer_changed_events_total{principal=\"anonymous\"}"], 1.0);
    assert_eq!(after["observer_rejected_events_total{reason=\"invalid\"}"], 1.0);
    let timed = |class| {
        after[&format!("observer_request_duration_seconds_count{{route_class=\"{class}\"}}")]
    };
    assert_eq!((timed("ingest"), timed("probe")), (4.0, 1.0));
    assert!(after["observer_journal_sync_seconds_count"] >= 1.0);
    assert!(after["observer_journal_bytes"] > 0.0);
    if cfg!(target_os = "linux") {
        assert!(after["process_resident_memory_bytes"] > 0.0);
    }
}

/// Returns the responses by route and status code.
fn responses(samples: &BTreeMap<String, f64>) -> Vec<(&str, &str, f64)> {
    let counts = samples.iter().filter_map(|(series, count)| {
        let labels = series.strip_prefix("observer_http_requests_total{route=\"")?;
        let (route, code) = labels.strip_suffix("\"}")?.split_once("\",code=\"")?;
        Some((route, code, *count))
    });
    counts.collect()
}

#[tokio::test]
async fn responses_are_counted_by_route_and_code_and_timed_by_class() {
    let server = serve_plain().await;
    let mut client = server.client().await;
    for body in [EVENT, "[]", EVENT] {
        client.post(body).await;
    }
    for path in [
        "/v1/sinks",
        "/v1/sinks/archive/dead-letters",
        "/v1/sinks/archive/dead-letters/00000000-0000-0000-0000-000000000007",
        "/v1/sinks/other/dead-letters/00000000-0000-0000-0000-000000000008",
        "/v1/events?limit=1",
        "/v1/events/00000000-0000-0000-0000-000000000007",
        "/livez",
        "/readyz",
        "/openapi.json",
        "/nowhere",
        // This method is not allowed.
        "/event",
    ] {
        client.get(path).await;
    }
    let samples = samples(&mut client).await;
    let expected = [
        ("/event", "200", 2.0),
        ("/event", "422", 1.0),
        ("/livez", "200", 1.0),
        ("/openapi.json", "200", 1.0),
        ("/readyz", "200", 1.0),
        ("/v1/events", "404", 1.0),
        ("/v1/events/{id}", "404", 1.0),
        ("/v1/sinks", "200", 1.0),
        ("/v1/sinks/{name}/dead-letters", "404", 1.0),
        ("/v1/sinks/{name}/dead-letters/{id}", "404", 2.0),
        ("other", "404", 1.0),
        ("other", "405", 1.0),
    ];
    assert_eq!(responses(&samples), expected);
    let timed = |class| {
        samples[&format!("observer_request_duration_seconds_count{{route_class=\"{class}\"}}")]
    };
    let counts = ["ingest", "query", "stream", "admin", "probe"].map(timed);
    assert_eq!(counts, [3.0, 3.0, 0.0, 4.0, 2.0], "requests that match no route have no class");
}

#[tokio::test]
async fn requests_that_are_refused_before_a_handler_are_counted() {
    let token = Token {
        name: "ci".to_owned(),
        digests: vec![TokenDigest::of("secret")],
        scopes: Scopes::ALL,
        sources: None,
        rate: None,
    };
    let access = Access { tokens: vec![token], anonymous: Scopes::from_iter([Scope::Read]) };
    let options = ServerOptions { access, ..options() };
    let server = serve(options, Pipeline::builder().start().await.unwrap()).await;
    let send = async |request: &str| {
        let mut client = server.client().await;
        client.send(request).await;
        client.response().await.status
    };
    let fields = "x: y\r\n".repeat(101);
    let long = format!("GET /livez HTTP/1.1\r\nhost: test\r\n{fields}\r\n");
    let requests = [
        ("POST /event HTTP/1.1\r\nhost: test\r\ncontent-length: 0\r\n\r\n", 401),
        ("POST /event HTTP/1.1\r\nhost: evil\r\ncontent-length: 0\r\n\r\n", 421),
        ("DELETE /v1/sinks/a HTTP/1.1\r\nhost: test\r\n\r\n", 401),
        ("GET /v1/sinks HTTP/1.1\r\nhost: evil\r\n\r\n", 421),
        ("DELETE /nowhere HTTP/1.1\r\nhost: evil\r\n\r\n", 421),
        ("not HTTP at all\r\n\r\n", 400),
        (long.as_str(), 431),
    ];
    for (request, status) in requests {
        assert_eq!(send(request).await, status, "{request:.80}");
    }
    let samples = samples(&mut server.client().await).await;
    let expected = [
        ("/event", "401", 1.0),
        ("/event", "421", 1.0),
        ("/v1/sinks", "421", 1.0),
        ("/v1/sinks/{name}", "401", 1.0),
        ("other", "400", 1.0),
        ("other", "421", 1.0),
        ("other", "431", 1.0),
    ];
    assert_eq!(responses(&samples), expected);
}

#[tokio::test]
async fn two_servers_run_in_one_process_and_unregister_their_metrics() {
    let (one, two) = (serve_plain().await, serve_plain().await);
    one.client().await.post(EVENT).await;
    assert_eq!(samples(&mut one.client().await).await["observer_accepted_events_total"], 1.0);
    assert_eq!(samples(&mut two.client().await).await["observer_accepted_events_total"], 0.0);

    let registry = Registry::new();
    let pipeline = Pipeline::builder().start().await.unwrap();
    let first = Server::bind(options(), pipeline.clone(), registry.clone()).await.unwrap();
    let second = Server::bind(options(), pipeline.clone(), registry.clone()).await;
    assert!(matches!(second, Err(BindError::Metrics(_))), "{second:?}");
    drop(first);
    assert!(registry.gather().is_empty());
    let third = Server::bind(options(), pipeline, registry.clone()).await.unwrap();
    assert!(!registry.gather().is_empty());
    drop(third);
}
