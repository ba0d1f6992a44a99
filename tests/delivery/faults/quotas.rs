//! Destinations that limit the rate or the size of requests.

use std::time::Duration;

use observer_core::Timestamp;
use observer_testing::http::{self, HttpReceiver};
use observer_testing::otlp::{self, OtlpReceiver};
use tonic::Code;

use super::Response::{Grpc, OtlpHttp, Webhook};
use super::{Receiver, Response, Row, config_of, event, good, post, sink, wait_for_sinks};
use crate::support::{Observer, wait_until};

const SHORT: &str = "batch = { linger = \"1ms\" }\nretry = { initial = \"5ms\", max = \"20ms\" }";

/// Returns a reply to events; checks of the sink are accepted.
fn to_events(reply: http::Reply) -> http::Reply {
    http::Reply::choose(move |request| match request.method.as_str() {
        "POST" => reply.clone(),
        _ => http::Reply::accept(),
    })
}

fn webhook(reply: http::Reply) -> Receiver {
    let receiver = HttpReceiver::start();
    receiver.set_default_reply(to_events(reply));
    Receiver::Webhook(receiver)
}

fn collector(reply: otlp::Reply) -> Receiver {
    let receiver = OtlpReceiver::start();
    receiver.set_default_reply(reply);
    Receiver::Otlp(receiver)
}

/// Returns the largest number of events in a request since the last call.
fn largest_request(row: &Row) -> usize {
    let sizes: Vec<_> = match &row.receiver {
        Receiver::Webhook(receiver) => {
            receiver.take_requests().iter().map(|request| request.items().len()).collect()
        }
        Receiver::Otlp(receiver) => receiver
            .take_requests()
            .iter()
            .map(|request| request.payload.log_records().len())
            .collect(),
    };
    sizes.into_iter().max().unwrap_or(0)
}

#[tokio::test]
async fn exhausted_quota_neither_rejects_events_nor_teaches_a_size() {
    let exhausted = || otlp::Reply::status(Code::ResourceExhausted, "60 requests a minute");
    let rows = [
        Row::new(0, Grpc(Code::ResourceExhausted), collector(exhausted()), SHORT),
        Row::new(1, OtlpHttp(429), collector(exhausted()), SHORT),
        Row::new(2, Webhook("array", 429), webhook(http::Reply::status(429)), SHORT),
        Row::new(3, Webhook("ndjson", 503), webhook(http::Reply::status(503)), SHORT),
    ];
    let dir = tempfile::tempdir().unwrap();
    let observer = Observer::start(dir.path(), &config_of(&rows));
    post(&observer, (0..100).map(good).collect()).await;
    wait_for_sinks(&observer, "requests were refused", |sink| sink["retried"].as_u64() > Some(6))
        .await;
    rows.iter().for_each(Row::accept_everything);
    observer.wait_until_caught_up().await;
    let mut next = 100;
    for row in &rows {
        largest_request(row);
        // A size that was learnt during the spell would keep batches small.
        wait_until("a batch is delivered whole", async || {
            post(&observer, (next..next + 100).map(good).collect()).await;
            next += 100;
            observer.wait_until_caught_up().await;
            largest_request(row) == 100
        })
        .await;
        let status = sink(&observer, &row.name).await;
        assert_eq!((&status["dead"], &status["delivered"]), (&0.into(), &next.into()), "{status}");
    }
    assert!(next <= 100 + 100 * rows.len() * 4, "{next} events until the batches were whole");
}

#[tokio::test]
async fn learnt_size_is_forgotten_and_no_event_is_rejected_unasked() {
    const LIMIT: usize = 4_000;
    let by_size = http::Reply::choose(|request| {
        http::Reply::status(if request.body.len() > LIMIT { 413 } else { 200 })
    });
    let too_large = || otlp::Reply::reject_messages_larger_than(LIMIT);
    let more = format!("compression = \"none\"\n{SHORT}");
    let rows = [
        Row::new(0, Grpc(Code::ResourceExhausted), collector(too_large()), &more),
        Row::new(1, OtlpHttp(413), collector(too_large()), &more),
        Row::new(2, Webhook("array", 413), webhook(by_size), &more),
    ];
    let dir = tempfile::tempdir().unwrap();
    let observer = Observer::start(dir.path(), &config_of(&rows));
    post(&observer, (0..100).map(good).collect()).await;
    observer.wait_until_caught_up().await;
    for row in &rows {
        assert!(largest_request(row) > 10 && row.accepted().len() <= 100);
    }
    rows.iter().for_each(Row::accept_everything);
    post(&observer, event(100, &"x".repeat(2 * LIMIT))).await;
    observer.wait_until_caught_up().await;
    let mut next = 101;
    for row in &rows {
        wait_until("a batch is delivered whole", async || {
            post(&observer, (next..next + 100).map(good).collect()).await;
            next += 100;
            observer.wait_until_caught_up().await;
            largest_request(row) == 100
        })
        .await;
        let status = sink(&observer, &row.name).await;
        assert_eq!((&status["dead"], &status["delivered"]), (&0.into(), &next.into()), "{status}");
    }
}

