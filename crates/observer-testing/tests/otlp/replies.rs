//! Each reply over both transports.

use std::time::Duration;

use observer_testing::otlp::Transport::{Grpc, Http};
use observer_testing::otlp::{OtlpReceiver, Reply, Signal, Transport};
use prost::Message;
use tokio::time::Instant;
use tonic::Code;

use crate::client::{Outcome, export, id, logs};

const EVENTS: [(u128, &str); 3] = [(1, "a"), (2, "poison"), (3, "c")];

/// Exports three events, of which the second is `poison`, and checks the outcome for the client and
/// the accepted events.
async fn check(reply: Reply, grpc: Outcome, http: Outcome, accepted: &[u128]) {
    for (transport, expected) in [(Grpc, grpc), (Http, http)] {
        let receiver = OtlpReceiver::scripted([reply.clone()]);
        assert_eq!(
            export(&receiver, transport, logs(&EVENTS)).await,
            expected,
            "{transport:?}: {reply:?}"
        );
        let ids: Vec<_> = accepted.iter().map(|number| id(*number)).collect();
        assert_eq!(receiver.event_ids(Signal::Logs), ids, "{transport:?}: {reply:?}");
        let records = receiver.log_records();
        assert_eq!(records.len(), ids.len());
        assert_eq!(
            receiver.requests()[0].event_ids(),
            [1, 2, 3].map(id),
            "rejected events are recorded too"
        );
    }
}

/// Checks a reply whose outcome differs between the transports by the HTTP status only.
async fn same(reply: Reply, http: u16, outcome: impl Fn() -> Outcome, accepted: &[u128]) {
    check(reply, outcome(), Outcome { http: Some(http), ..outcome() }, accepted).await;
}

/// Returns the outcomes of a success over gRPC and over HTTP.
fn ok(rejected: i64, message: &str) -> (Outcome, Outcome) {
    let outcome = || Outcome { rejected, message: message.to_owned(), ..Outcome::default() };
    (Outcome { code: Some(Code::Ok), ..outcome() }, Outcome { http: Some(200), ..outcome() })
}

#[tokio::test]
async fn each_success_reply_is_decoded() {
    for (reply, rejected, message, accepted) in [
        (Reply::accept(), 0, "", &[1, 2, 3][..]),
        (Reply::warning("`service.name` is missing"), 0, "`service.name` is missing", &[1, 2, 3]),
        (Reply::partial_success(2, "too old"), 2, "too old", &[1]),
        (Reply::partial_success(3, ""), 3, "", &[]),
        (
            Reply::reject_items_containing("poison", "a value that can't be stored"),
            1,
            "a value that can't be stored",
            &[1, 3],
        ),
        (
            Reply::reject_items_containing("absent", "a value that can't be stored"),
            0,
            "",
            &[1, 2, 3],
        ),
    ] {
        let (grpc, http) = ok(rejected, message);
        check(reply, grpc, http, accepted).await;
    }
}

#[tokio::test]
async fn status_has_its_message_and_nothing_is_accepted() {
    for (code, http) in [
        (Code::Cancelled, 503),
        (Code::Unknown, 500),
        (Code::InvalidArgument, 400),
        (Code::DeadlineExceeded, 503),
        (Code::NotFound, 500),
        (Code::PermissionDenied, 403),
        (Code::ResourceExhausted, 429),
        (Code::Aborted, 503),
        (Code::OutOfRange, 503),
        (Code::Unimplemented, 404),
        (Code::Internal, 500),
        (Code::Unavailable, 503),
        (Code::DataLoss, 503),
        (Code::Unauthenticated, 401),
    ] {
        let message = format!("no: {code:?}, 100 % sure \u{2013} sorry");
        let outcome =
            || Outcome { code: Some(code), message: message.clone(), ..Outcome::default() };
        same(Reply::status(code, message.clone()), http, outcome, &[]).await;
    }
}

#[tokio::test]
async fn retry_info_is_in_the_status_and_over_http_also_in_retry_after() {
    let pause = Duration::from_millis(1_500);
    let outcome = || Outcome {
        code: Some(Code::ResourceExhausted),
        message: "slow down".to_owned(),
        retry_info: Some(pause),
        ..Outcome::default()
    };
    let http = Outcome { http: Some(429), retry_after: Some(2), ..outcome() };
    check(
        Reply::status(Code::ResourceExhausted, "slow down").with_retry_after(pause),
        outcome(),
        http,
        &[],
    )
    .await;
}

