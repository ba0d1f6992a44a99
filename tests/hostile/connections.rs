//! Misused connections: slow, idle, pipelined, closed early and never read.

use std::time::{Duration, Instant};

use insta::assert_snapshot;

use super::monitored::MonitoredObserver;
use super::raw::{RawConnection, Received, post};
use crate::support::{DEFAULTS, Observer, parse_metrics, wait_until};

/// Configuration with timeouts that a test can wait for.
const SHORT_TIMEOUTS: &str =
    "[server]\nlisten = \"127.0.0.1:0\"\nheader_timeout = \"1500ms\"\nbody_timeout = \"1500ms\"\n";
/// Configuration with timeouts that no idle connection reaches.
const LONG_TIMEOUTS: &str =
    "[server]\nlisten = \"127.0.0.1:0\"\nheader_timeout = \"5m\"\nbody_timeout = \"5m\"\n";

/// Sends a part at once and the rest at a byte a second, until there is a response.
async fn trickle(mut connection: RawConnection, at_once: Vec<u8>, then: &[u8]) -> Received {
    let begun = Instant::now();
    connection.send(at_once).await;
    for byte in then {
        connection.send([*byte]).await;
        if let Ok(received) =
            tokio::time::timeout(Duration::from_secs(1), connection.receive()).await
        {
            connection.assert_closed().await;
            assert!(
                begun.elapsed() >= Duration::from_millis(1400),
                "too soon: {:?}",
                begun.elapsed()
            );
            return received;
        }
    }
    panic!("no timeout ended the request within {:?}", begun.elapsed());
}

#[tokio::test]
async fn slow_request_ends_after_the_configured_timeout() {
    let dir = tempfile::tempdir().unwrap();
    let mut observer = MonitoredObserver::start(dir.path(), SHORT_TIMEOUTS).await;
    let event = r#"{"source":"slow","event_kind":"ok","ok":true}"#;
    let (single, batch) = (post("/event", "", event), post("/v1/events", "", event));
    let head = single.len() - event.len();
    let chunked =
        b"POST /event HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    let connect = || observer.connect();
    let received = tokio::join!(
        trickle(connect().await, Vec::new(), &single),
        trickle(connect().await, single[..head - 10].to_vec(), &single[head - 10..]),
        trickle(connect().await, single[..head].to_vec(), &single[head..]),
        trickle(connect().await, batch[..batch.len() - event.len()].to_vec(), event.as_bytes()),
        trickle(connect().await, chunked, b"1\r\n \r\n1\r\n \r\n"),
    );
    observer.record("the head", received.0).await;
    observer.record("the end of the head", received.1).await;
    observer.record("the body", received.2).await;
    observer.record("the body of a batch", received.3).await;
    observer.record("the chunked body", received.4).await;
    assert_snapshot!(observer.transcript.trim_end());
    observer.finish().await;
}

