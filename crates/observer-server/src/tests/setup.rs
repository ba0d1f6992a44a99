//! Servers and sinks to test with.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use observer_core::{Batch, BatchSettings, EventSink, Receipt, Rejected, SinkError, SinkSettings};
use observer_pipeline::{Pipeline, SinkSpec};
use prometheus::Registry;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::client::{Client, PATIENCE};
use crate::{LiveTls, Server, ServerOptions};

pub(super) const EVENT: &str = r#"{"source":"job","event_kind":"ok","ok":true}"#;

pub(super) struct Running {
    pub(super) address: SocketAddr,
    /// Of TLS, if it is served.
    pub(super) tls_address: Option<SocketAddr>,
    pub(super) tls: Option<LiveTls>,
    pub(super) pipeline: Pipeline,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

pub(super) fn options() -> ServerOptions {
    ServerOptions {
        listen: vec!["127.0.0.1:0".into()],
        hosts: vec!["test".into()],
        ..ServerOptions::default()
    }
}

pub(super) async fn serve(options: ServerOptions, pipeline: Pipeline) -> Running {
    serve_until(options, pipeline, PATIENCE).await
}

pub(super) async fn serve_until(
    options: ServerOptions,
    pipeline: Pipeline,
    deadline: Duration,
) -> Running {
    let server = Server::bind(options, pipeline.clone(), Registry::new()).await.unwrap();
    let address = server.local_addrs()[0];
    let (tls_address, tls) = (server.local_tls_addrs().first().copied(), server.tls());
    let (stop, stopped) = oneshot::channel();
    let task = tokio::spawn(server.run(async { stopped.await.unwrap_or_default() }, deadline));
    Running { address, tls_address, tls, pipeline, stop, task }
}

/// With a pipeline without sinks.
pub(super) async fn plain() -> Running {
    serve(options(), Pipeline::builder().start().await.unwrap()).await
}

impl Running {
    pub(super) async fn client(&self) -> Client {
        Client::connect(self.address).await
    }

    /// Begin to end.
    pub(super) fn stop(self) -> JoinHandle<()> {
        self.stop.send(()).expect("the server runs");
        self.task
    }
}

/// Keeps its position with its data, as it says.
pub(super) struct Ledger;

#[async_trait]
impl EventSink for Ledger {
    async fn deliver(&self, batch: &Batch) -> Result<Receipt, SinkError> {
        Scripted.deliver(batch).await
    }

    async fn flush(&self) -> Result<(), SinkError> {
        Ok(())
    }

    fn replay_refusal(&self) -> Option<&'static str> {
        Some("its pages are numbered")
    }

    async fn check(&self) -> Result<(), SinkError> {
        Ok(())
    }
}

/// Does as the kind of the event says: `dead` ones are refused for good, `blocked` ones block it,
/// and on `hang` it hangs.
struct Scripted;

#[async_trait]
impl EventSink for Scripted {
    async fn deliver(&self, batch: &Batch) -> Result<Receipt, SinkError> {
        let mut receipt = Receipt::accepted();
        for (index, envelope) in batch.events().iter().enumerate() {
            match envelope.event.event_kind() {
                "hang" => std::future::pending().await,
                "blocked" => {
                    return Err(SinkError::blocked("401 Unauthorized: the token has expired"));
                }
                "dead" => receipt.rejected.push(Rejected { index, reason: "too strange".into() }),
                _ => {}
            }
        }
        Ok(receipt)
    }

    async fn flush(&self) -> Result<(), SinkError> {
        Ok(())
    }

    async fn check(&self) -> Result<(), SinkError> {
        Ok(())
    }
}

pub(super) fn sink(name: &str, settings: SinkSettings) -> SinkSpec {
    let batch = BatchSettings { linger: Some(Duration::ZERO), ..BatchSettings::default() };
    SinkSpec::new(name, Arc::new(Scripted)).kind("scripted").batch(batch).settings(settings)
}

pub(super) fn event(kind: &str) -> String {
    format!(r#"{{"source":"job","event_kind":"{kind}","ok":{}}}"#, kind == "ok")
}
