//! An operator's way from an alert to the end of its cause.

use std::path::{Path, PathBuf};

use super::example;
use crate::peers::prometheus::Prometheus;
use crate::support::{Observer, is_installed, wait_until};

const CONFIG: &str = r#"
[server]
listen = "127.0.0.1:0"

[sinks.copies]
type = "file"
path = "copies/{date}.jsonl"

[sinks.prometheus]
type = "prometheus"
"#;

/// Copies the rules to a folder, with alerts that fire after a second.
fn impatient_rules(dir: &Path) -> PathBuf {
    let rules = dir.join("rules");
    std::fs::create_dir(&rules).unwrap();
    for entry in std::fs::read_dir(example("rules")).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let lines = text.lines().map(|line| match line.split_once("for: ") {
            Some((indent, _)) if indent.trim().is_empty() => format!("{indent}for: 1s\n"),
            _ => format!("{line}\n"),
        });
        let target = rules.join(path.file_name().unwrap());
        std::fs::write(target, lines.collect::<String>()).unwrap();
    }
    rules
}

/// Returns the descriptions of the alerts with a name that fire.
async fn firing(prometheus: &Prometheus, name: &str) -> Vec<String> {
    let alerts = prometheus.get("alerts", &[]).await;
    let alerts = alerts["alerts"].as_array().unwrap().iter();
    let firing =
        alerts.filter(|one| one["labels"]["alertname"] == name && one["state"] == "firing");
    firing.map(|one| one["annotations"]["description"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn alert_of_a_parked_sink_ends_once_the_runbook_was_followed() {
    if !is_installed("prometheus") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let rules = impatient_rules(dir.path());
    let prometheus = Prometheus::start_with_rules(dir.path(), Some(&rules)).await;
    // The folder of the sink can't be created.
    let obstacle = dir.path().join("copies");
    std::fs::write(&obstacle, "").unwrap();
    let observer = Observer::start(dir.path(), CONFIG);
    prometheus.scrape(&observer);
    let event = r#"{"source":"bot","cycle_id":"c","sig_hash":"s","event_kind":"ok","ok":true}"#;
    assert_eq!(observer.post(event).await.status, 200);

    let alert = "ObserverSinkParked";
    wait_until("the alert fires", async || !firing(&prometheus, alert).await.is_empty()).await;
    let descriptions = firing(&prometheus, alert).await;
    assert_eq!(
        descriptions,
        [concat!(
            "Sink copies of observer (job observer) has been parked for 5 minutes. ",
            "It delivers nothing; 1 events are waiting."
        )]
    );

    let (code, status) = observer.run(&["status"]);
    assert_eq!(code, Some(1), "{status}");
    assert!(status.contains("parked") && status.contains("copies"), "{status}");
    std::fs::remove_file(&obstacle).unwrap();
    let (code, output) = observer.run(&["sinks", "retry", "copies"]);
    assert_eq!(code, Some(0), "{output}");
    observer.wait_until_caught_up().await;
    wait_until("the alert ends", async || firing(&prometheus, alert).await.is_empty()).await;
    assert_eq!(observer.run(&["status"]).0, Some(0));
}
