//! Events that a destination refuses while it accepts others.

use observer_testing::http::{HttpReceiver, Reply};
use serde_json::Value;
use tonic::Code;

use super::Response::{Grpc, OtlpHttp, Webhook};
use super::{
    RETRY, Response, Row, SERVER, config_of, dead_letters, good, poison, post, sink, sinks,
    wait_for_sinks,
};
use crate::support::{Observer, wait_until};

/// Posts `count` poison events in a row between good ones, and good ones until all poison events
/// are dead letters. Asserts that nothing else is, and that every good event was accepted.
async fn assert_poison_events_alone_become_dead_letters(responses: &[Response], count: usize) {
    let rows: Vec<_> = responses
        .iter()
        .enumerate()
        .map(|(index, response)| Row::refusing(index, *response, &with_linger()))
        .collect();
    let dir = tempfile::tempdir().unwrap();
    let observer = Observer::start(dir.path(), &config_of(&rows));
    let mut next = count + 2;
    post(&observer, good(0)).await;
    let all: String = (1..=count).map(poison).collect();
    post(&observer, all + &good(count + 1)).await;
    wait_until("all poison events are dead letters", async || {
        if sinks(&observer).await.iter().all(|sink| sink["dead"] == count) {
            return true;
        }
        post(&observer, good(next)).await;
        next += 1;
        false
    })
    .await;
    observer.wait_until_caught_up().await;

    let expected: Vec<_> = (0..next).filter(|number| !(1..=count).contains(number)).collect();
    for (row, response) in rows.iter().zip(responses) {
        let mut accepted = row.accepted();
        accepted.sort_unstable();
        assert_eq!(accepted, expected, "{response:?}");
        let status = sink(&observer, &row.name).await;
        assert_eq!(
            (&status["state"], &status["dead"], &status["delivered"], &status["undecided"]),
            (&"running".into(), &count.into(), &expected.len().into(), &0.into()),
            "{response:?}"
        );
        let found = dead_letters(&observer, &row.name).await;
        assert_eq!(found.len(), count, "{response:?}");
        for dead_letter in found {
            let reason = dead_letter["reason"].as_str().unwrap();
            assert!(reason.contains(&response.words()), "{response:?}: {reason}");
            let event = &dead_letter["envelope"]["event"];
            assert_eq!(event["extra"]["text"], super::POISON, "{response:?}");
        }
    }
}

fn with_linger() -> String {
    format!("batch = {{ linger = \"1ms\" }}\n{RETRY}")
}

#[tokio::test]
async fn event_that_a_firewall_refuses_becomes_a_dead_letter_whatever_the_status() {
    let webhook = [401, 403, 404, 406, 409, 308, 410].map(|status| Webhook("array", status));
    let single = [403, 418].map(|status| Webhook("envelope", status));
    let grpc = [Code::FailedPrecondition, Code::PermissionDenied, Code::NotFound].map(Grpc);
    let over_http = [403, 404, 409].map(OtlpHttp);
    let all: Vec<_> = webhook.into_iter().chain(single).chain(grpc).chain(over_http).collect();
    assert_poison_events_alone_become_dead_letters(&all, 1).await;
}

#[tokio::test]
async fn several_events_in_a_row_that_break_a_destination_become_dead_letters() {
    let webhook = [("array", 500), ("envelope", 500), ("ndjson", 502), ("event", 504)];
    let webhook = webhook.map(|(body, status)| Webhook(body, status));
    let grpc = [Code::Unknown, Code::Internal, Code::DataLoss].map(Grpc);
    let over_http = [500, 502].map(OtlpHttp);
    let all: Vec<_> = webhook.into_iter().chain(grpc).chain(over_http).collect();
    assert_poison_events_alone_become_dead_letters(&all, 5).await;
}

