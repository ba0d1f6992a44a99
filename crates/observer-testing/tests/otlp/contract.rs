//! Contract suite with a small sink over gRPC, whose deliveries are cancelled on the wire.

use std::sync::Arc;

use async_trait::async_trait;
use observer_core::{Batch, EventSink, Receipt, SinkError};
use observer_testing::otlp::{OtlpReceiver, Signal};
use observer_testing::{Clause, Contents, Destination, Outage, SinkContract};
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use tokio::net::TcpStream;
use tonic::transport::{Channel, Endpoint};

use crate::client::logs;

struct LogSink {
    address: String,
    channel: Channel,
}

#[async_trait]
impl EventSink for LogSink {
    async fn deliver(&self, batch: &Batch) -> Result<Receipt, SinkError> {
        let events: Vec<_> =
            batch.events().iter().map(|envelope| (envelope.id.as_u128(), "outcome")).collect();
        let mut client = LogsServiceClient::new(self.channel.clone());
        client.export(logs(&events)).await.map_err(SinkError::transient)?;
        Ok(Receipt::accepted())
    }

    async fn flush(&self) -> Result<(), SinkError> {
        Ok(())
    }

    async fn check(&self) -> Result<(), SinkError> {
        TcpStream::connect(&self.address).await.map(drop).map_err(SinkError::transient)
    }
}

struct Collector(OtlpReceiver);

#[async_trait]
impl Destination for Collector {
    fn sink(&self) -> Arc<dyn EventSink> {
        let channel = Endpoint::from_shared(self.0.url("")).unwrap().connect_lazy();
        Arc::new(LogSink { address: self.0.address().to_string(), channel })
    }

    async fn contents(&self) -> Contents {
        self.0.contents(Signal::Logs)
    }

    async fn make_unavailable(&self) -> Outage {
        self.0.stop().await;
        Outage::Simulated
    }

    async fn make_available(&self) {
        self.0.restart();
    }
}

#[tokio::test]
async fn sink_over_grpc_meets_the_contract() {
    let report = SinkContract::new(|| Collector(OtlpReceiver::start())).verify().await;
    let skipped: Vec<_> = report.skipped.iter().map(|(clause, _)| *clause).collect();
    assert_eq!(skipped, [Clause::Rejection, Clause::PartialAcceptance, Clause::Position]);
}
