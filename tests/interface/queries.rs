//! Queries over HTTP, on the command line, and of the file of an observer that does not run.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

pub(super) use crate::support::knowledge_base::run_in as run;
use crate::support::knowledge_base::{KB, with_runs};
use crate::support::{DEFAULTS, OBSERVER, Observer, wait_until};

/// Signature of a problem of the runs, which one attempt solved.
const SOLVED: &str = "3e83e8f191d886d8";

fn config(sinks: &str) -> String {
    format!("{DEFAULTS}{sinks}")
}

/// Mounts the folder `$0` read-only, and runs a program there. 77 means that the system does not
/// permit it.
const READ_ONLY: &str = r#"
{ mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" "$0" && cd "$0"; } || exit 77
touch written 2>/dev/null && exit 78
exec "$@"
"#;

/// Runs a command of the program in a folder that can't be written; `None` if the system does not
/// permit to make one.
fn run_read_only(dir: &Path, line: &str) -> Option<Output> {
    let namespaces: [&[&str]; 2] = [&["--user", "--map-root-user", "--mount"], &["--mount"]];
    for arguments in namespaces {
        let mut command = Command::new("unshare");
        command.args(arguments).args(["sh", "-c", READ_ONLY]).arg(dir).arg(OBSERVER);
        let output = command.args(line.split(' ')).env_remove("LH_OBSERVER_URL").output();
        if let Ok(output) = output
            && !matches!(output.status.code(), Some(1 | 77))
        {
            return Some(output);
        }
    }
    assert!(
        std::env::var_os("OBSERVER_TEST_TOOLS").is_none(),
        "a read-only folder is required here"
    );
    eprintln!("SKIPPED: no read-only folder can be mounted");
    None
}

#[track_caller]
pub(super) fn stdout(dir: &Path, line: &str) -> String {
    let output = run(dir, line);
    assert_eq!(output.status.code(), Some(0), "{line}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
pub(super) fn check_failure(dir: &Path, line: &str, code: i32, message: &str) {
    let output = run(dir, line);
    assert_eq!(output.status.code(), Some(code), "{line}: {output:?}");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains(message), "{line}: {error}");
}

/// Commands with the routes that have the same response.
pub(super) const JSON: [(&str, &str); 9] = [
    ("query --limit 3 --failed --json", "/v1/events?limit=3&ok=false"),
    ("history 3e83e8f191d886d8 --history 5 --json", "/v1/signatures/3e83e8f191d886d8?history=5"),
    ("problems --state new --limit 3 --json", "/v1/signatures?state=new&limit=3"),
    ("models --json", "/v1/models"),
    ("models --compare a b --json", "/v1/models?a=a&b=b"),
    ("usage --by source --json", "/v1/usage?by=source&tz=UTC"),
    ("usage --by day --tz Europe/Berlin --json", "/v1/usage?by=day&tz=Europe/Berlin"),
    ("diff --since 2026-01-01 --json", "/v1/diff?since=2026-01-01"),
    ("hints --json", "/v1/hints"),
];

#[tokio::test]
async fn commands_print_the_responses_of_the_api() {
    let dir = tempfile::tempdir().unwrap();
    let observer = with_runs(dir.path(), "").await;
    for (line, path) in JSON {
        let response = observer.get(path).await;
        assert_eq!(response.status, 200, "{path}: {}", response.text);
        let output = run(dir.path(), line);
        assert_eq!(String::from_utf8(output.stdout).unwrap(), response.text + "\n", "{line}");
    }
    let csv = observer.client().get(format!("{}/v1/models", observer.url));
    let csv = observer.send(csv.header("accept", "text/csv")).await.text;
    assert_eq!(stdout(dir.path(), "models --csv"), csv);
    let lines = stdout(dir.path(), "query --limit 2 --ndjson");
    let archived: Vec<Value> =
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(archived.len(), 2);
    assert!(archived[0]["seq"].as_u64() > archived[1]["seq"].as_u64(), "newest first");
    let id = archived[0]["id"].as_str().unwrap();
    let shown = stdout(dir.path(), &format!("query {id}"));
    assert!(shown.contains(id) && shown.contains("kb    delivered"), "{shown}");
}

#[tokio::test]
async fn figures_of_the_real_runs_are_right() {
    let dir = tempfile::tempdir().unwrap();
    let observer = with_runs(dir.path(), "").await;
    let models = observer.get("/v1/models").await.json();
    let opus = models["models"]
        .as_array()
        .unwrap()
        .iter()
        .find(|figures| figures["model"] == "claude-opus-4-5-20251101")
        .unwrap();
    assert_eq!((&opus["attempts"], &opus["solved"]), (&100.into(), &73.into()));
    let near = |value: &Value, expected: f64| (value.as_f64().unwrap() - expected).abs() < 0.001;
    assert!(near(&opus["ci"][0], 0.636) && near(&opus["ci"][1], 0.807), "{opus}");
    assert!(near(&opus["cost_per_solved"], 0.9206), "{opus}");
    let table = stdout(dir.path(), "models");
    assert!(table.contains("73 of 100") && table.contains("$0.92"), "{table}");
    let history = stdout(dir.path(), &format!("history {SOLVED}"));
    assert!(history.contains("claude-opus-4-5-20251101"), "{history}");
    let summary = stdout(dir.path(), &format!("history {SOLVED} --md"));
    assert!(summary.starts_with("1 of 1 solved."), "{summary}");
}

#[tokio::test]
async fn exit_code_tells_what_matched() {
    let dir = tempfile::tempdir().unwrap();
    let _observer = with_runs(dir.path(), "").await;
    for line in ["query --source nobody", "problems --source nobody", "models --source nobody"] {
        assert_eq!(run(dir.path(), line).status.code(), Some(1), "{line}");
        assert_eq!(run(dir.path(), &format!("{line} --csv")).status.code(), Some(1), "{line}");
    }
    check_failure(dir.path(), "history 3e83e8f191d886d9", 1, "\"3e83e8f191d886d8\"");
    check_failure(dir.path(), "query 00000000-0000-0000-0000-000000000001", 1, "404 no event");
    check_failure(dir.path(), "problems --state fixd", 2, "did you mean `fixed`?");
    check_failure(dir.path(), "usage --since soon", 2, "400 `since` is not a time: \"soon\"");
}

#[tokio::test]
async fn names_that_no_url_can_have_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let observer = Observer::start(dir.path(), &config(KB));
    let event = r#"{"source":"job","event_kind":"ok","ok":true,"sig_hash":"..","id":"."}"#;
    assert_eq!(observer.post(event).await.status, 200);
    wait_until("the figures include the event", async || {
        observer.get("/v1/usage").await.json()["total"]["attempts"] == 1
    })
    .await;
    let history = |dir: &Path| stdout(dir, "history ..");
    assert!(history(dir.path()).contains("1 attempt, 1 solved"), "{}", history(dir.path()));
    assert!(stdout(dir.path(), "query .").contains("kb    delivered"));
    assert_eq!(observer.get("/v1/usage?until=9999-12-31").await.json()["total"]["attempts"], 1);
    check_failure(dir.path(), "history ", 2, "it is empty; give a value");
    observer.kill();
    assert!(history(dir.path()).contains("1 attempt, 1 solved"), "{}", history(dir.path()));
}

#[tokio::test]
async fn file_of_a_stopped_observer_is_read_and_not_changed() {
    let dir = tempfile::tempdir().unwrap();
    let observer = with_runs(dir.path(), "").await;
    let running: Vec<_> = JSON.iter().map(|(line, _)| run(dir.path(), line).stdout).collect();
    // A crash leaves the write-ahead log behind.
    observer.kill();
    let file = dir.path().join("observer-data/kb/kb.sqlite");
    let before = fs::read(&file).unwrap();
    for ((line, _), expected) in JSON.iter().zip(running) {
        let output = run(dir.path(), line);
        let (here, there) = (String::from_utf8(output.stdout), String::from_utf8(expected));
        assert_eq!(here, there, "{line}");
    }
    assert_eq!(fs::read(&file).unwrap(), before);
    check_failure(dir.path(), "history unknown", 1, "no attempts at the problem");
    // A given URL is that of an observer and of no file.
    check_failure(dir.path(), "models --url http://localhost:1", 2, "unreachable");

    // Without this index of the log, SQLite can't read a file where it can't write.
    let _ = fs::remove_file(file.with_file_name("kb.sqlite-shm"));
    if let Some(output) = run_read_only(dir.path(), "models") {
        let (table, log) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(table.contains("73 of 100"), "{output:?}");
        assert!(log.contains("a copy is read"), "{log}");
    }
}

#[tokio::test]
async fn queries_need_a_knowledge_base_which_a_reload_can_add() {
    let dir = tempfile::tempdir().unwrap();
    let archive = "[sinks.archive]\ntype = \"file\"\npath = \"observer-data/a.jsonl\"\n\
                   start = \"earliest\"\n";
    let observer = Observer::start(dir.path(), &config(archive));
    let event = r#"{"source":"job","event_kind":"ok","ok":true,"sig_hash":"s"}"#;
    assert_eq!(observer.post(event).await.status, 200);
    check_failure(dir.path(), "models", 2, "add `[sinks.kb]`");
    let sinks = [archive, KB].concat();
    observer.write_config(&config(&sinks));
    assert_eq!(observer.reload().await.status, 200);
    wait_until("the event is stored", async || {
        observer.get("/v1/events").await.json()["events"][0]["event"]["sig_hash"] == "s"
    })
    .await;
    let changed = sinks.replace("observer-data/kb", "observer-data/other");
    observer.write_config(&config(&changed));
    assert_eq!(observer.reload().await.json()["changed"], serde_json::json!(["kb"]));
    observer.write_config(&config(archive));
    assert_eq!(observer.reload().await.status, 200);
    assert_eq!(observer.get("/v1/events").await.status, 404);
}

#[test]
fn without_an_observer_and_a_file_the_address_is_named() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("observer.toml"), config(KB)).unwrap();
    check_failure(dir.path(), "models", 2, "is unreachable");
    let address = "server.listen = '127.0.0.1:1'\n";
    let other = [address, "[sinks.archive]\ntype = 'file'\npath = 'a.jsonl'\n"].concat();
    fs::write(dir.path().join("observer.toml"), other).unwrap();
    check_failure(dir.path(), "models", 2, "http://127.0.0.1:1/ is unreachable");
    check_failure(dir.path(), "status", 2, "http://127.0.0.1:1/ is unreachable");
    fs::write(dir.path().join("observer.toml"), "journal.colour = 1\n").unwrap();
    for command in ["models", "usage", "status"] {
        check_failure(dir.path(), command, 2, "journal.colour: unknown key");
    }
    assert!(!dir.path().join("observer-data").exists(), "nothing is created");
}
