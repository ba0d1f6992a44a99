//! Assertions on a data folder that the current program opens.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use super::fixture::{
    Acknowledged, DATA, Destinations, Fixture, Head, copy, files, is_failure, lasting, lines, send,
    wait_for_sinks,
};
use crate::support::{OBSERVER, Observer, parse_metrics, wait_until};

/// Metric families whose series continue after a restart and after an upgrade from any version.
const COUNTERS: [&str; 4] = [
    "observer_events_total",
    "observer_label_overflow_total",
    "observer_sink_accepted_events_total",
    "observer_sink_events_total",
];

/// Metric families that have other labels in version 0.1, so that their series start at zero.
pub(super) const BY_MODEL: [&str; 8] = [
    "observer_cached_input_tokens_total",
    "observer_cost_usd_total",
    "observer_cycle_duration_seconds",
    "observer_input_tokens_total",
    "observer_model_calls_total",
    "observer_model_cycles_total",
    "observer_output_tokens_total",
    "observer_unpriced_events_total",
];
const GAUGES: [&str; 3] = [
    "observer_last_event_timestamp_seconds",
    "observer_sink_pending_events",
    "observer_sink_replay_events",
];

/// Time limit for the compression of closed files.
const COMPRESSION: Duration = Duration::from_secs(10);

const NEW: [&str; 3] = [
    r#"{"source":"bot","event_kind":"ok","ok":true,"cycle_id":"new-1","sig_hash":"n","turns":1}"#,
    r#"{"source":"job","event_kind":"timeout","ok":false}"#,
    r#"{"source":"bot","event_kind":"tests_failed","ok":false,"cycle_id":"new-2","sig_hash":"n"}"#,
];

/// Number of events that are sent again and stored once more, in a folder of a version in which the
/// cycle and its outcome were an identity.
const AGAIN: usize = 2;