/// Returns the time in an hour in a format of RFC 9110.
fn in_an_hour(format: &str) -> String {
    let time = Timestamp::now() + Duration::from_secs(3600);
    time.strftime(format).to_string()
}

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

/// Returns receivers that request a delay, with the keys of their sinks and the delay in seconds
/// that is obeyed.
fn delays() -> Vec<(Response, Receiver, &'static str, u64)> {
    let after = |status: u16, value: &str| {
        webhook(http::Reply::status(status).with_header("retry-after", value))
    };
    let twice = |first: &str, second: &str| {
        let reply = http::Reply::status(503).with_header("retry-after", first);
        webhook(reply.with_header("retry-after", second))
    };
    let info = |code, seconds| {
        collector(otlp::Reply::status(code, "later").with_retry_after(Duration::from_secs(seconds)))
    };
    let ten_years = 10 * 365 * DAY;
    let bounded = "batch = { linger = \"1ms\" }\n\
                   retry = { initial = \"5ms\", max = \"20ms\", max_retry_after = \"1h\" }";
    let hook = Webhook("array", 503);
    vec![
        (hook, after(503, &in_an_hour("%A, %d-%b-%y %H:%M:%S GMT")), SHORT, HOUR),
        (hook, after(429, &in_an_hour("%a %b %e %H:%M:%S %Y")), SHORT, HOUR),
        (hook, after(503, &in_an_hour("%a, %d %b %Y %H:%M:%S GMT")), SHORT, HOUR),
        (hook, after(503, "3600.5"), SHORT, HOUR),
        (hook, twice("5", "3600"), SHORT, HOUR),
        (hook, twice("3600", "5"), SHORT, HOUR),
        (hook, after(403, "3600"), SHORT, HOUR),
        (hook, after(500, "3600"), SHORT, HOUR),
        (hook, after(503, "999999999999"), SHORT, DAY),
        (hook, after(503, "99999999999999999999999999"), SHORT, DAY),
        (hook, after(503, "999999999999"), bounded, HOUR),
        (Grpc(Code::Unavailable), info(Code::Unavailable, ten_years), SHORT, DAY),
        (Grpc(Code::Unavailable), info(Code::ResourceExhausted, HOUR), SHORT, HOUR),
        (Grpc(Code::Unavailable), info(Code::PermissionDenied, ten_years), bounded, HOUR),
        (OtlpHttp(503), info(Code::Unavailable, ten_years), SHORT, DAY),
    ]
}

#[tokio::test]
async fn requested_delay_is_bounded_and_shown_and_an_operator_ends_it() {
    let mut expected = Vec::new();
    let rows: Vec<_> = delays()
        .into_iter()
        .enumerate()
        .map(|(index, (response, receiver, more, seconds))| {
            expected.push(seconds);
            Row::new(index, response, receiver, more)
        })
        .collect();
    let dir = tempfile::tempdir().unwrap();
    let observer = Observer::start(dir.path(), &config_of(&rows));
    post(&observer, good(0)).await;
    wait_for_sinks(&observer, "every sink waits", |sink| {
        sink["state"] == "retrying" && sink["retry_at"].is_string()
    })
    .await;
    let (code, listed) = observer.run(&["sinks", "list", "--json"]);
    assert_eq!(code, Some(0), "{listed}");
    for (row, seconds) in rows.iter().zip(expected) {
        let status = sink(&observer, &row.name).await;
        let retry_at = status["retry_at"].as_str().unwrap();
        let delay = retry_at.parse::<Timestamp>().unwrap().duration_since(Timestamp::now());
        let delay = u64::try_from(delay.as_secs()).unwrap();
        assert!((seconds - 60..=seconds + 5).contains(&delay), "{delay}: {}", row.config);
        assert!(listed.contains(retry_at), "{retry_at}: {listed}");
        row.accept_everything();
    }
    for row in &rows {
        let (code, output) = observer.run(&["sinks", "retry", &row.name]);
        assert_eq!(code, Some(0), "{output}");
    }
    observer.wait_until_caught_up().await;
    assert!(rows.iter().all(|row| row.accepted() == [0]));
}
