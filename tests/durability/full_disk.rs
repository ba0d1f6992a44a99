//! Full disks: responses to producers, readiness, progress of sinks, and recovery.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use crate::support::small_disks::SmallDisks;
use crate::support::{Observer, client, read_lines, wait_until};

const PRODUCERS: u64 = 4;

/// Producers that send each event until it is acknowledged.
pub(super) struct Load {
    shared: Arc<Shared>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

struct Shared {
    /// URL of the observer, which changes with a restart.
    url: Mutex<String>,
    numbers: AtomicU64,
    stopping: AtomicBool,
    /// Time for which a producer waits after each acknowledged event.
    pause: Duration,
    /// Ids of the acknowledged events.
    acknowledged: Mutex<Vec<String>>,
    rejected: AtomicU64,
    /// Details of the 503 responses, each with its count.
    details: Mutex<BTreeMap<String, u64>>,
}

impl Load {
    fn start(observer: &Observer) -> Self {
        Self::with_pause(observer, Duration::ZERO)
    }

    /// Starts producers that wait after each acknowledged event, which bounds the size of all events.
    pub(super) fn with_pause(observer: &Observer, pause: Duration) -> Self {
        let shared = Arc::new(Shared {
            url: Mutex::new(observer.url.clone()),
            numbers: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
            pause,
            acknowledged: Mutex::default(),
            rejected: AtomicU64::new(0),
            details: Mutex::default(),
        });
        let tasks = (0..PRODUCERS).map(|_| tokio::spawn(produce(shared.clone()))).collect();
        Self { shared, tasks }
    }

    /// Directs the producers to a restarted observer.
    pub(super) fn redirect(&self, observer: &Observer) {
        self.shared.url.lock().unwrap().clone_from(&observer.url);
    }

    fn acknowledged(&self) -> usize {
        self.shared.acknowledged.lock().unwrap().len()
    }

    pub(super) fn rejected(&self) -> u64 {
        self.shared.rejected.load(Ordering::SeqCst)
    }

    /// Returns the distinct details of the 503 responses.
    pub(super) fn details(&self) -> Vec<String> {
        self.shared.details.lock().unwrap().keys().cloned().collect()
    }

    /// Waits until this many more events are acknowledged.
    pub(super) async fn wait_for_acknowledgements(&self, more: usize) {
        let wanted = self.acknowledged() + more;
        wait_until("producers get 200", async || self.acknowledged() >= wanted).await;
    }

    /// Waits until this many more requests are rejected with 503.
    async fn wait_for_rejections(&self, more: u64) {
        let wanted = self.rejected() + more;
        wait_until("producers get 503", async || self.rejected() >= wanted).await;
    }

