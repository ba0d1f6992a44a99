//! The past for a sink that was added later, through kills, from the command line.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use observer_testing::http::{HttpReceiver, Reply};
use serde_json::Value;

use crate::support::{DEFAULTS, OBSERVER, Observer, wait_until};

/// The past, and how many events come with each batch of the sink.
const PAST: u64 = 3_000;
const BATCH: u64 = 5;

/// The numbers that the sink's receiver was sent, in order.
fn sent(receiver: &HttpReceiver) -> Vec<u64> {
    let number =
        |item: String| serde_json::from_str::<Value>(&item).unwrap()["seq"].as_u64().unwrap();
    receiver.accepted_items().into_iter().map(number).collect()
}

fn past(numbers: &[u64]) -> Vec<u64> {
    numbers.iter().copied().filter(|number| *number <= PAST).collect()
}

async fn post(observer: &Observer, kind: &str, count: u64) {
    let event = format!(r#"{{"source":"job","event_kind":"{kind}","ok":true}}"#);
    let lines = vec![event; usize::try_from(count).unwrap()].join("\n");
    let response = observer
        .send(observer.client().post(format!("{}/v1/events", observer.url)).body(lines))
        .await;
    assert_eq!(response.status, 200, "{}", response.text);
}

fn ran(url: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(OBSERVER);
    let Output { status, stdout, stderr } =
        command.args(arguments).env("LH_OBSERVER_URL", url).output().unwrap();
    (
        status.code(),
        format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr)),
    )
}

#[track_caller]
fn check((ended, text): (Option<i32>, String), code: i32, parts: &[&str]) -> String {
    assert_eq!(ended, Some(code), "{text}");
    for part in parts {
        assert!(text.contains(part), "{part}: {text}");
    }
    text
}

/// Where the replay stands durably, by the files alone.
fn durable(dir: &Path) -> u64 {
    let output = Command::new(OBSERVER)
        .current_dir(dir)
        .args(["journal", "verify", "--json"])
        .output()
        .unwrap();
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let readers = found["sinks"].as_array().unwrap();
    let replay = readers.iter().find(|reader| reader["name"] == "late:replay").expect("it is kept");
    assert!(replay["pending"].is_null(), "it is none of the sink's backlog: {replay}");
    replay["position"].as_u64().unwrap()
}