#[tokio::test]
async fn bad_event_on_a_quiet_sink_becomes_a_dead_letter_without_further_events() {
    let responses = [
        Webhook("envelope", 422),
        Webhook("array", 400),
        Webhook("event", 413),
        Grpc(Code::InvalidArgument),
        Grpc(Code::OutOfRange),
        OtlpHttp(400),
    ];
    let rows: Vec<_> = responses
        .iter()
        .enumerate()
        .map(|(index, response)| Row::refusing(index, *response, &with_linger()))
        .collect();
    let dir = tempfile::tempdir().unwrap();
    let observer = Observer::start(dir.path(), &config_of(&rows));
    post(&observer, good(0)).await;
    wait_for_sinks(&observer, "the good event is delivered", |sink| sink["delivered"] == 1).await;
    post(&observer, poison(1)).await;
    wait_for_sinks(&observer, "the bad event is a dead letter", |sink| sink["dead"] == 1).await;
    for (row, response) in rows.iter().zip(responses) {
        let status = sink(&observer, &row.name).await;
        assert_eq!((&status["state"], &status["pending"]), (&"running".into(), &0.into()));
        let found = dead_letters(&observer, &row.name).await;
        let reason = found[0]["reason"].as_str().unwrap();
        assert!(reason.contains(&response.words()), "{response:?}: {reason}");
    }
}

#[tokio::test]
async fn long_run_of_bad_events_holds_no_sink_for_good() {
    const BAD: usize = 70;
    let responses = [
        Webhook("envelope", 422),
        Webhook("array", 400),
        Webhook("ndjson", 422),
        Grpc(Code::InvalidArgument),
        OtlpHttp(422),
    ];
    let rows: Vec<_> = responses
        .iter()
        .enumerate()
        .map(|(index, response)| Row::refusing(index, *response, &with_linger()))
        .collect();
    let dir = tempfile::tempdir().unwrap();
    let observer = Observer::start(dir.path(), &config_of(&rows));
    let bad: String = (1..=BAD).map(poison).collect();
    post(&observer, good(0) + &bad + &good(BAD + 1)).await;
    wait_for_sinks(&observer, "all bad events are dead letters", |sink| sink["dead"] == BAD).await;
    observer.wait_until_caught_up().await;
    for (row, response) in rows.iter().zip(responses) {
        assert_eq!(row.accepted(), [0, BAD + 1], "{response:?}");
        let found = dead_letters(&observer, &row.name).await;
        let is_poison =
            |found: &Value| found["envelope"]["event"]["extra"]["text"] == super::POISON;
        assert!(found.len() == BAD && found.iter().all(is_poison), "{response:?}");
    }
}

#[tokio::test]
async fn destination_that_refuses_most_events_parks_no_sink() {
    const EVENTS: usize = 300;
    // Seven of ten events are bad, up to 21 of them in a row.
    let is_bad = |number: usize| number % 30 > 8;
    let receiver = HttpReceiver::start();
    receiver.set_default_reply(Reply::choose(|request| {
        Reply::status(if request.text().contains(super::POISON) { 403 } else { 200 })
    }));
    let config = format!(
        "{SERVER}[sinks.hook]\ntype = \"http\"\nbody = \"envelope\"\nurl = \"{}\"\n\
         start = \"earliest\"\n{}\n",
        receiver.url("/hook"),
        with_linger()
    );
    let dir = tempfile::tempdir().unwrap();
    let observer = Observer::start(dir.path(), &config);
    // The destination is known to refuse events and to accept others.
    post(&observer, good(0) + &poison(1) + &good(2)).await;
    wait_for_sinks(&observer, "two are accepted", |sink| sink["delivered"] == 2).await;
    let event = |number: usize| if is_bad(number) { poison(number) } else { good(number) };
    post(&observer, (3..EVENTS).map(event).collect()).await;
    let bad = (3..EVENTS).filter(|number| is_bad(*number)).count() + 1;
    let mut next = EVENTS;
    wait_until("all bad events are dead letters", async || {
        let metrics = observer.get("/metrics").await.text;
        assert!(metrics.contains("observer_sink_parked{sink=\"hook\"} 0"), "{metrics}");
        post(&observer, good(next)).await;
        next += 1;
        sink(&observer, "hook").await["dead"] == bad
    })
    .await;
    observer.wait_until_caught_up().await;
    assert_eq!(sink(&observer, "hook").await["delivered"], next - bad);
    let entries = observer.kill().into_iter().map(|line| serde_json::from_str(&line).unwrap());
    let of_sink = entries.filter(|entry: &Value| entry["sink"] == "hook");
    let messages: Vec<_> =
        of_sink.map(|entry| entry["message"].as_str().unwrap().to_owned()).collect();
    let count = |text: &str| messages.iter().filter(|message| message.contains(text)).count();
    assert_eq!(count("the destination refuses many events and accepts others"), 1, "{messages:?}");
    assert_eq!(count("parked") + count("unavailable") + count("again"), 0, "{messages:?}");
}
