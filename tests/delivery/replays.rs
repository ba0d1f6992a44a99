//! Replays to a sink that was added later, through kills, from the command line.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use observer_testing::http::{HttpReceiver, Reply};
use serde_json::Value;

use crate::support::{DEFAULTS, OBSERVER, Observer, run_command, wait_until};

/// Number of events before the sink is added.
const EARLIER: u64 = 3_000;
/// Number of events in each batch of the sink.
const BATCH: u64 = 5;

/// Returns the sequence numbers that the sink's receiver accepted, in order.
fn sent(receiver: &HttpReceiver) -> Vec<u64> {
    let number =
        |item: String| serde_json::from_str::<Value>(&item).unwrap()["seq"].as_u64().unwrap();
    receiver.accepted_items().into_iter().map(number).collect()
}

/// Returns the sequence numbers of events from before the sink was added.
fn replayed(numbers: &[u64]) -> Vec<u64> {
    numbers.iter().copied().filter(|number| *number <= EARLIER).collect()
}

async fn post(observer: &Observer, kind: &str, count: u64) {
    let event = format!(r#"{{"source":"job","event_kind":"{kind}","ok":true}}"#);
    let lines = vec![event; usize::try_from(count).unwrap()].join("\n");
    let response = observer
        .send(observer.client().post(format!("{}/v1/events", observer.url)).body(lines))
        .await;
    assert_eq!(response.status, 200, "{}", response.text);
}

/// Asserts the exit code of a command, and that its output contains each of the parts.
#[track_caller]
fn check((exit_code, text): (Option<i32>, String), code: i32, parts: &[&str]) -> String {
    assert_eq!(exit_code, Some(code), "{text}");
    for part in parts {
        assert!(text.contains(part), "{part}: {text}");
    }
    text
}

/// Returns the committed position of the replay, as `journal verify` reads it from the files of a
/// stopped observer.
fn committed_position(dir: &Path) -> u64 {
    let output = Command::new(OBSERVER)
        .current_dir(dir)
        .args(["journal", "verify", "--json"])
        .output()
        .unwrap();
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let readers = found["sinks"].as_array().unwrap();
    let replay = readers.iter().find(|reader| reader["name"] == "late:replay").unwrap();
    assert!(replay["pending"].is_null(), "a replay is not part of the sink's backlog: {replay}");
    replay["position"].as_u64().unwrap()
}

/// Returns the number of events that the committed state of the replay counts, while the observer
/// runs. The state is JSON beside the position.
fn committed_count(dir: &Path) -> u64 {
    let bytes = std::fs::read(dir.join("observer-data/journal/positions")).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let count =
        text.split_once("late:replay").and_then(|(_, state)| state.split_once("\"accepted\":"));
    let digits = count.map_or("", |(_, number)| {
        number.split(|char: char| !char.is_ascii_digit()).next().unwrap_or("")
    });
    digits.parse().unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sink_added_later_receives_a_replay_in_order_through_kills() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let before = format!(
        "{DEFAULTS}[sinks.archive]\ntype = \"file\"\n\
         path = \"observer-data/events/{{date}}.jsonl\"\n"
    );
    let receiver = HttpReceiver::start();
    // Slow enough that each kill interrupts the replay.
    receiver.set_default_reply(Reply::accept().delayed_by(Duration::from_millis(20)));
    let batch = format!("batch = {{ max_events = {BATCH}, linger = \"20ms\" }}");
    let config = format!(
        "{before}[sinks.late]\ntype = \"http\"\nurl = \"{}\"\n{batch}\n",
        receiver.url("/")
    );
    let mut observer = Observer::start(dir, &before);
    post(&observer, "earlier", EARLIER).await;
    observer.write_config(&config);
    let reloaded = observer.reload().await;
    assert_eq!(reloaded.status, 200, "{}", reloaded.text);
    post(&observer, "new", 1).await;
    wait_until("the sink receives the new event and no other", async || {
        sent(&receiver) == [EARLIER + 1]
    })
    .await;

    let start =
        ["replay", "--sink", "late", "--since", "1h", "--filter", "source=job", "--no-wait"];
    let text = check(observer.run(&start), 0, &["replay to late is running", "--follow"]);
    assert!(text.contains(&format!("{} events:", EARLIER + 1)), "{text}");
    check(observer.run(&start), 1, &["409", "the sink \"late\" has a running replay since"]);
    let mut resumed_at = Vec::new();
    for kill in 1..=3 {
        let resumed = resumed_at.last().copied().unwrap_or(0);
        let has_committed = async || committed_count(dir) > resumed + 50;
        wait_until("more of the replay is committed", has_committed).await;
        post(&observer, "new", 20).await;
        let (committed, first);
        (observer, committed, first) = kill_and_resume(observer, dir, &config, &receiver).await;
        assert_eq!(first, committed + 1, "kill {kill}: resumes at the committed position");
        resumed_at.push(first);
    }
    assert!(resumed_at[0] > 50 && resumed_at[2] > 150 && resumed_at.is_sorted(), "{resumed_at:?}");
    let done = check(
        observer.run(&["replay", "--sink", "late", "--follow"]),
        0,
        &["replay to late is done"],
    );
    assert!(
        done.contains(&format!("{} events: {} delivered, 0 dead", EARLIER + 1, EARLIER + 1)),
        "{done}"
    );
    observer.wait_until_caught_up().await;
    assert_replay_is_complete(&sent(&receiver), &resumed_at);
    assert_new_events_alone_count(&observer).await;
}

/// Kills the observer while it delivers events that are not committed, and starts it again. Returns
/// it with the committed position of the replay, and with the first event after that.
async fn kill_and_resume(
    observer: Observer,
    dir: &Path,
    config: &str,
    receiver: &HttpReceiver,
) -> (Observer, u64, u64) {
    let before = sent(receiver).len();
    let has_sent = async || sent(receiver).len() > before + 50;
    wait_until("the replay sends more", has_sent).await;
    observer.kill();
    let (committed, before) = (committed_position(dir), sent(receiver).len());
    let observer = Observer::start(dir, config);
    let has_resumed = async || !replayed(&sent(receiver)[before..]).is_empty();
    wait_until("the replay resumes after the kill", has_resumed).await;
    let first = replayed(&sent(receiver)[before..])[0];
    (observer, committed, first)
}

/// Asserts that all events arrived, and that the replay went back only where it resumed.
fn assert_replay_is_complete(numbers: &[u64], resumed_at: &[u64]) {
    let (mut last, mut jumps) = (0, Vec::new());
    for number in replayed(numbers) {
        if number != last + 1 {
            jumps.push(number);
        }
        last = number;
    }
    let repeats =
        resumed_at.iter().copied().filter(|number| jumps.contains(number)).collect::<Vec<_>>();
    assert_eq!(jumps, repeats, "the replay goes back only where it resumed");
    assert_eq!(
        replayed(numbers).into_iter().collect::<BTreeSet<_>>(),
        (1..=EARLIER).collect(),
        "no event is missing"
    );
    let new: BTreeSet<_> = numbers.iter().copied().filter(|number| *number > EARLIER).collect();
    assert_eq!(
        new,
        (EARLIER + 1..=EARLIER + 61).collect(),
        "new events are delivered during the replay"
    );
}

/// Asserts that the sink's own metrics count the new events, and those of the replay the others.
async fn assert_new_events_alone_count(observer: &Observer) {
    let metrics = observer.wait_for_metrics(|metrics| {
        metrics.get(r#"observer_sink_pending_events{sink="late"}"#) == Some(&0.0)
    });
    let metrics = metrics.await;
    let live = |result: &str| {
        metrics[&format!("observer_sink_events_total{{sink=\"late\",result=\"{result}\"}}")]
    };
    let resolved: f64 = ["delivered", "dead", "refused", "expired", "lost", "filtered"]
        .iter()
        .map(|result| live(result))
        .sum();
    assert_eq!(
        (resolved, metrics[r#"observer_sink_accepted_events_total{sink="late"}"#]),
        (61.0, 61.0)
    );
    assert_eq!(live("delivered"), 61.0, "the sink's own metrics count the new events alone");
    let replayed = |result: &str| {
        metrics[&format!("observer_sink_replay_events{{sink=\"late\",result=\"{result}\"}}")]
    };
    assert_eq!((replayed("delivered"), replayed("pending")), (EARLIER as f64 + 1.0, 0.0));
}

#[tokio::test]
async fn rejected_replay_states_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let observer = Observer::start(dir.path(), DEFAULTS);
    let replay =
        |sink: &str, more: &[&str]| observer.run(&[&["replay", "--sink", sink][..], more].concat());
    let since = &["--since", "1h"];
    check(
        replay("archive", since),
        1,
        &["409", "\"archive\" does not support replays", "in journal order"],
    );
    check(replay("prometheus", since), 1, &["409", "counted twice"]);
    check(replay("other", since), 1, &["404", "there is no sink named \"other\""]);
    check(replay("archive", &["--follow"]), 1, &["sink \"archive\" has no replay"]);
    check(replay("archive", &["--cancel"]), 1, &["404", "no running replay"]);
    check(replay("archive", &[]), 2, &["--since"]);
    check(replay("archive", &["--since", "yesterday"]), 2, &["or an age"]);
    check(replay("archive", &["--since", "1h", "--filter", "model=x"]), 2, &["staffer_id"]);
    check(
        run_command("http://127.0.0.1:1", &["replay", "--sink", "a", "--since", "1h"]),
        2,
        &["is unreachable"],
    );
}
