//! Queries to a store without a server.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::header::ACCEPT;
use axum::http::{HeaderValue, StatusCode, Uri};
use bytes::Bytes;
use http_body_util::BodyExt;
use observer_core::query::EventStore;
use tower::ServiceExt;
use utoipa_axum::router::OpenApiRouter;

use super::{Queries, table};
use crate::event_store::EventStoreHandle;
use crate::request::access::{Caller, Scopes};
use crate::request::limits::in_flight::QueriesInFlight;

/// Queries to a store in this process, with the responses of the HTTP API.
///
/// The caller may read everything. Where the API tells the standing of an event at each sink, that
/// part is absent.
#[derive(Debug, Clone)]
pub struct LocalQueries(Router);

/// Response to a local query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalResponse {
    /// HTTP status.
    pub status: u16,
    /// Result, or problem details.
    pub body: Bytes,
}

impl LocalQueries {
    /// Creates queries to this store.
    #[must_use]
    pub fn new(store: Arc<dyn EventStore>) -> Self {
        let queries = Queries {
            store: EventStoreHandle::new(store),
            pipeline: None,
            in_flight: QueriesInFlight::default(),
            max_in_flight: usize::MAX,
        };
        let router = table().into_iter().fold(OpenApiRouter::new(), OpenApiRouter::routes);
        Self(Router::from(router).with_state(queries))
    }

    /// Returns the response to `GET` of a path with its query string, in the media type that
    /// `accept` prefers. A path or `accept` that HTTP does not allow gets the status 400.
    pub async fn get(&self, path: &str, accept: &str) -> LocalResponse {
        let (Ok(uri), Ok(accept)) = (Uri::try_from(path), HeaderValue::try_from(accept)) else {
            return LocalResponse { status: 400, body: Bytes::new() };
        };
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = uri;
        request.headers_mut().insert(ACCEPT, accept);
        request.extensions_mut().insert(Caller::anonymous(Scopes::ALL));
        let response = match self.0.clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
        let status = response.status();
        match response.into_body().collect().await {
            Ok(body) => LocalResponse { status: status.as_u16(), body: body.to_bytes() },
            Err(_) => {
                let status = StatusCode::INTERNAL_SERVER_ERROR.as_u16();
                LocalResponse { status, body: Bytes::new() }
            }
        }
    }
}
