//! Invalid bodies of `POST /event`, and unusual ones that are valid.

use std::collections::BTreeMap;

use insta::assert_snapshot;
use serde_json::Value;

use super::monitored::MonitoredObserver;
use super::raw::post;
use crate::support::{DEFAULTS, assert_promtool_accepts};

/// Required fields, each with values that are invalid for it.
const WRONG_VALUES: [(&str, &[&str]); 3] = [
    ("source", &["7", "[]", "\"\"", r#""\ud800""#]),
    ("event_kind", &["true", "{}", "\"\"", r#""\udfff\ud800""#]),
    ("ok", &["\"true\"", "1", "[]"]),
];

/// Optional fields, each with values that can't be read or are not of its type.
const UNREADABLE_VALUES: [(&str, &[&str]); 14] = [
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
    ("cost_usd", &["\"$3\"", "-1", "1e999", "[]"]),
    ("attempt", &["\"first\"", "-1", "0.5", "{}"]),
    ("replaces", &["\"\"", "true", r#""\ud800""#]),
    ("labels", &["7", "[]", r#"{"a":{"b":[]},"a":1}"#, r#"{"\ud800":"\ud800"}"#]),
];

/// Returns an event that is valid except for one field.
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

/// Returns invalid bodies, each with a description and the expected status.
fn invalid_events() -> Vec<(String, u16, Vec<u8>)> {
    const GOOD: &str = r#""source":"job","event_kind":"ok","ok":true"#;
    let deep = format!(r#"{{{GOOD},"extra":{{"a":{}}}}}"#, nested(100_000));
    let utf16: Vec<u8> = format!("{{{GOOD}}}").encode_utf16().flat_map(u16::to_le_bytes).collect();
    let mut bodies: Vec<(String, u16, Vec<u8>)> = [
        ("an empty body", 400, &b""[..]),
        ("white space", 400, b" \r\n\t "),
        ("a form instead of JSON", 400, b"ok=true&source=job"),
        ("a truncated event", 400, br#"{"source":"job","event_kind":"o"#),
        ("two events", 400, br#"{"source":"job","event_kind":"ok","ok":true} {}"#),
        ("a trailing comma", 400, br#"{"source":"job","event_kind":"ok","ok":true,}"#),
        ("NaN", 400, br#"{"source":"job","event_kind":"ok","ok":true,"turns":NaN}"#),
        (
            "a repeated field",
            400,
            br#"{"source":"job","source":"bot","event_kind":"ok","ok":true}"#,
        ),
        (
            "a repeated id",
            400,
            br#"{"source":"job","event_kind":"ok","ok":true,"id":"1","id":"1"}"#,
        ),
        (
            "a repeated field, escaped",
            400,
            br#"{"source":"job","so\u0075rce":"bot","event_kind":"ok","ok":true}"#,
        ),
        (
            "invalid UTF-8 in a known field",
            400,
            b"{\"source\":\"j\xffb\",\"event_kind\":\"ok\",\"ok\":true}",
        ),
        (
            "invalid UTF-8 in `extra`",
            400,
            b"{\"source\":\"job\",\"event_kind\":\"ok\",\"ok\":true,\
              \"extra\":{\"a\":\"\xc3\x28\"}}",
        ),
        (
            "a surrogate encoded in UTF-8",
            400,
            b"{\"source\":\"job\",\"event_kind\":\"ok\",\"ok\":true,\
              \"extra\":{\"a\":\"\xed\xa0\x80\"}}",
        ),
        ("a NUL in a string", 400, b"{\"source\":\"j\0b\",\"event_kind\":\"ok\",\"ok\":true}"),
        ("a NUL at the end", 400, b"{\"source\":\"job\",\"event_kind\":\"ok\",\"ok\":true}\0"),
        (
            "a NUL in a key",
            400,
            b"{\"a\0\":1,\"source\":\"job\",\"event_kind\":\"ok\",\"ok\":true}",
        ),
        ("only NULs", 400, &[0; 1000]),
        (
            "two byte order marks",
            400,
            b"\xef\xbb\xbf\xef\xbb\xbf{\"source\":\"job\",\"event_kind\":\"ok\",\"ok\":true}",
        ),
        ("an array", 422, br#"[{"source":"job","event_kind":"ok","ok":true}]"#),
        ("a string", 422, br#""{}""#),
        ("null", 422, b"null"),
        ("an empty object", 422, b"{}"),
        ("all null", 422, br#"{"source":null,"event_kind":null,"ok":null}"#),
        ("an envelope around an empty object", 422, br#"{"event":{}}"#),
        (
            "an envelope in an envelope",
            422,
            br#"{"event":{"event":{"source":"job","event_kind":"ok","ok":true}}}"#,
        ),
        (
            "an envelope whose id is not a UUID",
            422,
            br#"{"id":"mine","event":{"source":"job","event_kind":"ok","ok":true}}"#,
        ),
    ]
    .into_iter()
    .map(|(what, status, body)| (what.to_owned(), status, body.to_vec()))
    .collect();
    bodies.extend([
        ("UTF-16".to_owned(), 400, utf16),
        ("100,000 levels of nesting".to_owned(), 400, deep.into_bytes()),
        (
            "100,000 unclosed levels of nesting".to_owned(),
            400,
            "{\"a\":".repeat(100_000).into_bytes(),
        ),
        ("100,000 nested arrays".to_owned(), 422, nested(100_000).into_bytes()),
    ]);
    for (field, values) in WRONG_VALUES {
        for value in values {
            bodies.push((format!("{field}: {value}"), 422, with_field(field, value).into_bytes()));
        }
    }
    bodies
}

#[tokio::test]
async fn invalid_event_is_rejected_with_the_same_reason_alone_and_in_a_batch() {
    let dir = tempfile::tempdir().unwrap();
    let mut observer = MonitoredObserver::start(dir.path(), DEFAULTS).await;
    let (mut lines, mut responses) = (Vec::new(), Vec::new());
    for (what, status, body) in invalid_events() {
        let response = observer.post(&body).await;
        if !body.trim_ascii().is_empty() && !body.contains(&b'\n') {
            responses.push(response.json());
            lines.push(body);
        }
        observer.assert_rejected(&what, status, response).await;
    }
    assert_snapshot!(observer.transcript.trim_end());

    // One event of the batch is valid.
    let valid = observer.valid_event();
    lines.insert(7, valid.clone().into_bytes());
    responses.insert(7, Value::Null);
    let mut connection = observer.connect().await;
    connection.send(post("/v1/events", "", lines.join(&b'\n'))).await;
    let response = connection.response().await;
    let outcome = response.json();
    assert_eq!((response.status, &outcome["accepted"]), (207, &1.into()), "{}", response.text);
    observer.expect_in_archive(valid);
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
async fn event_with_unreadable_optional_fields_is_kept_byte_for_byte() {
    let dir = tempfile::tempdir().unwrap();
    let mut observer = MonitoredObserver::start(dir.path(), DEFAULTS).await;
    let with_fields =
        |rest: &str| format!(r#"{{"source":"job","event_kind":"ok","ok":true,{rest}}}"#);
    for (field, values) in UNREADABLE_VALUES {
        for value in values {
            observer.assert_kept(&with_fields(&format!(r#""{field}":{value}"#))).await;
        }
        if field != "id" {
            observer.assert_kept(&with_fields(&format!(r#""{field}":7,"{field}":"8""#))).await;
        }
    }
    observer.assert_kept(&with_fields(&format!(r#""turns":{}"#, "9".repeat(100_000)))).await;
    assert_promtool_accepts(&observer.process.get("/metrics").await.text);
    observer.finish().await;
}

#[tokio::test]
async fn unusual_event_is_kept_byte_for_byte_and_delivered_to_every_sink() {
    let dir = tempfile::tempdir().unwrap();
    let mut observer = MonitoredObserver::start(dir.path(), DEFAULTS).await;
    let with_fields =
        |rest: &str| format!(r#"{{"source":"job","event_kind":"ok","ok":true,{rest}}}"#);
    let most_nested = nested(62);
    let many_keys = (0..50_000).map(|n| format!("\"{n}\":{n}")).collect::<Vec<_>>().join(",");
    let most = r#""staffer_id":"m","turns":18446744073709551615,"duration_ms":1.7e308"#;
    let most_usage =
        r#""staffer_id":"m","usage":{"prompt_tokens":18446744073709551615,"cost_usd":1.7e308}"#;
    for event in [
        with_fields(r#""extra":{"a":"\ud800","\udfff":1,"b":["\udc00\ud800"]}"#),
        with_fields(r#""\ud800":"\ud800""#),
        with_fields(r#""extra":{"n":1e999,"m":-1e999,"z":-0.0,"tiny":1e-999}"#),
        with_fields(&format!(r#""extra":{{"digits":{}}}"#, "7".repeat(50_000))),
        with_fields(r#""extra":{"a":1,"a":2,"":{"":null}}"#),
        with_fields(r#""extra":{"nul":"\u0000","del":"\u007f","line":"\u2028"}"#),
        with_fields(&format!(r#""extra":{{"a":{most_nested}}}"#)),
        with_fields(&format!(r#""extra":{{{many_keys}}}"#)),
        with_fields(concat!(
            r#""staffer_id":"m","#,
            r#""usage":{"prompt_tokens":1e999,"completion_tokens":-1,"cost_usd":1e999}"#
        )),
        with_fields(
            r#""staffer_id":"m","extra":{"usage":{"prompt_tokens":"\ud800","cost_usd":[]}}"#,
        ),
        with_fields(r#""staffer_id":"m","extra":{"usage":{"\ud800":1,"prompt_tokens":3}}"#),
        // Twice, so that the totals overflow.
        with_fields(most_usage),
        with_fields(most_usage),
        with_fields(most),
        with_fields(most),
        with_fields(r#""staffer_id":"","traceparent":"","id":"","cycle_id":"","sig_hash":"""#),
        with_fields(r#""timestamp":"0000-01-01T00:00:00Z""#),
        with_fields(r#""id":"\u0000","cycle_id":"\u0000","sig_hash":"\u0000""#),
        r#"{"source":"a\u0000b","event_kind":"\u0000","ok":false,"staffer_id":"\u0000\n\"\\"}"#
            .to_owned(),
        r#"{"source":"other","event_kind":"other","ok":false,"staffer_id":"unknown"}"#.to_owned(),
        concat!(
            r#"{"event":{"source":"inner","event_kind":"ok","ok":true},"#,
            r#""source":"outer","event_kind":"ok","ok":true}"#
        )
        .to_owned(),
        with_fields(&format!(r#""note":"{}""#, "é".repeat(500_000))),
    ] {
        observer.assert_kept(&event).await;
    }
    let counted = events_counted(&observer).await;
    assert_promtool_accepts(&observer.process.get("/metrics").await.text);
    let observer = observer.restart(dir.path(), DEFAULTS).await;
    assert_eq!(events_counted(&observer).await, counted, "counters go on after a restart");
    observer.finish().await;
}

/// Returns the series about events, once all are counted. Asserts that every value is finite.
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
