//! Resolution of responses.

use std::time::Duration;

use insta::assert_snapshot;
use observer_core::{ErrorKind, EventSink, Receipt, Rejected};

use super::receiver::Receiver;
use super::{assert_error, sink};
use crate::Auth;
use crate::config::{Body, Check, HttpConfig};
use crate::testing::batch;

#[tokio::test]
async fn status_determines_the_kind_of_error() {
    use ErrorKind::{Denied, Failed, Permanent, TooLarge, Transient, Unauthenticated};
    let receiver = Receiver::start();
    for body in [Body::Ndjson, Body::Envelope] {
        let sink = sink(&HttpConfig::new(&*receiver.url).body(body.clone()));
        for status in [200, 201, 202, 204] {
            receiver.respond(status, &[], "");
            assert_eq!(sink.deliver(&batch(2)).await.unwrap(), Receipt::accepted(), "{status}");
        }
        let table: [(ErrorKind, &[u16]); 6] = [
            (Transient, &[408, 425, 429, 503]),
            (Failed, &[500, 501, 502, 504, 507, 599]),
            (Permanent, &[400, 422]),
            (Unauthenticated, &[401, 407]),
            (
                Denied,
                &[
                    300, 301, 302, 303, 304, 307, 308, 402, 403, 404, 405, 406, 409, 410, 411, 415,
                    421, 451,
                ],
            ),
            (TooLarge, &[413]),
        ];
        for (kind, statuses) in table {
            for status in statuses {
                receiver.respond(*status, &[], "");
                let error = sink.deliver(&batch(2)).await.unwrap_err();
                assert_error(&error, kind, &format!("{} responded with {status}", receiver.url));
            }
        }
    }
}

#[tokio::test]
async fn retry_after_makes_every_failure_transient() {
    let receiver = Receiver::start();
    let sink = sink(&HttpConfig::new(&*receiver.url));
    let mut pauses = Vec::new();
    for (status, headers) in [
        (429, vec![("retry-after", "7")]),
        (
            503,
            vec![
                ("retry-after", "Sun, 06 Nov 1994 08:49:45 GMT"),
                ("date", "Sun, 06 Nov 1994 08:49:37 GMT"),
            ],
        ),
        (503, vec![]),
        (403, vec![("retry-after", "9")]),
        (500, vec![("retry-after", "Sunday, 06-Nov-94 08:49:45 GMT")]),
        (422, vec![("retry-after", "2.0")]),
    ] {
        receiver.respond(status, &headers, "");
        let error = sink.deliver(&batch(1)).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Transient, "{status}");
        pauses.push(error.retry_after.map(|pause| pause.as_secs()));
    }
    assert_eq!(pauses, [Some(7), Some(8), None, Some(9), Some(0), Some(2)]);
    receiver.respond(308, &[("retry-after", "9"), ("location", "/new")], "");
    let error = sink.deliver(&batch(1)).await.unwrap_err();
    assert_error(&error, ErrorKind::Denied, "has moved");
    assert_eq!(error.retry_after, None);
}

#[tokio::test]
async fn refused_size_is_split_without_a_request() {
    let receiver = Receiver::start();
    let sink = sink(&HttpConfig::new(&*receiver.url));
    let large = batch(20);
    receiver.respond(413, &[], "");
    assert_error(&sink.deliver(&large).await.unwrap_err(), ErrorKind::TooLarge, "; see `batch`");
    assert_error(
        &sink.deliver(&large).await.unwrap_err(),
        ErrorKind::TooLarge,
        "bytes is larger than",
    );
    assert_eq!(receiver.requests().len(), 1, "the size is known");
    sink.deliver(&large.halves().unwrap().0).await.unwrap();
    assert_eq!(receiver.requests().len(), 1);
    sink.check().await.unwrap();
    sink.deliver(&large).await.unwrap();
    assert_eq!(receiver.requests().len(), 2, "a check forgets the size");
}

#[tokio::test]
async fn single_event_is_sent_whatever_its_size() {
    let receiver = Receiver::start();
    for body in [Body::Array, Body::Event] {
        let sink = sink(&HttpConfig::new(&*receiver.url).body(body.clone()));
        for _ in 0..3 {
            receiver.respond(413, &[], "");
            let error = sink.deliver(&batch(1)).await.unwrap_err();
            assert_error(&error, ErrorKind::TooLarge, "responded with 413");
        }
        sink.deliver(&batch(1)).await.unwrap();
        assert_eq!(receiver.requests().len(), 4, "{body:?}");
    }
}

