//! Log of refused requests, access log, and what producers can write into them.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::{DEFAULTS, OBSERVER, Observer, client, wait_until};

const REFUSED: &str = "a request was refused";
const EVENT: &str = r#"{"source":"job","event_kind":"ok","ok":true}"#;
/// Clipboard, screen, direction, a forged line, and invisible text.
const HOSTILE: &str =
    "\u{1b}]52;c;bm8=\u{7}\u{1b}[2J\u{9b}2J\u{202e}evil\n\r2026 INFO forged\u{e0041}";

const TOKENS: &str = r#"
[server]
listen = "127.0.0.1:0"
[access.tokens.ci]
scopes = ["ingest"]
sources = ["ci"]
sha256 = "3a6eb0790f39ac87c94f3856b2dd2c5d110e6811602261a9a923d3bb23adc8b7"
"#;

/// Returns the fields of an entry that identify the refusal.
fn summary(entry: &Value) -> Value {
    let fields = ["level", "peer", "principal", "source", "route", "status", "reason", "items"];
    fields.iter().map(|field| entry[field].clone()).collect::<Vec<_>>().into()
}

#[tokio::test]
async fn refused_requests_are_logged_with_caller_and_first_error() {
    let dir = tempfile::tempdir().unwrap();
    let mut observer = Observer::start(dir.path(), TOKENS);
    let (event, batch) = (format!("{}/event", observer.url), format!("{}/v1/events", observer.url));
    let foreign = EVENT.replace("job", "nightly");
    let lines = format!("{}\n1\n2\n", EVENT.replace("job", "ci"));
    for (url, token, body, expected, error) in [
        (&event, "data", "{", json!(["ci", null, "/event", 400, "malformed", null]), "EOF"),
        (
            &event,
            "data",
            &foreign,
            json!(["ci", "nightly", "/event", 403, "forbidden", null]),
            "`ci`",
        ),
        (
            &event,
            "guess",
            EVENT,
            json!([null, null, "/event", 401, "unauthorized", null]),
            "unknown token",
        ),
        (&batch, "data", &lines, json!(["ci", null, "/v1/events", 207, "invalid", 2]), "item 1: "),
        (&batch, "data", "1", json!(["ci", null, "/v1/events", 422, "invalid", 1]), "item 0: "),
        (
            &format!("{}/events", observer.url),
            "data",
            EVENT,
            json!(["ci", null, "other", 404, "other", null]),
            "unknown path",
        ),
    ] {
        let request = client().post(url).bearer_auth(token).body(body.to_owned());
        let status = request.send().await.unwrap().status().as_u16();
        let entry = observer.wait_for_log(REFUSED);
        let mut wanted = vec![json!("WARN"), json!("127.0.0.1")];
        wanted.extend(expected.as_array().unwrap().iter().cloned());
        assert_eq!(wanted[5], status, "{entry}");
        assert_eq!(summary(&entry), Value::from(wanted), "{entry}");
        assert!(entry["error"].as_str().unwrap().contains(error), "{entry}");
    }
}

#[test]
fn error_at_the_start_is_an_entry_of_the_json_log() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a-file"), "").unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let in_use = format!("server.listen = \"{}\"\n", taken.local_addr().unwrap());
    for (config, filter, expected, code) in [
        ("[server\n", "info", "observer.toml", 2),
        ("server.listn = 1\n", "off", "server.listn: unknown key", 2),
        (&*in_use, "info", "the address is in use", 1),
    ] {
        std::fs::write(dir.path().join("observer.toml"), config).unwrap();
        let mut command = Command::new(OBSERVER);
        command.args(["--log-format", "json", "--log", filter]).current_dir(dir.path());
        let output = command.output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        let entries: Vec<Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let last = entries.last().unwrap();
        assert_eq!((&last["level"], output.status.code()), (&json!("ERROR"), Some(code)));
        assert!(last["error"].as_str().unwrap().contains(expected), "{last}");
        assert!(last["timestamp"].is_string() && last["message"].is_string(), "{last}");
    }
}

#[test]
fn lines_in_the_journal_of_systemd_have_priorities() {
    let dir = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let config = format!("server.listen = \"{}\"\n", taken.local_addr().unwrap());
    std::fs::write(dir.path().join("observer.toml"), config).unwrap();
    let path = dir.path().join("stderr");
    for (offset, format, expected) in [
        (0, "json", ["<6>{", "<3>{"]),
        (0, "text", ["<6>2", "<3>observer: "]),
        (1, "json", ["{", "{"]),
    ] {
        let file = File::create(&path).unwrap();
        let metadata = file.metadata().unwrap();
        let stream = format!("{}:{}", metadata.dev(), metadata.ino() + offset);
        let mut command = Command::new(OBSERVER);
        command.args(["--log-format", format]).current_dir(dir.path());
        let status = command.env("JOURNAL_STREAM", stream).stderr(file).status().unwrap();
        assert_eq!(status.code(), Some(1));
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[0].starts_with(expected[0]), "{text}");
        assert!(lines.last().unwrap().starts_with(expected[1]), "{text}");
    }
}

