//! Messages about mistakes in events and in the configuration.

use std::path::Path;
use std::process::Command;

use insta::assert_snapshot;

use crate::support::{DEFAULTS, OBSERVER, Observer, text_of};

#[tokio::test]
async fn invalid_event_is_rejected_with_a_reason_and_the_next_one_is_accepted() {
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
        r#"{"source":"bot","cycle_id":[7],"sig_hash":"s","event_kind":"ok","ok":true}"#,
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
        ("invalid UTF-8", observer.post(not_utf8).await),
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

/// Runs `observer check` on a configuration. Returns its output and exit code.
pub(super) fn check(dir: &Path, config: &str) -> String {
    std::fs::write(dir.join("observer.toml"), config).unwrap();
    let output =
        Command::new(OBSERVER).arg("check").env_remove("TOKEN").current_dir(dir).output().unwrap();
    format!("{}\n=> exit code {}", text_of(&output).trim_end(), output.status.code().unwrap())
}

#[test]
fn invalid_configuration_is_reported_with_its_key_and_a_remedy() {
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
        "[sinks.archive]\ntype = \"file\"\npath = \"events.jsonl\"\n\
         rotate = { max_sice = \"1MiB\" }",
        "[sinks.archive]\ntype = \"file\"\npath = \"events.jsonl\"\nrequird = true",
        "[sinks.archive]\ntype = \"file\"\npath = \"events.jsonl\"\nbatch = { max_events = 0 }",
        "[sinks.archive]\ntype = \"file\"\npath = \"${TOKEN}.jsonl\"",
    ] {
        responses += &format!("{config}\n---\n{}\n\n", check(dir.path(), config));
    }
    assert_snapshot!(responses.trim_end());
}

#[test]
fn check_rejects_what_can_not_start() {
    let dir = tempfile::tempdir().unwrap();
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = other.local_addr().unwrap();
    std::fs::write(dir.path().join("a-file"), "").unwrap();
    let listen = "server.listen = \"127.0.0.1:0\"\n";
    for (config, expected) in [
        (format!("server.listen = \"{taken}\"\n"), "the address is in use"),
        (
            "server.listen = \"192.0.2.1:0\"\naccess.anonymous = [\"ingest\"]\n".to_owned(),
            "can't listen on 192.0.2.1:0",
        ),
        (
            format!("{listen}journal.path = \"a-file\"\n"),
            "a-file is a file; choose a folder in `journal.path`",
        ),
        (
            format!("{listen}journal.path = \"a-file/journal\"\n"),
            "a-file is a file; choose a folder in `journal.path`",
        ),
        (format!("{listen}server.hosts = [\"*.svc\"]\n"), "server.hosts[0]: must be a host name"),
        (format!("{listen}journal.max_size = \"1KiB\"\n"), "must be at least 32KiB"),
        (
            format!("{listen}[sinks.a]\ntype = \"kb\"\nfilter = {{ source = [] }}\n"),
            "sinks.a.filter.source: expected a string or a list of at least one string",
        ),
    ] {
        let output = check(dir.path(), &config);
        assert!(output.contains(expected) && !output.ends_with("code 0"), "{config}{output}");
    }
}

#[tokio::test]
async fn check_accepts_the_addresses_of_the_observer_that_runs() {
    let dir = tempfile::tempdir().unwrap();
    let observer = Observer::start(dir.path(), DEFAULTS);
    let address = observer.url.strip_prefix("http://").unwrap();
    let config = DEFAULTS.replace("127.0.0.1:0", address);
    let output = check(dir.path(), &config);
    assert!(config.contains(address) && output.ends_with("=> exit code 0"), "{output}");
}

#[test]
fn check_of_a_valid_configuration_lists_each_sink() {
    let dir = tempfile::tempdir().unwrap();
    assert_snapshot!(check(dir.path(), DEFAULTS));
}
