//! Batches of several events, each in its own request.

use observer_core::{ErrorKind, EventSink, Receipt};

use super::receiver::{Receiver, Request};
use super::{assert_error, sink};
use crate::config::{Body, HttpConfig};
use crate::testing::batch;

#[test]
fn each_event_has_a_delivery_of_its_own() {
    let limit = |body| sink(&HttpConfig::new("http://h").body(body)).max_events_per_delivery();
    for body in [Body::Event, Body::Envelope] {
        assert_eq!(limit(body.clone()).map(usize::from), Some(1), "{body:?}");
    }
    for body in [Body::Array, Body::Ndjson] {
        assert_eq!(limit(body.clone()), None, "{body:?}");
    }
}

/// Returns the ids of the requests since the last call, as numbers.
fn ids(receiver: &Receiver) -> Vec<u64> {
    let id = |request: &Request| {
        request.header("webhook-id").rsplit('-').next().unwrap().parse().unwrap()
    };
    receiver.requests().iter().map(id).collect()
}

#[tokio::test]
async fn invalid_event_is_rejected_alone() {
    let receiver = Receiver::start();
    let sink = sink(&HttpConfig::new(&*receiver.url).body(Body::Event));
    receiver.respond(200, &[], "");
    receiver.respond(422, &[], "not this one");
    let receipt = sink.deliver(&batch(4)).await.unwrap();
    assert_eq!(ids(&receiver), [1, 2, 3, 4]);
    let rejected: Vec<_> =
        receipt.rejected.iter().map(|rejected| (rejected.index, &*rejected.reason)).collect();
    let reason = format!("{} responded with 422 Unprocessable Entity: not this one", receiver.url);
    assert_eq!(rejected, [(1, &*reason)]);
}

#[tokio::test]
async fn rejection_of_the_first_event_fails_the_batch() {
    let receiver = Receiver::start();
    let sink = sink(&HttpConfig::new(&*receiver.url).body(Body::Event));
    receiver.respond(422, &[], "");
    assert_error(&sink.deliver(&batch(100)).await.unwrap_err(), ErrorKind::Permanent, "422");
    assert_eq!(
        ids(&receiver),
        [1],
        "the other 99 are not sent to a destination that may reject everything"
    );
}

#[tokio::test]
async fn events_accepted_before_an_error_are_named() {
    let receiver = Receiver::start();
    let sink = sink(&HttpConfig::new(&*receiver.url).body(Body::Event));
    let batch = batch(4);
    receiver.respond(200, &[], "");
    receiver.respond(422, &[], "");
    receiver.respond(200, &[], "");
    receiver.respond(503, &[], "");
    let error = sink.deliver(&batch).await.unwrap_err();
    assert_error(&error, ErrorKind::Transient, "503");
    assert_eq!(error.accepted, [0, 2]);
    assert_eq!(ids(&receiver), [1, 2, 3, 4]);
    assert_eq!(sink.deliver(&batch).await.unwrap(), Receipt::accepted());
    assert_eq!(ids(&receiver), [1, 2, 3, 4], "the pipeline decides what is sent again");
}
