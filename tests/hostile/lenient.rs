//! Events with defects in optional fields, phases without `ok`, and events that are too large: each
//! is stored, and the response says what was not read.

use std::collections::BTreeMap;

use observer_core::{Event, Field};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::monitored::MonitoredObserver;
use super::raw::post;
use crate::support::{DEFAULTS, event_of};

const MEBIBYTE: usize = 1 << 20;

/// Additional fields of an event, the names of the fields that can't be read, and those that can.
type Row = (&'static str, &'static [&'static str], &'static [Field]);

/// Rows without a warning: forms that are understood.
const UNDERSTOOD: [Row; 22] = [
    (r#""turns":"3""#, &[], &[Field::Turns]),
    (r#""turns":" 1200 ""#, &[], &[Field::Turns]),
    (r#""turns":3.0"#, &[], &[Field::Turns]),
    (r#""turns":9007199254740992"#, &[], &[Field::Turns]),
    (r#""duration_ms":"1200""#, &[], &[Field::DurationMs]),
    (r#""duration_ms":0"#, &[], &[Field::DurationMs]),
    (r#""attempt":"2""#, &[], &[Field::Attempt]),
    (r#""cost_usd":"0.25""#, &[], &[Field::CostUsd]),
    (r#""cycle_id":17"#, &[], &[Field::CycleId]),
    (r#""sig_hash":1.5"#, &[], &[Field::SigHash]),
    (r#""staffer_id":4"#, &[], &[Field::StafferId]),
    (r#""replaces":12"#, &[], &[Field::Replaces]),
    (r#""labels":{"shard":7,"nightly":true}"#, &[], &[Field::Labels]),
    (r#""timestamp":"2026-11-27T10:00:00""#, &[], &[Field::Timestamp]),
    (r#""timestamp":"2026-11-27 10:00:00.123456""#, &[], &[Field::Timestamp]),
    (r#""timestamp":"2026-11-27""#, &[], &[Field::Timestamp]),
    (r#""timestamp":1769860800"#, &[], &[Field::Timestamp]),
    (r#""timestamp":1769860800.25"#, &[], &[Field::Timestamp]),
    (r#""timestamp":1769860800123"#, &[], &[Field::Timestamp]),
    (r#""timestamp":"1769860800123456""#, &[], &[Field::Timestamp]),
    (r#""timestamp":1769860800123456789"#, &[], &[Field::Timestamp]),
    (r#""turns":null,"extra":null,"labels":null,"timestamp":null"#, &[], &[]),
];

/// Rows with warnings: the fields are absent.
const UNREADABLE: [Row; 50] = [
    (r#""turns":"three""#, &["turns"], &[]),
    (r#""turns":"""#, &["turns"], &[]),
    (r#""turns":-1"#, &["turns"], &[]),
    (r#""turns":1.5"#, &["turns"], &[]),
    (r#""turns":true"#, &["turns"], &[]),
    (r#""turns":18446744073709551615"#, &["turns"], &[]),
    (r#""turns":"18446744073709551615""#, &["turns"], &[]),
    (r#""turns":9007199254740993"#, &["turns"], &[]),
    (r#""turns":1e999"#, &["turns"], &[]),
    (r#""turns":1,"turns":1"#, &["turns"], &[]),
    (r#""duration_ms":-1"#, &["duration_ms"], &[]),
    (r#""duration_ms":1.7e308"#, &["duration_ms"], &[]),
    (r#""duration_ms":"1e300""#, &["duration_ms"], &[]),
    (r#""duration_ms":"12 s""#, &["duration_ms"], &[]),
    (r#""duration_ms":[12]"#, &["duration_ms"], &[]),
    (r#""attempt":"first""#, &["attempt"], &[]),
    (r#""attempt":-2"#, &["attempt"], &[]),
    (r#""attempt":18446744073709551616"#, &["attempt"], &[]),
    (r#""cost_usd":"$3.20""#, &["cost_usd"], &[]),
    (r#""cost_usd":-0.5"#, &["cost_usd"], &[]),
    (r#""cost_usd":1e13"#, &["cost_usd"], &[]),
    (r#""cycle_id":{"n":1}"#, &["cycle_id"], &[]),
    (r#""cycle_id":"c\ud800""#, &["cycle_id"], &[]),
    (r#""cycle_id":"a","cycle_id":"b""#, &["cycle_id"], &[]),
    (r#""sig_hash":false"#, &["sig_hash"], &[]),
    (r#""staffer_id":["gpt-oss:120b"]"#, &["staffer_id"], &[]),
    (r#""id":{}"#, &["id"], &[]),
    (r#""id":true"#, &["id"], &[]),
    (r#""replaces":"""#, &["replaces"], &[]),
    (r#""replaces":[]"#, &["replaces"], &[]),
    (r#""timestamp":"""#, &["timestamp"], &[]),
    (r#""timestamp":"yesterday""#, &["timestamp"], &[]),
    (r#""timestamp":"2026-13-01T00:00:00Z""#, &["timestamp"], &[]),
    (r#""timestamp":"0001-01-01T00:00:00Z""#, &["timestamp"], &[]),
    (r#""timestamp":-1"#, &["timestamp"], &[]),
    (r#""timestamp":1e99"#, &["timestamp"], &[]),
    (r#""timestamp":{"$date":1}"#, &["timestamp"], &[]),
    (r#""traceparent":"""#, &["traceparent"], &[]),
    (r#""traceparent":"00-zz""#, &["traceparent"], &[]),
    (r#""traceparent":5"#, &["traceparent"], &[]),
    (r#""extra":"text""#, &["extra"], &[]),
    (r#""extra":["a"]"#, &["extra"], &[]),
    (r#""extra":{},"extra":{"a":1}"#, &["extra"], &[]),
    (r#""usage":"n/a""#, &["usage"], &[]),
    (r#""usage":[1,2]"#, &["usage"], &[]),
    (r#""labels":["main"]"#, &["labels"], &[]),
    (r#""labels":{"branch":"main","owner":{"id":7}}"#, &["labels"], &[Field::Labels]),
    (r#""turns":[],"labels":7,"extra":0"#, &["turns", "labels", "extra"], &[]),
    (r#""turns":"x","cost_usd":"0.5""#, &["turns"], &[Field::CostUsd]),
    (r#""note":"\"\\\u0000","timestamp":"\"\\\u0000""#, &["timestamp"], &[]),
];

/// Phases, whose `ok` may be anything.
const PHASES: [&str; 7] = [
    r#"{"source":"lenient","event_kind":"started","ok":null}"#,
    r#"{"source":"lenient","event_kind":"started","ok":true}"#,
    r#"{"source":"lenient","event_kind":"started"}"#,
    r#"{"source":"lenient","event_kind":"heartbeat"}"#,
    r#"{"source":"lenient","event_kind":"heartbeat","ok":"yes"}"#,
    r#"{"source":"lenient","event_kind":"progress","ok":0,"turns":4}"#,
    r#"{"source":"lenient","event_kind":"progress","ok":false,"duration_ms":1e3}"#,
];

/// Counts warnings by field.
#[derive(Default)]
struct Warnings(BTreeMap<String, f64>);

impl Warnings {
    /// Adds the warnings of a response, and returns the names of their fields.
    fn add(&mut self, warnings: &Value) -> Vec<String> {
        let warnings = warnings.as_array().map_or(&[][..], Vec::as_slice);
        let fields: Vec<_> =
            warnings.iter().map(|warning| warning["field"].as_str().unwrap().to_owned()).collect();
        for (field, warning) in fields.iter().zip(warnings) {
            assert!(!warning["detail"].as_str().unwrap().is_empty(), "{warning}");
            *self.0.entry(field.clone()).or_default() += 1.0;
        }
        fields
    }

    /// Asserts that the metrics have the same counts.
    async fn assert_counted(&self, observer: &MonitoredObserver) {
        let metrics = observer.process.wait_for_metrics(|_| true).await;
        for field in Field::ALL {
            let name = format!("observer_field_warnings_total{{field=\"{field}\"}}");
            let expected = self.0.get(field.as_str()).copied().unwrap_or_default();
            assert_eq!(metrics.get(&name), Some(&expected), "{name}");
        }
    }
}

fn with_fields(rest: &str) -> String {
    format!(r#"{{"source":"lenient","event_kind":"ok","ok":true,{rest}}}"#)
}

fn sorted(fields: &[&str]) -> Vec<String> {
    let mut fields: Vec<_> = fields.iter().map(|field| (*field).to_owned()).collect();
    fields.sort();
    fields
}

#[tokio::test]
async fn defect_in_an_optional_field_costs_no_event() {
    let dir = tempfile::tempdir().unwrap();
    let mut observer = MonitoredObserver::start(dir.path(), DEFAULTS).await;
    let mut counts = Warnings::default();
    let rows: Vec<_> = UNDERSTOOD.into_iter().chain(UNREADABLE).collect();
    assert!(rows.len() >= 60, "{} rows", rows.len());
    for (fields, unreadable, readable) in &rows {
        let event = with_fields(fields);
        let response = observer.post(&event).await;
        assert_eq!(response.status, 200, "{event}: {}", response.text);
        let response = response.json();
        assert_eq!(response["status"], "accepted", "{event}");
        let mut warned = counts.add(&response["warnings"]);
        warned.sort();
        assert_eq!(warned, sorted(unreadable), "{event}: {response}");
        assert_eq!(response.get("warnings").is_some(), !unreadable.is_empty(), "{response}");
        let parsed = Event::parse(event.clone()).unwrap();
        for field in *readable {
            assert!(parsed.has(*field), "{field} of {event}");
        }
        observer.expect_in_archive(event);
    }
    counts.assert_counted(&observer).await;

    // The same rows in a batch. Those that have an identity are other events than before.
    let lines: Vec<_> =
        rows.iter().map(|(fields, ..)| with_fields(&format!(r#"{fields},"n":2"#))).collect();
    let mut connection = observer.connect().await;
    connection.send(post("/v1/events", "", lines.join("\n"))).await;
    let response = connection.response().await;
    assert_eq!(response.status, 200, "{}", response.text);
    let response = response.json();
    assert_eq!(response["rejected"], 0, "{response}");
    counts.add(&response["warnings"]);
    for (index, (fields, unreadable, _)) in rows.iter().enumerate() {
        let warnings = response["warnings"].as_array().unwrap().iter();
        let warned = warnings.filter(|warning| warning["index"] == index);
        let mut warned: Vec<_> =
            warned.map(|warning| warning["field"].as_str().unwrap().to_owned()).collect();
        warned.sort();
        assert_eq!(warned, sorted(unreadable), "{fields}");
    }
    counts.assert_counted(&observer).await;
    // Whether a batch has duplicates of the events before depends on their identities.
    let duplicates = response["duplicates"].as_u64().unwrap() as usize;
    assert_eq!(response["accepted"].as_u64().unwrap() as usize + duplicates, lines.len());
    observer.process.wait_until_caught_up().await;
    let archive = observer.process.archive();
    let archived: Vec<_> = archive.iter().map(|line| event_of(line)).collect();
    assert_eq!(archived.len(), observer.accepted_count() + lines.len() - duplicates);
    let expected = rows.iter().map(|(fields, ..)| with_fields(fields));
    for event in expected {
        assert!(archived.contains(&event.as_str()), "{event} is not in the archive");
    }
}

#[tokio::test]
async fn phase_without_ok_is_stored_and_counts_as_no_outcome() {
    let dir = tempfile::tempdir().unwrap();
    let mut observer = MonitoredObserver::start(dir.path(), DEFAULTS).await;
    for phase in PHASES {
        let response = observer.post(phase).await;
        assert_eq!(response.status, 200, "{phase}: {}", response.text);
        observer.expect_in_archive(phase);
    }
    for outcome in [
        r#"{"source":"lenient","event_kind":"finished","ok":null}"#,
        r#"{"source":"lenient","event_kind":"ok","ok":"yes"}"#,
        r#"{"source":"lenient","event_kind":"Started"}"#,
    ] {
        let response = observer.post(outcome).await;
        assert_eq!((response.status, &response.json()["field"]), (422, &"ok".into()), "{outcome}");
    }
    let phases = |metrics: &BTreeMap<String, f64>, name: &str| {
        let series = metrics.iter().filter(|(series, _)| {
            series.starts_with(&format!("{name}{{")) && series.contains("source=\"lenient\"")
        });
        series.map(|(_, count)| count).sum::<f64>()
    };
    let metrics = observer
        .process
        .wait_for_metrics(|metrics| phases(metrics, "observer_phases_total") >= 7.0)
        .await;
    assert_eq!(phases(&metrics, "observer_phases_total"), PHASES.len() as f64);
    assert_eq!(phases(&metrics, "observer_events_total"), 0.0);
    observer.finish().await;
}

/// Returns an event with an `extra` of some MiB, and the event that is stored.
fn oversized(id: &str, mebibytes: usize) -> (String, String) {
    let extra = format!(r#"{{"screenshot":"{}"}}"#, "A".repeat(mebibytes * MEBIBYTE));
    let digest: String = Sha256::digest(&extra).iter().map(|byte| format!("{byte:02x}")).collect();
    let replacement =
        format!(r#"{{"observer":{{"trimmed_bytes":{},"sha256":"{digest}"}}}}"#, extra.len());
    let event = |extra: &str| {
        format!(
            r#"{{"source":"lenient","event_kind":"ui_failed","ok":false,"id":"{id}","extra":{extra},"turns":7,"note":"kept"}}"#
        )
    };
    (event(&extra), event(&replacement))
}

#[tokio::test]
async fn oversized_extra_is_trimmed_and_the_rest_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let mut observer = MonitoredObserver::start(dir.path(), DEFAULTS).await;
    let mut counts = Warnings::default();

    let (sent, stored) = oversized("single", 2);
    let response = observer.post(&sent).await;
    assert_eq!(response.status, 200, "{}", response.text);
    assert_eq!(counts.add(&response.json()["warnings"]), ["extra"]);
    observer.expect_in_archive(stored);
    let response = observer.post(&sent).await;
    assert_eq!(response.json()["status"], "duplicate");
    counts.add(&response.json()["warnings"]);
    observer.assert_healthy("an event of 2 MiB").await;

    // An event in a batch, between others.
    let (sent, stored) = oversized("batch", 2);
    let (before, after) = (with_fields(r#""id":"before""#), with_fields(r#""id":"after""#));
    let body = [before.as_str(), &sent, &after].join("\n");
    let mut connection = observer.connect().await;
    connection.send(post("/v1/events", "", body)).await;
    let response = connection.response().await;
    assert_eq!((response.status, &response.json()["accepted"]), (200, &3.into()));
    assert_eq!(response.json()["warnings"][0]["index"], 1);
    assert_eq!(counts.add(&response.json()["warnings"]), ["extra"]);
    for event in [before, stored, after] {
        observer.expect_in_archive(event);
    }
    observer.assert_healthy("a batch with an event of 2 MiB").await;

    // The largest body, in an envelope.
    let (sent, stored) = oversized("15", 15);
    let response = observer.post(format!(r#"{{"seq":1,"event":{sent}}}"#)).await;
    assert_eq!(response.status, 200, "{}", response.text);
    assert_eq!(counts.add(&response.json()["warnings"]), ["extra"]);
    observer.expect_in_archive(stored);
    observer.assert_healthy("an event of 15 MiB").await;

    // Only `extra` is replaced, so a large unknown field is an error.
    let large = with_fields(&format!(r#""note":"{}""#, "A".repeat(3 * MEBIBYTE)));
    let response = observer.post(&large).await;
    assert_eq!(response.status, 413, "{}", response.text);
    observer.assert_healthy("an unknown field of 3 MiB").await;
    counts.assert_counted(&observer).await;
    observer.finish().await;
}

#[tokio::test]
async fn oversized_event_is_rejected_if_so_configured() {
    let dir = tempfile::tempdir().unwrap();
    let config = format!("{DEFAULTS}[ingest]\noversize = \"reject\"\nstrict = true\n");
    let mut observer = MonitoredObserver::start(dir.path(), &config).await;
    let (sent, _) = oversized("single", 2);
    let response = observer.post(&sent).await;
    assert_eq!(response.status, 413, "{}", response.text);
    let response = observer.post(with_fields(r#""turns":"three""#)).await;
    assert_eq!((response.status, &response.json()["field"]), (422, &"turns".into()));
    Warnings::default().assert_counted(&observer).await;
    observer.assert_healthy("rejected events").await;
    observer.finish().await;
}
