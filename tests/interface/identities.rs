//! Identities of events with and without tokens: commands, chained observers, imports, and tokens
//! that try to take each other's identities.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use observer_core::{Submission, Uuid};
use observer_pipeline::Principal;
use observer_pipeline::identity::Identity;

use crate::support::{OBSERVER, Observer, Response, agent_runs, archive, event_of, text_of};

/// Secret of a token, which is its name with a suffix.
fn secret(name: &str) -> String {
    format!("{name}-secret")
}

fn token(name: &str, scopes: &[&str]) -> String {
    let digest = observer_server::TokenDigest::of(&secret(name));
    format!("[access.tokens.{name}]\nscopes = {scopes:?}\nsha256 = \"{digest}\"\n")
}

fn config(rest: &str) -> String {
    format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n{rest}\n[sinks.archive]\ntype = \"file\"\npath = \
         \"observer-data/events/{{date}}.jsonl\"\n"
    )
}

/// Runs `observer emit` with a token. Returns its output after it succeeded.
fn emit(observer: &Observer, token: Option<&str>, input: &str) -> String {
    use std::io::Write;
    let mut command = Command::new(OBSERVER);
    command.args(["emit", "-"]).env("LH_OBSERVER_URL", &observer.url);
    if let Some(name) = token {
        command.env("OBSERVER_TOKEN", secret(name));
    }
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = piped.spawn().unwrap();
    process.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = process.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", text_of(&output));
    text_of(&output)
}

/// Returns each event of an archive by its id.
fn by_id(dir: &Path) -> BTreeMap<String, String> {
    let lines = archive(dir);
    let entries = lines.iter().map(|line| {
        let envelope: serde_json::Value = serde_json::from_str(line).unwrap();
        (envelope["id"].as_str().unwrap().to_owned(), event_of(line).to_owned())
    });
    let by_id: BTreeMap<_, _> = entries.collect();
    assert_eq!(by_id.len(), lines.len(), "an id occurs twice");
    by_id
}

/// Waits until the archive of an observer has a number of events.
async fn until_archived(dir: &Path, count: usize) -> BTreeMap<String, String> {
    crate::support::wait_until("the archive has all events", async || {
        dir.join("observer-data/events").exists() && archive(dir).len() >= count
    })
    .await;
    by_id(dir)
}

