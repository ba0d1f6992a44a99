//! Repeated SIGKILL under load.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use crate::support::{DEFAULTS, Observer, event_of};

const ROUNDS: usize = 8;
const PRODUCERS: u64 = 8;

/// Posts events one after the other until the observer is killed, and collects the ids of those
/// that were acknowledged.
async fn produce(
    client: reqwest::Client,
    url: String,
    numbers: Arc<AtomicU64>,
    acknowledged: Arc<Mutex<Vec<String>>>,
) {
    loop {
        let number = numbers.fetch_add(1, Ordering::SeqCst);
        let event = format!(
            "{{\"source\":\"load\",\"cycle_id\":\"{number}\",\"event_kind\":\"ok\",\"ok\":true,\
             \"extra\":{{\"n\":{number}}}}}"
        );
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
async fn acknowledged_event_is_archived_once_and_in_order() {
    let dir = tempfile::tempdir().unwrap();
    // Small files and segments, so that kills also interrupt rotation, compression and sealing.
    let config = format!(
        "{DEFAULTS}[journal]\nsegment_size = \"64KiB\"\n[sinks.archive]\ntype = \"file\"\n\
         path = \"observer-data/events/{{date}}.jsonl\"\nrequired = true\nstart = \"earliest\"\n\
         rotate = {{ max_size = \"200KiB\" }}\n"
    );
    let numbers = Arc::new(AtomicU64::new(0));
    let acknowledged = Arc::new(Mutex::new(Vec::new()));
    for round in 0..ROUNDS {
        let observer = Observer::start(dir.path(), &config);
        let producers: Vec<_> = (0..PRODUCERS)
            .map(|_| {
                tokio::spawn(produce(
                    observer.client(),
                    observer.url.clone(),
                    numbers.clone(),
                    acknowledged.clone(),
                ))
            })
            .collect();
        // A different moment in each round, since the sinks flush once a second.
        let wanted = acknowledged.lock().unwrap().len() + 400 + 350 * round;
        while acknowledged.lock().unwrap().len() < wanted {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        observer.kill();
        for producer in producers {
            producer.await.unwrap();
        }
    }
    let observer = Observer::start(dir.path(), &config);
    observer.wait_until_caught_up().await;
    let archive = observer.archive();
    observer.terminate();

    let mut ids = HashSet::new();
    let mut last_seq = 0;
    for line in &archive {
        let envelope: Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(ids.insert(envelope["id"].as_str().unwrap().to_owned()), "twice: {line}");
        let seq = envelope["seq"].as_u64().unwrap();
        assert_eq!(seq, last_seq + 1, "{line}");
        last_seq = seq;
        assert!(event_of(line).starts_with(r#"{"source":"load","cycle_id":""#));
    }
    let acknowledged = acknowledged.lock().unwrap();
    let missing: Vec<_> = acknowledged.iter().filter(|id| !ids.contains(*id)).collect();
    assert!(
        missing.is_empty(),
        "{} of {} acknowledged events are missing",
        missing.len(),
        acknowledged.len()
    );
    eprintln!(
        "{ROUNDS} kills, {} acknowledged, {} in the archive",
        acknowledged.len(),
        archive.len()
    );
}