#[tokio::test]
async fn reason_contains_the_response_without_secrets() {
    let receiver = Receiver::start();
    let config =
        HttpConfig::new(format!("{}/services/xoxb-0123456789abcdef?key=s3cret", receiver.url))
            .auth(Auth::bearer("t0ken"))
            .header("X-Api-Key", "0123-4567");
    let sink = sink(&config);
    let mut reasons = Vec::new();
    for (status, headers, body) in [
        (
            422,
            vec![],
            r#"{"type":"about:blank","title":"Unprocessable","detail":"`ok` is missing"}"#,
        ),
        (401, vec![], "no such token: t0ken, nor 0123-4567"),
        (404, vec![], "<pre>Cannot POST /services/xoxb-0123456789abcdef?key=s3cret</pre>\n"),
        (405, vec![("allow", "GET")], ""),
        (410, vec![], "\u{1b}[2Jgone"),
        (415, vec![], "no gzip"),
        (308, vec![("location", "https://elsewhere.example.com/new?key=s3cret")], ""),
        (302, vec![("location", "/login")], ""),
        (500, vec![], "a\nb"),
        (599, vec![], ""),
    ] {
        receiver.respond(status, &headers, body);
        reasons.push(
            sink.deliver(&batch(1))
                .await
                .unwrap_err()
                .report()
                .replace(&receiver.url, "http://HOST"),
        );
    }
    let reasons = reasons.join("\n");
    for secret in ["t0ken", "0123-4567", "s3cret", "xoxb"] {
        assert!(!reasons.contains(secret), "{reasons}");
    }
    assert_snapshot!(reasons);
    assert!(!format!("{sink:?}").contains("s3cret"));
}

#[tokio::test]
async fn a_207_rejects_failed_events_alone() {
    let receiver = Receiver::start();
    let sink = sink(&HttpConfig::new(&*receiver.url).body(Body::Ndjson));
    receiver.respond(
        207,
        &[],
        r#"{"accepted":1,"duplicates":1,"rejected":1,"durability":"fsync",
            "errors":[{"index":1,"status":422,"detail":"no `cycle_id`"}]}"#,
    );
    let receipt = sink.deliver(&batch(3)).await.unwrap();
    let reason = format!("{} responded with 422 for this event: no `cycle_id`", receiver.url);
    assert_eq!(receipt, Receipt { rejected: vec![Rejected { index: 1, reason }], refused: None });
}

#[tokio::test]
async fn transient_item_of_a_207_fails_the_delivery_but_for_the_accepted_items() {
    let receiver = Receiver::start();
    let sink = sink(&HttpConfig::new(&*receiver.url).body(Body::Ndjson));
    let errors = r#"{"errors":[{"index":0,"status":422,"detail":"bad"},
        {"index":2,"status":503,"detail":"busy"}]}"#;
    receiver.respond(207, &[("retry-after", "3")], errors);
    let error = sink.deliver(&batch(4)).await.unwrap_err();
    assert_error(&error, ErrorKind::Transient, "responded with 503 for this event: busy");
    assert_eq!(error.retry_after, Some(Duration::from_secs(3)));
    assert_eq!(error.accepted, [1, 3]);
}

#[tokio::test]
async fn a_207_without_accepted_events_fails_the_batch() {
    let receiver = Receiver::start();
    let sink = sink(&HttpConfig::new(&*receiver.url));
    let all = r#"{"errors":[{"index":0,"status":422,"detail":"first"},{"index":1,"status":422}]}"#;
    receiver.respond(207, &[], all);
    assert_error(
        &sink.deliver(&batch(2)).await.unwrap_err(),
        ErrorKind::Permanent,
        "422 for this event: first",
    );
    receiver.respond(207, &[], "<multistatus/>");
    assert_error(
        &sink.deliver(&batch(2)).await.unwrap_err(),
        ErrorKind::Denied,
        "can't be understood: it is not JSON",
    );
}

