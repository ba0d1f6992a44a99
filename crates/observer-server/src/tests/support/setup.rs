//! Servers and sinks for tests.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use observer_core::query::EventStore;
use observer_core::{Batch, BatchSettings, EventSink, Receipt, Rejected, SinkError, SinkSettings};
use observer_pipeline::{Pipeline, SinkSpec};
use prometheus::Registry;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::client::{Client, TEST_TIMEOUT};
use crate::{Access, EventStoreHandle, Scopes, Server, ServerOptions, TlsHandle};

pub(crate) const EVENT: &str = r#"{"source":"job","event_kind":"ok","ok":true}"#;

pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    /// Address of TLS, if it is configured.
    pub(crate) tls_address: Option<SocketAddr>,
    pub(crate) tls: Option<TlsHandle>,
    pub(crate) pipeline: Pipeline,
    pub(crate) event_store: EventStoreHandle,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

pub(crate) fn options() -> ServerOptions {
    ServerOptions {
        listen: vec!["127.0.0.1:0".into()],
        hosts: vec!["test".into()],
        access: Access { anonymous: Scopes::ALL, ..Access::default() },
        ..ServerOptions::default()
    }
}

pub(crate) async fn serve(options: ServerOptions, pipeline: Pipeline) -> Running {
    serve_until(options, pipeline, TEST_TIMEOUT).await
}

pub(crate) async fn serve_with_store(
    options: ServerOptions,
    pipeline: Pipeline,
    store: Option<Arc<dyn EventStore>>,
) -> Running {
    let server = serve(options, pipeline).await;
    server.event_store.set(store);
    server
}

pub(crate) async fn serve_until(
    options: ServerOptions,
    pipeline: Pipeline,
    deadline: Duration,
) -> Running {
    let server = Server::bind(options, pipeline.clone(), Registry::new()).await.unwrap();
    let address = server.local_addrs()[0];
    let event_store = server.event_store();
    let (tls_address, tls) = (server.local_tls_addrs().first().copied(), server.tls());
    let (stop, stopped) = oneshot::channel();
    let task = tokio::spawn(server.run(async { stopped.await.unwrap_or_default() }, deadline));
    Running { address, tls_address, tls, pipeline, event_store, stop, task }
}

/// Serves a pipeline without sinks.
pub(crate) async fn serve_plain() -> Running {
    serve(options(), Pipeline::builder().start().await.unwrap()).await
}

impl Running {
    pub(crate) async fn client(&self) -> Client {
        Client::connect(self.address).await
    }

    /// Starts the shutdown, which ends with the returned task.
    pub(crate) fn stop(self) -> JoinHandle<()> {
        self.stop.send(()).expect("the server runs");
        self.task
    }
}

/// Sink that does not support replay.
pub(crate) struct LedgerSink;

#[async_trait]
impl EventSink for LedgerSink {
    async fn deliver(&self, batch: &Batch) -> Result<Receipt, SinkError> {
        ScriptedSink.deliver(batch).await
    }

    async fn flush(&self) -> Result<(), SinkError> {
        Ok(())
    }

    fn replay_rejection(&self) -> Option<&'static str> {
        Some("its pages are numbered")
    }

    async fn check(&self) -> Result<(), SinkError> {
        Ok(())
    }
}

/// Sink that behaves as the kind of an event says: it rejects `dead` events, is blocked by
/// `blocked` ones, and hangs on `hang`.
struct ScriptedSink;

#[async_trait]
impl EventSink for ScriptedSink {
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

pub(crate) fn sink(name: &str, settings: SinkSettings) -> SinkSpec {
    let batch = BatchSettings { linger: Some(Duration::ZERO), ..BatchSettings::default() };
    SinkSpec::new(name, Arc::new(ScriptedSink)).kind("scripted").batch(batch).settings(settings)
}

pub(crate) fn event(kind: &str) -> String {
    format!(r#"{{"source":"job","event_kind":"{kind}","ok":{}}}"#, kind == "ok")
}
