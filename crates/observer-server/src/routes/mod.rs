//! Route table, and a module of handlers for each group of routes.
//!
//! The `#[utoipa::path]` attribute of a handler gives its path and its entry in the OpenAPI
//! document; [`table`] registers the handler. A new route is a module and a line in the table. The
//! list of routes in a 404 and the methods that CORS allows follow from the table. Tests require
//! that the crate documentation and `http-api.md` list the route.
//!
//! Every handler runs behind a [`guard`], which also measures the duration of its requests. The
//! guard derives the scope from the method; only a route that receives events is added there. It
//! rejects tokens with `sources`, unless the class of the route has handlers that limit their
//! callers.
//!
//! On the connections of a [`Server`](crate::Server), [`dispatch`] passes `POST /event` to its
//! handler without the router. Layers of the router do not run for these requests.

pub(crate) mod dispatch;
mod event;
mod event_problem;
mod events;
pub(crate) mod guard;
mod health;
mod mcp;
mod metrics;
mod openapi;
pub(crate) mod query;
mod reload;
mod sinks;
pub(crate) mod stream;
mod warnings;

use std::sync::Arc;

use axum::Router;
use axum::handler::Handler;
use axum::http::{Method, StatusCode, Uri};
use axum::middleware;
use bytes::Bytes;
use observer_pipeline::Pipeline;
use prometheus::Registry;
use utoipa::openapi::{OpenApi, PathItem};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};
use utoipa_axum::routes;

use self::guard::Guard;
use self::sinks::{adopt, dead_letters, divert, replay};
use crate::event_store::EventStoreHandle;
use crate::metrics::requests::RouteClass;
use crate::options::ServerOptions;
use crate::problem::Problem;
use crate::request::cors;
use crate::state::ServerState;

/// Methods that a route can have.
const METHODS: [Method; 5] =
    [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];

type Routes = UtoipaMethodRouter<Arc<ServerState>>;

/// Returns the routes alone, for embedding in another axum application.
///
/// The server's metrics stay in the registry as long as a clone of the router lives. Of the
/// options, those about bodies, access and hosts apply; time limits of heads and the limit of
/// connections are up to the embedding application. Queries are answered by the store that
/// `event_store` has at their time.
///
/// # Errors
/// If the registry has the metrics of a server already.
pub fn router(
    options: &ServerOptions,
    pipeline: Pipeline,
    registry: Registry,
    event_store: EventStoreHandle,
) -> Result<Router, prometheus::Error> {
    let state = ServerState::new(options, pipeline, registry, event_store, openapi_json())?;
    Ok(with_state(state))
}

/// Returns the route table, by class. The class decides about the metrics of a route, and whether
/// tokens with `sources` may use it.
fn table() -> Vec<(RouteClass, Vec<Routes>)> {
    let ingest = vec![routes!(event::post_event), routes!(events::post_events)];
    let mut query = query::table();
    query.extend([routes!(mcp::post_message), routes!(openapi::get_openapi)]);
    let admin = vec![
        routes!(sinks::get_sinks),
        routes!(sinks::delete_sink),
        routes!(divert::post_retry),
        routes!(adopt::post_adoption),
        routes!(dead_letters::get_dead_letters, dead_letters::delete_dead_letters),
        routes!(dead_letters::get_dead_letter, dead_letters::delete_dead_letter),
        routes!(dead_letters::post_dead_letters),
        routes!(divert::post_diversion),
        routes!(replay::post_replay, replay::delete_replay),
        routes!(reload::post_reload),
    ];
    let probe =
        vec![routes!(metrics::get_metrics), routes!(health::livez), routes!(health::readyz)];
    vec![
        (RouteClass::Ingest, ingest),
        (RouteClass::Query, query),
        (RouteClass::Stream, vec![routes!(stream::get_stream)]),
        (RouteClass::Admin, admin),
        (RouteClass::Probe, probe),
    ]
}

/// Returns whether a path is that of `GET /metrics`.
pub(crate) fn is_metrics(path: &str) -> bool {
    path == metrics::PATH
}

/// Returns whether a path is that of metrics or of a health probe.
pub(crate) fn is_monitoring(path: &str) -> bool {
    is_metrics(path) || health::PATHS.contains(&path)
}