#[tokio::test]
async fn message_above_the_limit_is_rejected_and_a_smaller_one_accepted() {
    let size = logs(&EVENTS).encoded_len();
    let message = format!("grpc: received message larger than max ({size} vs. {})", size - 1);
    let outcome = || Outcome {
        code: Some(Code::ResourceExhausted),
        message: message.clone(),
        ..Outcome::default()
    };
    same(Reply::reject_messages_larger_than(size - 1), 413, outcome, &[]).await;
    let (grpc, http) = ok(0, "");
    check(Reply::reject_messages_larger_than(size), grpc, http, &[1, 2, 3]).await;
}

#[tokio::test]
async fn poison_event_fails_the_whole_request() {
    let message = "a value that can't be stored";
    for (code, http) in [(Code::InvalidArgument, 400), (Code::Internal, 500)] {
        let outcome =
            || Outcome { code: Some(code), message: message.to_owned(), ..Outcome::default() };
        same(Reply::fail_requests_containing("poison", code), http, outcome, &[]).await;
    }
    let (grpc, http) = ok(0, "");
    check(Reply::fail_requests_containing("absent", Code::Internal), grpc, http, &[1, 2, 3]).await;
}

#[tokio::test]
async fn http_reply_is_a_response_without_otlp() {
    let reply = Reply::http(502).with_header("retry-after", "7");
    // gRPC's mapping of HTTP statuses.
    let message = "grpc-status header missing, mapped from HTTP status code 502".to_owned();
    let grpc = Outcome { code: Some(Code::Unavailable), message, ..Outcome::default() };
    let http = Outcome { http: Some(502), retry_after: Some(7), ..Outcome::default() };
    check(reply.clone(), grpc, http, &[]).await;

    let receiver =
        OtlpReceiver::scripted([reply.clone().with_body("<html>"), reply.with_body("<html>")]);
    assert_eq!(export(&receiver, Http, logs(&EVENTS)).await.message, "<html>");
    let grpc = export(&receiver, Grpc, logs(&EVENTS)).await;
    // The first byte of the page, `<`, is read as the compression flag.
    assert!(grpc.message.contains("invalid compression flag: 60"), "{grpc:?}");
}

#[tokio::test]
async fn script_is_replied_in_order_and_then_the_default_reply() {
    for transport in Transport::ALL {
        let receiver =
            OtlpReceiver::scripted([Reply::status(Code::Unauthenticated, "token expired")]);
        let mut codes = Vec::new();
        for number in 0..5 {
            if number == 2 {
                receiver.set_default_reply(Reply::status(Code::Unavailable, "starting"));
                receiver.enqueue(Reply::accept());
            }
            export(&receiver, transport, logs(&[(number, "a")])).await;
            codes.push(receiver.requests().last().unwrap().code.unwrap());
        }
        assert_eq!(
            codes,
            [Code::Unauthenticated, Code::Ok, Code::Ok, Code::Unavailable, Code::Unavailable]
        );
        assert_eq!(receiver.event_ids(Signal::Logs), [id(1), id(2)]);
    }
}

#[tokio::test]
async fn gated_reply_waits_for_its_gate_and_a_hanging_one_forever() {
    for transport in Transport::ALL {
        let (gated, gate) = Reply::warning("late").gated();
        let receiver = OtlpReceiver::scripted([gated, Reply::hang()]);
        let mut outcome = Box::pin(export(&receiver, transport, logs(&[(1, "a")])));
        tokio::select! {
            biased;
            outcome = &mut outcome => panic!("responded before the gate was opened: {outcome:?}"),
            requests = receiver.wait_for_requests(1) => {
                assert_eq!(requests[0].code, Some(Code::Ok));
            }
        }
        gate.open();
        assert_eq!(outcome.await.message, "late");

        tokio::select! {
            biased;
            outcome = export(&receiver, transport, logs(&[(2, "b")])) => {
                panic!("responded: {outcome:?}")
            }
            requests = receiver.wait_for_requests(2) => assert_eq!(requests[1].code, None),
        }
        assert_eq!(receiver.event_ids(Signal::Logs), [id(1)]);
    }
}

#[tokio::test]
async fn delayed_reply_takes_at_least_its_delay() {
    for transport in Transport::ALL {
        let receiver =
            OtlpReceiver::scripted([Reply::accept().delayed_by(Duration::from_millis(80))]);
        let start = Instant::now();
        export(&receiver, transport, logs(&[(1, "a")])).await;
        assert!(start.elapsed() >= Duration::from_millis(80));
    }
}
