//! The routes.

mod dead_letters;
mod event;
mod events;
mod health;
mod metrics;
mod openapi;
mod reload;
mod replay;
mod sinks;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{Method, StatusCode, Uri};
use axum::middleware;
use bytes::Bytes;
use observer_pipeline::Pipeline;
use prometheus::Registry;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::metrics::requests::Route;
use crate::options::ServerOptions;
use crate::problem::Problem;
use crate::request::guard;
use crate::state::ServerState;

pub(crate) use event::post_event;

/// The routes alone, for those who serve them in an axum application of their own.
///
/// The server's metrics are in the registry for as long as a clone of the router lives. Of the
/// options, those that concern bodies apply; time limits for heads and a limit on connections are
/// then up to whoever serves.
///
/// # Errors
/// When the registry has the metrics of a server already.
pub fn router(
    options: &ServerOptions,
    pipeline: Pipeline,
    registry: Registry,
) -> Result<Router, prometheus::Error> {
    Ok(routes(ServerState::new(options, pipeline, registry, document())?))
}

pub(crate) fn routes(api: Arc<ServerState>) -> Router {
    let (routes, _) = described().split_for_parts();
    let routes = routes
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::from_fn_with_state(api.clone(), guard::layer))
        .with_state(api.clone());
    match &api.cors {
        // Outside of the guard: a browser asks whether it may ask before it sends a token.
        Some(cors) => routes.layer(cors.clone()),
        None => routes,
    }
}

/// The OpenAPI document, as it is sent.
pub(crate) fn document() -> Bytes {
    openapi::rendered(described().get_openapi())
}

/// The routes, each at the path that its description names.
fn described() -> OpenApiRouter<Arc<ServerState>> {
    OpenApiRouter::with_openapi(openapi::document())
        .routes(routes!(event::post_event))
        .routes(routes!(events::post_events))
        .routes(routes!(sinks::get_sinks))
        .routes(routes!(sinks::delete_sink))
        .routes(routes!(dead_letters::get_dead_letters, dead_letters::delete_dead_letters))
        .routes(routes!(dead_letters::get_dead_letter, dead_letters::delete_dead_letter))
        .routes(routes!(dead_letters::post_dead_letters))
        .routes(routes!(replay::post_replay, replay::delete_replay))
        .routes(routes!(metrics::get_metrics))
        .routes(routes!(health::livez))
        .routes(routes!(health::readyz))
        .routes(routes!(reload::post_reload))
        .routes(routes!(openapi::get_openapi))
}

async fn not_found(State(api): State<Arc<ServerState>>) -> Problem {
    let _time = api.requests.time(Route::Other);
    Problem::new(
        StatusCode::NOT_FOUND,
        "there is nothing at this path; there is POST /event, /v1/events and /-/reload, and GET /v1/sinks, /metrics, /livez, /readyz and /openapi.json, which lists all",
    )
}

async fn method_not_allowed(
    State(api): State<Arc<ServerState>>,
    method: Method,
    uri: Uri,
) -> Problem {
    let _time = api.requests.time(Route::Other);
    let detail = format!(
        "{} can't be asked for with {method}; the header Allow says how it can",
        uri.path()
    );
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
        assert!(
            router(&options, pipeline, registry.clone()).is_err(),
            "the metrics are there already"
        );
        let app = Router::new().nest("/observer", routes);
        let request = |uri, body: &'static str| {
            let method = if body.is_empty() { Method::GET } else { Method::POST };
            Request::builder()
                .method(method)
                .uri(uri)
                .header("host", "localhost")
                .body(Body::from(body))
                .unwrap()
        };
        let refused =
            app.clone().oneshot(request("/observer/event", "more than ten bytes")).await.unwrap();
        assert_eq!(refused.status(), StatusCode::PAYLOAD_TOO_LARGE);
        let metrics = app.oneshot(request("/observer/metrics", "")).await.unwrap();
        assert_eq!(metrics.status(), StatusCode::OK);
        assert!(registry.gather().is_empty(), "the last clone of the router is gone");
    }
}