#[tokio::test]
async fn user_signals_do_not_end_the_observer() {
    let dir = tempfile::tempdir().unwrap();
    let mut observer = Observer::start(dir.path(), DEFAULTS);
    for signal in ["-USR1", "-USR2"] {
        observer.signal(signal);
        assert_eq!(observer.post(EVENT).await.status, 200, "{signal}");
    }
    observer.write_config(&DEFAULTS.replace("127.0.0.1:0", "127.0.0.1:1"));
    assert_eq!(observer.reload().await.status, 200);
    let entry = observer.wait_for_log("changed keys are not in effect until a restart");
    assert_eq!((&entry["level"], &entry["keys"]), (&json!("WARN"), &json!("server.listen")));
}

#[tokio::test]
async fn refusals_of_one_peer_are_limited_and_reads_are_not_logged() {
    let dir = tempfile::tempdir().unwrap();
    let observer = Observer::start(dir.path(), DEFAULTS);
    for _ in 0..100 {
        assert_eq!(observer.post("{").await.status, 400);
        assert_eq!(observer.get("/v1/sinks/none/dead-letters").await.status, 404);
    }
    assert_eq!(observer.post("1").await.status, 422);
    let (_, log) = observer.terminate();
    let refused: Vec<_> = log.iter().filter(|line| line.contains(REFUSED)).collect();
    assert_eq!(refused.len(), 6, "{refused:?}");
}

#[tokio::test]
async fn access_log_has_each_request_without_its_query() {
    let dir = tempfile::tempdir().unwrap();
    let arguments = ["--log", "info,access=debug"];
    let mut observer = Observer::start_with(dir.path(), DEFAULTS, &arguments, &[]);
    observer.post(EVENT).await;
    let entry = observer.wait_for_log("a request was served");
    let fields = ["target", "level", "peer", "principal", "method", "path", "status"];
    let expected = json!(["access", "DEBUG", "127.0.0.1", "anonymous", "POST", "/event", 200]);
    let logged: Value = fields.iter().map(|field| entry[field].clone()).collect::<Vec<_>>().into();
    assert_eq!(logged, expected, "{entry}");
    assert!(entry["microseconds"].as_u64().unwrap() > 0, "{entry}");
    observer.get("/v1/models?source=secret").await;
    let entry = observer.wait_for_log("a request was served");
    assert_eq!(entry["path"], "/v1/models");
    assert!(!entry.to_string().contains("secret"), "{entry}");
}

#[tokio::test]
async fn text_log_shows_nothing_of_producers_that_controls_a_terminal() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("observer.toml"), TOKENS).unwrap();
    let mut process = Command::new(OBSERVER)
        .current_dir(dir.path())
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(process.stderr.take().unwrap());
    let mut line = String::new();
    let url = loop {
        line.clear();
        assert!(log.read_line(&mut line).unwrap() > 0, "the observer ended");
        if let Some((_, rest)) = line.split_once("listen=\"") {
            break rest.split(['"', ' ']).next().unwrap().to_owned();
        }
    };
    let event = json!({ "source": HOSTILE, "event_kind": "ok", "ok": true }).to_string();
    let request = client().post(format!("{url}/event")).bearer_auth("data").body(event);
    assert_eq!(request.send().await.unwrap().status(), 403);
    let stopped = Command::new("kill").arg(process.id().to_string()).status().unwrap();
    assert!(stopped.success());
    let mut text = String::new();
    log.read_to_string(&mut text).unwrap();
    assert!(process.wait().unwrap().success());
    assert!(text.contains(REFUSED) && text.contains("evil"), "{text}");
    let hidden = |c: char| (c.is_control() && c != '\n') || "\u{202e}\u{e0041}".contains(c);
    assert!(!text.contains(hidden), "{text:?}");
    assert!(text.lines().all(|line| !line.starts_with("2026 INFO")), "{text}");
}

#[tokio::test]
async fn commands_print_nothing_of_producers_that_controls_a_terminal() {
    let dir = tempfile::tempdir().unwrap();
    let observer = Observer::start(dir.path(), DEFAULTS);
    let event = json!({
        "source": HOSTILE, "event_kind": HOSTILE, "ok": false, "cycle_id": HOSTILE,
        "sig_hash": HOSTILE, "staffer_id": HOSTILE, "labels": { "branch": HOSTILE },
        "extra": { "error": HOSTILE },
    });
    assert_eq!(observer.post(event.to_string()).await.status, 200);
    wait_until("the knowledge base has the event", async || {
        observer.get("/v1/events").await.text.contains("evil")
    })
    .await;
    let id = observer.get("/v1/events").await.json()["events"][0]["id"].clone();
    for arguments in [
        &["query"][..],
        &["query", id.as_str().unwrap_or_default()],
        &["problems"],
        &["history", HOSTILE],
        &["history", HOSTILE, "--md"],
        &["models"],
        &["usage", "--by", "source"],
        &["status"],
    ] {
        let (_, text) = observer.run(arguments);
        let hidden = |c: char| (c.is_control() && c != '\n') || "\u{202e}\u{e0041}".contains(c);
        assert!(!text.contains(hidden), "{arguments:?}: {text:?}");
    }
}
