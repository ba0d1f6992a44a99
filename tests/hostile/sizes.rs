//! Oversized input: announced, sent, or decompressed from a small body.

use std::io::Write;
use std::time::{Duration, Instant};

use insta::assert_snapshot;

use super::monitored::MonitoredObserver;
use super::raw::{Received, post};
use crate::support::DEFAULTS;

const GIBIBYTE: usize = 1 << 30;
const MEBIBYTE: usize = 1 << 20;

/// Returns the head of a request that announces a body.
fn announce(path: &str, headers: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         {headers}\r\n\r\n"
    )
}

#[tokio::test]
async fn oversized_body_is_rejected_when_announced_or_received() {
    let dir = tempfile::tempdir().unwrap();
    let mut observer = MonitoredObserver::start(dir.path(), DEFAULTS).await;
    for path in ["/event", "/v1/events"] {
        for (headers, what) in [("", "no body sent"), ("expect: 100-continue\r\n", "with Expect")] {
            let mut connection = observer.connect().await;
            connection.send(announce(path, &format!("{headers}content-length: {GIBIBYTE}"))).await;
            let response = connection.response().await;
            connection.assert_closed().await;
            observer
                .assert_rejected(&format!("1 GiB announced to {path}, {what}"), 413, response)
                .await;
        }

        let mut connection = observer.connect().await;
        connection.send(announce(path, &format!("content-length: {GIBIBYTE}"))).await;
        connection.send(vec![b' '; MEBIBYTE]).await;
        let response = connection.response().await;
        observer
            .assert_rejected(&format!("1 GiB announced to {path}, 1 MiB sent"), 413, response)
            .await;

        // A client that doesn't read while it sends still receives the response.
        let mut connection = observer.connect().await;
        connection.send(announce(path, "transfer-encoding: chunked")).await;
        let chunk = [b"100000\r\n", &vec![b' '; MEBIBYTE][..], b"\r\n"].concat();
        for _ in 0..24 {
            if !connection.send(&chunk).await {
                break;
            }
        }
        let response = connection.response().await;
        observer.assert_rejected(&format!("24 MiB in chunks to {path}"), 413, response).await;
    }
    assert_snapshot!(observer.transcript.trim_end());
    observer.finish().await;
}

/// Returns one gzip member that decompresses to zeros. After a flush the compressor's output
/// repeats, so its third block is copied instead of compressing all of them.
fn gzip_bomb(mebibytes: usize) -> Vec<u8> {
    let zeros = vec![0; MEBIBYTE];
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    let mut ends = Vec::new();
    for _ in 0..3 {
        encoder.write_all(&zeros).unwrap();
        encoder.flush().unwrap();
        ends.push(encoder.get_ref().len());
    }
    let packed = &encoder.get_ref()[..ends[2]];
    let (start, again) = (&packed[..ends[1]], &packed[ends[1]..]);
    [start, &again.repeat(mebibytes - 2)].concat()
}

/// Returns one zstd frame of zeros (RFC 8878, section 3.1.1), built of RLE blocks of 128 KiB.
fn zstd_bomb(mebibytes: u32) -> Vec<u8> {
    const BLOCK: u32 = 128 << 10;
    // Magic, a descriptor without checksum, dictionary or content size, a window of 128 KiB.
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 7 << 3];
    let blocks = (mebibytes << 20) / BLOCK;
    for block in 1..=blocks {
        let header = BLOCK << 3 | 1 << 1 | u32::from(block == blocks);
        frame.extend_from_slice(&header.to_le_bytes()[..3]);
        frame.push(0);
    }
    frame
}