/// How many events of the replay are durable while the observer runs: what is kept with its
/// position says it in JSON.
fn stored(dir: &Path) -> u64 {
    let bytes = std::fs::read(dir.join("observer-data/journal/positions")).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let kept =
        text.split_once("late:replay").and_then(|(_, kept)| kept.split_once("\"accepted\":"));
    let digits = kept.map_or("", |(_, number)| {
        number.split(|char: char| !char.is_ascii_digit()).next().unwrap_or("")
    });
    digits.parse().unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_that_was_added_later_gets_the_past_in_order_through_kills() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let before = format!(
        "{DEFAULTS}[sinks.archive]\ntype = \"file\"\npath = \"observer-data/events/{{date}}.jsonl\"\n"
    );
    let receiver = HttpReceiver::start();
    // Slow enough that there is something to kill.
    receiver.set_default_reply(Reply::accept().delayed_by(Duration::from_millis(20)));
    let batch = format!("batch = {{ max_events = {BATCH}, linger = \"20ms\" }}");
    let config = format!(
        "{before}[sinks.late]\ntype = \"http\"\nurl = \"{}\"\n{batch}\n",
        receiver.url("/")
    );
    let mut observer = Observer::start(dir, &before);
    post(&observer, "past", PAST).await;
    observer.write_config(&config);
    let reloaded = observer.reload().await;
    assert_eq!(reloaded.status, 200, "{}", reloaded.text);
    post(&observer, "new", 1).await;
    wait_until("the sink gets what is new, and nothing else", async || {
        sent(&receiver) == [PAST + 1]
    })
    .await;

    let begin =
        ["replay", "--sink", "late", "--since", "1h", "--filter", "source=job", "--no-wait"];
    let text = check(ran(&observer.url, &begin), 0, &["replay to late is running", "--follow"]);
    assert!(text.contains(&format!("{} events:", PAST + 1)), "{text}");
    check(
        ran(&observer.url, &begin),
        1,
        &["409", "there is a replay for the sink \"late\" already"],
    );
    let mut resumed_at = Vec::new();
    for kill in 1..=3 {
        let had = resumed_at.last().copied().unwrap_or(0);
        wait_until("more of it is durable", async || stored(dir) > had + 50).await;
        // And into what is not.
        let had = sent(&receiver).len();
        post(&observer, "new", 20).await;
        wait_until("it goes on", async || sent(&receiver).len() > had + 50).await;
        observer.kill();
        let (kept, had) = (durable(dir), sent(&receiver).len());
        observer = Observer::start(dir, &config);
        wait_until("it goes on after the kill", async || !past(&sent(&receiver)[had..]).is_empty())
            .await;
        let first = past(&sent(&receiver)[had..])[0];
        assert_eq!(first, kept + 1, "kill {kill}: it goes on where it durably was");
        resumed_at.push(first);
    }
    assert!(resumed_at[0] > 50 && resumed_at[2] > 150 && resumed_at.is_sorted(), "{resumed_at:?}");
    let done = check(
        ran(&observer.url, &["replay", "--sink", "late", "--follow"]),
        0,
        &["replay to late is done"],
    );
    assert!(
        done.contains(&format!("{} events: {} delivered, 0 dead", PAST + 1, PAST + 1)),
        "{done}"
    );
    observer.wait_until_caught_up().await;

    let numbers = sent(&receiver);
    let (mut last, mut taken_up) = (0, Vec::new());
    for number in past(&numbers) {
        if number != last + 1 {
            taken_up.push(number);
        }
        last = number;
    }
    let repeats =
        resumed_at.iter().copied().filter(|number| taken_up.contains(number)).collect::<Vec<_>>();
    assert_eq!(taken_up, repeats, "it goes back where it was taken up, and nowhere else");
    assert_eq!(
        past(&numbers).into_iter().collect::<BTreeSet<_>>(),
        (1..=PAST).collect(),
        "none is missing"
    );
    let new: BTreeSet<_> = numbers.iter().copied().filter(|number| *number > PAST).collect();
    assert_eq!(new, (PAST + 1..=PAST + 61).collect(), "what was new came meanwhile");

    let metrics = observer.wait_for_metrics(|metrics| {
        metrics.get(r#"observer_sink_pending_events{sink="late"}"#) == Some(&0.0)
    });
    let metrics = metrics.await;
    let of = |result: &str| {
        metrics[&format!("observer_sink_events_total{{sink=\"late\",result=\"{result}\"}}")]
    };
    let settled: f64 = ["delivered", "dead", "refused", "expired", "filtered"]
        .iter()
        .map(|result| of(result))
        .sum();
    assert_eq!(
        (settled, metrics[r#"observer_sink_accepted_events_total{sink="late"}"#]),
        (61.0, 61.0)
    );
    assert_eq!(of("delivered"), 61.0, "the sink's own account is of what is new");
    let replayed = |result: &str| {
        metrics[&format!("observer_sink_replay_events{{sink=\"late\",result=\"{result}\"}}")]
    };
    assert_eq!((replayed("delivered"), replayed("pending")), (PAST as f64 + 1.0, 0.0));
}

#[tokio::test]
async fn a_replay_that_can_not_be_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let observer = Observer::start(dir.path(), DEFAULTS);
    let url = &*observer.url;
    let replay =
        |sink: &str, more: &[&str]| ran(url, &[&["replay", "--sink", sink][..], more].concat());
    let since = &["--since", "1h"];
    check(
        replay("archive", since),
        1,
        &["409", "\"archive\" can't be brought the past: its files are in the order"],
    );
    check(replay("prometheus", since), 1, &["409", "counted twice"]);
    check(replay("other", since), 1, &["404", "there is no sink named \"other\""]);
    check(replay("archive", &["--follow"]), 1, &["archive had no replay"]);
    check(replay("archive", &["--cancel"]), 1, &["404", "no replay"]);
    check(replay("archive", &[]), 2, &["--since"]);
    check(replay("archive", &["--since", "yesterday"]), 2, &["or how long ago"]);
    check(replay("archive", &["--since", "1h", "--filter", "model=x"]), 2, &["staffer_id"]);
    check(
        ran("http://127.0.0.1:1", &["replay", "--sink", "a", "--since", "1h"]),
        2,
        &["is unreachable"],
    );
}
