//! Dead letters, from the command line.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use async_trait::async_trait;
use observer_core::{
    Batch, BuildError, EventSink, Receipt, Rejected, SinkConfig, SinkContext, SinkError, SinkPart,
};
use serde_json::Value;

use crate::support::{DEFAULTS, OBSERVER, Observer, client, run_command, wait_until};

const POISON: &str = r#"{"source":"job","event_kind":"poison","ok":false,"extra":{"n":1e999}}"#;

/// Sink that rejects events of the kind `poison`.
struct Picky;

#[async_trait]
impl EventSink for Picky {
    async fn deliver(&self, batch: &Batch) -> Result<Receipt, SinkError> {
        let bad = |(_, kind): &(usize, &str)| *kind == "poison";
        let kinds = batch.events().iter().map(|envelope| envelope.event.event_kind()).enumerate();
        let rejected = kinds
            .filter(bad)
            .map(|(index, _)| Rejected { index, reason: "422: it is poison".into() });
        Ok(Receipt { rejected: rejected.collect(), refused: None })
    }

    async fn flush(&self) -> Result<(), SinkError> {
        Ok(())
    }

    async fn check(&self) -> Result<(), SinkError> {
        Ok(())
    }
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct PickyConfig {}

impl SinkConfig for PickyConfig {
    const TYPE: &'static str = "picky";

