//! Streams of events, as clients receive them over connections that end.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{DEFAULTS, OBSERVER, Observer, TIMEOUT};

/// Client of a stream, which connects again with the id of the last event.
struct Reader {
    client: reqwest::Client,
    response: Option<reqwest::Response>,
    unread: Vec<u8>,
    last_id: Option<String>,
}

/// Event with data.
struct Sse {
    kind: String,
    data: Value,
}

impl Reader {
    fn new(observer: &Observer) -> Self {
        Self { client: observer.client(), response: None, unread: Vec::new(), last_id: None }
    }

    /// Connects, and receives the position at which the stream begins if it is not resumed.
    async fn connect(&mut self, url: &str, query: &str) {
        self.unread.clear();
        let mut request = self.client.get(format!("{url}/v1/stream{query}"));
        if let Some(id) = &self.last_id {
            request = request.header("last-event-id", id);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        self.response = Some(response);
        if self.last_id.is_none() {
            assert!(self.block().await.unwrap().is_none() && self.last_id.is_some());
        }
    }

    /// Returns the next event; `None` when the connection ends.
    async fn next(&mut self) -> Option<Sse> {
        loop {
            if let Some(event) = self.block().await? {
                return Some(event);
            }
        }
    }

    async fn block(&mut self) -> Option<Option<Sse>> {
        loop {
            if let Some(at) = self.unread.windows(2).position(|window| window == b"\n\n") {
                let block: Vec<u8> = self.unread.drain(..at + 2).collect();
                return Some(self.parse(str::from_utf8(&block).unwrap()));
            }
            let chunk = tokio::time::timeout(TIMEOUT, self.response.as_mut()?.chunk());
            match chunk.await.expect("the stream goes on or ends") {
                Ok(Some(bytes)) => self.unread.extend_from_slice(&bytes),
                Ok(None) | Err(_) => {
                    self.response = None;
                    return None;
                }
            }
        }
    }

    fn parse(&mut self, block: &str) -> Option<Sse> {
        let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name));
        if let Some(id) = field("id: ") {
            self.last_id = Some(id.to_owned());
        }
        let data = serde_json::from_str(field("data: ")?).unwrap();
        Some(Sse { kind: field("event: ").unwrap().to_owned(), data })
    }

    /// Reads until the sequence number of an event is reached, with repeated connections. Each
    /// event must follow the one before.
    async fn read_to(&mut self, url: &str, next: &mut u64, last: u64) {
        while *next <= last {
            match self.next().await {
                Some(event) => {
                    assert_eq!(
                        (event.kind.as_str(), &event.data["seq"]),
                        ("outcome", &(*next).into())
                    );
                    *next += 1;
                }
                None => self.connect(url, "").await,
            }
        }
    }
}

fn event(number: u64, bytes: usize) -> String {
    let text = "x".repeat(bytes);
    format!(
        r#"{{"source":"load","cycle_id":"{number}","event_kind":"ok","ok":true,"extra":{{"x":"{text}"}}}}"#
    )
}

