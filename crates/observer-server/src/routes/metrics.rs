//! `GET /metrics`: metrics in the Prometheus text format.

use std::io::Write;
use std::sync::Arc;

use axum::extract::State;
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE, VARY};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use flate2::Compression;
use flate2::write::GzEncoder;
use prometheus::{Registry, TextEncoder};

use crate::problem::{PROBLEM_JSON, Problem, ProblemDetails};
use crate::request::headers::accept_encoding::prefers_gzip;
use crate::routes::openapi::AnyRequest;
use crate::state::ServerState;

/// Path of the route.
pub(super) const PATH: &str = "/metrics";

const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Returns the metrics of events and of the observer itself in the Prometheus text format.
#[utoipa::path(
    get,
    path = "/metrics",
    responses(
        (status = 200, description = "The metrics", body = String, content_type = TEXT),
        (status = 500, description = "The metrics can't be gathered",
            body = ProblemDetails, content_type = PROBLEM_JSON),
        AnyRequest
    )
)]
pub(crate) async fn get_metrics(
    State(state): State<Arc<ServerState>>,
    headers: HeaderMap,
) -> Response {
    let registry = state.registry.clone();
    let is_compressed = prefers_gzip(&headers);
    // A collector may block, for example on the files of a sink.
    let body = state.scrapes.run(move || gather(&registry, is_compressed)).await;
    let error = match body {
        Ok(Ok(body)) => {
            let coding = is_compressed.then_some([(CONTENT_ENCODING, "gzip")]);
            let headers = [(CONTENT_TYPE, TEXT), (VARY, "accept-encoding")];
            return (headers, coding, body).into_response();
        }
        Ok(Err(error)) => observer_core::report(&error),
        Err(error) => observer_core::report(&error),
    };
    tracing::error!(error, "gathering metrics failed");
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, format!("gathering metrics failed: {error}"))
        .into_response()
}

/// Returns the metrics as text, with gzip if `is_compressed`.
fn gather(registry: &Registry, is_compressed: bool) -> Result<Vec<u8>, prometheus::Error> {
    let text = TextEncoder::new().encode_to_string(&registry.gather())?;
    if !is_compressed {
        return Ok(text.into_bytes());
    }
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes())?;
    Ok(encoder.finish()?)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use axum::http::HeaderValue;
    use axum::http::header::ACCEPT_ENCODING;
    use flate2::read::GzDecoder;
    use http_body_util::BodyExt;
    use observer_pipeline::Pipeline;

    use super::*;
    use crate::{EventStoreHandle, ServerOptions, routes};

    #[tokio::test]
    async fn metrics_are_compressed_if_the_client_accepts_it() {
        let (pipeline, registry) = (Pipeline::builder().start().await.unwrap(), Registry::new());
        let (options, store) = (ServerOptions::default(), EventStoreHandle::default());
        let document = routes::openapi_json();
        let state = ServerState::new(&options, pipeline, registry, store, document).unwrap();
        for (accepted, is_compressed) in [("gzip;q=0.9, *;q=0.1", true), ("identity", false)] {
            let headers =
                HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static(accepted))]);
            let (head, body) = get_metrics(State(state.clone()), headers).await.into_parts();
            let coding = head.headers.get(CONTENT_ENCODING).map(HeaderValue::as_bytes);
            assert_eq!(coding, is_compressed.then_some(&b"gzip"[..]));
            assert_eq!(head.headers[CONTENT_TYPE], TEXT);
            assert_eq!(head.headers[VARY], "accept-encoding");
            let body = body.collect().await.unwrap().to_bytes();
            let mut text = String::new();
            if is_compressed {
                GzDecoder::new(&*body).read_to_string(&mut text).unwrap();
                assert!(body.len() < text.len() / 3, "{} of {} bytes", body.len(), text.len());
            } else {
                text = String::from_utf8(body.to_vec()).unwrap();
            }
            assert!(text.contains("\nobserver_accepted_events_total 0\n"), "{text}");
        }
    }
}
