//! Each answer, as both transports give it.

use std::time::Duration;

use observer_testing::otlp::Transport::{Grpc, Http};
use observer_testing::otlp::{OtlpReceiver, Reply, Signal};
use prost::Message;
use tokio::time::Instant;
use tonic::Code;

use crate::client::{BOTH, Outcome, export, id, logs};

const EVENTS: [(u128, &str); 3] = [(1, "a"), (2, "poison"), (3, "c")];

/// What comes of three events, of which the second one is `poison`.
async fn check(answer: Reply, grpc: Outcome, http: Outcome, taken: &[u128]) {
    for (transport, expected) in [(Grpc, grpc), (Http, http)] {
        let receiver = OtlpReceiver::scripted([answer.clone()]);
        assert_eq!(
            export(&receiver, transport, logs(&EVENTS)).await,
            expected,
            "{transport:?}: {answer:?}"
        );
        let ids: Vec<_> = taken.iter().map(|number| id(*number)).collect();
        assert_eq!(receiver.event_ids(Signal::Logs), ids, "{transport:?}: {answer:?}");
        let records = receiver.log_records();
        assert_eq!(records.len(), ids.len());
        assert_eq!(
            receiver.requests()[0].event_ids(),
            [1, 2, 3].map(id),
            "what arrived is there, taken or not"
        );
    }
}

/// The same in both, but for the HTTP status.
async fn same(answer: Reply, http: u16, outcome: impl Fn() -> Outcome, taken: &[u128]) {
    check(answer, outcome(), Outcome { http: Some(http), ..outcome() }, taken).await;
}

fn ok(rejected: i64, message: &str) -> (Outcome, Outcome) {
    let outcome = || Outcome { rejected, message: message.to_owned(), ..Outcome::default() };
    (Outcome { code: Some(Code::Ok), ..outcome() }, Outcome { http: Some(200), ..outcome() })
}

#[tokio::test]
async fn success_is_full_or_partial_or_comes_with_a_warning() {
    for (answer, rejected, message, taken) in [
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
            Reply::reject_items_containing("nobody", "a value that can't be stored"),
            0,
            "",
            &[1, 2, 3],
        ),
    ] {
        let (grpc, http) = ok(rejected, message);
        check(answer, grpc, http, taken).await;
    }
}

#[tokio::test]
async fn every_status_comes_with_its_message_and_takes_nothing() {
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
async fn retry_info_is_in_the_status_and_over_http_in_retry_after_too() {
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
async fn a_request_that_is_too_large_is_refused_and_a_smaller_one_taken() {
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
async fn one_poison_event_takes_its_request_with_it() {
    let message = "a value that can't be stored";
    for (code, http) in [(Code::InvalidArgument, 400), (Code::Internal, 500)] {
        let outcome =
            || Outcome { code: Some(code), message: message.to_owned(), ..Outcome::default() };
        same(Reply::fail_requests_containing("poison", code), http, outcome, &[]).await;
    }
    let (grpc, http) = ok(0, "");
    check(Reply::fail_requests_containing("nobody", Code::Internal), grpc, http, &[1, 2, 3]).await;
}

#[tokio::test]
async fn what_stands_between_knows_nothing_of_otlp() {
    let answer = Reply::http(502).with_header("retry-after", "7");
    // As gRPC's mapping of HTTP statuses has it.
    let message = "grpc-status header missing, mapped from HTTP status code 502".to_owned();
    let grpc = Outcome { code: Some(Code::Unavailable), message, ..Outcome::default() };
    let http = Outcome { http: Some(502), retry_after: Some(7), ..Outcome::default() };
    check(answer.clone(), grpc, http, &[]).await;

    let receiver =
        OtlpReceiver::scripted([answer.clone().with_body("<html>"), answer.with_body("<html>")]);
    assert_eq!(export(&receiver, Http, logs(&EVENTS)).await.message, "<html>");
    let grpc = export(&receiver, Grpc, logs(&EVENTS)).await;
    // A page where a message should be: `<` is no byte that a message begins with.
    assert!(grpc.message.contains("invalid compression flag: 60"), "{grpc:?}");
}

#[tokio::test]
async fn a_script_is_gone_through_in_order_and_all_later_requests_get_the_same() {
    for transport in BOTH {
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
async fn an_answer_waits_for_its_gate_or_for_ever() {
    for transport in BOTH {
        let (held, gate) = Reply::warning("late").gated();
        let receiver = OtlpReceiver::scripted([held, Reply::hang()]);
        let mut answer = Box::pin(export(&receiver, transport, logs(&[(1, "a")])));
        tokio::select! {
            biased;
            answer = &mut answer => panic!("answered before the gate was opened: {answer:?}"),
            requests = receiver.wait_for_requests(1) => assert_eq!(requests[0].code, Some(Code::Ok)),
        }
        gate.open();
        assert_eq!(answer.await.message, "late");

        tokio::select! {
            biased;
            answer = export(&receiver, transport, logs(&[(2, "b")])) => panic!("answered: {answer:?}"),
            requests = receiver.wait_for_requests(2) => assert_eq!(requests[1].code, None),
        }
        assert_eq!(receiver.event_ids(Signal::Logs), [id(1)]);
    }
}

#[tokio::test]
async fn a_slow_answer_takes_its_time() {
    for transport in BOTH {
        let receiver =
            OtlpReceiver::scripted([Reply::accept().delayed_by(Duration::from_millis(80))]);
        let begun = Instant::now();
        export(&receiver, transport, logs(&[(1, "a")])).await;
        assert!(begun.elapsed() >= Duration::from_millis(80));
    }
}