#[tokio::test]
async fn emit_chaining_and_import_keep_ids_with_and_without_tokens() {
    let runs: Vec<_> = agent_runs().into_iter().take(20).collect();
    // Some events have no identity of their own.
    let plain = (0..5)
        .map(|turns| format!(r#"{{"source":"job","event_kind":"ok","ok":true,"turns":{turns}}}"#));
    let input: Vec<_> = runs.iter().cloned().chain(plain).collect();
    let input = input.join("\n");
    for (edge_has_tokens, central_has_tokens) in
        [(false, false), (false, true), (true, false), (true, true)]
    {
        let context = format!("tokens: edge {edge_has_tokens}, central {central_has_tokens}");
        let (edge_dir, central_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let tokens = [
            token("edge", &["ingest", "relay"]),
            token("import", &["ingest", "relay"]),
            token("other", &["ingest"]),
        ];
        let tokens = if central_has_tokens { tokens.concat() } else { String::new() };
        let central = Observer::start(central_dir.path(), &config(&tokens));
        let bearer = if central_has_tokens { secret("edge") } else { "none".to_owned() };
        let sink = format!(
            "[sinks.central]\ntype = \"http\"\nurl = \"{}/v1/events\"\nauth = {{ bearer = \
             \"{bearer}\" }}\n",
            central.url
        );
        let tokens = if edge_has_tokens { token("ci", &["ingest"]) } else { String::new() };
        let edge = Observer::start(edge_dir.path(), &config(&[tokens, sink].concat()));

        let ci = edge_has_tokens.then_some("ci");
        let output = emit(&edge, ci, &input);
        assert!(output.contains("25 accepted, 0 duplicate, 0 rejected"), "{context}: {output}");
        assert!(!output.contains("warning"), "{context}: generated ids cause no warning: {output}");
        let output = emit(&edge, ci, &runs.join("\n"));
        assert!(output.contains("0 accepted, 20 duplicate, 0 rejected"), "{context}: {output}");

        let sent = until_archived(edge_dir.path(), 25).await;
        assert_eq!(until_archived(central_dir.path(), 25).await, sent, "{context}");

        let import = central_has_tokens.then_some("import");
        let output = emit(&central, import, &archive(edge_dir.path()).join("\n"));
        assert!(output.contains("0 accepted, 25 duplicate, 0 rejected"), "{context}: {output}");
        if central_has_tokens {
            let lines = archive(edge_dir.path()).join("\n");
            let output = emit(&central, Some("other"), &lines);
            assert!(output.contains("25 accepted, 0 duplicate"), "{context}: {output}");
            assert!(
                output.contains("the id of an envelope is adopted only with the scope `relay`")
                    && output.contains("25 warnings"),
                "{context}: {output}"
            );
            let output = emit(&central, Some("other"), &lines);
            assert!(output.contains("0 accepted, 25 duplicate"), "{context}: {output}");
        }
    }
}

/// Producer with or without a token.
struct Producer<'a> {
    observer: &'a Observer,
    token: Option<&'a str>,
}

impl Producer<'_> {
    async fn post(&self, body: &str, key: Option<&str>) -> Response {
        let client = self.observer.client();
        let mut request = client.post(format!("{}/event", self.observer.url)).body(body.to_owned());
        if let Some(name) = self.token {
            request = request.bearer_auth(secret(name));
        }
        if let Some(key) = key {
            request = request.header("Idempotency-Key", key);
        }
        self.observer.send(request).await
    }

    /// Sends an event, and returns its id. Asserts the status in the response.
    async fn send(&self, body: &str, key: Option<&str>, status: &str) -> String {
        let response = self.post(body, key).await;
        assert_eq!(response.status, 200, "{body}: {}", response.text);
        let ack = response.json();
        assert_eq!(ack["status"], status, "{body}: {ack}");
        ack["id"].as_str().unwrap().to_owned()
    }

    /// Sends everything that could take the identity of an event of the token `victim`. The event
    /// and its key are known, as is the recipe of its id.
    async fn attack(&self, victim: &str, body: &str, key: Option<&str>) {
        let fake =
            |id: &str| format!(r#"{{"source":"v","event_kind":"fake","ok":false,"id":"{id}"}}"#);
        let submission = Submission::parse(body.to_owned()).unwrap();
        if key.is_some() {
            self.post(&fake("unused"), key).await;
        }
        self.post(body, None).await;
        if let Some(id) = submission.event.id() {
            self.post(&fake(id), None).await;
        }
        let principals =
            [Principal::token(victim), Principal::anonymous(), Principal::token("other")];
        for principal in principals {
            let id = Identity::of(&principal, &submission, key).id;
            self.post(&fake(&id.to_string()), None).await;
            let envelope = format!(r#"{{"id":"{id}","event":{}}}"#, fake("x"));
            assert_eq!(self.post(&envelope, None).await.status, 200);
        }
    }
}

/// Returns the event and the key of a round, in each of the ways to identify an event.
fn event_of_round(round: usize) -> (String, Option<String>) {
    let head = format!(r#""source":"v","event_kind":"ok","ok":true,"turns":{round}"#);
    match round % 4 {
        0 => (format!("{{{head}}}"), Some(format!("key-{round}"))),
        1 => (format!(r#"{{{head},"id":"own-{round}"}}"#), None),
        2 => {
            let id = Uuid::new_v5(&Uuid::NAMESPACE_OID, &round.to_be_bytes());
            (format!(r#"{{{head},"id":"{id}"}}"#), None)
        }
        _ => (format!(r#"{{{head},"cycle_id":"c-{round}"}}"#), None),
    }
}

/// With `OBSERVER_TEST_ATTACK=SECONDS`, the attack lasts that long, and the observer is killed every
/// 1,000 rounds.
#[tokio::test]
async fn token_loses_no_event_when_others_attack_its_identities() {
    let duration = std::env::var("OBSERVER_TEST_ATTACK")
        .ok()
        .map(|seconds| Duration::from_secs(seconds.parse().expect("a number of seconds")));
    let dir = tempfile::tempdir().unwrap();
    // Less than the attackers send, so that they would flush the identities of the others.
    let window = "[ingest]\ndedup = { max_keys = 300 }\n";
    let access = "[access]\nanonymous = [\"ingest\", \"read\"]\n";
    let tokens = [token("a", &["ingest"]), token("b", &["ingest"])].concat();
    let config = config(&[window, access, &tokens].concat());
    let mut observer = Observer::start(dir.path(), &config);
    let (begun, mut round) = (Instant::now(), 0);
    let mut sent: BTreeMap<String, String> = BTreeMap::new();
    let mut last = VecDeque::new();
    while duration.map_or(round < 200, |duration| begun.elapsed() < duration) {
        let names = if round % 2 == 0 { ["a", "b"] } else { ["b", "a"] };
        let [victim, attacker] =
            names.map(|name| Producer { observer: &observer, token: Some(name) });
        let anonymous = Producer { observer: &observer, token: None };
        let (body, key) = event_of_round(round);
        attacker.attack(names[0], &body, key.as_deref()).await;
        anonymous.attack(names[0], &body, key.as_deref()).await;
        let id = victim.send(&body, key.as_deref(), "accepted").await;
        assert_eq!(victim.send(&body, key.as_deref(), "duplicate").await, id);
        assert_eq!(sent.insert(id.clone(), body), None);
        last.push_back((names[0], round, id));
        // A retry is recognised, although more events than the window holds came since.
        if last.len() > 16 {
            let (name, past, id) = last.pop_front().unwrap();
            let (body, key) = event_of_round(past);
            let producer = Producer { observer: &observer, token: Some(name) };
            assert_eq!(producer.send(&body, key.as_deref(), "duplicate").await, id);
        }
        round += 1;
        if round % 1_000 == 0 || (duration.is_none() && round == 100) {
            observer.kill();
            observer = Observer::start(dir.path(), &config);
        }
    }
    println!("{round} rounds in {:?}", begun.elapsed());
    observer.wait_until_caught_up().await;
    let archived = by_id(dir.path());
    for (id, body) in &sent {
        assert_eq!(archived.get(id), Some(body));
    }
}
