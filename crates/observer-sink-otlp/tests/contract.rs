//! The OTLP sink meets the contract of sinks, for each signal over each protocol.
#![expect(clippy::unwrap_used, reason = "in a test, a panic is the message")]

use std::sync::Arc;

use async_trait::async_trait;
use observer_core::{Envelope, EventSink};
use observer_sink_otlp::{Compression, OtlpConfig, OtlpSink, Protocol, Signal};
use observer_testing::otlp::{self, OtlpReceiver};
use observer_testing::{Clause, Contents, Destination, Outage, SinkContract};

struct Collector {
    receiver: OtlpReceiver,
    protocol: Protocol,
    signal: Signal,
}

#[async_trait]
impl Destination for Collector {
    fn sink(&self) -> Arc<dyn EventSink> {
        let compression =
            if self.protocol == Protocol::Grpc { Compression::Gzip } else { Compression::None };
        let config =
            OtlpConfig::new(self.receiver.url("")).protocol(self.protocol).compression(compression);
        Arc::new(OtlpSink::new(&config, self.signal).unwrap())
    }

    async fn contents(&self) -> Contents {
        self.receiver.contents(match self.signal {
            Signal::Logs => otlp::Signal::Logs,
            Signal::Traces => otlp::Signal::Traces,
        })
    }

    /// Returns false for a phase and for an event without a duration, which have no span.
    fn stores(&self, envelope: &Envelope) -> bool {
        let event = &envelope.event;
        self.signal == Signal::Logs || (!event.is_phase() && event.duration_ms().is_some())
    }

    async fn reject(&self, event: &Envelope) -> Outage {
        let reply = otlp::Reply::reject_items_containing(event.id.to_string(), "no");
        self.receiver.set_default_reply(reply);
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

async fn verify(protocol: Protocol, signal: Signal) {
    let contract =
        SinkContract::new(move || Collector { receiver: OtlpReceiver::start(), protocol, signal });
    let skipped = contract.verify().await.skipped;
    let skipped: Vec<_> = skipped.iter().map(|(clause, _)| *clause).collect();
    // An OTLP receiver answers a request as a whole.
    assert_eq!(skipped, [Clause::PartialAcceptance, Clause::Position]);
}

#[tokio::test]
async fn logs_over_grpc_meet_the_contract() {
    verify(Protocol::Grpc, Signal::Logs).await;
}

#[tokio::test]
async fn logs_over_http_meet_the_contract() {
    verify(Protocol::Http, Signal::Logs).await;
}

#[tokio::test]
async fn traces_over_grpc_meet_the_contract() {
    verify(Protocol::Grpc, Signal::Traces).await;
}

#[tokio::test]
async fn traces_over_http_meet_the_contract() {
    verify(Protocol::Http, Signal::Traces).await;
}
