//! Answers of the file of a knowledge base, on the command line.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use super::{DEFAULTS, OBSERVER, Observer, agent_runs, wait_until};

/// Configuration of a knowledge base.
pub(crate) const KB: &str =
    "[sinks.kb]\ntype = \"kb\"\npath = \"observer-data/kb\"\nstart = \"earliest\"\n";

/// Queries whose responses are figures, and don't depend on the present time.
const FIGURES: [&str; 9] = [
    "usage --by model",
    "usage --by source",
    "usage --by day --tz Asia/Kolkata",
    "usage --by label --label branch",
    "models --by-source",
    "models --compare m0 m1",
    "hints",
    "diff --since 2020-01-01",
    "problems --limit 1000",
];

/// Starts an observer with a knowledge base of the real runs, and more configuration. Anonymous
/// callers may send and read.
pub(crate) async fn with_runs(dir: &Path, more: &str) -> Observer {
    let observer = Observer::start(dir, &format!("{DEFAULTS}{KB}{more}"));
    let runs = agent_runs();
    let body = runs.join("\n");
    let request = observer.client().post(format!("{}/v1/events", observer.url)).body(body);
    let request = request.header("content-type", "application/x-ndjson");
    assert_eq!(observer.send(request).await.status, 200);
    // Figures include an event after the next flush.
    wait_until("the figures include every run", async || {
        observer.get("/v1/usage").await.json()["total"]["attempts"] == runs.len()
    })
    .await;
    observer
}

/// Runs a command of the program in a folder, without a URL.
pub(crate) fn run_in(dir: &Path, line: &str) -> Output {
    let mut command = Command::new(OBSERVER);
    command.args(line.split(' ')).current_dir(dir).env_remove("LH_OBSERVER_URL");
    command.env("TZ", "UTC").env("OBSERVER_LOG", "warn").output().unwrap()
}

/// Returns the response to a query in JSON. `run` runs a command line.
fn ask(run: &impl Fn(&str) -> Output, line: &str) -> String {
    let output = run(&format!("{line} --json"));
    // It is 1 if nothing matches.
    assert!(matches!(output.status.code(), Some(0 | 1)), "{line}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Returns all figures, and the history of each problem.
pub(crate) fn figures(run: impl Fn(&str) -> Output) -> Vec<String> {
    let mut figures: Vec<_> = FIGURES.iter().map(|line| ask(&run, line)).collect();
    let problems: Value = serde_json::from_str(figures.last().unwrap()).unwrap();
    for problem in problems["problems"].as_array().unwrap() {
        let sig_hash = problem["sig_hash"].as_str().unwrap();
        figures.push(ask(&run, &format!("history {sig_hash} --history 50 --transitions 50")));
    }
    figures
}

/// Returns the envelopes of all events in the order of receipt.
pub(crate) fn envelopes(run: impl Fn(&str) -> Output) -> Vec<Value> {
    let mut envelopes = Vec::new();
    let mut line = "query --limit 1000".to_owned();
    loop {
        let mut page: Value = serde_json::from_str(&ask(&run, &line)).unwrap();
        let Value::Array(events) = page["events"].take() else { panic!("{page}") };
        envelopes.extend(events.into_iter().map(|mut event| {
            event.as_object_mut().unwrap().remove("replaced_by");
            event
        }));
        let Some(cursor) = page["cursor"].as_str() else { break };
        line = format!("query --limit 1000 --cursor {cursor}");
    }
    envelopes.reverse();
    envelopes
}

/// Asserts that the events are those of an archive, each once and in the same order.
#[track_caller]
pub(crate) fn assert_same_events(found: &[Value], archive: &[String]) {
    assert_eq!(found.len(), archive.len(), "number of events");
    for (found, line) in found.iter().zip(archive) {
        assert_eq!(found, &serde_json::from_str::<Value>(line).unwrap());
    }
}
