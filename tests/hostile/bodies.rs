//! Bodies of `POST /event` that are no events, and those that look like none.

use std::collections::BTreeMap;

use insta::assert_snapshot;
use serde_json::Value;

use super::monitored::MonitoredObserver;
use super::raw::post;
use crate::support::{DEFAULTS, assert_promtool_accepts};

/// A known field, and values that it can't have.
const WRONG_VALUES: [(&str, &[&str]); 13] = [
    ("source", &["7", "[]", "\"\"", r#""\ud800""#]),
    ("event_kind", &["true", "{}", "\"\"", r#""\udfff\ud800""#]),
    ("ok", &["\"true\"", "1", "[]"]),
    ("cycle_id", &["7", "{}", r#""c\ud83d""#]),
    ("sig_hash", &["false", r#""\udead""#]),
    ("staffer_id", &["[\"gpt-oss:120b\"]", r#""\ud800x""#]),
    ("turns", &["\"7\"", "-1", "1.5", "1e999", "18446744073709551616"]),
    ("duration_ms", &["\"12 s\"", "-0.1", "1e999", "{}"]),
    ("extra", &["\"none\"", "[]", "0"]),
    ("id", &["7", "{}", r#""\ud800""#]),
    ("timestamp", &["1767225600", "\"yesterday\"", "\"2026-13-01T00:00:00Z\"", r#""\ud800""#]),
    ("traceparent", &["7", "[]", r#""\ud800""#]),
    ("usage", &["7", "[]", "\"much\""]),
];

/// A good event but for one field.
fn with_field(field: &str, value: &str) -> String {
    let good = [
        ("source", "\"bot\""),
        ("event_kind", "\"ok\""),
        ("ok", "true"),
        ("cycle_id", "\"c\""),
        ("sig_hash", "\"s\""),
        (field, value),
    ];
    let fields =
        good.iter().enumerate().filter(|(at, (name, _))| *at == good.len() - 1 || *name != field);
    let fields: Vec<_> = fields.map(|(_, (name, value))| format!("\"{name}\":{value}")).collect();
    format!("{{{}}}", fields.join(","))
}

fn nested(levels: usize) -> String {
    format!("{}{}", "[".repeat(levels), "]".repeat(levels))
}

/// What it is, the status it is answered with, and the body.
fn no_events() -> Vec<(String, u16, Vec<u8>)> {
    const GOOD: &str = r#""source":"job","event_kind":"ok","ok":true"#;
    let deep = format!(r#"{{{GOOD},"extra":{{"a":{}}}}}"#, nested(100_000));
    let long = format!(r#"{{{GOOD},"turns":{}}}"#, "9".repeat(100_000));
    let utf16: Vec<u8> = format!("{{{GOOD}}}").encode_utf16().flat_map(u16::to_le_bytes).collect();
    let mut bodies: Vec<(String, u16, Vec<u8>)> = [
        ("nothing", 400, &b""[..]),
        ("white space", 400, b" \r\n\t "),
        ("no JSON", 400, b"ok=true&source=job"),
        ("half an event", 400, br#"{"source":"job","event_kind":"o"#),
        ("two events", 400, br#"{"source":"job","event_kind":"ok","ok":true} {}"#),
        ("a comma too many", 400, br#"{"source":"job","event_kind":"ok","ok":true,}"#),
        ("not a number", 400, br#"{"source":"job","event_kind":"ok","ok":true,"turns":NaN}"#),
        ("a known key twice", 400, br#"{"source":"job","source":"bot","event_kind":"ok","ok":true}"#),
        ("the same, in disguise", 400, br#"{"source":"job","so\u0075rce":"bot","event_kind":"ok","ok":true}"#),
        (
            "bytes that are no UTF-8, in a known field",
            400,
            b"{\"source\":\"j\xffb\",\"event_kind\":\"ok\",\"ok\":true}",
        ),
        (
            "the same in `extra`",
            400,
            b"{\"source\":\"job\",\"event_kind\":\"ok\",\"ok\":true,\"extra\":{\"a\":\"\xc3\x28\"}}",
        ),
        (
            "a surrogate in UTF-8",
            400,
            b"{\"source\":\"job\",\"event_kind\":\"ok\",\"ok\":true,\"extra\":{\"a\":\"\xed\xa0\x80\"}}",
        ),
        ("a NUL in a string", 400, b"{\"source\":\"j\0b\",\"event_kind\":\"ok\",\"ok\":true}"),
        ("a NUL at the end", 400, b"{\"source\":\"job\",\"event_kind\":\"ok\",\"ok\":true}\0"),
        ("a NUL in a key", 400, b"{\"a\0\":1,\"source\":\"job\",\"event_kind\":\"ok\",\"ok\":true}"),
        ("only NULs", 400, &[0; 1000]),
        ("a byte order mark", 400, b"\xef\xbb\xbf{\"source\":\"job\",\"event_kind\":\"ok\",\"ok\":true}"),
        ("an array", 422, br#"[{"source":"job","event_kind":"ok","ok":true}]"#),
        ("a string", 422, br#""{}""#),
        ("null", 422, b"null"),
        ("an empty object", 422, b"{}"),
        ("all null", 422, br#"{"source":null,"event_kind":null,"ok":null}"#),
        ("an envelope around nothing", 422, br#"{"event":{}}"#),
        ("an envelope twice around", 422, br#"{"event":{"event":{"source":"job","event_kind":"ok","ok":true}}}"#),
        ("an envelope with a name", 422, br#"{"id":"mine","event":{"source":"job","event_kind":"ok","ok":true}}"#),
    ]
    .into_iter()
    .map(|(what, status, body)| (what.to_owned(), status, body.to_vec()))
    .collect();
    bodies.extend([
        ("UTF-16".to_owned(), 400, utf16),
        ("100,000 levels".to_owned(), 400, deep.into_bytes()),
        (
            "100,000 levels that are not closed".to_owned(),
            400,
            "{\"a\":".repeat(100_000).into_bytes(),
        ),
        ("100,000 levels and nothing else".to_owned(), 422, nested(100_000).into_bytes()),
        ("a number of 100,000 digits".to_owned(), 422, long.into_bytes()),
    ]);
    for (field, values) in WRONG_VALUES {
        for value in values {
            bodies.push((format!("{field}: {value}"), 422, with_field(field, value).into_bytes()));
        }
    }
    bodies
}

#[tokio::test]
async fn what_is_no_event_is_told_why_by_itself_and_in_a_batch() {
    let dir = tempfile::tempdir().unwrap();
    let mut observer = MonitoredObserver::start(dir.path(), DEFAULTS).await;
    let (mut lines, mut responses) = (Vec::new(), Vec::new());
    for (what, status, body) in no_events() {
        let response = observer.post(&body).await;
        if !body.trim_ascii().is_empty() && !body.contains(&b'\n') {
            responses.push(response.json());
            lines.push(body);
        }
        observer.assert_rejected(&what, status, response).await;
    }
    assert_snapshot!(observer.transcript.trim_end());

    // Among them is one that is good.
    let good = observer.good_event();
    lines.insert(7, good.clone().into_bytes());
    responses.insert(7, Value::Null);
    let mut connection = observer.connect().await;
    connection.send(post("/v1/events", "", lines.join(&b'\n'))).await;
    let response = connection.response().await;
    let outcome = response.json();
    assert_eq!((response.status, &outcome["accepted"]), (207, &1.into()), "{}", response.text);
    observer.expect_in_archive(good);
    let errors = outcome["errors"].as_array().unwrap();
    assert_eq!(errors.len(), lines.len() - 1);
    for error in errors {
        let alone = &responses[error["index"].as_u64().unwrap() as usize];
        for key in ["status", "detail", "reason", "field"] {
            assert_eq!(error[key], alone[key], "{}", alone["detail"]);
        }
    }
    observer.finish().await;
}

#[tokio::test]
async fn what_is_strange_and_still_json_is_kept_byte_for_byte_and_every_sink_copes() {
    let dir = tempfile::tempdir().unwrap();
    let mut observer = MonitoredObserver::start(dir.path(), DEFAULTS).await;
    let strange = |rest: &str| format!(r#"{{"source":"job","event_kind":"ok","ok":true,{rest}}}"#);
    let most_nested = nested(62);
    let many_keys = (0..50_000).map(|n| format!("\"{n}\":{n}")).collect::<Vec<_>>().join(",");
    for event in [
        strange(r#""extra":{"a":"\ud800","\udfff":1,"b":["\udc00\ud800"]}"#),
        strange(r#""\ud800":"\ud800""#),
        strange(r#""extra":{"n":1e999,"m":-1e999,"z":-0.0,"tiny":1e-999}"#),
        strange(&format!(r#""extra":{{"digits":{}}}"#, "7".repeat(50_000))),
        strange(r#""extra":{"a":1,"a":2,"":{"":null}}"#),
        strange(r#""extra":{"nul":"\u0000","del":"\u007f","line":"\u2028"}"#),
        strange(&format!(r#""extra":{{"a":{most_nested}}}"#)),
        strange(&format!(r#""extra":{{{many_keys}}}"#)),
        strange(r#""staffer_id":"m","usage":{"prompt_tokens":1e999,"completion_tokens":-1,"cost_usd":1e999}"#),
        strange(r#""staffer_id":"m","extra":{"usage":{"prompt_tokens":"\ud800","cost_usd":[]}}"#),
        strange(r#""staffer_id":"m","extra":{"usage":{"\ud800":1,"prompt_tokens":3}}"#),
        strange(r#""staffer_id":"m","usage":{"prompt_tokens":18446744073709551615,"cost_usd":1.7e308}"#),
        strange(r#""staffer_id":"m","usage":{"prompt_tokens":18446744073709551615,"cost_usd":1.7e308}"#),
        strange(r#""staffer_id":"m","turns":18446744073709551615,"duration_ms":1.7e308"#),
        strange(r#""staffer_id":"m","turns":18446744073709551615,"duration_ms":1.7e308"#),
        strange(r#""staffer_id":"","traceparent":"","id":"","cycle_id":"","sig_hash":"""#),
        strange(r#""timestamp":"0000-01-01T00:00:00Z""#),
        strange(r#""id":"\u0000","cycle_id":"\u0000","sig_hash":"\u0000""#),
        r#"{"source":"a\u0000b","event_kind":"\u0000","ok":false,"staffer_id":"\u0000\n\"\\"}"#.to_owned(),
        r#"{"source":"other","event_kind":"other","ok":false,"staffer_id":"unknown"}"#.to_owned(),
        r#"{"event":{"source":"inner","event_kind":"ok","ok":true},"source":"outer","event_kind":"ok","ok":true}"#
            .to_owned(),
        format!(r#"{{"source":"job","event_kind":"ok","ok":true,"note":"{}"}}"#, "é".repeat(500_000)),
    ] {
        observer.assert_kept(&event).await;
    }
    let counted = events_counted(&observer).await;
    assert_promtool_accepts(&observer.process.get("/metrics").await.text);
    let observer = observer.restart(dir.path(), DEFAULTS).await;
    assert_eq!(
        events_counted(&observer).await,
        counted,
        "what was counted is still counted after a restart"
    );
    observer.finish().await;
}

/// What the events amount to; all of it is numbers that can be counted on.
async fn events_counted(observer: &MonitoredObserver) -> BTreeMap<String, f64> {
    observer.process.wait_until_caught_up().await;
    let accepted = observer.accepted_count() as f64;
    let is_event = |name: &str| name.starts_with("observer_events_total{");
    let total = |metrics: &BTreeMap<String, f64>| {
        metrics.iter().filter(|(name, _)| is_event(name)).map(|(_, count)| count).sum::<f64>()
    };
    let mut metrics = observer.process.wait_for_metrics(|metrics| total(metrics) >= accepted).await;
    assert_eq!(total(&metrics), accepted);
    assert!(metrics.values().all(|value| value.is_finite()), "{metrics:#?}");
    let of_events = [
        "observer_events_",
        "observer_cycle_",
        "observer_model_",
        "observer_input_",
        "observer_cost_",
    ];
    metrics.retain(|name, _| of_events.iter().any(|start| name.starts_with(start)));
    metrics
}