#[tokio::test]
async fn inspection_fails_on_403_for_which_the_first_event_would_park() {
    let receiver = Receiver::start();
    let get = sink(&HttpConfig::new(&*receiver.url).check(Check::Get));
    let off = sink(&HttpConfig::new(&*receiver.url).check(Check::Off));
    for (status, expected) in [(403, false), (404, false), (200, true), (405, true), (501, true)] {
        receiver.respond(status, &[], "");
        let inspected = get.inspect().await;
        assert_eq!(inspected.is_ok(), expected, "{status}: {inspected:?}");
        off.inspect().await.unwrap();
    }
    receiver.respond(403, &[], "no");
    let error = get.inspect().await.unwrap_err();
    assert_error(&error, ErrorKind::Denied, "(checked with GET; see `check` if events receive");
    get.check().await.unwrap();
}

#[tokio::test]
async fn check_fails_on_statuses_that_events_would_get_too() {
    let receiver = Receiver::start();
    let config = HttpConfig::new(&*receiver.url).auth(Auth::bearer("t0ken"));
    let options = sink(&config);
    for status in [200, 204, 400, 403, 405, 415, 422, 501] {
        receiver.respond(status, &[], "");
        options.check().await.unwrap_or_else(|error| panic!("{status}: {}", error.report()));
    }
    for request in receiver.requests() {
        assert_eq!(
            (&*request.line, request.header("authorization"), request.body.len()),
            ("OPTIONS /", "Bearer t0ken", 0)
        );
        assert_eq!((request.header("webhook-id"), request.header("content-type")), ("", ""));
    }
    let denied = [308, 404, 410].map(|status| (status, ErrorKind::Denied));
    let unauthenticated = [401, 407].map(|status| (status, ErrorKind::Unauthenticated));
    let transient = [429, 503].map(|status| (status, ErrorKind::Transient));
    let failed = [500, 502, 504].map(|status| (status, ErrorKind::Failed));
    for (status, kind) in denied.into_iter().chain(unauthenticated).chain(transient).chain(failed) {
        receiver.respond(status, &[], "why");
        assert_error(
            &options.check().await.unwrap_err(),
            kind,
            &format!("responded with {status}"),
        );
    }
    receiver.requests();

    receiver.respond(401, &[], "");
    sink(&config.clone().sign_with("whsec_bmV3")).check().await.unwrap();
    sink(&config.clone().check(Check::Head)).check().await.unwrap();
    sink(&config.clone().check(Check::Get)).check().await.unwrap();
    sink(&config.check(Check::Off)).check().await.unwrap();
    let lines: Vec<_> = receiver.requests().into_iter().map(|request| request.line).collect();
    assert_eq!(lines, ["OPTIONS /", "HEAD /", "GET /"]);
}

#[tokio::test]
async fn allowed_redirects_are_followed_with_method_and_body() {
    let receiver = Receiver::start();
    let elsewhere = receiver.url.replace("127.0.0.1", "localhost");
    let other = Receiver::start();
    let config = HttpConfig::new(format!("{}/old", receiver.url)).header("X-Api-Key", "0123-4567");
    for (redirects, status, location, lines) in [
        (0, 308, "/new".to_owned(), vec!["POST /old"]),
        (1, 308, "/new".to_owned(), vec!["POST /old", "POST /new"]),
        (1, 307, "/new".to_owned(), vec!["POST /old", "POST /new"]),
        // These turn a POST into a GET without a body.
        (1, 301, "/new".to_owned(), vec!["POST /old"]),
        (1, 303, "/new".to_owned(), vec!["POST /old"]),
        (1, 308, format!("{elsewhere}/new"), vec!["POST /old"]),
        (1, 308, format!("{}/new", other.url), vec!["POST /old"]),
        (1, 308, format!("{}/new", receiver.url.replace("http:", "https:")), vec!["POST /old"]),
    ] {
        receiver.respond(status, &[("location", &*location)], "");
        let delivered = sink(&config.clone().redirects(redirects)).deliver(&batch(1)).await;
        let requests = receiver.requests();
        assert_eq!(
            requests.iter().map(|request| &*request.line).collect::<Vec<_>>(),
            lines,
            "{status} to {location}"
        );
        assert_eq!(requests.last().unwrap().body, requests[0].body);
        match delivered {
            Ok(_) => assert_eq!(lines.len(), 2),
            Err(error) => {
                assert_eq!(lines.len(), 1);
                assert_error(&error, ErrorKind::Denied, "the destination has moved");
            }
        }
    }
    assert!(other.requests().is_empty(), "another port is another origin");
    for _ in 0..3 {
        receiver.respond(307, &[("location", "/again")], "");
    }
    sink(&config.redirects(2)).deliver(&batch(1)).await.unwrap_err();
    assert_eq!(receiver.requests().len(), 3);
}
