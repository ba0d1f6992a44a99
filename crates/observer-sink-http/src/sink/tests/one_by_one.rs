//! Batches of several events, each in its own request.

use std::sync::Arc;

use observer_core::{Batch, ErrorKind, EventSink, Receipt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::receiver::{Receiver, Request};
use super::{assert_error, sink};
use crate::config::{Body, HttpConfig};
use crate::testing::batch;

const ACCEPTED: &[u8] = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

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
async fn events_accepted_before_an_error_are_not_sent_again() {
    let receiver = Receiver::start();
    let sink = sink(&HttpConfig::new(&*receiver.url).body(Body::Event));
    let batch = batch(4);
    receiver.respond(200, &[], "");
    receiver.respond(200, &[], "");
    receiver.respond(503, &[], "");
    let error = sink.deliver(&batch).await.unwrap_err();
    assert_error(&error, ErrorKind::Transient, "503");
    assert_eq!(error.accepted, [0, 1]);
    receiver.respond(401, &[], "");
    assert_error(&sink.deliver(&batch).await.unwrap_err(), ErrorKind::Denied, "401");
    // The pipeline probes a parked sink with one event, which the destination holds already.
    let (first, _) = batch.halves().unwrap().0.halves().unwrap();
    assert_eq!(sink.deliver(&first).await.unwrap(), Receipt::accepted());
    let rest = Batch::new(1, batch.events()[1..].to_vec());
    receiver.respond(422, &[], "");
    let receipt = sink.deliver(&rest).await.unwrap();
    assert_eq!(receipt.rejected.iter().map(|rejected| rejected.index).collect::<Vec<_>>(), [1]);
    assert_eq!(ids(&receiver), [1, 2, 3, 3, 3, 4]);
    assert_eq!(sink.deliver(&batch).await.unwrap(), Receipt::accepted());
    assert_eq!(ids(&receiver), [1, 2, 3, 4], "a resolved batch is sent again as a whole");
}

/// The pipeline cancels a delivery that exceeds its timeout.
#[tokio::test]
async fn events_accepted_before_a_cancellation_are_not_sent_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (hanging, hung) = tokio::sync::oneshot::channel();
    // Responds to the first request, lets the second one hang, and responds to the third.
    let destination = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_request(&mut stream).await;
        stream.write_all(ACCEPTED).await.unwrap();
        let (mut stream, _) = listener.accept().await.unwrap();
        read_request(&mut stream).await;
        hanging.send(stream).unwrap();
        let (mut stream, _) = listener.accept().await.unwrap();
        let request = read_request(&mut stream).await;
        stream.write_all(ACCEPTED).await.unwrap();
        request
    });
    let sink = Arc::new(sink(&HttpConfig::new(url).body(Body::Event)));
    let batch = batch(2);
    let delivery = tokio::spawn({
        let (sink, batch) = (sink.clone(), batch.clone());
        async move { sink.deliver(&batch).await }
    });
    let _stream = hung.await.unwrap();
    delivery.abort();
    assert!(delivery.await.unwrap_err().is_cancelled());
    assert_eq!(sink.deliver(&batch).await.unwrap(), Receipt::accepted());
    let request = destination.await.unwrap();
    assert!(request.contains("webhook-id: 00000000-0000-0000-0000-000000000002\r\n"), "{request}");
}

/// Reads a request that ends in a JSON object.
async fn read_request(stream: &mut tokio::net::TcpStream) -> String {
    let mut request = Vec::new();
    while !request.ends_with(b"}") {
        assert!(stream.read_buf(&mut request).await.unwrap() > 0);
    }
    String::from_utf8(request).unwrap()
}
