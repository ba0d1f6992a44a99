//! Clients that don't read, don't finish and don't leave, all at once.
//!
//! `OBSERVER_TEST_OVERLOAD=full` runs with 100 clients that don't read, 200 slow uploads and 10,000
//! idle connections, for which a release build is meant; otherwise there are a tenth of each.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::support::{DEFAULTS, Observer, client, wait_until};

/// Time for which good events are sent during the overload.
const DURATION: Duration = Duration::from_secs(12);
/// Limit of the resident memory that the overload adds, in bytes.
const MAX_GROWTH: u64 = 100 << 20;

/// Pipelines requests for metrics and reads no response, again after each end of the connection.
async fn silent_reader(address: String) {
    let requests = "GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(1_000);
    loop {
        if let Ok(mut stream) = TcpStream::connect(&address).await {
            let _ = stream.write_all(requests.as_bytes()).await;
            // Without reading, the end of the connection shows in a later write.
            while stream.write_all(b"\r\n").await.is_ok() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Sends a part of a body, and then single bytes, again after each refusal.
async fn slow_upload(address: String, path: &'static str, at_once: usize) {
    let head =
        format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n", 16 << 20);
    let part = vec![b' '; at_once];
    loop {
        if let Ok(mut stream) = TcpStream::connect(&address).await {
            let _ = stream.write_all(head.as_bytes()).await;
            let _ = stream.write_all(&part).await;
            let (mut reading, mut writing) = stream.split();
            let mut response = [0; 1024];
            let trickle = async {
                while writing.write_all(b" ").await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
            };
            tokio::select! {
                () = trickle => {}
                _ = reading.read(&mut response) => {}
            }
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Keeps idle connections open, in place of those that the observer closes.
async fn idle_connections(address: String, number: usize) {
    let mut idle = Vec::new();
    for _ in 0..number {
        if let Ok(stream) = TcpStream::connect(&address).await {
            idle.push(stream);
        }
    }
    std::future::pending::<()>().await;
    drop(idle);
}

/// Posts events for a while. Returns how long each took.
async fn post_events(url: &str) -> Vec<Duration> {
    let (client, started) = (client(), Instant::now());
    let mut durations = Vec::new();
    while started.elapsed() < DURATION {
        let sent = Instant::now();
        let event = r#"{"source":"good","event_kind":"ok","ok":true}"#;
        let response = client.post(format!("{url}/event")).body(event).send().await.unwrap();
        assert_eq!(response.status(), 200, "{}", response.text().await.unwrap());
        response.bytes().await.unwrap();
        durations.push(sent.elapsed());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    durations
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_pass_while_other_clients_hold_what_they_can() {
    let is_full = std::env::var("OBSERVER_TEST_OVERLOAD").is_ok_and(|value| value == "full");
    let (readers, uploads, idle) = if is_full { (100, 200, 10_000) } else { (10, 20, 1_000) };
    let limit = rlimit::increase_nofile_limit(2 * 10_000).unwrap();
    let idle = idle.min(usize::try_from(limit).unwrap_or(usize::MAX).saturating_sub(1_000));
    let dir = tempfile::tempdir().unwrap();
    let observer = Observer::start(dir.path(), DEFAULTS);
    // The memory that the first requests of each kind take.
    post_events(&observer.url).await;
    observer.get("/metrics").await;
    let before = observer.memory();

    let address = observer.url.strip_prefix("http://").unwrap().to_owned();
    let mut clients = JoinSet::new();
    for _ in 0..readers {
        clients.spawn(silent_reader(address.clone()));
    }
    for number in 0..uploads {
        let (path, at_once) = [("/v1/events", 1 << 20), ("/event", 60 << 10)][number % 2];
        clients.spawn(slow_upload(address.clone(), path, at_once));
    }
    clients.spawn(idle_connections(address.clone(), idle));

    let mut durations = post_events(&observer.url).await;
    durations.sort();
    let p99 = durations[durations.len() * 99 / 100];
    let most = durations[durations.len() - 1];
    eprintln!("{} events, p99 {p99:?}, at most {most:?}", durations.len());
    let limit = if is_full { Duration::from_millis(100) } else { Duration::from_secs(1) };
    assert!(p99 < limit, "the 99th percentile is {p99:?}");
    for path in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(observer.get(path).await.status, 200, "{path}");
    }
    if let (Some(before), Some(after)) = (before, observer.memory()) {
        let growth = after.peak.saturating_sub(before.now);
        eprintln!("{} MiB more than {} MiB", growth >> 20, before.now >> 20);
        assert!(growth < MAX_GROWTH, "{growth} bytes");
    }
    clients.shutdown().await;
    wait_until("the connections of the others are closed", async || {
        let metrics = observer.get("/metrics").await.text;
        let open = metrics.lines().find_map(|line| line.strip_prefix("observer_open_connections "));
        open.is_some_and(|open| open.parse::<u64>().unwrap() < 10)
    })
    .await;
    let (status, _) = observer.terminate();
    assert!(status.success());
}
