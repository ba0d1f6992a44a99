//! Disks without space left: what producers, probes and sinks meet, and how it goes on.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use crate::support::small_disks::SmallDisks;
use crate::support::{Observer, client, read_lines, wait_until};

const PRODUCERS: u64 = 4;

/// Producers that send each event until it is taken.
struct Load {
    shared: Arc<Shared>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

struct Shared {
    /// Where the observer listens now.
    url: Mutex<String>,
    numbers: AtomicU64,
    stopping: AtomicBool,
    acknowledged: Mutex<Vec<String>>,
    refused: AtomicU64,
    /// What was said to those that were refused.
    details: Mutex<BTreeMap<String, u64>>,
}

impl Load {
    fn start(observer: &Observer) -> Self {
        let shared = Arc::new(Shared {
            url: Mutex::new(observer.url.clone()),
            numbers: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
            acknowledged: Mutex::default(),
            refused: AtomicU64::new(0),
            details: Mutex::default(),
        });
        let tasks = (0..PRODUCERS).map(|_| tokio::spawn(produce(shared.clone()))).collect();
        Self { shared, tasks }
    }

    /// The observer listens somewhere else now.
    fn follow(&self, observer: &Observer) {
        self.shared.url.lock().unwrap().clone_from(&observer.url);
    }

    fn acknowledged(&self) -> usize {
        self.shared.acknowledged.lock().unwrap().len()
    }

    fn refused(&self) -> u64 {
        self.shared.refused.load(Ordering::SeqCst)
    }

    /// What was said to those that were refused.
    fn details(&self) -> Vec<String> {
        self.shared.details.lock().unwrap().keys().cloned().collect()
    }

    /// Until this many more were acknowledged.
    async fn goes_on(&self, more: usize) {
        let wanted = self.acknowledged() + more;
        wait_until("producers get 200", async || self.acknowledged() >= wanted).await;
    }

    /// Until producers were refused this many times more.
    async fn is_refused(&self, more: u64) {
        let wanted = self.refused() + more;
        wait_until("producers get 503", async || self.refused() >= wanted).await;
    }

