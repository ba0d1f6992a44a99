//! Data folder with undecided events, which later versions open without loss.

use std::fs;
use std::path::{Path, PathBuf};

use observer_testing::http::{HttpReceiver, Reply};
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::WRITE;
use super::fixture::{CONFIG, DATA, copy};
use crate::support::{Observer, wait_until};

const EXPECTED: &str = "expected.json";
/// Text of the events that the destination refuses.
const REFUSED: &str = "union select";
/// Cycles of the refused events: one is diverted, one is accepted after all, two stay undecided.
const BAD: [usize; 4] = [2, 5, 7, 11];
const EVENTS: usize = 12;

/// Expected contents of the data folder.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    /// Ids of the undecided events, in order.
    undecided: Vec<String>,
    /// Id of the event that was diverted.
    dead: String,
    delivered: u64,
    accepted: u64,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/undecided-v1")
}

fn event(number: usize) -> String {
    let text = if BAD.contains(&number) { REFUSED } else { "fine" };
    format!(
        r#"{{"source":"bot","cycle_id":"c-{number}","sig_hash":"s","event_kind":"ok","ok":true,"extra":{{"text":"{text}"}}}}"#
    )
}

/// Starts a receiver that refuses the bad events except those of these cycles.
fn receiver(except: &'static [usize]) -> HttpReceiver {
    let receiver = HttpReceiver::start();
    receiver.set_default_reply(Reply::choose(move |request| {
        let text = request.text();
        let is_excepted = except.iter().any(|number| text.contains(&format!("\"c-{number}\"")));
        Reply::status(if text.contains(REFUSED) && !is_excepted { 403 } else { 200 })
    }));
    receiver
}

fn start(dir: &Path, receiver: &HttpReceiver) -> Observer {
    let config = fs::read_to_string(dir.join(CONFIG)).unwrap();
    Observer::start_with(dir, &config, &[], &[("HOOK_URL", &receiver.url("/hook"))])
}

async fn hook(observer: &Observer) -> Value {
    observer.get("/v1/sinks").await.json()["sinks"][0].clone()
}

async fn retry(observer: &Observer) {
    let tried = observer.administer(Method::POST, "/v1/sinks/hook/retry", "").await;
    assert_eq!(tried.status, 204, "{}", tried.text);
}

/// Writes a data folder with its expected contents to `dir`.
async fn write(dir: &Path) {
    fs::create_dir_all(dir).unwrap();
    let _ = fs::remove_dir_all(dir.join(DATA));
    let config = fs::read(folder().join(CONFIG)).unwrap();
    fs::write(dir.join(CONFIG), config).unwrap();
    let destination = receiver(&[]);
    let observer = start(dir, &destination);
    let mut ids = Vec::new();
    for number in 0..EVENTS {
        let posted = observer.post(event(number)).await.json();
        ids.push(posted["id"].as_str().unwrap().to_owned());
    }
    wait_until("the bad events are undecided", async || {
        let extra = observer.post(event(ids.len())).await.json();
        ids.push(extra["id"].as_str().unwrap().to_owned());
        hook(&observer).await["undecided"] == BAD.len()
    })
    .await;
    let divert = ["dead-letters", "divert", "hook", "--event", &ids[BAD[0]]];
    let (code, output) = observer.run(&divert);
    assert_eq!(code, Some(0), "{output}");
    destination.set_default_reply(Reply::choose(|request| {
        let text = request.text();
        let is_refused = text.contains(REFUSED) && !text.contains("\"c-5\"");
        Reply::status(if is_refused { 403 } else { 200 })
    }));
    wait_until("one of them is accepted", async || {
        retry(&observer).await;
        let sink = hook(&observer).await;
        sink["undecided"] == 2 && sink["pending"] == 2
    })
    .await;
    let sink = hook(&observer).await;
    let (exit_status, log) = observer.terminate();
    assert!(exit_status.success(), "{log:#?}");
    let expected = Expected {
        undecided: BAD[2..].iter().map(|number| ids[*number].clone()).collect(),
        dead: ids[BAD[0]].clone(),
        delivered: sink["delivered"].as_u64().unwrap(),
        accepted: ids.len() as u64,
    };
    let text = serde_json::to_string_pretty(&expected).unwrap();
    fs::write(dir.join(EXPECTED), text + "\n").unwrap();
}

/// Asserts that the account adds up with these counts.
fn assert_account(sink: &Value, expected: &Expected, delivered: u64, dead: u64, undecided: u64) {
    let count = |name: &str| sink[name].as_u64().unwrap();
    assert_eq!(
        ["accepted", "delivered", "dead", "undecided", "pending"].map(count),
        [expected.accepted, delivered, dead, undecided, undecided],
        "{sink}"
    );
}

/// Opens a copy of a data folder, and asserts that its undecided events are still undecided, and
/// that each can be delivered or diverted.
async fn opens_without_loss(source: &Path) {
    let dir = tempfile::tempdir().unwrap();
    copy(source, dir.path());
    let expected = fs::read_to_string(dir.path().join(EXPECTED)).unwrap();
    let expected: Expected = serde_json::from_str(&expected).unwrap();
    let store = dir.path().join(DATA).join("journal/undecided/hook.ndjson");
    assert!(store.exists(), "{}", store.display());

    let destination = receiver(&[]);
    let observer = start(dir.path(), &destination);
    wait_until("the undecided events were tried", async || {
        let requests = destination.requests();
        requests.iter().any(|request| request.status == Some(403))
            || hook(&observer).await["undecided"] == 2
    })
    .await;
    assert_account(&hook(&observer).await, &expected, expected.delivered, 1, 2);
    let [first, second] = expected.undecided.as_slice() else { panic!("{expected:?}") };
    let (code, output) = observer.run(&["dead-letters", "divert", "hook", "--event", first]);
    assert_eq!(code, Some(0), "{output}");
    destination.set_default_reply(Reply::accept());
    retry(&observer).await;
    observer.wait_until_caught_up().await;
    let accepted = destination.accepted_items();
    let has_second = |item: &&String| item.contains(second);
    assert_eq!(accepted.iter().filter(has_second).count(), 1, "{accepted:?}");
    assert!(!accepted.iter().any(|item| item.contains(first)), "{accepted:?}");
    assert_account(&hook(&observer).await, &expected, expected.delivered + 1, 2, 0);
    let page = observer.get("/v1/sinks/hook/dead-letters").await.json();
    let dead: Vec<_> = page["dead_letters"].as_array().unwrap().iter().collect();
    let mut ids: Vec<_> = dead.iter().map(|dead| dead["id"].as_str().unwrap()).collect();
    ids.reverse();
    assert_eq!(ids, [&*expected.dead, first]);
    assert!(dead.iter().all(|dead| dead["reason"].as_str().unwrap().contains("403 Forbidden")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn undecided_events_of_the_first_format_open_without_loss() {
    opens_without_loss(&folder()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn undecided_events_of_the_current_version_open_without_loss() {
    let temporary = tempfile::tempdir().unwrap();
    let dir = std::env::var_os(WRITE).map_or(temporary.path().to_owned(), PathBuf::from);
    write(&dir).await;
    opens_without_loss(&dir).await;
}