/// Returns the router over this state.
pub(crate) fn with_state(state: Arc<ServerState>) -> Router {
    let layer = |guard| middleware::from_fn_with_state(guard, guard::layer);
    let (routes, document) = openapi_router(|class, (schemas, paths, methods)| {
        let path = paths.paths.keys().next().expect("a route has a path");
        let guard = Guard::new(state.clone(), path, class);
        (schemas, paths, methods.route_layer(layer(guard)))
    })
    .split_for_parts();
    let fallback = || layer(Guard::fallback(state.clone()));
    let operations = operations(&document);
    let known = operations
        .iter()
        .map(|(method, path)| format!("{method} {path}"))
        .collect::<Vec<_>>()
        .join(", ");
    let not_found = |uri: Uri| async move { not_found(&uri, &known) };
    let routes = routes
        .fallback(not_found.layer(fallback()))
        .method_not_allowed_fallback(method_not_allowed.layer(fallback()))
        .with_state(state.clone());
    match &state.cors_origins {
        // Outside of the guards: browsers send a preflight request without a token.
        Some(origins) => {
            let is_served = |method: &Method| operations.iter().any(|(served, _)| served == method);
            let methods = METHODS.into_iter().filter(is_served).collect();
            routes.layer(cors::layer(origins.clone(), methods, guard::is_administration))
        }
        None => routes,
    }
}

/// Returns the OpenAPI document of the routes, as JSON.
pub(crate) fn openapi_json() -> Bytes {
    serde_json::to_vec(&openapi_document()).expect("an OpenAPI document is JSON").into()
}

fn openapi_document() -> OpenApi {
    openapi_router(|_, routes| routes).into_openapi()
}

/// Returns the routes of the [`table`], each at the path of its description. `adapt` gets each with
/// its class.
fn openapi_router(adapt: impl Fn(RouteClass, Routes) -> Routes) -> OpenApiRouter<Arc<ServerState>> {
    let mut router = OpenApiRouter::with_openapi(openapi::document());
    for (class, group) in table() {
        for routes in group {
            router = router.routes(adapt(class, routes));
        }
    }
    router
}

/// Returns the method and the path of each operation of the document.
fn operations(document: &OpenApi) -> Vec<(Method, String)> {
    let of_path = |(path, item): (&String, &PathItem)| {
        let operations = [&item.get, &item.post, &item.put, &item.patch, &item.delete];
        let served = METHODS.into_iter().zip(operations).filter(|(_, served)| served.is_some());
        served.map(|(method, _)| (method, path.clone())).collect::<Vec<_>>()
    };
    document.paths.paths.iter().flat_map(of_path).collect()
}

fn not_found(uri: &Uri, known: &str) -> Problem {
    let detail = format!("unknown path {:?}; the routes are {known}", uri.path());
    Problem::new(StatusCode::NOT_FOUND, detail)
}

async fn method_not_allowed(method: Method, uri: Uri) -> Problem {
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
        let (registry, store) = (Registry::new(), EventStoreHandle::default());
        let options =
            ServerOptions { max_body: 10, max_batch_body: 10, ..ServerOptions::default() };
        let routes = router(&options, pipeline.clone(), registry.clone(), store.clone()).unwrap();
        assert!(
            router(&options, pipeline, registry.clone(), store).is_err(),
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
        let rejected =
            app.clone().oneshot(request("/observer/event", "more than ten bytes")).await.unwrap();
        assert_eq!(rejected.status(), StatusCode::PAYLOAD_TOO_LARGE);
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
        let operations = operations(&openapi_document());
        let mut listed: Vec<_> =
            operations.iter().map(|(method, path)| format!("{method} {path}")).collect();
        expected.sort();
        listed.sort();
        assert_eq!(listed, expected);
        assert!(listed.len() >= 16, "{listed:?}");
    }

    #[test]
    fn crate_documentation_lists_each_operation() {
        let documentation = include_str!("../lib.rs");
        for (method, path) in operations(&openapi_document()) {
            assert!(documentation.contains(&format!("`{method} {path}`")), "{method} {path}");
        }
    }
}
