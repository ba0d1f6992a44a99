//! The past for a sink that was added later, through kills, from the command line.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use observer_core::{Batch, BuildError, EventSink, Receipt, SinkConfig, SinkContext, SinkError, SinkPart};
use serde_json::Value;

use crate::support::{DEFAULTS, OBSERVER, Observer, eventually};

/// The past, and how many events come with each batch of the sink.
const PAST: u64 = 3_000;
const BATCH: u64 = 5;

/// Adds the number of each event to a file, and takes its time for each batch.
struct Lister {
    path: PathBuf,
}

#[async_trait]
impl EventSink for Lister {
    async fn deliver(&self, batch: &Batch) -> Result<Receipt, SinkError> {
        let numbers: String = batch.events().iter().map(|envelope| format!("{}\n", envelope.seq)).collect();
        let file = OpenOptions::new().create(true).append(true).open(&self.path);
        // A whole write survives the end of the process.
        file.and_then(|mut file| file.write_all(numbers.as_bytes())).map_err(SinkError::transient)?;
        tokio::time::sleep(Duration::from_millis(20)).await;
        Ok(Receipt::accepted())
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
struct ListerConfig {
    path: PathBuf,
}

impl SinkConfig for ListerConfig {
    const TYPE: &'static str = "lister";

    fn build(self, _context: &SinkContext) -> Result<Vec<SinkPart>, BuildError> {
        Ok(vec![SinkPart::whole(Arc::new(Lister { path: self.path }))])
    }
}

/// The whole program with one more type of sink, as a process of its own: this test's executable, which another test starts.
#[test]
#[ignore = "it is the program that another test runs"]
fn an_observer_with_a_lister() {
    let Ok(arguments) = std::env::var("OBSERVER_TEST_ARGUMENTS") else { return };
    let arguments = std::iter::once("observer").chain(arguments.split(' '));
    let ended =
        observer::run_with(arguments, |metrics| observer::registry::with_defaults(metrics).with::<ListerConfig>());
    assert_eq!(format!("{ended:?}"), format!("{:?}", std::process::ExitCode::SUCCESS));
}

fn start(dir: &Path, config: &str) -> Observer {
    let mut command = Command::new("sh");
    let run =
        r#"OBSERVER_TEST_ARGUMENTS="$*" exec "$0" --ignored --exact --nocapture replays::an_observer_with_a_lister"#;
    command.args(["-c", run]).arg(std::env::current_exe().unwrap()).current_dir(dir);
    Observer::launch(dir, config, command, &[])
}

/// The numbers that the sink was given, in order.
fn listed(dir: &Path) -> Vec<u64> {
    let text = std::fs::read_to_string(dir.join("late.txt")).unwrap_or_default();
    text.lines().map(|line| line.parse().unwrap()).collect()
}

fn past(numbers: &[u64]) -> Vec<u64> {
    numbers.iter().copied().filter(|number| *number <= PAST).collect()
}

async fn post(observer: &Observer, kind: &str, count: u64) {
    let event = format!(r#"{{"source":"job","event_kind":"{kind}","ok":true}}"#);
    let lines = vec![event; usize::try_from(count).unwrap()].join("\n");
    let answer = observer.send(observer.client().post(format!("{}/v1/events", observer.url)).body(lines)).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
}

fn ran(url: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(OBSERVER);
    let Output { status, stdout, stderr } = command.args(arguments).env("LH_OBSERVER_URL", url).output().unwrap();
    (status.code(), format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr)))
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
    let output = Command::new(OBSERVER).current_dir(dir).args(["journal", "verify", "--json"]).output().unwrap();
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let readers = found["sinks"].as_array().unwrap();
    let replay = readers.iter().find(|reader| reader["name"] == "late:replay").expect("it is kept");
    assert!(replay["pending"].is_null(), "it is none of the sink's backlog: {replay}");
    replay["position"].as_u64().unwrap()
}

/// How many events of the replay are durable while the observer runs: what is kept with its position says it in JSON.
fn stored(dir: &Path) -> u64 {
    let bytes = std::fs::read(dir.join("observer-data/journal/positions")).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let kept = text.split_once("late:replay").and_then(|(_, kept)| kept.split_once("\"accepted\":"));
    let digits = kept.map_or("", |(_, number)| number.split(|char: char| !char.is_ascii_digit()).next().unwrap_or(""));
    digits.parse().unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_that_was_added_later_gets_the_past_in_order_through_kills() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let before =
        format!("{DEFAULTS}[sinks.archive]\ntype = \"file\"\npath = \"observer-data/events/{{date}}.jsonl\"\n");
    let config =
        format!("{before}[sinks.late]\ntype = \"lister\"\npath = \"late.txt\"\nbatch = {{ max_events = {BATCH} }}\n");
    let mut observer = start(dir, &before);
    post(&observer, "past", PAST).await;
    observer.configure(&config);
    let reloaded = observer.reload().await;
    assert_eq!(reloaded.status, 200, "{}", reloaded.text);
    post(&observer, "new", 1).await;
    eventually("the sink gets what is new, and nothing else", async || listed(dir) == [PAST + 1]).await;

    let begin = ["replay", "--sink", "late", "--since", "1h", "--filter", "source=job", "--no-wait"];
    let text = check(ran(&observer.url, &begin), 0, &["the replay to late is running", "--follow"]);
    assert!(text.contains(&format!("{} events:", PAST + 1)), "{text}");
    check(ran(&observer.url, &begin), 1, &["409", "there is a replay for the sink \"late\" already"]);
    let mut resumed_at = Vec::new();
    for kill in 1..=3 {
        let had = resumed_at.last().copied().unwrap_or(0);
        eventually("more of it is durable", async || stored(dir) > had + 50).await;
        // And into what is not.
        let had = listed(dir).len();
        post(&observer, "new", 20).await;
        eventually("it goes on", async || listed(dir).len() > had + 50).await;
        observer.kill();
        let (kept, had) = (durable(dir), listed(dir).len());
        observer = start(dir, &config);
        eventually("it goes on after the kill", async || !past(&listed(dir)[had..]).is_empty()).await;
        let first = past(&listed(dir)[had..])[0];
        assert_eq!(first, kept + 1, "kill {kill}: it goes on where it durably was");
        resumed_at.push(first);
    }
    assert!(resumed_at[0] > 50 && resumed_at[2] > 150 && resumed_at.is_sorted(), "{resumed_at:?}");
    let done = check(ran(&observer.url, &["replay", "--sink", "late", "--follow"]), 0, &["the replay to late is done"]);
    assert!(done.contains(&format!("{} events: {} delivered, 0 dead", PAST + 1, PAST + 1)), "{done}");
    observer.caught_up().await;

    let numbers = listed(dir);
    let (mut last, mut taken_up) = (0, Vec::new());
    for number in past(&numbers) {
        if number != last + 1 {
            taken_up.push(number);
        }
        last = number;
    }
    let repeats = resumed_at.iter().copied().filter(|number| taken_up.contains(number)).collect::<Vec<_>>();
    assert_eq!(taken_up, repeats, "it goes back where it was taken up, and nowhere else");
    assert_eq!(past(&numbers).into_iter().collect::<BTreeSet<_>>(), (1..=PAST).collect(), "none is missing");
    let new: BTreeSet<_> = numbers.iter().copied().filter(|number| *number > PAST).collect();
    assert_eq!(new, (PAST + 1..=PAST + 61).collect(), "what was new came meanwhile");

    let metrics =
        observer.metrics_until(|metrics| metrics.get(r#"observer_sink_pending_events{sink="late"}"#) == Some(&0.0));
    let metrics = metrics.await;
    let of = |result: &str| metrics[&format!("observer_sink_events_total{{sink=\"late\",result=\"{result}\"}}")];
    let settled: f64 = ["delivered", "dead", "refused", "expired", "filtered"].iter().map(|result| of(result)).sum();
    assert_eq!((settled, metrics[r#"observer_sink_accepted_events_total{sink="late"}"#]), (61.0, 61.0));
    assert_eq!(of("delivered"), 61.0, "the sink's own account is of what is new");
    let replayed = |result: &str| metrics[&format!("observer_sink_replay_events{{sink=\"late\",result=\"{result}\"}}")];
    assert_eq!((replayed("delivered"), replayed("pending")), (PAST as f64 + 1.0, 0.0));
}

#[tokio::test]
async fn a_replay_that_can_not_be_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let observer = Observer::start(dir.path(), DEFAULTS);
    let url = &*observer.url;
    let replay = |sink: &str, more: &[&str]| ran(url, &[&["replay", "--sink", sink][..], more].concat());
    let since = &["--since", "1h"];
    check(replay("archive", since), 1, &["409", "\"archive\" can't be brought the past: its files are in the order"]);
    check(replay("prometheus", since), 1, &["409", "counted twice"]);
    check(replay("other", since), 1, &["404", "there is no sink named \"other\""]);
    check(replay("archive", &["--follow"]), 1, &["archive had no replay"]);
    check(replay("archive", &["--cancel"]), 1, &["404", "no replay"]);
    check(replay("archive", &[]), 2, &["--since"]);
    check(replay("archive", &["--since", "yesterday"]), 2, &["or how long ago"]);
    check(replay("archive", &["--since", "1h", "--filter", "model=x"]), 2, &["staffer_id"]);
    check(ran("http://127.0.0.1:1", &["replay", "--sink", "a", "--since", "1h"]), 2, &["can't be reached"]);
}