    /// Have each producer end with an event that was taken. Gives the ids of all.
    async fn stop(self) -> Vec<String> {
        self.shared.stopping.store(true, Ordering::SeqCst);
        for task in self.tasks {
            task.await.unwrap();
        }
        std::mem::take(&mut self.shared.acknowledged.lock().unwrap())
    }
}

async fn produce(shared: Arc<Shared>) {
    let client = client();
    while !shared.stopping.load(Ordering::SeqCst) {
        let number = shared.numbers.fetch_add(1, Ordering::SeqCst);
        let filling = "x".repeat(2000 + usize::try_from(number % 7).unwrap() * 600);
        let event = format!(
            r#"{{"source":"load","cycle_id":"{number}","event_kind":"ok","ok":true,"extra":{{"filling":"{filling}"}}}}"#
        );
        loop {
            let url = shared.url.lock().unwrap().clone();
            let request = client.post(format!("{url}/event")).body(event.clone()).send();
            // It was killed; the next one may be elsewhere.
            let Ok(response) = request.await else {
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            };
            let (status, headers) = (response.status(), response.headers().clone());
            let Ok(text) = response.text().await else { continue };
            let response: Value = serde_json::from_str(&text).unwrap();
            if status == 200 {
                shared
                    .acknowledged
                    .lock()
                    .unwrap()
                    .push(response["id"].as_str().unwrap().to_owned());
                break;
            }
            assert_eq!(
                (status.as_u16(), &response["reason"]),
                (503, &"unavailable".into()),
                "{text}"
            );
            let pause: u64 = headers["retry-after"].to_str().unwrap().parse().unwrap();
            assert!((1..=30).contains(&pause));
            *shared
                .details
                .lock()
                .unwrap()
                .entry(response["detail"].as_str().unwrap().to_owned())
                .or_default() += 1;
            shared.refused.fetch_add(1, Ordering::SeqCst);
            // Sooner than it was asked to, so that there is a crowd.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Each line is whole, in order, and there once; all that was acknowledged is among them.
fn have_all(lines: &[String], acknowledged: &[String]) {
    let mut ids = HashSet::new();
    for (line, seq) in lines.iter().zip(1..) {
        let envelope: Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(ids.insert(envelope["id"].as_str().unwrap().to_owned()), "twice: {line:.200}");
        assert_eq!(envelope["seq"], seq, "{line:.200}");
    }
    let missing = acknowledged.iter().filter(|id| !ids.contains(*id)).count();
    assert_eq!(
        missing,
        0,
        "of {} that were acknowledged, with {} lines",
        acknowledged.len(),
        lines.len()
    );
    assert!(acknowledged.len() > 1000);
}

/// The entries of the log with this message.
fn entries(log: &[String], message: &str) -> impl Iterator<Item = Value> {
    let entries = log.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    entries.filter(move |entry| entry["message"] == message)
}

/// The sequence number of a position as it is shown.
fn seq(position: &Value) -> u64 {
    position.as_str().unwrap().split_once('-').unwrap().1.parse().unwrap()
}

async fn sink(observer: &Observer, name: &str) -> Value {
    let sinks = observer.get("/v1/sinks").await.json();
    sinks["sinks"].as_array().unwrap().iter().find(|sink| sink["name"] == name).unwrap().clone()
}

/// The position that a sink has on disk.
fn committed(disks: &SmallDisks, sink: &str) -> u64 {
    let positions = std::fs::read(disks.path("data/observer-data/journal/positions")).unwrap();
    let name = positions.windows(sink.len()).position(|window| window == sink.as_bytes()).unwrap();
    let seq = name + sink.len() + 8;
    u64::from_le_bytes(positions[seq..seq + 8].try_into().unwrap())
}

/// For each sink, what was accepted is settled or waits.
async fn accounts_close(observer: &Observer, sinks: &[&str]) {
    let metrics = observer.wait_for_metrics(|_| true).await;
    for sink in sinks {
        let results = ["delivered", "dead", "refused", "expired", "filtered"];
        let settled: f64 = results
            .iter()
            .map(|result| {
                metrics
                    [&format!(r#"observer_sink_events_total{{sink="{sink}",result="{result}"}}"#)]
            })
            .sum();
        let pending = metrics[&format!(r#"observer_sink_pending_events{{sink="{sink}"}}"#)];
        let accepted = metrics[&format!(r#"observer_sink_accepted_events_total{{sink="{sink}"}}"#)];
        assert_eq!(accepted, settled + pending, "{sink}");
    }
}

/// An archive, and a sink that is slow for as long as its disk is full.
fn config(archive: &str, journal: &str, slow: &str) -> String {
    format!(
        "data_dir = \"data/observer-data\"\n[server]\nlisten = \"127.0.0.1:0\"\n[journal]\n{journal}\n\
         [sinks.archive]\ntype = \"file\"\npath = \"{archive}/events/{{date}}.jsonl\"\nrequired = true\n\
         start = \"earliest\"\nretry = {{ max = \"1s\" }}\n\
         [sinks.slow]\ntype = \"file\"\npath = \"elsewhere/events/{{date}}.jsonl\"\nstart = \"earliest\"\n\
         retry = {{ max = \"1s\" }}\n{slow}\n"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_filled_by_events_takes_no_more_and_sinks_drain_on_and_service_returns_with_the_space()
 {
    let Some(disks) = SmallDisks::mount(&[("data", 24), ("elsewhere", 64)]) else { return };
    let config = config("data", "segment_size = \"1MiB\"", "");
    disks.add_ballast("data", 8 << 20);
    disks.fill("elsewhere");
    let observer = disks.start(&config);
    let load = Load::start(&observer);
    load.is_refused(200).await;
    wait_until("it says why", async || {
        let ready = observer.get("/readyz").await;
        ready.status == 503 && ready.text.contains("No space left on device")
    })
    .await;
    assert_eq!(observer.get("/livez").await.status, 200);
    accounts_close(&observer, &["archive", "slow"]).await;
    for detail in load.details() {
        assert!(detail.contains("No space left on device"), "{detail}");
        assert!(
            detail.contains("free space on that disk") && detail.contains("sent again later"),
            "{detail}"
        );
    }

    // The one that lagged can go on, while the journal can't.
    disks.remove_ballast("elsewhere");
    wait_until("what the slow sink had is committed", async || {
        let slow = sink(&observer, "slow").await;
        slow["pending"].as_u64().unwrap() < 100
            && committed(&disks, "slow") == seq(&slow["position"])
    })
    .await;
    load.is_refused(50).await;
    assert_eq!(observer.get("/livez").await.status, 200);

    let had = committed(&disks, "slow");
    let mut log = observer.kill();
    let observer = disks.start(&config);
    load.follow(&observer);
    load.is_refused(50).await;
    wait_until("the slow sink is back", async || {
        sink(&observer, "slow").await["state"] == "running"
    })
    .await;
    let slow = sink(&observer, "slow").await;
    assert!(seq(&slow["position"]) >= had, "{had} were committed: {slow}");
    assert_eq!(slow["delivered"], seq(&slow["position"]));

    disks.remove_ballast("data");
    load.goes_on(400).await;
    let acknowledged = load.stop().await;
    observer.wait_until_caught_up().await;
    assert_eq!(observer.get("/readyz").await.status, 200);
    accounts_close(&observer, &["archive", "slow"]).await;
    log.extend(observer.terminate().1);
    for folder in ["data/events", "elsewhere/events"] {
        have_all(&read_lines(&disks.path(folder)), &acknowledged);
    }
    // Once by each of the two.
    let refusing = "the journal accepts no records; producers have to retry, readers continue";
    assert_eq!(entries(&log, refusing).count(), 2, "{log:#?}");
    assert!(log.len() < 40, "{} lines: {log:#?}", log.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn space_that_a_slow_sink_gives_back_is_all_that_a_full_disk_needs() {
    let Some(disks) = SmallDisks::mount(&[("data", 16), ("elsewhere", 64), ("archive", 64)]) else {
        return;
    };
    let metrics =
        "[sinks.metrics]\ntype = \"prometheus\"\nstart = \"earliest\"\nretry = { max = \"1s\" }";
    let config = config("archive", "segment_size = \"1MiB\"\nretain = \"1s\"", metrics);
    disks.fill("elsewhere");
    let mut observer = disks.start(&config);
    let load = Load::start(&observer);
    load.is_refused(300).await;
    disks.remove_ballast("elsewhere");
    load.goes_on(2000).await;
    let acknowledged = load.stop().await;
    observer.wait_until_caught_up().await;
    accounts_close(&observer, &["archive", "slow", "metrics"]).await;
    let over = observer.wait_for_log("the journal accepts records again");
    assert!(over["refused"].as_u64().unwrap() >= 300, "{over}");
    observer.terminate();
    for folder in ["archive/events", "elsewhere/events"] {
        have_all(&read_lines(&disks.path(folder)), &acknowledged);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn past_the_size_limit_an_optional_sink_misses_the_oldest_events_and_each_is_counted() {
    let Some(disks) = SmallDisks::mount(&[("elsewhere", 64)]) else { return };
    let config = config("data", "segment_size = \"256KiB\"\nmax_size = \"4MiB\"", "");
    disks.fill("elsewhere");
    let observer = disks.start(&config);
    let load = Load::start(&observer);
    load.goes_on(3000).await;
    disks.remove_ballast("elsewhere");
    let acknowledged = load.stop().await;
    observer.wait_until_caught_up().await;
    accounts_close(&observer, &["archive", "slow"]).await;
    let slow = sink(&observer, "slow").await;
    let (_, log) = observer.terminate();
    have_all(&read_lines(&disks.path("data/events")), &acknowledged);

    let lines = read_lines(&disks.path("elsewhere/events"));
    let count = |of: &str| slow[of].as_u64().unwrap();
    assert!(count("expired") > 1000, "{slow}");
    assert_eq!(
        (count("delivered"), count("dead") + count("refused")),
        (lines.len() as u64, 0),
        "{slow}"
    );
    assert_eq!(count("expired"), count("accepted") - count("delivered"), "{slow}");
    let told: u64 =
        entries(&log, "events expired before the sink had them: the journal is at its size limit")
            .map(|entry| {
                assert_eq!(entry["sink"], "slow");
                entry["last_seq"].as_u64().unwrap() + 1 - entry["first_seq"].as_u64().unwrap()
            })
            .sum();
    assert_eq!(told, count("expired"));
    let at_once: Vec<_> = entries(
        &log,
        "the journal is at its size limit; events are removed before the sink has received them",
    )
    .collect();
    assert_eq!(at_once.len(), 1, "{at_once:?}");
    assert_eq!(at_once[0]["sink"], "slow");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn past_the_size_limit_a_required_sink_has_producers_wait_and_nothing_is_lost() {
    let Some(disks) = SmallDisks::mount(&[("elsewhere", 64)]) else { return };
    let config =
        config("data", "segment_size = \"256KiB\"\nmax_size = \"4MiB\"", "required = true");
    disks.fill("elsewhere");
    let observer = disks.start(&config);
    let load = Load::start(&observer);
    load.is_refused(300).await;
    let reason = "the journal is full: it has reached its limit of 4194304 bytes, and `slow` still \
                  needs the oldest records";
    wait_until("it says why", async || observer.get("/readyz").await.text.contains(reason)).await;
    assert_eq!(observer.get("/livez").await.status, 200);
    assert!(
        load.details()
            .iter()
            .any(|detail| detail == &format!("{reason}; the same event may be sent again later"))
    );
    disks.remove_ballast("elsewhere");
    load.goes_on(2000).await;
    let acknowledged = load.stop().await;
    observer.wait_until_caught_up().await;
    accounts_close(&observer, &["archive", "slow"]).await;
    assert_eq!(sink(&observer, "slow").await["expired"], 0);
    observer.terminate();
    for folder in ["data/events", "elsewhere/events"] {
        have_all(&read_lines(&disks.path(folder)), &acknowledged);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_archive_whose_disk_is_full_waits_and_goes_on_with_whole_lines_and_producers_do_not_notice()
 {
    let Some(disks) = SmallDisks::mount(&[("archive", 16)]) else { return };
    let config = config("archive", "segment_size = \"1MiB\"", "");
    disks.add_ballast("archive", 12 << 20);
    let observer = disks.start(&config);
    let load = Load::start(&observer);
    wait_until("the archive is parked", async || {
        sink(&observer, "archive").await["state"] == "parked"
    })
    .await;
    load.goes_on(100).await;
    let ready = observer.get("/readyz").await;
    assert_eq!(
        (ready.status, &ready.json()["sinks"][0]["state"]),
        (200, &"parked".into()),
        "{}",
        ready.text
    );
    assert!(ready.text.contains("free space on that disk"), "{}", ready.text);

    let mut log = observer.kill();
    let observer = disks.start(&config);
    load.follow(&observer);
    load.goes_on(100).await;
    wait_until("the archive is parked again", async || {
        sink(&observer, "archive").await["state"] == "parked"
    })
    .await;
    disks.remove_ballast("archive");
    wait_until("the archive has some more", async || {
        sink(&observer, "archive").await["state"] == "running"
    })
    .await;
    assert_eq!(load.refused(), 0);
    let acknowledged = load.stop().await;
    observer.wait_until_caught_up().await;
    accounts_close(&observer, &["archive", "slow"]).await;
    log.extend(observer.terminate().1);
    have_all(&read_lines(&disks.path("archive/events")), &acknowledged);
    assert_eq!(
        entries(&log, "the sink is parked: its events wait until this is mended").count(),
        2,
        "{log:#?}"
    );
    assert_eq!(entries(&log, "the sink takes events again").count(), 1, "{log:#?}");
}