async fn post_all(observer: &Observer, numbers: std::ops::RangeInclusive<u64>, bytes: usize) {
    for number in numbers {
        assert_eq!(observer.post(event(number, bytes)).await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stream_resumes_after_a_kill_without_a_gap_or_a_repetition() {
    let dir = tempfile::tempdir().unwrap();
    let mut observer = Observer::start(dir.path(), DEFAULTS);
    let mut reader = Reader::new(&observer);
    reader.connect(&observer.url, "").await;
    let (mut next, accepted) = (1, Arc::new(AtomicU64::new(0)));
    for round in 0..4 {
        let (client, url) = (observer.client(), format!("{}/event", observer.url));
        let counter = accepted.clone();
        let producer = tokio::spawn(async move {
            for number in 0.. {
                let body = event(round * 1_000_000 + number, 100);
                if client.post(&url).body(body).send().await.is_err() {
                    return;
                }
                counter.fetch_add(1, Ordering::SeqCst);
            }
        });
        let url = observer.url.clone();
        let target = next + 100;
        reader.read_to(&url, &mut next, target).await;
        observer.kill();
        producer.await.unwrap();
        // What had arrived before the end of the connection counts as received.
        while let Some(event) = reader.next().await {
            assert_eq!(event.data["seq"], next);
            next += 1;
        }
        observer = Observer::start(dir.path(), DEFAULTS);
    }
    let last = observer.get("/v1/sinks").await.json()["head"].as_str().unwrap().to_owned();
    let last: u64 = last.split_once('-').map_or(&*last, |(_, seq)| seq).parse().unwrap();
    assert!(last >= accepted.load(Ordering::SeqCst), "every accepted event is in the journal");
    reader.read_to(&observer.url, &mut next, last).await;
    assert_eq!(next, last + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reader_that_sleeps_or_drops_gets_each_event_once_and_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let config = DEFAULTS.replace("[server]\n", "[server]\nwrite_timeout = \"1s\"\n");
    let observer = Observer::start(dir.path(), &config);
    let mut sleeper = Reader::new(&observer);
    let mut dropper = Reader::new(&observer);
    sleeper.connect(&observer.url, "").await;
    dropper.connect(&observer.url, "").await;
    // More than the buffers of a connection hold.
    post_all(&observer, 1..=24, 1_000_000).await;
    let (mut asleep, mut dropped) = (1, 1);
    dropper.read_to(&observer.url, &mut dropped, 5).await;
    dropper.response = None;
    let closed =
        observer.wait_for_metrics(|metrics| metrics["observer_stream_readers"] == 0.0).await;
    assert_eq!(closed["observer_stream_missed_events_total"], 0.0);
    post_all(&observer, 25..=30, 1_000_000).await;
    sleeper.read_to(&observer.url, &mut asleep, 30).await;
    dropper.read_to(&observer.url, &mut dropped, 30).await;
    assert_eq!((asleep, dropped), (31, 31));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stream_past_retention_begins_with_a_gap() {
    let dir = tempfile::tempdir().unwrap();
    let config = format!(
        "{DEFAULTS}[journal]\nretain = \"0s\"\nsegment_size = \"64KiB\"\n[sinks.prometheus]\n\
         type = \"prometheus\"\n"
    );
    let observer = Observer::start(dir.path(), &config);
    let mut reader = Reader::new(&observer);
    reader.connect(&observer.url, "").await;
    let start = reader.last_id.clone();
    // More than the events that are kept in memory.
    post_all(&observer, 1..=20, 900_000).await;
    let begun = Instant::now();
    let last = loop {
        let mut resumed = Reader { last_id: start.clone(), ..Reader::new(&observer) };
        resumed.connect(&observer.url, "").await;
        let first = resumed.next().await.unwrap();
        if first.kind == "gap" {
            assert_eq!(
                (&first.data["first"], &first.data["reason"]),
                (&1.into(), &"expired".into())
            );
            assert_eq!(first.data["count"], first.data["last"]);
            let last = first.data["last"].as_u64().unwrap();
            let mut next = last + 1;
            resumed.read_to(&observer.url, &mut next, 20).await;
            break last;
        }
        assert!(begun.elapsed() < TIMEOUT, "no event expires");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert!((1..20).contains(&last), "{last}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_delay_no_exit() {
    let dir = tempfile::tempdir().unwrap();
    let observer = Observer::start(dir.path(), DEFAULTS);
    let mut reader = Reader::new(&observer);
    let mut stalled = Reader::new(&observer);
    reader.connect(&observer.url, "?source=none").await;
    stalled.connect(&observer.url, "").await;
    post_all(&observer, 1..=16, 1_000_000).await;
    observer.wait_until_caught_up().await;
    let ended = tokio::spawn(async move { reader.next().await.is_none() });
    let begun = Instant::now();
    let (status, log) = observer.terminate();
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?} {log:#?}", begun.elapsed());
    assert!(status.success() && ended.await.unwrap());
}

/// Starts `observer tail` in a folder, so that it connects to the admin socket there.
fn tail(dir: &Path, arguments: &[&str]) -> (Child, mpsc::Receiver<String>) {
    let mut process = Command::new(OBSERVER)
        .arg("tail")
        .args(arguments)
        .current_dir(dir)
        .env_remove("LH_OBSERVER_URL")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(process.stdout.take().unwrap());
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        output.lines().map_while(Result::ok).for_each(|line| drop(sender.send(line)));
    });
    (process, lines)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tail_prints_each_event_once_across_a_kill_and_ends_with_ctrl_c() {
    let dir = tempfile::tempdir().unwrap();
    let mut observer = Observer::start(dir.path(), DEFAULTS);
    let (mut process, lines) = tail(dir.path(), &["--json"]);
    let has_reader = |metrics: &BTreeMap<String, f64>| metrics["observer_stream_readers"] == 1.0;
    let mut next = 1;
    for round in 0..3 {
        observer.wait_for_metrics(has_reader).await;
        post_all(&observer, 10 * round..=10 * round + 9, 10).await;
        for _ in 0..10 {
            let envelope: Value =
                serde_json::from_str(&lines.recv_timeout(TIMEOUT).unwrap()).unwrap();
            assert_eq!(envelope["seq"], next);
            next += 1;
        }
        observer.kill();
        observer = Observer::start(dir.path(), DEFAULTS);
    }
    let sent = Command::new("kill").args(["-INT", &process.id().to_string()]).status().unwrap();
    assert!(sent.success());
    let output = process.wait().unwrap();
    assert_eq!(output.code(), Some(0));
    let mut errors = String::new();
    process.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    assert!(errors.contains("connecting again in 0.5 s"), "{errors}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tail_filters_and_begins_after_an_id() {
    let dir = tempfile::tempdir().unwrap();
    let observer = Observer::start(dir.path(), DEFAULTS);
    let head = observer.get("/v1/sinks").await.json()["head"].as_str().unwrap().to_owned();
    for (source, ok) in [("ci", true), ("job", false), ("ci", false)] {
        let event = format!(r#"{{"source":"{source}","event_kind":"kind","ok":{ok}}}"#);
        observer.post(event).await;
    }
    let arguments = ["--since-id", &head, "--source", "ci", "--failed"];
    let (mut process, lines) = tail(dir.path(), &arguments);
    let line = lines.recv_timeout(TIMEOUT).unwrap();
    assert!(
        line.ends_with(
            "  ci            kind              failed  –                            –  –"
        ),
        "{line}"
    );
    process.kill().unwrap();
    process.wait().unwrap();
    assert!(lines.recv_timeout(TIMEOUT).is_err(), "no other event matches");
    for arguments in [&["tail", "--since-id", "7"][..], &["tail", "--url", "http://127.0.0.1:1"]] {
        assert_eq!(observer.run(arguments).0, Some(2), "{arguments:?}");
    }
}