#[tokio::test]
async fn observer_stops_within_ten_seconds_whatever_clients_do() {
    let dir = tempfile::tempdir().unwrap();
    let observer = Observer::start(dir.path(), DEFAULTS);
    let mut unending = RawConnection::connect(&observer).await;
    unending.send("POST /event HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n").await;
    let mut chunked = RawConnection::connect(&observer).await;
    let head = "POST /v1/events HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n";
    chunked.send([head, "1\r\n \r\n"].concat()).await;
    let mut silent = RawConnection::connect(&observer).await;
    silent.send("GET /openapi.json HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(500)).await;
    // The observer has read the requests once it has responded to a later one.
    for _ in 0..3 {
        assert_eq!(observer.get("/livez").await.status, 200);
    }
    let begun = Instant::now();
    let stopping = tokio::task::spawn_blocking(move || observer.terminate());
    for connection in [&mut unending, &mut chunked] {
        let response = connection.response().await;
        assert_eq!(response.status, 503, "{}", response.text);
    }
    let (status, _) = stopping.await.unwrap();
    assert!(status.success());
    assert!(begun.elapsed() < Duration::from_secs(9), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn client_of_http_2_is_told_to_use_http_1_1() {
    let dir = tempfile::tempdir().unwrap();
    let observer = MonitoredObserver::start(dir.path(), DEFAULTS).await;
    let client = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    let event = r#"{"source":"mesh","event_kind":"ok","ok":true}"#;
    for request in [
        client.get(format!("{}/livez", observer.process.url)),
        client.post(format!("{}/event", observer.process.url)).body(event),
    ] {
        let response = request.send().await.unwrap();
        assert_eq!(response.version(), reqwest::Version::HTTP_2);
        assert_eq!(response.status(), 505);
        let text = response.text().await.unwrap();
        assert!(text.contains("the observer speaks HTTP/1.1, and not HTTP/2"), "{text}");
    }
    observer.finish().await;
}

#[tokio::test]
async fn ten_thousand_idle_connections_give_way_to_active_ones() {
    const MOST: u64 = 10_000;
    /// File descriptors for everything else, other tests included.
    const OTHERS: u64 = 500;
    let limit = rlimit::increase_nofile_limit(2 * MOST).unwrap();
    let wanted = MOST.min(limit.saturating_sub(OTHERS));
    if wanted < MOST {
        eprintln!("the limit of {limit} open files allows {wanted} connections only");
    }
    let dir = tempfile::tempdir().unwrap();
    let mut observer = MonitoredObserver::start(dir.path(), LONG_TIMEOUTS).await;
    let mut idle = Vec::new();
    for number in 0..wanted {
        let mut connection = observer.connect().await;
        // Some connections completed a request, some sent part of a head, and some sent nothing.
        // The last ones may arrive before earlier ones count as idle.
        let sent = match number % 3 {
            0 => connection.send("GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n").await,
            1 => connection.send("POST /event HTTP/1.1\r\nhost: loc").await,
            _ => true,
        };
        if sent && number % 3 == 0 {
            let received = connection.receive().await;
            if let Received::Response(response) = received {
                assert!([200, 503].contains(&response.status), "{}", response.text);
            }
        }
        idle.push(connection);
    }
    let mut newcomer = observer.connect().await;
    wait_until("a new connection is served", async || {
        newcomer = observer.connect().await;
        newcomer.send("GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
        matches!(newcomer.receive().await, Received::Response(response) if response.status == 200)
    })
    .await;
    newcomer.send("GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    let open = parse_metrics(&newcomer.response().await.text)["observer_open_connections"];
    assert!((2048.0..=4096.0).contains(&open) || wanted < MOST, "{open} are open");
    for _ in 0..100 {
        observer.assert_healthy("thousands of idle connections").await;
    }
    idle.swap_remove(0).assert_closed().await;
    drop(idle);
    observer.assert_healthy("the idle connections closed").await;
    observer.finish().await;
}

#[tokio::test]
async fn pipelined_requests_get_responses_in_order_up_to_a_malformed_one() {
    let dir = tempfile::tempdir().unwrap();
    let mut observer = MonitoredObserver::start(dir.path(), DEFAULTS).await;
    let mut connection = observer.connect().await;
    let (mut requests, mut expected) = (Vec::new(), Vec::new());
    for number in 0..1000 {
        let event =
            format!(r#"{{"source":"pipe","cycle_id":"{number}","event_kind":"ok","ok":true}}"#);
        let (body, status) = match number % 10 {
            3 => (event.replace("true", "1"), 422),
            6 => (event.replace("true", "tru"), 400),
            _ => (event, 200),
        };
        requests.extend(post("/event", "", &body));
        expected.push((status, body));
    }
    requests.extend(post("/event", "content-length: 5\r\n", "it has two lengths"));
    requests.extend(post("/event", "", r#"{"source":"late","event_kind":"ok","ok":true}"#));
    assert!(connection.send(requests).await);
    for (status, body) in expected {
        let response = connection.response().await;
        assert_eq!(response.status, status, "{body}");
        if status == 200 {
            observer.expect_in_archive(body);
        }
    }
    assert_eq!(connection.response().await.status, 400);
    connection.assert_closed().await;
    observer.finish().await;
}

#[tokio::test]
async fn client_that_shut_down_its_write_half_receives_the_response() {
    let dir = tempfile::tempdir().unwrap();
    let mut observer = MonitoredObserver::start(dir.path(), DEFAULTS).await;
    for _ in 0..100 {
        let mut connection = observer.connect().await;
        let event = observer.valid_event();
        connection.send(post("/event", "", &event)).await;
        connection.shut_down_write().await;
        assert_eq!(connection.response().await.status, 200);
        connection.assert_closed().await;
        observer.expect_in_archive(event);
    }
    observer.finish().await;
}

/// A client that never reads must not make the observer buffer responses.
#[tokio::test]
async fn unread_responses_do_not_accumulate() {
    let dir = tempfile::tempdir().unwrap();
    let mut observer = MonitoredObserver::start(dir.path(), SHORT_TIMEOUTS).await;
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let mut connection = observer.connect().await;
        clients.spawn(async move {
            let requests = "GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(400_000);
            let sent =
                tokio::time::timeout(Duration::from_secs(2), connection.send(requests)).await;
            assert!(sent.is_err(), "the observer stops reading while no response is read");
            connection
        });
    }
    let unread = clients.join_all().await;
    observer.assert_healthy("8 million requests without a response read").await;
    drop(unread);
    observer.finish().await;
}

#[tokio::test]
async fn event_of_a_client_that_hangs_up_is_accepted_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut observer = MonitoredObserver::start(dir.path(), DEFAULTS).await;
    for number in 0..30 {
        let event =
            format!(r#"{{"source":"phone","cycle_id":"{number}","event_kind":"ok","ok":true}}"#);
        let request = post("/event", "", &event);
        let head = request.len() - event.len();
        for part in [head / 2, head, head + event.len() / 2] {
            let mut connection = observer.connect().await;
            connection.send(&request[..part]).await;
        }
        observer.assert_healthy("a client that hung up within a request").await;

        // The request is complete, and the client doesn't wait for the response.
        let mut connection = observer.connect().await;
        connection.send(&request).await;
        drop(connection);
        observer.expect_in_archive(&event);
        let wanted = observer.accepted_count() as u64;
        wait_until(&format!("event {number} is accepted nevertheless"), async || {
            let head =
                observer.process.get("/v1/sinks").await.json()["head"].as_str().unwrap().to_owned();
            head.split('-').next_back().unwrap().parse::<u64>().unwrap() == wanted
        })
        .await;
        let response = observer.post(&event).await;
        assert_eq!(
            (response.status, &response.json()["status"]),
            (200, &"duplicate".into()),
            "{}",
            response.text
        );
    }
    observer.finish().await;
}
