//! What the observer says to someone who made a mistake.

use std::path::Path;
use std::process::Command;

use insta::assert_snapshot;

use crate::support::{DEFAULTS, OBSERVER, Observer};

#[tokio::test]
async fn an_event_that_is_wrong_is_answered_with_what_is_wrong_and_the_next_one_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let observer = Observer::start(dir.path(), DEFAULTS);
    let good = r#"{"source":"bot","cycle_id":"c","sig_hash":"s","event_kind":"ok","ok":true}"#;
    let mut responses = String::new();
    for body in [
        "",
        "ok",
        r#"{"source":"bot","event_kind":"ok""#,
        r#"{"source":"bot","source":"bot","event_kind":"ok","ok":true}"#,
        "[]",
        "{}",
        r#"{"source":"bot","event_kind":"ok","ok":true}"#,
        r#"{"source":"bot","cycle_id":"c","sig_hash":"s","event_kind":"ok","ok":"yes"}"#,
        r#"{"source":"bot","cycle_id":7,"sig_hash":"s","event_kind":"ok","ok":true}"#,
        r#"{"source":"bot","cycle_id":"c","sig_hash":"s","event_kind":"ok","ok":true,"turns":-3}"#,
        r#"{"source":"bot","cycle_id":"c","sig_hash":"s","event_kind":"ok","ok":true,"duration_ms":"12 s"}"#,
        r#"{"source":"bot","cycle_id":"c","sig_hash":"s","event_kind":"ok","ok":true,"timestamp":"yesterday"}"#,
        r#"{"source":"bot","cycle_id":"c","sig_hash":"s","event_kind":"ok","ok":true,"extra":"none"}"#,
        r#"{"id":"mine","event":{"source":"bot","event_kind":"ok","ok":true}}"#,
    ] {
        responses += &format!("{body}\n{}\n\n", observer.post(body).await.summary());
    }
    let not_utf8 = b"{\"source\":\"b\xfft\"}".to_vec();
    let deep = format!(
        r#"{{"source":"job","event_kind":"ok","ok":true,"extra":{{"a":{}1{}}}}}"#,
        "[".repeat(100),
        "]".repeat(100)
    );
    let large = format!(r#"{{"source":"job","event_kind":"{}","ok":true}}"#, "x".repeat(2 << 20));
    for (what, response) in [
        ("a byte that is no UTF-8", observer.post(not_utf8).await),
        ("100 levels", observer.post(deep).await),
        ("2 MiB", observer.post(large).await),
        ("GET /event", observer.get("/event").await),
        ("GET /events", observer.get("/events").await),
    ] {
        responses += &format!("({what})\n{}\n\n", response.summary());
    }
    assert_snapshot!(responses.trim_end());
    assert_eq!(observer.post(good).await.status, 200);
}

/// What `observer check` says of a configuration, and how it ends.
fn check(dir: &Path, config: &str) -> String {
    std::fs::write(dir.join("observer.toml"), config).unwrap();
    let output =
        Command::new(OBSERVER).arg("check").env_remove("TOKEN").current_dir(dir).output().unwrap();
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    format!("{}\n=> exit code {}", text.trim_end(), output.status.code().unwrap())
}

#[test]
fn a_configuration_that_is_wrong_is_answered_with_the_key_and_what_was_meant() {
    let dir = tempfile::tempdir().unwrap();
    let mut responses = String::new();
    for config in [
        "[server]\nlistn = \"127.0.0.1:0\"",
        "[server]\nlisten = \"3800\"",
        "[server\n",
        "[journal]\nmax_size = \"10 gigs\"",
        "[journal]\ndurability = \"fast\"",
        "[ingest.require]\nbot = [\"cycle\"]",
        "[sinks.archive]\npath = \"events.jsonl\"",
        "[sinks.archive]\ntype = \"fiel\"\npath = \"events.jsonl\"",
        "[sinks.archive]\ntype = \"file\"",
        "[sinks.archive]\ntype = \"file\"\npath = \"{day}.jsonl\"",
        "[sinks.archive]\ntype = \"file\"\npath = \"events.jsonl\"\nrotate = { max_sice = \"1MiB\" }",
        "[sinks.archive]\ntype = \"file\"\npath = \"events.jsonl\"\nrequird = true",
        "[sinks.archive]\ntype = \"file\"\npath = \"events.jsonl\"\nbatch = { max_events = 0 }",
        "[sinks.archive]\ntype = \"file\"\npath = \"${TOKEN}.jsonl\"",
    ] {
        responses += &format!("{config}\n---\n{}\n\n", check(dir.path(), config));
    }
    assert_snapshot!(responses.trim_end());
}

#[test]
fn a_configuration_that_is_right_is_shown_with_each_sink() {
    let dir = tempfile::tempdir().unwrap();
    assert_snapshot!(check(dir.path(), DEFAULTS));
}
