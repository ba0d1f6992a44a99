//! Sinks of type `http`: delivery from one observer to another, and a wrong URL.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::{DEFAULTS, OBSERVER, Observer, event_of, read_lines, wait_until};

const ARCHIVE: &str = "[sinks.archive]\ntype = \"file\"\n\
                       path = \"observer-data/events/{date}.jsonl\"\nstart = \"earliest\"\n";

/// Returns a sink that forwards to another observer, with short pauses.
fn forwarding_sink(name: &str, url: &str, more: &str) -> String {
    format!(
        "[sinks.{name}]\ntype = \"http\"\nurl = \"{url}\"\nbody = \"ndjson\"\n\
         start = \"earliest\"\n\
         batch = {{ max_events = 10, linger = \"20ms\" }}\n\
         retry = {{ initial = \"50ms\", max = \"100ms\" }}\n\
         {more}\n"
    )
}

fn event(number: usize) -> String {
    format!(r#"{{"source":"job","event_kind":"e{number}","ok":true, "extra":{{"n":{number}.50}}}}"#)
}

async fn sink(observer: &Observer, name: &str) -> Value {
    let status = observer.get("/v1/sinks").await.json();
    status["sinks"].as_array().unwrap().iter().find(|sink| sink["name"] == name).unwrap().clone()
}

/// Returns the id and the producer's bytes of each event in the archive.
fn archived(observer: &Observer) -> Vec<(String, String)> {
    let id = |line: &str| {
        serde_json::from_str::<Value>(line).unwrap()["id"].as_str().unwrap().to_owned()
    };
    let archive = observer.archive();
    archive.iter().map(|line| (id(line), event_of(line).to_owned())).collect()
}

#[tokio::test]
async fn forwarded_event_keeps_its_id_and_a_repeated_delivery_is_a_duplicate() {
    const EVENTS: usize = 95;
    let (edge_dir, central_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let central = Observer::start(central_dir.path(), DEFAULTS);
    let url = format!("{}/v1/events", central.url);
    // Two sinks with the same destination: each event is forwarded twice.
    let sinks = [
        forwarding_sink("central", &url, "compression = \"gzip\""),
        forwarding_sink("again", &url, "compression = \"zstd\""),
    ]
    .concat();
    let edge = Observer::start(edge_dir.path(), &format!("{DEFAULTS}{ARCHIVE}{sinks}"));
    let mut ids = BTreeSet::new();
    for number in 0..EVENTS {
        let response = edge.post(event(number)).await;
        assert_eq!(response.status, 200, "{}", response.text);
        ids.insert(response.json()["id"].as_str().unwrap().to_owned());
    }
    assert_eq!(ids.len(), EVENTS, "each event without an identity is a new event");
    edge.wait_until_caught_up().await;
    central.wait_until_caught_up().await;
    let (sent, arrived) = (archived(&edge), archived(&central));
    assert_eq!(sent.iter().map(|(id, _)| id.clone()).collect::<BTreeSet<_>>(), ids);
    assert_eq!(arrived.len(), EVENTS, "the second delivery of an event is a duplicate");
    assert_eq!(
        arrived.into_iter().collect::<BTreeSet<_>>(),
        sent.into_iter().collect::<BTreeSet<_>>()
    );
    let duplicates = r#"observer_duplicate_events_total{principal="anonymous"}"#;
    central.wait_for_metrics(|metrics| metrics[duplicates] == EVENTS as f64).await;
    for name in ["central", "again"] {
        let sink = sink(&edge, name).await;
        assert_eq!(
            (sink["delivered"].as_u64(), sink["dead"].as_u64()),
            (Some(EVENTS as u64), Some(0)),
            "{sink}"
        );
    }
}

#[tokio::test]
async fn observer_that_rejects_one_event_of_a_batch_receives_the_others() {
    let (edge_dir, central_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let central = Observer::start(
        central_dir.path(),
        &format!("{DEFAULTS}[ingest.require]\nstrict = [\"cycle_id\"]\n"),
    );
    let sinks = forwarding_sink("central", &format!("{}/v1/events", central.url), "");
    let edge = Observer::start(edge_dir.path(), &format!("{DEFAULTS}{sinks}"));
    let bad = r#"{"source":"strict","event_kind":"ok","ok":true}"#;
    let batch = [event(1), bad.to_owned(), event(2), event(3)].join("\n");
    let response =
        edge.send(edge.client().post(format!("{}/v1/events", edge.url)).body(batch)).await;
    assert_eq!(response.status, 200, "{}", response.text);
    edge.wait_until_caught_up().await;
    central.wait_until_caught_up().await;
    assert_eq!(
        archived(&central).into_iter().map(|(_, event)| event).collect::<Vec<_>>(),
        [1, 2, 3].map(event)
    );
    let status = sink(&edge, "central").await;
    assert_eq!(
        (status["delivered"].as_u64(), status["dead"].as_u64()),
        (Some(3), Some(1)),
        "{status}"
    );
    let dead_letters =
        read_lines(&edge_dir.path().join("observer-data/journal/dead-letters/central"));
    assert_eq!(dead_letters.len(), 1);
    assert!(
        dead_letters[0].contains(" responded with 422 for this event: ")
            && dead_letters[0].contains("cycle_id"),
        "{dead_letters:?}"
    );
}

/// Runs `observer check`. Returns its output and exit code.
fn check(dir: &Path) -> (String, Option<i32>) {
    let output = Command::new(OBSERVER).arg("check").current_dir(dir).output().unwrap();
    (
        String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap(),
        output.status.code(),
    )
}

#[tokio::test]
async fn typing_error_in_the_url_parks_the_sink_and_loses_nothing() {
    const SECRET: &str = "correct-horse-battery-staple";
    let (edge_dir, central_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let central = Observer::start(central_dir.path(), DEFAULTS);
    let auth = format!("auth = {{ bearer = \"{SECRET}\" }}");
    let config = |url: String| format!("{DEFAULTS}{}", forwarding_sink("central", &url, &auth));
    // The check finds the error in the first round. In the second round the check is off, and the
    // first delivery finds it.
    for check_key in ["", "check = \"off\"\n"] {
        let typo = config(format!("{}/v1/evnts?key={SECRET}", central.url)) + check_key;
        let edge = Observer::start_with(edge_dir.path(), &typo, &["--log", "trace"], &[]);
        for number in 0..20 {
            assert_eq!(edge.post(event(number)).await.status, 200);
        }
        wait_until("the sink is parked", async || {
            sink(&edge, "central").await["state"] == "parked"
        })
        .await;
        let reason = format!("{} responded with 404 Not Found: ", central.url);
        let status = sink(&edge, "central").await;
        assert!(status["reason"].as_str().unwrap().starts_with(&reason), "{status}");
        assert_eq!(
            (status["dead"].as_u64(), status["delivered"].as_u64()),
            (Some(0), Some(0)),
            "{status}"
        );
        let ready = edge.get("/readyz").await;
        assert!(ready.text.contains(&reason), "{}", ready.text);
        let (checked, code) = check(edge_dir.path());
        if check_key.is_empty() {
            assert_eq!(code, Some(1), "{checked}");
            assert!(checked.contains(&reason) && checked.contains("; see `url`"), "{checked}");
        }
        let (_, log) = edge.terminate();
        let output = [log.join("\n"), checked, ready.text, status.to_string()].concat();
        assert!(output.contains("the sink is parked") && !output.contains(SECRET), "{output}");
    }
    let edge = Observer::start(edge_dir.path(), &config(format!("{}/v1/events", central.url)));
    edge.wait_until_caught_up().await;
    central.wait_until_caught_up().await;
    assert_eq!(archived(&central).len(), 40);
    let status = sink(&edge, "central").await;
    assert_eq!(
        (status["dead"].as_u64(), status["delivered"].as_u64()),
        (Some(0), Some(40)),
        "{status}"
    );
}