#[tokio::test]
async fn decompression_bomb_is_rejected() {
    let dir = tempfile::tempdir().unwrap();
    let mut observer = MonitoredObserver::start(dir.path(), DEFAULTS).await;
    let gzip = gzip_bomb(1024);
    // The bomb is valid: its beginning decompresses to zeros.
    let start = std::io::Read::bytes(flate2::read::GzDecoder::new(&*gzip)).take(8 * MEBIBYTE);
    assert_eq!(start.filter(|byte| matches!(byte, Ok(0))).count(), 8 * MEBIBYTE);
    let members = gzip_bomb(2).repeat(512);
    let zstd = zstd_bomb(1024);
    for (what, encoding, bomb) in [
        ("1 GiB in one gzip member", "gzip", gzip),
        ("1 GiB in 512 truncated gzip members", "gzip", members),
        ("1 GiB in one zstd frame", "zstd", zstd.clone()),
        ("1 GiB in many zstd frames", "zstd", zstd_bomb(4).repeat(256)),
        (
            "a zstd frame with a window of 2 GiB",
            "zstd",
            [&zstd[..5], &[21 << 3], &zstd[6..]].concat(),
        ),
    ] {
        assert!(bomb.len() < 2 * MEBIBYTE, "{what}: {}", bomb.len());
        let begun = Instant::now();
        let mut connection = observer.connect().await;
        connection
            .send(post("/v1/events", &format!("content-encoding: {encoding}\r\n"), bomb))
            .await;
        let received = connection.receive().await;
        assert!(begun.elapsed() < Duration::from_secs(10), "{what}: {:?}", begun.elapsed());
        observer.record(what, received).await;
    }
    assert_snapshot!(observer.transcript.trim_end());
    observer.finish().await;
}

#[tokio::test]
async fn batch_of_millions_of_tiny_items_stays_within_memory() {
    let dir = tempfile::tempdir().unwrap();
    let mut observer = MonitoredObserver::start(dir.path(), DEFAULTS).await;
    let full = 16 * MEBIBYTE - 2;
    for (what, body) in [
        ("an array of eight million zeros", format!("[{}0]", "0,".repeat(full / 2 - 1))),
        ("an array of five million objects", format!("[{}{{}}]", "{},".repeat(full / 3 - 1))),
        ("eight million lines", "0\n".repeat(full / 2)),
        ("sixteen million blank lines before a number", "\n".repeat(full) + "0"),
        ("an unclosed array", format!("[{}", "0,".repeat(full / 2))),
        (
            "eight million nested arrays",
            format!("{}{}", "[".repeat(full / 2), "]".repeat(full / 2)),
        ),
        ("ten thousand invalid items", "{\"source\":\"\\ud800\"}\n".repeat(10_000)),
    ] {
        let mut connection = observer.connect().await;
        connection.send(post("/v1/events", "", body)).await;
        let received = connection.receive().await;
        observer.record(what, received).await;
    }
    assert_snapshot!(observer.transcript.trim_end());
    observer.finish().await;
}

/// Each connection sends almost all of a batch of the maximum size.
#[tokio::test]
async fn concurrent_large_bodies_stay_within_memory() {
    const CONNECTIONS: usize = 32;
    let dir = tempfile::tempdir().unwrap();
    let mut observer = MonitoredObserver::start(dir.path(), DEFAULTS).await;
    let body = vec![b' '; 15 * MEBIBYTE];
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut connection = observer.connect().await;
        connection
            .send(announce("/v1/events", &format!("content-length: {}", 16 * MEBIBYTE)))
            .await;
        connection.send(&body).await;
        connections.push(connection);
    }
    observer.assert_healthy("480 MiB of incomplete bodies").await;
    drop(connections);
    observer.finish().await;
}

/// Work that takes memory is limited in concurrency, whatever the number of connections.
#[tokio::test]
async fn concurrent_bombs_and_scrapes_stay_within_memory() {
    const CONNECTIONS: usize = 100;
    let dir = tempfile::tempdir().unwrap();
    let mut observer = MonitoredObserver::start(dir.path(), DEFAULTS).await;
    let bomb = post("/v1/events", "content-encoding: gzip\r\n", gzip_bomb(64));
    let scrape = b"GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n".to_vec();
    for (what, request, times, statuses) in
        [("bombs", bomb, 1, &[413, 429][..]), ("scrapes", scrape, 4, &[200])]
    {
        let mut clients = tokio::task::JoinSet::new();
        for _ in 0..CONNECTIONS {
            let (mut connection, request) = (observer.connect().await, request.clone());
            clients.spawn(async move {
                for _ in 0..times {
                    connection.send(&request).await;
                    let Received::Response(response) = connection.receive().await else { return };
                    assert!(
                        statuses.contains(&response.status),
                        "{} {}",
                        response.status,
                        response.text
                    );
                }
            });
        }
        clients.join_all().await;
        observer.assert_healthy(&format!("{CONNECTIONS} connections with {what}")).await;
    }
    observer.finish().await;
}