/// Opens a copy of a fixture with the current program, and compares it with the expected contents.
/// `more` are metric families that continue in addition to [`COUNTERS`].
pub(super) async fn opens_without_loss(fixture: &Path, more: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    copy(fixture, dir);
    let Fixture { config, metrics, expected } = Fixture::read(dir);
    let data = dir.join(DATA);
    let segments = segments(&data);
    assert!(segments.len() > 2, "{segments:?}");
    let acknowledged: Vec<_> = expected.events.iter().map(Acknowledged::line).collect();
    let last = expected.events.last().unwrap().seq;
    assert_eq!(last, u64::try_from(acknowledged.len()).unwrap(), "the numbers have no gap");

    // The journal as it is before a program opens it for writing.
    let verified = run(dir, &["journal", "verify"]);
    let text = String::from_utf8_lossy(&verified.stdout);
    assert!(verified.status.success() && text.ends_with("\nevery record is readable\n"), "{text}");
    let exported = String::from_utf8(run(dir, &["journal", "export"]).stdout).unwrap();
    assert_eq!(exported.lines().collect::<Vec<_>>(), acknowledged);

    // While the destinations are down, the state is that of the stopped program.
    let destinations = Destinations::start();
    destinations.behind.stop().await;
    destinations.replaying.stop().await;
    let environment = destinations.environment();
    let environment: Vec<_> = environment.iter().map(|(name, url)| (*name, &**url)).collect();
    let observer = Observer::start_with(dir, &config, &[], &environment);
    let same =
        async || sinks(&observer).await.iter().map(lasting).eq(expected.sinks.iter().cloned());
    wait_until("every sink has the state of the stopped program", same).await;
    assert_eq!(observer.get("/v1/sinks").await.json()["head"], expected.head);
    let before = series(&metrics, &[&COUNTERS, more, &GAUGES].concat());
    observer
        .wait_for_metrics(|now| before.iter().all(|(name, value)| now.get(name) == Some(value)))
        .await;
    let dead_letters = "/v1/sinks/rejecting/dead-letters";
    let listed = observer.get(dead_letters).await.json();
    assert_eq!(listed["dead_letters"], Value::from(expected.dead_letters.clone()));
    assert_archives(&data, &acknowledged, &expected.events).await;

    // In the first version, the identity of an outcome with a cycle didn't contain its bytes. The
    // identities of keys and ids span the upgrade.
    let is_upgrade = !fixture.join(DATA).join("journal/identities").exists();
    let is_known =
        |event: &&Acknowledged| event.has_identity && !(is_upgrade && event.has_cycle_only());
    assert!(expected.events.iter().filter(is_known).count() > 3);
    for event in expected.events.iter().filter(is_known) {
        let response = send(&observer, event.body(), event.key.as_deref()).await;
        let duplicate = json!({ "id": event.id, "status": "duplicate", "durability": "fsync" });
        assert_eq!(response, duplicate, "{}", event.event);
    }

    destinations.behind.restart();
    destinations.replaying.restart();
    let again = expected.events.iter().filter(|event| event.has_cycle_only());
    let again = again.take(if is_upgrade { AGAIN } else { 0 }).map(|event| &*event.event);
    let new_events: Vec<_> = NEW.into_iter().chain(again).collect();
    let mut ids = BTreeSet::new();
    for event in &new_events {
        let response = send(&observer, event, None).await;
        assert_eq!(response["status"], "accepted");
        ids.insert(response["id"].as_str().unwrap().to_owned());
    }
    let is_done = |sink: &Value| match &sink["replay"] {
        Value::Null => sink["pending"] == 0 || sink["state"] == "detached",
        replay => sink["pending"] == 0 && replay["state"] == "done",
    };
    wait_for_sinks(&observer, is_done).await;
    let archive = data.join("events");
    let count = acknowledged.len() + new_events.len();
    let is_whole = async || lines(&archive).is_ok_and(|lines| lines.len() == count);
    wait_until("the archive has every event", is_whole).await;
    let all = lines(&archive).unwrap();
    assert_eq!(all[..acknowledged.len()], acknowledged);
    let new: Vec<_> = all[acknowledged.len()..].iter().map(|line| Head::of(line)).collect();
    assert!(new.iter().map(|head| head.seq).eq(last + 1..=last + new_events.len() as u64));
    assert_eq!(new.into_iter().map(|head| head.id).collect::<BTreeSet<_>>(), ids);
    assert_archives(&data, &all, &expected.events).await;

    // Each destination receives the events that it had not accepted, and no others.
    let accepted = |name: &str| expected.accepted[name].iter().copied().collect::<BTreeSet<_>>();
    let missing = |accepted: &BTreeSet<u64>, wanted: &dyn Fn(&Acknowledged) -> bool| {
        let missing =
            expected.events.iter().filter(|event| wanted(event) && !accepted.contains(&event.seq));
        missing.map(Acknowledged::line).collect::<Vec<_>>()
    };
    let new = &all[acknowledged.len()..];
    let pending = missing(&accepted("behind"), &|_| true);
    assert!(!pending.is_empty());
    assert_eq!(destinations.behind.accepted_items(), [&pending, new].concat());
    let (replayed, live): (Vec<_>, Vec<_>) = destinations
        .replaying
        .accepted_items()
        .into_iter()
        .partition(|line| Head::of(line).seq <= last);
    let pending = missing(&accepted("replaying, replay"), &|event| !event.is_failure());
    assert!(!pending.is_empty());
    assert_eq!((replayed, &*live), (pending, new));
    assert_eq!(destinations.rejecting.accepted_items(), new);

    let sinks = sinks(&observer).await;
    assert_eq!(sinks.len(), expected.sinks.len());
    for (now, before) in sinks.iter().zip(&expected.sinks) {
        assert_account(now, before, &new_events);
    }
    let replay = &sinks.iter().find(|sink| sink["name"] == "replaying").unwrap()["replay"];
    let failures = expected.events.iter().filter(|event| event.is_failure()).count();
    let counts = ["events", "delivered", "filtered"].map(|count| replay[count].as_u64().unwrap());
    assert_eq!(counts, [last, last - failures as u64, failures as u64]);

    // Dead letters are removed once their destination accepts them.
    let body = r#"{"all":true}"#;
    let response = observer.administer(Method::POST, &format!("{dead_letters}/replay"), body).await;
    assert_eq!(
        (response.status, &response.json()["replayed"]),
        (200, &expected.dead_letters.len().into())
    );
    assert_eq!(observer.get(dead_letters).await.json()["total"], 0);
    let rejected = missing(&accepted("rejecting"), &|_| true);
    assert_eq!(rejected.len(), expected.dead_letters.len());
    assert_eq!(destinations.rejecting.accepted_items(), [new, &rejected].concat());

    let before = series(&metrics, &[&COUNTERS, more].concat());
    let continue_counting = |now: &BTreeMap<String, f64>| {
        let counted: f64 = series_of(now, &["observer_events_total"]).values().sum();
        counted == (last + new_events.len() as u64) as f64
            && before.iter().all(|(name, value)| now.get(name) >= Some(value))
    };
    observer.wait_for_metrics(continue_counting).await;

    // Nothing expires by age, neither during this run nor at the next start.
    let (status, log) = observer.terminate();
    assert!(status.success(), "{log:#?}");
    assert_eq!(problems(&log), [""; 0]);
    let kept: BTreeSet<_> = self::segments(&data).into_iter().collect();
    assert!(segments.iter().all(|segment| kept.contains(segment)), "{segments:?} {kept:?}");
    assert!(run(dir, &["journal", "verify"]).status.success());
    let exported = String::from_utf8(run(dir, &["journal", "export"]).stdout).unwrap();
    assert_eq!(exported.lines().collect::<Vec<_>>(), all);
    let again = Observer::start_with(dir, &config, &[], &environment);
    wait_until("every sink has its position after another start", async || {
        let now = self::sinks(&again).await;
        now.iter().map(|sink| &sink["position"]).eq(sinks.iter().map(|sink| &sink["position"]))
    })
    .await;
    assert_archives(&data, &all, &expected.events).await;
}

