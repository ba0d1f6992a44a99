//! Sinks that are parked by the check at their start.

use std::fs;

use crate::support::{DEFAULTS, Observer, wait_until};

#[tokio::test]
async fn sink_parked_at_the_start_runs_once_its_check_succeeds_without_an_event() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("events"), "").unwrap();
    let config = format!(
        "{DEFAULTS}[sinks.archive]\ntype = \"file\"\npath = \"events/all.jsonl\"\n\
         retry = {{ initial = \"50ms\", max = \"200ms\" }}\n"
    );
    let observer = Observer::start(dir.path(), &config);
    let state = async || observer.get("/v1/sinks").await.json()["sinks"][0]["state"].clone();
    wait_until("the sink is parked", async || state().await == "parked").await;
    fs::remove_file(dir.path().join("events")).unwrap();
    wait_until("the sink runs", async || state().await != "parked").await;
}