    /// Stops each producer after its current event is acknowledged. Returns the ids of all
    /// acknowledged events.
    pub(super) async fn stop(self) -> Vec<String> {
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
        let extra = format!(r#"{{"filling":"{filling}"}}"#);
        let event = format!(
            "{{\"source\":\"load\",\"cycle_id\":\"{number}\",\"event_kind\":\"ok\",\"ok\":true,\
             \"sig_hash\":\"p{}\",\"extra\":{extra}}}",
            number % 20
        );
        loop {
            let url = shared.url.lock().unwrap().clone();
            let request = client.post(format!("{url}/event")).body(event.clone()).send();
            // The observer was killed. Its successor may have another URL.
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
                if !shared.pause.is_zero() {
                    tokio::time::sleep(shared.pause).await;
                }
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
            shared.rejected.fetch_add(1, Ordering::SeqCst);
            // Earlier than `Retry-After`, so that many requests meet the full disk.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Asserts that lines are complete, in order and unique, and include every acknowledged event.
pub(super) fn assert_complete(lines: &[String], acknowledged: &[String]) {
    let mut ids = HashSet::new();
    for (line, seq) in lines.iter().zip(1..) {
        let envelope: Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(ids.insert(envelope["id"].as_str().unwrap().to_owned()), "repeated: {line:.200}");
        assert_eq!(envelope["seq"], seq, "{line:.200}");
    }
    let missing = acknowledged.iter().filter(|id| !ids.contains(*id)).count();
    assert_eq!(
        missing,
        0,
        "missing of {} acknowledged events; {} lines are there",
        acknowledged.len(),
        lines.len()
    );
    assert!(acknowledged.len() > 1000);
}

/// Returns the log entries with a message.
fn entries(log: &[String], message: &str) -> impl Iterator<Item = Value> {
    let entries = log.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    entries.filter(move |entry| entry["message"] == message)
}

/// Returns the sequence number of a position in its text form.
fn seq(position: &Value) -> u64 {
    position.as_str().unwrap().split_once('-').unwrap().1.parse().unwrap()
}

pub(super) async fn sink(observer: &Observer, name: &str) -> Value {
    let sinks = observer.get("/v1/sinks").await.json();
    sinks["sinks"].as_array().unwrap().iter().find(|sink| sink["name"] == name).unwrap().clone()
}

/// Returns the committed position of a sink, as the file has it.
fn committed(disks: &SmallDisks, sink: &str) -> u64 {
    let positions = std::fs::read(disks.path("data/observer-data/journal/positions")).unwrap();
    let name = positions.windows(sink.len()).position(|window| window == sink.as_bytes()).unwrap();
    let seq = name + sink.len() + 8;
    u64::from_le_bytes(positions[seq..seq + 8].try_into().unwrap())
}

/// Asserts for each sink that every accepted event is resolved or pending.
pub(super) async fn assert_accounts_balance(observer: &Observer, sinks: &[&str]) {
    let metrics = observer.wait_for_metrics(|_| true).await;
    for sink in sinks {
        let results = ["delivered", "dead", "refused", "expired", "lost", "filtered"];
        let resolved: f64 = results
            .iter()
            .map(|result| {
                metrics
                    [&format!(r#"observer_sink_events_total{{sink="{sink}",result="{result}"}}"#)]
            })
            .sum();
        let pending = metrics[&format!(r#"observer_sink_pending_events{{sink="{sink}"}}"#)];
        let accepted = metrics[&format!(r#"observer_sink_accepted_events_total{{sink="{sink}"}}"#)];
        assert_eq!(accepted, resolved + pending, "{sink}");
    }
}

/// Returns a configuration with an archive and the sink `slow`, which waits while its disk is full.
fn config(archive: &str, journal: &str, slow: &str) -> String {
    format!(
        "data_dir = \"data/observer-data\"\n[server]\nlisten = \"127.0.0.1:0\"\n[journal]\n\
         {journal}\n\
         [sinks.archive]\ntype = \"file\"\npath = \"{archive}/events/{{date}}.jsonl\"\n\
         required = true\n\
         start = \"earliest\"\nretry = {{ max = \"1s\" }}\n\
         [sinks.slow]\ntype = \"file\"\npath = \"elsewhere/events/{{date}}.jsonl\"\n\
         start = \"earliest\"\n\
         retry = {{ max = \"1s\" }}\n{slow}\n"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_journal_disk_stops_producers_but_not_sinks_until_space_is_free() {
    let Some(disks) = SmallDisks::mount(&[("data", 24), ("elsewhere", 64)]) else { return };
    let config = config("data", "segment_size = \"1MiB\"", "");
    disks.add_ballast("data", 8 << 20);
    disks.fill("elsewhere");
    let observer = disks.start(&config);
    let load = Load::start(&observer);
    load.wait_for_rejections(200).await;
    wait_until("readiness reports the reason", async || {
        let ready = observer.get("/readyz").await;
        ready.status == 503 && ready.text.contains("No space left on device")
    })
    .await;
    assert_eq!(observer.get("/livez").await.status, 200);
    assert_accounts_balance(&observer, &["archive", "slow"]).await;
    for detail in load.details() {
        assert!(detail.contains("No space left on device"), "{detail}");
        assert!(
            detail.contains("free space on that disk")
                && detail.contains("send the same event again later"),
            "{detail}"
        );
    }

    // The lagging sink makes progress while the journal is still full.
    disks.remove_ballast("elsewhere");
    wait_until("the position of the slow sink is committed", async || {
        let slow = sink(&observer, "slow").await;
        slow["pending"].as_u64().unwrap() < 100
            && committed(&disks, "slow") == seq(&slow["position"])
    })
    .await;
    load.wait_for_rejections(50).await;
    assert_eq!(observer.get("/livez").await.status, 200);

    let before = committed(&disks, "slow");
    let mut log = observer.kill();
    let observer = disks.start(&config);
    load.redirect(&observer);
    load.wait_for_rejections(50).await;
    wait_until("the slow sink runs again", async || {
        sink(&observer, "slow").await["state"] == "running"
    })
    .await;
    let slow = sink(&observer, "slow").await;
    assert!(seq(&slow["position"]) >= before, "{before} was committed: {slow}");
    assert_eq!(slow["delivered"], seq(&slow["position"]));

    disks.remove_ballast("data");
    load.wait_for_acknowledgements(400).await;
    let acknowledged = load.stop().await;
    observer.wait_until_caught_up().await;
    assert_eq!(observer.get("/readyz").await.status, 200);
    assert_accounts_balance(&observer, &["archive", "slow"]).await;
    log.extend(observer.terminate().1);
    for folder in ["data/events", "elsewhere/events"] {
        assert_complete(&read_lines(&disks.path(folder)), &acknowledged);
    }
    // One entry from each of the two processes.
    let message = "the journal accepts no records; producers have to retry, readers continue";
    assert_eq!(entries(&log, message).count(), 2, "{log:#?}");
    assert!(log.len() < 40, "{} lines: {log:#?}", log.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_disk_recovers_by_the_segments_that_a_slow_sink_releases() {
    let Some(disks) = SmallDisks::mount(&[("data", 16), ("elsewhere", 64), ("archive", 64)]) else {
        return;
    };
    let metrics =
        "[sinks.metrics]\ntype = \"prometheus\"\nstart = \"earliest\"\nretry = { max = \"1s\" }";
    let config = config("archive", "segment_size = \"1MiB\"\nretain = \"1s\"", metrics);
    disks.fill("elsewhere");
    let mut observer = disks.start(&config);
    let load = Load::start(&observer);
    load.wait_for_rejections(300).await;
    disks.remove_ballast("elsewhere");
    load.wait_for_acknowledgements(2000).await;
    let acknowledged = load.stop().await;
    observer.wait_until_caught_up().await;
    assert_accounts_balance(&observer, &["archive", "slow", "metrics"]).await;
    let recovered = observer.wait_for_log("the journal accepts records again");
    assert!(recovered["rejected"].as_u64().unwrap() >= 300, "{recovered}");
    observer.terminate();
    for folder in ["archive/events", "elsewhere/events"] {
        assert_complete(&read_lines(&disks.path(folder)), &acknowledged);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn size_limit_expires_the_oldest_events_of_an_optional_sink_and_counts_them() {
    let Some(disks) = SmallDisks::mount(&[("elsewhere", 64)]) else { return };
    let config = config("data", "segment_size = \"256KiB\"\nmax_size = \"4MiB\"", "");
    disks.fill("elsewhere");
    let observer = disks.start(&config);
    let load = Load::start(&observer);
    // More than the memory of the pipeline holds, too.
    load.wait_for_acknowledgements(6000).await;
    disks.remove_ballast("elsewhere");
    let acknowledged = load.stop().await;
    observer.wait_until_caught_up().await;
    assert_accounts_balance(&observer, &["archive", "slow"]).await;
    let slow = sink(&observer, "slow").await;
    let (_, log) = observer.terminate();
    assert_complete(&read_lines(&disks.path("data/events")), &acknowledged);

    let lines = read_lines(&disks.path("elsewhere/events"));
    let count = |of: &str| slow[of].as_u64().unwrap();
    assert!(count("expired") > 1000, "{slow}");
    assert_eq!(
        (count("delivered"), count("dead") + count("refused")),
        (lines.len() as u64, 0),
        "{slow}"
    );
    assert_eq!(count("expired"), count("accepted") - count("delivered"), "{slow}");
    let logged: u64 = entries(
        &log,
        "events expired before they were delivered: the journal is at its size limit",
    )
    .map(|entry| {
        assert_eq!(entry["sink"], "slow");
        entry["last_seq"].as_u64().unwrap() + 1 - entry["first_seq"].as_u64().unwrap()
    })
    .sum();
    assert_eq!(logged, count("expired"));
    let first: Vec<_> = entries(
        &log,
        "the journal is at its size limit; events are removed before the sink has received them",
    )
    .collect();
    assert_eq!(first.len(), 1, "{first:?}");
    assert_eq!(first[0]["sink"], "slow");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn size_limit_with_a_required_sink_stops_producers_and_loses_nothing() {
    let Some(disks) = SmallDisks::mount(&[("elsewhere", 64)]) else { return };
    let config =
        config("data", "segment_size = \"256KiB\"\nmax_size = \"4MiB\"", "required = true");
    disks.fill("elsewhere");
    let observer = disks.start(&config);
    let load = Load::start(&observer);
    load.wait_for_rejections(300).await;
    let reason = "the journal is full: it has reached its limit of 4194304 bytes, and `slow` still \
                  needs the oldest records";
    wait_until("readiness reports the reason", async || {
        observer.get("/readyz").await.text.contains(reason)
    })
    .await;
    assert_eq!(observer.get("/livez").await.status, 200);
    assert!(
        load.details()
            .iter()
            .any(|detail| detail == &format!("{reason}; send the same event again later"))
    );
    disks.remove_ballast("elsewhere");
    load.wait_for_acknowledgements(2000).await;
    let acknowledged = load.stop().await;
    observer.wait_until_caught_up().await;
    assert_accounts_balance(&observer, &["archive", "slow"]).await;
    assert_eq!(sink(&observer, "slow").await["expired"], 0);
    observer.terminate();
    for folder in ["data/events", "elsewhere/events"] {
        assert_complete(&read_lines(&disks.path(folder)), &acknowledged);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn archive_on_a_full_disk_parks_and_resumes_without_affecting_producers() {
    // The journal and the other sink have disks of their own: other programs may fill the disk of
    // the temporary folder, and then the journal rightly rejects events.
    let disks = [("archive", 64), ("data", 128), ("elsewhere", 128)];
    let Some(disks) = SmallDisks::mount(&disks) else { return };
    let config = config("archive", "segment_size = \"1MiB\"", "");
    disks.add_ballast("archive", 60 << 20);
    let observer = disks.start(&config);
    // At most 3 MiB/s, so that none of the disks becomes full before the producers are stopped.
    let load = Load::with_pause(&observer, Duration::from_millis(5));
    wait_until("the archive is parked", async || {
        sink(&observer, "archive").await["state"] == "parked"
    })
    .await;
    load.wait_for_acknowledgements(100).await;
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
    load.redirect(&observer);
    load.wait_for_acknowledgements(100).await;
    wait_until("the archive is parked again", async || {
        sink(&observer, "archive").await["state"] == "parked"
    })
    .await;
    disks.remove_ballast("archive");
    wait_until("the archive runs again", async || {
        sink(&observer, "archive").await["state"] == "running"
    })
    .await;
    assert_eq!(load.rejected(), 0, "{:?}", load.details());
    let acknowledged = load.stop().await;
    observer.wait_until_caught_up().await;
    assert_accounts_balance(&observer, &["archive", "slow"]).await;
    log.extend(observer.terminate().1);
    assert_complete(&read_lines(&disks.path("archive/events")), &acknowledged);
    assert_eq!(
        entries(&log, "the sink is parked: its events wait until the cause is removed").count(),
        2,
        "{log:#?}"
    );
    assert_eq!(entries(&log, "the sink accepts events again").count(), 1, "{log:#?}");
}
