//! The routes, and what they share.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{Method, StatusCode, Uri};
use axum::routing::{get, post};
use observer_pipeline::Pipeline;
use prometheus::Registry;

use crate::body::BodyLimits;
use crate::event::post_event;
use crate::events::{BatchLimits, post_events};
use crate::health::{livez, readyz};
use crate::metrics::{Registration, get_metrics};
use crate::options::ServerOptions;
use crate::problem::Problem;
use crate::requests::{Requests, Route};
use crate::sinks::get_sinks;

/// What the routes share.
pub(crate) struct Api {
    pub(crate) pipeline: Pipeline,
    pub(crate) registry: Registry,
    pub(crate) requests: Requests,
    pub(crate) body_limits: BodyLimits,
    pub(crate) batch_limits: BatchLimits,
    _registration: Registration,
}

impl Api {
    pub(crate) fn new(
        options: &ServerOptions,
        pipeline: Pipeline,
        registry: Registry,
    ) -> Result<Arc<Self>, prometheus::Error> {
        let requests = Requests::new();
        let registration = Registration::new(&registry, pipeline.clone(), requests.clone())?;
        let body_limits = BodyLimits { max_bytes: options.max_body, timeout: options.body_timeout };
        let batch_limits = BatchLimits {
            body: BodyLimits { max_bytes: options.max_batch_body, timeout: options.body_timeout },
            max_items: options.max_batch_events,
            max_item_bytes: options.max_body,
        };
        Ok(Arc::new(Self { pipeline, registry, requests, body_limits, batch_limits, _registration: registration }))
    }
}

/// The routes alone, for those who serve them in an axum application of their own.
///
/// The server's metrics are in the registry for as long as a clone of the router lives. Of the options, those that concern bodies apply;
/// time limits for heads and a limit on connections are then up to whoever serves.
///
/// # Errors
/// When the registry has the metrics of a server already.
pub fn router(options: &ServerOptions, pipeline: Pipeline, registry: Registry) -> Result<Router, prometheus::Error> {
    Ok(routes(Api::new(options, pipeline, registry)?))
}

pub(crate) fn routes(api: Arc<Api>) -> Router {
    Router::new()
        .route("/event", post(post_event))
        .route("/v1/events", post(post_events))
        .route("/v1/sinks", get(get_sinks))
        .route("/metrics", get(get_metrics))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(api)
}

async fn not_found(State(api): State<Arc<Api>>) -> Problem {
    let _time = api.requests.time(Route::Other);
    Problem::new(
        StatusCode::NOT_FOUND,
        "there is nothing at this path; there is POST /event and /v1/events, and GET /v1/sinks, /metrics, /livez and /readyz",
    )
}

async fn method_not_allowed(State(api): State<Arc<Api>>, method: Method, uri: Uri) -> Problem {
    let _time = api.requests.time(Route::Other);
    let detail = format!("{} can't be asked for with {method}; the header Allow says how it can", uri.path());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail)
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Request;
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn the_routes_serve_within_another_application() {
        let pipeline = Pipeline::builder().start().await.unwrap();
        let registry = Registry::new();
        let options = ServerOptions { max_body: 10, ..ServerOptions::default() };
        let routes = router(&options, pipeline.clone(), registry.clone()).unwrap();
        assert!(router(&options, pipeline, registry.clone()).is_err(), "the metrics are there already");
        let app = Router::new().nest("/observer", routes);
        let request = |uri, body: &'static str| {
            let method = if body.is_empty() { Method::GET } else { Method::POST };
            Request::builder().method(method).uri(uri).body(Body::from(body)).unwrap()
        };
        let refused = app.clone().oneshot(request("/observer/event", "more than ten bytes")).await.unwrap();
        assert_eq!(refused.status(), StatusCode::PAYLOAD_TOO_LARGE);
        let metrics = app.oneshot(request("/observer/metrics", "")).await.unwrap();
        assert_eq!(metrics.status(), StatusCode::OK);
        assert!(registry.gather().is_empty(), "the last clone of the router is gone");
    }
}
