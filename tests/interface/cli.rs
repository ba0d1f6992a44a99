//! The commands `emit` and `serve`, and readiness.

use std::process::{Command, Output, Stdio};

use crate::support::{
    DEFAULTS, OBSERVER, Observer, agent_runs, archive, event_of, text_of, wait_until,
};

fn emit(observer: &Observer, arguments: &[&str], input: Option<&str>) -> Output {
    use std::io::Write;
    let mut command = Command::new(OBSERVER);
    command
        .arg("emit")
        .args(arguments)
        .env("LH_OBSERVER_URL", &observer.url)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut process = command
        .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
        .spawn()
        .unwrap();
    if let Some(input) = input {
        process.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    }
    process.wait_with_output().unwrap()
}

#[tokio::test]
async fn emit_reads_files_standard_input_and_flags() {
    let dir = tempfile::tempdir().unwrap();
    let observer = Observer::start(dir.path(), DEFAULTS);
    let runs: Vec<_> = agent_runs().into_iter().take(40).collect();
    let file = dir.path().join("runs.ndjson");
    std::fs::write(&file, runs.join("\n")).unwrap();

    let output = emit(&observer, &[file.to_str().unwrap()], None);
    assert!(output.status.success(), "{}", text_of(&output));
    assert!(
        text_of(&output).contains("40 events: 40 accepted, 0 duplicate, 0 rejected"),
        "{}",
        text_of(&output)
    );

    let array = dir.path().join("runs.json");
    std::fs::write(&array, format!("[\n{}\n]\n", runs.join(",\n"))).unwrap();
    let output = emit(&observer, &[array.to_str().unwrap()], None);
    assert!(
        text_of(&output).contains("40 events: 0 accepted, 40 duplicate, 0 rejected"),
        "{}",
        text_of(&output)
    );

    let mixed = format!(
        "{}\n{{\"source\":\"bot\"}}\n\n{{\"source\":\"job\",\"event_kind\":\"ok\",\"ok\":true}}\n",
        runs[0]
    );
    let output = emit(&observer, &["-"], Some(&mixed));
    assert_eq!(output.status.code(), Some(1), "{}", text_of(&output));
    assert!(
        text_of(&output).contains("3 events: 1 accepted, 1 duplicate, 1 rejected"),
        "{}",
        text_of(&output)
    );
    assert!(text_of(&output).contains(":2: 422"), "{}", text_of(&output));

    let flags = [
        "--source",
        "bot",
        "--event-kind",
        "tests_failed",
        "--failed",
        "--cycle-id",
        "c-1",
        "--sig-hash",
        "9f2c",
        "--turns",
        "3",
    ];
    let output = emit(&observer, &flags, None);
    assert!(output.status.success(), "{}", text_of(&output));

    observer.wait_until_caught_up().await;
    let archive = observer.archive();
    assert_eq!(archive[..40].iter().map(|line| event_of(line)).collect::<Vec<_>>(), runs);
    assert_eq!(event_of(&archive[40]), r#"{"source":"job","event_kind":"ok","ok":true}"#);
    let event: serde_json::Value = serde_json::from_str(event_of(&archive[41])).unwrap();
    assert_eq!(
        (&event["event_kind"], &event["ok"], &event["turns"]),
        (&"tests_failed".into(), &false.into(), &3.into())
    );
}

#[tokio::test]
async fn emitting_an_archive_again_yields_duplicates_alone() {
    let dir = tempfile::tempdir().unwrap();
    let observer = Observer::start(dir.path(), DEFAULTS);
    let runs: Vec<_> = agent_runs().into_iter().take(20).collect();
    assert!(emit(&observer, &["-"], Some(&runs.join("\n"))).status.success());
    observer.wait_until_caught_up().await;
    let archive = observer.archive().join("\n");
    let output = emit(&observer, &["-"], Some(&archive));
    assert!(
        text_of(&output).contains("20 events: 0 accepted, 20 duplicate, 0 rejected"),
        "{}",
        text_of(&output)
    );

    let elsewhere = tempfile::tempdir().unwrap();
    let second = Observer::start(elsewhere.path(), DEFAULTS);
    assert!(emit(&second, &["-"], Some(&archive)).status.success());
    second.wait_until_caught_up().await;
    let ids = |lines: &str| lines.lines().map(|line| line[..45].to_owned()).collect::<Vec<_>>();
    assert_eq!(ids(&second.archive().join("\n")), ids(&archive), "another observer keeps the ids");
}

#[tokio::test]
async fn shutdown_drains_the_sinks_and_the_log_has_an_entry_per_change() {
    let dir = tempfile::tempdir().unwrap();
    let observer = Observer::start(dir.path(), DEFAULTS);
    for number in 0..100 {
        let event =
            format!(r#"{{"source":"job","cycle_id":"{number}","event_kind":"ok","ok":true}}"#);
        assert_eq!(observer.post(event).await.status, 200);
    }
    let (status, log) = observer.terminate();
    assert_eq!(status.code(), Some(0));
    assert_eq!(archive(dir.path()).len(), 100);
    let messages: Vec<_> = log
        .iter()
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["message"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    assert!(messages.last().unwrap().contains("every sink has every event"), "{messages:#?}");
    assert!(messages.len() <= 5, "a line per change, not per event: {messages:#?}");
}

#[tokio::test]
async fn second_observer_on_the_same_data_or_address_does_not_start() {
    let dir = tempfile::tempdir().unwrap();
    let observer = Observer::start(dir.path(), DEFAULTS);
    let second = Command::new(OBSERVER).current_dir(dir.path()).output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    let error = String::from_utf8(second.stderr).unwrap();
    assert!(
        error.ends_with(
            "observer: the journal at observer-data/journal is in use by another process\n"
        ),
        "{error}"
    );

    let elsewhere = tempfile::tempdir().unwrap();
    let address = observer.url.strip_prefix("http://").unwrap();
    let third = Command::new(OBSERVER)
        .args(["serve", "--listen", address])
        .current_dir(elsewhere.path())
        .output()
        .unwrap();
    assert_eq!(third.status.code(), Some(1));
    let error = String::from_utf8(third.stderr).unwrap();
    assert!(error.contains(address) && error.contains("in use"), "{error}");
    assert_eq!(observer.get("/livez").await.status, 200);
}

#[tokio::test]
async fn readiness_reports_a_parked_sink_with_its_reason() {
    let dir = tempfile::tempdir().unwrap();
    // A file where the folder should be.
    std::fs::write(dir.path().join("events"), "").unwrap();
    let config =
        format!("{DEFAULTS}[sinks.archive]\ntype = \"file\"\npath = \"events/{{date}}.jsonl\"\n");
    let observer = Observer::start(dir.path(), &config);
    wait_until("the sink is parked", async || {
        observer.get("/readyz").await.text.contains("parked")
    })
    .await;
    let ready = observer.get("/readyz").await;
    assert_eq!(ready.status, 200, "producers are not affected");
    assert!(
        ready.json()["sinks"][0]["reason"].as_str().unwrap().contains("events"),
        "{}",
        ready.text
    );
    let response = observer.post(r#"{"source":"job","event_kind":"ok","ok":true}"#).await;
    assert_eq!(response.status, 200);
    std::fs::remove_file(dir.path().join("events")).unwrap();
    observer.wait_until_caught_up().await;
    assert_eq!(std::fs::read_dir(dir.path().join("events")).unwrap().count(), 1);
}

#[tokio::test]
async fn both_loopback_addresses_are_listened_on_by_default() {
    let dir = tempfile::tempdir().unwrap();
    let config = "[server]\nlisten = [\"127.0.0.1:0\", \"[::1]:0\"]\n";
    let observer = Observer::start(dir.path(), config);
    assert!(observer.url.starts_with("http://127.0.0.1:"));
    assert_eq!(
        observer::Config::default()
            .server
            .listen
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>(),
        ["127.0.0.1:3800", "[::1]:3800"]
    );
}
