//! The HTTP sink meets the contract of sinks with every form of request.
#![expect(clippy::unwrap_used, reason = "in a test, a panic is the message")]

use std::sync::Arc;

use async_trait::async_trait;
use observer_core::{Envelope, EventSink};
use observer_sink_http::{Body, Compression, HttpConfig, HttpSink};
use observer_testing::http::{HttpReceiver, ReceivedRequest, Reply};
use observer_testing::{Clause, Contents, Destination, Outage, SinkContract, StoredEvent};

struct Receiver {
    receiver: HttpReceiver,
    config: fn(HttpConfig) -> HttpConfig,
    /// True if each event has its own request.
    is_single: bool,
}

#[async_trait]
impl Destination for Receiver {
    fn sink(&self) -> Arc<dyn EventSink> {
        let config = (self.config)(HttpConfig::new(self.receiver.url("/hook")));
        Arc::new(HttpSink::new(&config).unwrap())
    }

    async fn contents(&self) -> Contents {
        let requests = self.receiver.requests();
        Contents::Events(requests.iter().flat_map(|request| self.events(request)).collect())
    }

    async fn reject(&self, event: &Envelope) -> Outage {
        let cycle_id = event.event.cycle_id().unwrap();
        let marker = format!(r#""cycle_id":"{cycle_id}""#);
        self.receiver.set_default_reply(Reply::reject_items_containing(marker, "no"));
        Outage::Simulated
    }

    async fn fail_after(&self, count: usize) -> Outage {
        if self.is_single {
            (0..count).for_each(|_| self.receiver.enqueue(Reply::accept()));
            self.receiver.enqueue(Reply::status(503));
        } else {
            self.receiver.enqueue(Reply::accept_first(count, 503));
        }
        Outage::Simulated
    }

    async fn make_unavailable(&self) -> Outage {
        self.receiver.stop().await;
        Outage::Simulated
    }

    async fn make_available(&self) {
        self.receiver.restart();
    }
}

impl Receiver {
    /// Returns the events that the receiver accepted of a request. Bare events, which the tests send
    /// with the header `X-What`, have their identity in a header.
    fn events(&self, request: &ReceivedRequest) -> Vec<StoredEvent> {
        let accepted = request.accepted_items();
        match request.header("x-what") {
            None => accepted.iter().map(|item| StoredEvent::from_json(item)).collect(),
            Some(_) => {
                let id = request.header("webhook-id").unwrap().parse().unwrap();
                let stored = |item: &String| StoredEvent { id, raw: Some(item.clone()) };
                accepted.iter().map(stored).collect()
            }
        }
    }
}

async fn verify(config: fn(HttpConfig) -> HttpConfig) {
    let body = config(HttpConfig::new("http://h")).body;
    let is_single = matches!(body, Body::Event | Body::Envelope);
    let destination = move || Receiver { receiver: HttpReceiver::start(), config, is_single };
    let report = SinkContract::new(destination).verify().await;
    assert_eq!(report.skipped, [(Clause::Position, "the sink keeps no position")]);
}

#[tokio::test]
async fn arrays_meet_the_contract() {
    verify(|config| config).await;
}

#[tokio::test]
async fn compressed_and_signed_ndjson_meets_the_contract() {
    verify(|config| {
        config.body(Body::Ndjson).compression(Compression::Zstd).sign_with("whsec_bmV3")
    })
    .await;
}

#[tokio::test]
async fn single_envelopes_meet_the_contract() {
    verify(|config| config.body(Body::Envelope).compression(Compression::Gzip)).await;
}

#[tokio::test]
async fn single_events_with_fields_in_headers_meet_the_contract() {
    verify(|config| {
        config.body(Body::Event).header("X-What", "{source}/{cycle_id}/{sig_hash}/{staffer_id}")
    })
    .await;
}