/// Asserts that the archive has each line once, and the archive of failures the failed events.
async fn assert_archives(data: &Path, all: &[String], acknowledged: &[Acknowledged]) {
    assert_lines(&data.join("events"), all).await;
    let failures = acknowledged.iter().filter(|event| event.is_failure()).map(Acknowledged::line);
    let new = all[acknowledged.len()..].iter().filter(|line| line.contains(r#""ok":false"#));
    assert_lines(&data.join("failures"), &failures.chain(new.cloned()).collect::<Vec<_>>()).await;
    // Each archive has several closed files, which are compressed.
    for (name, extension) in [("events", "zst"), ("failures", "gz")] {
        let closed = files(&data.join(name))
            .into_iter()
            .filter(|path| path.extension().unwrap() == extension);
        assert!(closed.count() > 1, "{name}");
    }
}

/// Asserts the lines below a folder, once no file is being compressed.
async fn assert_lines(dir: &Path, expected: &[String]) {
    let begun = Instant::now();
    loop {
        let found = lines(dir);
        if found.as_ref().is_ok_and(|found| found == expected) {
            return;
        }
        if begun.elapsed() > COMPRESSION {
            assert_eq!(found.unwrap(), expected, "{}", dir.display());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Asserts that the counts of a sink continue from those before, with the new events resolved.
fn assert_account(now: &Value, before: &Value, new: &[&str]) {
    let count = |sink: &Value, name: &str| sink[name].as_u64().unwrap();
    let [delivered, dead, refused, expired, lost, filtered, pending] =
        ["delivered", "dead", "refused", "expired", "lost", "filtered", "pending"]
            .map(|name| count(now, name));
    let resolved = delivered + dead + refused + expired + lost + filtered;
    if now["name"] == "retired" {
        assert_eq!((&now["state"], &now["position"]), (&"detached".into(), &before["position"]));
        return;
    }
    assert_eq!((now["accepted"].as_u64(), pending), (Some(resolved), 0), "{now}");
    assert_eq!(resolved, count(before, "accepted") + new.len() as u64, "{now}");
    assert_eq!(lost, 0, "{now}");
    for name in ["dead", "refused", "expired"] {
        assert_eq!(now[name], before[name], "{now}");
    }
    let failures = new.iter().filter(|event| is_failure(event)).count();
    let passed = if now["name"] == "failures" { new.len() - failures } else { 0 };
    assert_eq!(filtered, count(before, "filtered") + passed as u64, "{now}");
}

/// Returns the warnings and errors of a log, except those of sinks whose destinations were down and
/// the final summary, which reports the backlog of the removed sink.
fn problems(log: &[String]) -> Vec<&str> {
    let is_problem = |line: &&String| {
        let entry: Value = serde_json::from_str(line).unwrap();
        let is_down = entry["sink"] == "behind" || entry["sink"] == "replaying";
        let is_summary = entry["served_seconds"].is_number();
        // The data is older than an hour, so deletion by age waits.
        let is_age = entry["message"].as_str().is_some_and(|it| it.starts_with("clock jumped"));
        !is_down
            && !is_summary
            && !is_age
            && (entry["level"] == "WARN" || entry["level"] == "ERROR")
    };
    log.iter().filter(is_problem).map(String::as_str).collect()
}

async fn sinks(observer: &Observer) -> Vec<Value> {
    observer.get("/v1/sinks").await.json()["sinks"].as_array().unwrap().clone()
}

fn run(dir: &Path, arguments: &[&str]) -> Output {
    Command::new(OBSERVER).args(arguments).current_dir(dir).output().unwrap()
}

/// Returns the file names of the journal's segments.
fn segments(data: &Path) -> Vec<String> {
    let entries = fs::read_dir(data.join("journal")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(".log")).collect()
}

/// Returns the series of metric families. Asserts that each family has some.
fn series(text: &str, families: &[&str]) -> BTreeMap<String, f64> {
    series_of(&parse_metrics(text), families)
}

fn series_of(all: &BTreeMap<String, f64>, families: &[&str]) -> BTreeMap<String, f64> {
    let of = |family: &&str| {
        let is_of = |name: &str| {
            let rest = name.strip_prefix(family).unwrap_or("-");
            rest.is_empty()
                || rest.starts_with('{')
                || ["_bucket{", "_sum{", "_count{"].iter().any(|part| rest.starts_with(part))
        };
        let found: Vec<_> = all.iter().filter(|(name, _)| is_of(name)).collect();
        assert!(!found.is_empty(), "{family}");
        found
    };
    families.iter().flat_map(of).map(|(name, value)| (name.clone(), *value)).collect()
}