    fn build(self, _context: &SinkContext) -> Result<Vec<SinkPart>, BuildError> {
        Ok(vec![SinkPart::whole(Arc::new(Picky))])
    }
}

/// Runs a command, and asserts its exit code and that its output contains each of the parts.
#[track_caller]
fn check(url: &str, arguments: &[&str], code: i32, parts: &[&str]) -> String {
    check_output(run_command(url, arguments), arguments, code, parts)
}

#[track_caller]
fn check_output(
    (exit_code, text): (Option<i32>, String),
    arguments: &[&str],
    code: i32,
    parts: &[&str],
) -> String {
    assert_eq!(exit_code, Some(code), "{arguments:?}: {text}");
    for part in parts {
        assert!(text.contains(part), "{arguments:?}: {text}");
    }
    text
}

/// Posts an event and returns its id.
async fn post(url: &str, event: &str) -> String {
    let response =
        client().post(format!("{url}/event")).body(event.to_owned()).send().await.unwrap();
    response.json::<Value>().await.unwrap()["id"].as_str().unwrap().to_owned()
}

/// Starts an observer with the sink `picky`.
async fn start_picky(dir: &Path) -> observer::Service {
    let data = dir.join("observer-data");
    let text = format!(
        "data_dir = {data:?}\n[server]\nlisten = \"127.0.0.1:0\"\nshutdown_timeout = \"1s\"\n\
         [access]\nanonymous = [\"ingest\", \"read\", \"admin\"]\n[sinks.picky]\ntype = \"picky\"\n"
    );
    let config = observer::Config::parse(&text).unwrap();
    let types = |metrics: &prometheus::Registry| {
        observer::registry::with_defaults(metrics).with::<PickyConfig>()
    };
    observer::Service::start(&config, types).await.unwrap()
}

/// Posts a good event and two poison ones. Returns the ids of these once they are dead letters.
async fn post_poison(url: &str) -> (String, String) {
    post(url, r#"{"source":"job","event_kind":"ok","ok":true}"#).await;
    let (first, second) = (post(url, POISON).await, post(url, POISON).await);
    wait_until("both events are dead letters", async || {
        let response = client().get(format!("{url}/v1/sinks")).send().await.unwrap();
        response.json::<Value>().await.unwrap()["sinks"][0]["dead"] == 2
    })
    .await;
    (first, second)
}

/// Asserts what `list` and `show` print of two dead letters.
fn assert_shown(url: &str, first: &str, second: &str) {
    let list = check(
        url,
        &["dead-letters", "list", "picky"],
        0,
        &[first, "422: it is poison", "2 of 2 dead letters"],
    );
    assert!(list.find(second) < list.find(first), "the newest dead letter is first: {list}");
    let page = check(
        url,
        &["dead-letters", "list", "picky", "--limit", "1"],
        0,
        &[second, "1 of 2 dead letters"],
    );
    let (_, cursor) = page.trim_end().rsplit_once(' ').unwrap();
    check(url, &["dead-letters", "list", "picky", "--limit", "1", "--cursor", cursor], 0, &[first]);
    check(
        url,
        &["dead-letters", "show", "picky", first],
        0,
        &["reason    422: it is poison", POISON],
    );
    assert_eq!(
        check(url, &["dead-letters", "show", "picky", first, "--event"], 0, &[]),
        format!("{POISON}\n")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_are_shown_without_characters_that_control_a_terminal() {
    let dir = tempfile::tempdir().unwrap();
    let service = start_picky(dir.path()).await;
    let url = &*format!("http://{}", service.local_addrs()[0]);
    let serving = tokio::spawn(service.run(std::future::pending()));
    let hostile = "\u{1b}]52;c;bm8=\u{7}\u{9b}2J\u{202e}evil\u{e0041}\nforged";
    let event = serde_json::json!({
        "source": hostile, "event_kind": "poison", "ok": false, "extra": { hostile: hostile },
    });
    let id = post(url, &event.to_string()).await;
    let listed = async || run_command(url, &["dead-letters", "list", "picky"]).1.contains(&id);
    post(url, r#"{"source":"job","event_kind":"ok","ok":true}"#).await;
    wait_until("the event is a dead letter", listed).await;
    for command in [&["dead-letters", "list", "picky"][..], &["dead-letters", "show", "picky", &id]]
    {
        let text = check(url, command, 0, &[&id, "evil"]);
        let hidden = |c: char| (c.is_control() && c != '\n') || "\u{202e}\u{e0041}".contains(c);
        assert!(!text.contains(hidden), "{command:?}: {text:?}");
        if command.contains(&"show") {
            let (_, shown) = text.trim_end().rsplit_once('\n').unwrap();
            assert_eq!(serde_json::from_str::<Value>(shown).unwrap(), event, "{shown}");
        }
    }
    serving.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_can_be_listed_shown_replayed_and_purged() {
    let dir = tempfile::tempdir().unwrap();
    let service = start_picky(dir.path()).await;
    let url = &*format!("http://{}", service.local_addrs()[0]);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(service.run(async { stopped.await.unwrap_or_default() }));
    let (first, second) = post_poison(url).await;
    let (first, second) = (&*first, &*second);
    assert_shown(url, first, second);

    check(
        url,
        &["dead-letters", "replay", "picky", "--all"],
        1,
        &["accepted 0 dead letters", "rejected again", first, second],
    );
    let edited = dir.path().join("event.json");
    std::fs::write(&edited, POISON.replace("poison", "cured")).unwrap();
    let edited = edited.to_str().unwrap();
    let replay = ["dead-letters", "replay", "picky", first, "--event", edited];
    check(url, &replay, 0, &["picky accepted 1 dead letter\n"]);
    check(url, &replay, 1, &["404", "no dead letter", first]);
    let json = check(url, &["dead-letters", "list", "picky", "--json"], 0, &[]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["total"], &json["dead_letters"][0]["id"]), (&1.into(), &second.into()));

    check(url, &["status"], 0, &["is ready", "picky", "running", "1 dead letter; to list"]);
    check(
        url,
        &["dead-letters", "purge", "picky", "--older-than", "1h"],
        0,
        &["purged 0 dead letters of picky"],
    );
    check(url, &["dead-letters", "purge", "picky", second], 0, &["purged 1 dead letter of picky"]);
    check(url, &["dead-letters", "list", "picky"], 0, &["picky has no dead letters"]);

    check(url, &["dead-letters", "list", "other"], 1, &["404", "no sink named \"other\""]);
    check(
        url,
        &["sinks", "forget", "picky"],
        1,
        &["409", "remove it from the configuration first"],
    );
    check(url, &["dead-letters", "purge", "picky"], 2, &["required"]);
    stop.send(()).unwrap();
    serving.await.unwrap();
    check(url, &["status"], 2, &["is unreachable", "start the observer, or correct --url"]);
}

/// Writes a dead letter as the pipeline does.
fn put_dead_letter(dir: &Path, sink: &str) {
    let dir = dir.join("observer-data/journal/dead-letters").join(sink);
    std::fs::create_dir_all(&dir).unwrap();
    let envelope = concat!(
        r#"{"id":"00000000-0000-0000-0000-000000000007","seq":7,"#,
        r#""received_at":"2026-01-01T00:00:00Z","#,
        r#""event":{"source":"s","event_kind":"k","ok":true}}"#
    );
    let dead_letter = format!(
        r#"{{"reason":"no","attempts":1,"dead_at":"2026-01-01T00:00:01Z","envelope":{envelope}}}"#
    );
    std::fs::write(dir.join("00000001.ndjson"), format!("{dead_letter}\n")).unwrap();
}

#[tokio::test]
async fn sink_with_its_own_position_rejects_a_replay_and_a_removed_sink_can_be_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    put_dead_letter(dir.path(), "archive");
    put_dead_letter(dir.path(), "prometheus");
    let observer = Observer::start(dir.path(), DEFAULTS);
    let check = |arguments: &[&str], code: i32, parts: &[&str]| {
        check_output(observer.run(arguments), arguments, code, parts)
    };
    check(&["dead-letters", "list", "archive"], 0, &["00000000-0000-0000-0000-000000000007"]);
    check(&["dead-letters", "replay", "archive", "--all"], 1, &["409", "in journal order"]);
    check(&["dead-letters", "replay", "prometheus", "--all"], 1, &["409", "counted twice"]);
    check(&["dead-letters", "list", "archive"], 0, &["1 of 1 dead letter"]);

    observer.write_config(&format!("{DEFAULTS}[sinks.prometheus]\ntype = \"prometheus\"\n"));
    let reloaded = observer.reload().await;
    assert_eq!(reloaded.status, 200, "{}", reloaded.text);
    check(&["sinks", "list"], 0, &["archive", "detached"]);
    check(&["sinks", "forget", "archive"], 0, &["forgot sink archive"]);
    let remaining = check(&["sinks", "list"], 0, &["prometheus"]);
    assert!(!remaining.contains("archive"), "{remaining}");
    check(&["sinks", "forget", "archive"], 1, &["404"]);
}

#[tokio::test]
async fn request_without_the_scope_of_its_command_is_rejected_and_changes_nothing() {
    let create_token = |scope: &str| {
        let output = Command::new(OBSERVER)
            .args(["token", scope, "--scope", scope, "--json"])
            .output()
            .unwrap();
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    let [read, admin] = ["read", "admin"].map(create_token);
    let entry = |token: &Value| {
        let (name, sha256) = (token["name"].as_str().unwrap(), token["sha256"].as_str().unwrap());
        format!("[access.tokens.{name}]\nscopes = [{name:?}]\nsha256 = {sha256:?}\n")
    };
    let dir = tempfile::tempdir().unwrap();
    put_dead_letter(dir.path(), "archive");
    let observer =
        Observer::start(dir.path(), &format!("{DEFAULTS}{}{}", entry(&read), entry(&admin)));
    let url = &*observer.url;
    let check_as = |token: &str, command: &[&str], code: i32, parts: &[&str]| {
        check(url, &[command, &["--token", token][..]].concat(), code, parts);
    };
    let (read, admin) = (read["token"].as_str().unwrap(), admin["token"].as_str().unwrap());
    check(url, &["sinks", "list"], 2, &["401", "token"]);
    check_as("nonsense", &["status"], 2, &["401"]);
    check_as(read, &["status"], 0, &["archive"]);
    check_as(read, &["dead-letters", "purge", "archive", "--all"], 2, &["403", "admin"]);
    check_as(read, &["replay", "--sink", "archive", "--since", "1h"], 2, &["403", "admin"]);
    check_as(read, &["dead-letters", "list", "archive"], 0, &["1 of 1 dead letter"]);
    check_as(admin, &["dead-letters", "list", "archive"], 0, &["1 of 1 dead letter"]);
    check_as(
        admin,
        &["dead-letters", "purge", "archive", "--all"],
        0,
        &["purged 1 dead letter of archive"],
    );
    check_as(read, &["dead-letters", "list", "archive"], 0, &["no dead letters"]);
}
