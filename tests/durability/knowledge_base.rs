//! The knowledge base after kills, and on a full disk.

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use super::full_disk::{Load, assert_accounts_balance, assert_complete, sink};
use crate::support::knowledge_base::{assert_same_events, envelopes, figures, run_in};
use crate::support::small_disks::SmallDisks;
use crate::support::{DEFAULTS, Observer, read_lines, wait_until};

const ROUNDS: usize = 6;
const PRODUCERS: u64 = 6;

/// Returns an event: a phase, an attempt at one of 25 problems, or a correction of an earlier one.
fn event(number: u64) -> String {
    let (model, problem) = (number % 3, number % 25);
    if number % 13 == 12 {
        return format!(r#"{{"source":"load","event_kind":"started","sig_hash":"p{problem}"}}"#);
    }
    let replaces = if number % 11 == 10 {
        format!(r#""replaces":"n-{}","#, number - 7)
    } else {
        format!(r#""id":"n-{number}","sig_hash":"p{problem}","staffer_id":"m{model}","#)
    };
    format!(
        concat!(
            r#"{{"source":"load",{replaces}"event_kind":"{kind}","ok":{ok},"duration_ms":{ms},"#,
            r#""cost_usd":0.25,"labels":{{"branch":"b{branch}"}},"extra":{{"error":"line {n}"}}}}"#
        ),
        replaces = replaces,
        kind = if number.is_multiple_of(4) { "ok" } else { "failed" },
        ok = number.is_multiple_of(4),
        ms = 100 + number % 900,
        branch = number % 4,
        n = number,
    )
}

/// Posts events one after the other until the observer is killed.
async fn produce(
    client: reqwest::Client,
    url: String,
    numbers: Arc<AtomicU64>,
    acknowledged: Arc<Mutex<Vec<String>>>,
) {
    loop {
        let event = event(numbers.fetch_add(1, Ordering::SeqCst));
        let Ok(response) = client.post(format!("{url}/event")).body(event).send().await else {
            return;
        };
        assert_eq!(response.status(), 200);
        let Ok(text) = response.text().await else { return };
        let response: Value = serde_json::from_str(&text).unwrap();
        acknowledged.lock().unwrap().push(response["id"].as_str().unwrap().to_owned());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn knowledge_base_equals_the_archive_after_kills() {
    let dir = tempfile::tempdir().unwrap();
    let numbers = Arc::new(AtomicU64::new(0));
    let acknowledged = Arc::new(Mutex::new(Vec::new()));
    for round in 0..ROUNDS {
        let observer = Observer::start(dir.path(), DEFAULTS);
        let producers: Vec<_> = (0..PRODUCERS)
            .map(|_| {
                let (numbers, acknowledged) = (numbers.clone(), acknowledged.clone());
                tokio::spawn(produce(
                    observer.client(),
                    observer.url.clone(),
                    numbers,
                    acknowledged,
                ))
            })
            .collect();
        // A different moment in each round, since figures are derived once a second.
        let wanted = acknowledged.lock().unwrap().len() + 300 + 170 * round;
        while acknowledged.lock().unwrap().len() < wanted {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        observer.kill();
        for producer in producers {
            producer.await.unwrap();
        }
    }
    let observer = Observer::start(dir.path(), DEFAULTS);
    observer.wait_until_caught_up().await;
    let archive = observer.archive();
    observer.terminate();

    let run = |line: &str| run_in(dir.path(), line);
    assert_complete(&archive, &acknowledged.lock().unwrap());
    assert_same_events(&envelopes(run), &archive);
    let found = figures(run);
    assert_eq!(found.len(), 9 + 25);

    fs::rename(dir.path().join("observer-data/journal"), dir.path().join("journal")).unwrap();
    fs::rename(dir.path().join("observer-data/kb"), dir.path().join("kb")).unwrap();
    let rebuilt = run("kb rebuild");
    assert_eq!(rebuilt.status.code(), Some(0), "{rebuilt:?}");
    assert_eq!(figures(run), found);
    assert_same_events(&envelopes(run), &archive);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn knowledge_base_on_a_full_disk_parks_and_equals_the_archive_afterwards() {
    let Some(disks) = SmallDisks::mount(&[("data", 256), ("kb", 160)]) else { return };
    let config = "data_dir = \"data/observer-data\"\n[server]\nlisten = \"127.0.0.1:0\"\n\
                  [sinks.archive]\ntype = \"file\"\npath = \"data/events/{date}.jsonl\"\n\
                  start = \"earliest\"\n[sinks.kb]\ntype = \"kb\"\npath = \"kb/kb\"\n\
                  start = \"earliest\"\nretry = { max = \"1s\" }\n";
    disks.add_ballast("kb", 154 << 20);
    let observer = disks.start(config);
    let load = Load::with_pause(&observer, Duration::from_millis(5));
    let parked = async |observer: &Observer| {
        wait_until("the knowledge base is parked", async || {
            sink(observer, "kb").await["state"] == "parked"
        })
        .await;
    };
    parked(&observer).await;
    // Queries, other sinks and producers go on.
    load.wait_for_acknowledgements(200).await;
    assert_eq!(observer.get("/v1/usage").await.status, 200);
    assert_eq!(observer.get("/readyz").await.status, 200);
    let reason = sink(&observer, "kb").await.to_string();
    assert!(reason.contains("full"), "{reason}");

    observer.kill();
    let observer = disks.start(config);
    load.redirect(&observer);
    load.wait_for_acknowledgements(200).await;
    parked(&observer).await;
    disks.remove_ballast("kb");
    wait_until("the knowledge base runs again", async || {
        sink(&observer, "kb").await["state"] == "running"
    })
    .await;
    load.wait_for_acknowledgements(1_000).await;
    assert_eq!(load.rejected(), 0, "{:?}", load.details());
    let acknowledged = load.stop().await;
    observer.wait_until_caught_up().await;
    assert_accounts_balance(&observer, &["archive", "kb"]).await;
    observer.terminate();

    let archive = read_lines(&disks.path("data/events"));
    assert_complete(&archive, &acknowledged);
    let run = |line: &str| disks.run(line);
    assert_same_events(&envelopes(run), &archive);
    let found = figures(run);
    let rebuilt = run("kb rebuild");
    assert_eq!(rebuilt.status.code(), Some(0), "{rebuilt:?}");
    assert_eq!(figures(run), found);
}
