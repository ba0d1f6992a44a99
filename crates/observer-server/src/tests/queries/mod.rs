//! Queries over a store with fixed results.

mod events;
mod figures;
mod negotiation;
mod openapi;
mod problems;
pub(super) mod schema;

use std::sync::Arc;

use observer_core::query::EventStore;
use observer_pipeline::Pipeline;

use super::support::client::{Client, Response};
use super::support::setup::{Running, options, serve_with_store};
use super::support::store::{Behaviour, Recorded, ScriptedStore};

/// Server with a store, a client, and the requests that the store had.
struct Setup {
    server: Running,
    client: Client,
    requests: Recorded,
}

impl Setup {
    async fn new() -> Self {
        Self::with_store(ScriptedStore::new(Behaviour::Answers)).await
    }

    async fn with_store(store: ScriptedStore) -> Self {
        let requests = store.requests.clone();
        let pipeline = Pipeline::builder().start().await.unwrap();
        let store: Arc<dyn EventStore> = Arc::new(store);
        let server = serve_with_store(options(), pipeline, Some(store)).await;
        let client = server.client().await;
        Self { server, client, requests }
    }

    async fn get(&mut self, path: &str) -> Response {
        self.client.get(path).await
    }

    async fn get_as(&mut self, path: &str, accept: &str) -> Response {
        get_as(&mut self.client, path, accept).await
    }

    /// Returns the last request to the store, after a query for which the status is 200.
    async fn recorded(&mut self, path: &str) -> String {
        let response = self.get(path).await;
        assert_eq!(response.status, 200, "{path}: {response}");
        self.requests.lock().unwrap().last().unwrap().clone()
    }
}

async fn get_as(client: &mut Client, path: &str, accept: &str) -> Response {
    client.send(format!("GET {path} HTTP/1.1\r\nhost: test\r\naccept: {accept}\r\n\r\n")).await;
    client.response().await
}
