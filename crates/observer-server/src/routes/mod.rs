//! Route table, and a module of handlers for each group of routes.
//!
//! A handler's `#[utoipa::path]` attribute is both its route and its entry in the OpenAPI document.
//! All requests pass the [guard](crate::request::guard) before they reach a handler.

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
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::metrics::requests::Route;
use crate::options::ServerOptions;
use crate::problem::Problem;
use crate::request::guard;
use crate::state::ServerState;

pub(crate) use event::post_event;

/// Returns the routes alone, for embedding in another axum application.
///
/// The server's metrics stay in the registry as long as a clone of the router lives. Of the
/// options, those about bodies, access and hosts apply; time limits of heads and the limit of
/// connections are up to the embedding application.
///
/// # Errors
/// If the registry has the metrics of a server already.
pub fn router(
    options: &ServerOptions,
    pipeline: Pipeline,
    registry: Registry,
) -> Result<Router, prometheus::Error> {
    Ok(with_state(ServerState::new(options, pipeline, registry, openapi_json())?))
}

/// Returns the router over this state.
pub(crate) fn with_state(state: Arc<ServerState>) -> Router {
    let (routes, document) = table().split_for_parts();
    let known = operations(&document).join(", ");
    let not_found = |State(state): State<Arc<ServerState>>, uri: Uri| async move {
        not_found(&state, &uri, &known)
    };
    let routes = routes
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::from_fn_with_state(state.clone(), guard::layer))
        .with_state(state.clone());
    match &state.cors {
        // Outside of the guard: browsers send a preflight request without a token.
        Some(cors) => routes.layer(cors.clone()),
        None => routes,
    }
}

/// Returns the OpenAPI document of the routes, as JSON.
pub(crate) fn openapi_json() -> Bytes {
    serde_json::to_vec(table().get_openapi()).expect("an OpenAPI document is JSON").into()
}

/// Returns the routes, each at the path of its description.
fn table() -> OpenApiRouter<Arc<ServerState>> {
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

/// Returns each operation of the document, such as `POST /event`.
fn operations(document: &OpenApi) -> Vec<String> {
    let of_path = |(path, item): (&String, &utoipa::openapi::PathItem)| {
        let methods = [
            (Method::GET, item.get.is_some()),
            (Method::POST, item.post.is_some()),
            (Method::PUT, item.put.is_some()),
            (Method::PATCH, item.patch.is_some()),
            (Method::DELETE, item.delete.is_some()),
        ];
        let methods = methods.into_iter().filter(|(_, is_served)| *is_served);
        methods.map(|(method, _)| format!("{method} {path}")).collect::<Vec<_>>()
    };
    document.paths.paths.iter().flat_map(of_path).collect()
}

fn not_found(state: &ServerState, uri: &Uri, known: &str) -> Problem {
    let _time = state.requests.time(Route::Other);
    let detail = format!("unknown path {:?}; the routes are {known}", uri.path());
    Problem::new(StatusCode::NOT_FOUND, detail)
}

async fn method_not_allowed(
    State(state): State<Arc<ServerState>>,
    method: Method,
    uri: Uri,
) -> Problem {
    let _time = state.requests.time(Route::Other);
    let detail = format!(
        "{} does not support the method {method}; use one that the header Allow lists",
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
    async fn routes_serve_within_another_application() {
        let pipeline = Pipeline::builder().start().await.unwrap();
        let registry = Registry::new();
        let options = ServerOptions { max_body: 10, ..ServerOptions::default() };
        let routes = router(&options, pipeline.clone(), registry.clone()).unwrap();
        assert!(
            router(&options, pipeline, registry.clone()).is_err(),
            "the registry has the metrics already"
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
        assert!(registry.gather().is_empty(), "the last clone of the router is dropped");
    }

    #[test]
    fn operations_are_those_of_the_openapi_document() {
        let document: serde_json::Value = serde_json::from_slice(&openapi_json()).unwrap();
        let mut expected = Vec::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for method in item.as_object().unwrap().keys() {
                expected.push(format!("{} {path}", method.to_uppercase()));
            }
        }
        let mut listed = operations(table().get_openapi());
        expected.sort();
        listed.sort();
        assert_eq!(listed, expected);
        assert!(listed.len() >= 16, "{listed:?}");
    }
}
