//! `POST /mcp`: tools of the Model Context Protocol, over streamable HTTP.
//!
//! Each message gets its response in JSON; there are no sessions and no streams. The tools read
//! within the sources of the caller. `observer_mcp` has the tools and the protocol; this module has
//! what the route shares with others: limits, the caller, and errors.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_TYPE, HOST, ORIGIN};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use observer_core::query::Scope;
use observer_mcp::Reader;
use serde::de::IgnoredAny;
use utoipa::ToSchema;

use super::query::client_gone;
use crate::connection::admin_socket::ViaAdminSocket;
use crate::problem::{PROBLEM_JSON, Problem, ProblemDetails};
use crate::request::access::Caller;
use crate::request::body::{BodyError, BodyLimits, collect};
use crate::request::cors::Origins;
use crate::request::limits::budget::Reservation;
use crate::routes::openapi::AnyBody;
use crate::state::ServerState;

/// Path of the route.
pub(super) const PATH: &str = "/mcp";
/// Limit of a message in bytes. The arguments of a tool are short.
const MAX_MESSAGE: usize = 256 << 10;

/// Message of JSON-RPC 2.0.
#[derive(ToSchema)]
#[schema(as = McpMessage)]
#[expect(dead_code, reason = "only its schema is used; the SDK reads messages")]
struct Message {
    #[schema(pattern = "^2\\.0$")]
    jsonrpc: String,
    /// Id of a request, an integer or a string; a notification has none.
    #[schema(nullable = false)]
    id: Option<u32>,
    /// Method, such as `tools/call`.
    #[schema(example = "tools/list", min_length = 1)]
    method: String,
    #[schema(value_type = Option<Object>, nullable = false)]
    params: Option<()>,
}

/// Receives a message of a client of the Model Context Protocol (streamable HTTP).
///
/// The tools `history`, `problems`, `models`, `usage` and `search` read the knowledge base. Each
/// message gets a response in JSON; sessions and streams are not offered.
#[utoipa::path(
    post,
    path = "/mcp",
    request_body(
        content = Message,
        content_type = "application/json",
        description = "One message of JSON-RPC 2.0"
    ),
    responses(
        (status = 200, description = "The response to a request", body = serde_json::Value),
        (status = 202, description = "The message is a notification"),
        (status = 404, description = "The method is unknown", body = serde_json::Value),
        (status = 422, description = "The body is no message of the protocol",
            body = ProblemDetails, content_type = PROBLEM_JSON),
        (status = 503, description = "Too many queries are in flight",
            body = ProblemDetails, content_type = PROBLEM_JSON),
        AnyBody
    )
)]
pub(super) async fn post_message(
    State(state): State<Arc<ServerState>>,
    request: Request,
) -> Response {
    match handle(&state, request).await {
        Ok(response) => response,
        Err(problem) => problem.into_response(),
    }
}

async fn handle(state: &ServerState, request: Request) -> Result<Response, Problem> {
    let (mut head, body) = request.into_parts();
    if head.extensions.get::<ViaAdminSocket>().is_none() {
        check_origin(&head.uri, &head.headers, state.cors_origins.as_ref())?;
    }
    let caller = head.extensions.remove::<Caller>().unwrap_or_default();
    let (limits, budget, max_queries) = {
        let settings = state.settings.load();
        (settings.body, settings.budget, settings.max_queries_in_flight)
    };
    let limits = BodyLimits { max_bytes: limits.max_bytes.min(MAX_MESSAGE), ..limits };
    let mut reservation = Reservation::new(&state.bodies, budget, caller.holder());
    let message = collect(body, limits, &mut reservation, caller.charge()).await;
    let message = message.map_err(body_problem)?;
    if let Err(error) = serde_json::from_slice::<IgnoredAny>(&message) {
        let detail = format!("the body is not JSON: {error}; send one message of JSON-RPC");
        return Err(Problem::new(StatusCode::BAD_REQUEST, detail));
    }
    let _permit = state.queries_in_flight.clone().acquire(max_queries)?;
    let scope = Scope { sources: caller.sources().map(<[String]>::to_vec) };
    let reader = Reader { store: state.event_store.get(), scope };
    let response = tokio::select! {
        biased;
        response = state.mcp.respond(head.headers, message, reader) => response,
        gone = client_gone(head.extensions.get()) => return Err(gone),
    };
    into_response(response)
}

/// Checks the origin of a page in a browser: its own host, or one of `cors_origins`.
///
/// # Errors
/// If it is another one (403).
fn check_origin(uri: &Uri, headers: &HeaderMap, allowed: Option<&Origins>) -> Result<(), Problem> {
    let mut origins = headers.get_all(ORIGIN).iter();
    let origin = match (origins.next(), origins.next()) {
        (None, _) => return Ok(()),
        (Some(origin), None) => origin,
        (Some(_), Some(_)) => return Err(unknown_origin("(several values)")),
    };
    if is_own(uri, headers, origin) || allowed.is_some_and(|allowed| allowed.contains(origin)) {
        return Ok(());
    }
    Err(unknown_origin(origin.to_str().unwrap_or("(not ASCII)")))
}

/// Returns whether an origin is the host and port that the request names.
fn is_own(uri: &Uri, headers: &HeaderMap, origin: &HeaderValue) -> bool {
    let parse = |value: &HeaderValue| value.to_str().ok()?.parse::<Authority>().ok();
    let own = uri.authority().cloned().or_else(|| parse(headers.get(HOST)?));
    let origin = origin.to_str().ok().and_then(|text| text.parse::<Uri>().ok());
    let (Some(own), Some(origin)) = (own, origin) else { return false };
    let default_port = match origin.scheme_str() {
        Some("http") => 80,
        Some("https") => 443,
        _ => return false,
    };
    let port = |authority: &Authority| authority.port_u16().unwrap_or(default_port);
    origin
        .authority()
        .is_some_and(|of| of.host().eq_ignore_ascii_case(own.host()) && port(of) == port(&own))
}

fn unknown_origin(origin: &str) -> Problem {
    let detail = format!("unknown origin {origin:?}; add it to `server.cors_origins`");
    Problem::new(StatusCode::FORBIDDEN, detail)
}

fn body_problem(error: BodyError) -> Problem {
    match error {
        BodyError::TooLarge { max_bytes } => {
            let detail = format!(
                "the message exceeds the limit of {max_bytes} bytes; shorten its arguments"
            );
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail).closing()
        }
        error => error.into(),
    }
}

/// Returns the response, or the problem that a rejection in plain text describes.
fn into_response(response: axum::http::Response<Bytes>) -> Result<Response, Problem> {
    let is_json = response.headers().get(CONTENT_TYPE).is_some_and(|of| of == "application/json");
    if is_json || response.status().is_success() {
        return Ok(response.map(Body::from));
    }
    let text = String::from_utf8_lossy(response.body());
    Err(match response.status() {
        // The body is JSON, and no message.
        StatusCode::UNSUPPORTED_MEDIA_TYPE => {
            let detail = "the body is no message of JSON-RPC 2.0; a message has `jsonrpc`, `id`, \
                          `method` and `params`, and batches are not supported";
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail)
        }
        status => Problem::new(status, text.into_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origin_is_the_own_host_or_a_configured_one() {
        let allowed = Origins::new(&["https://app.example".to_owned()]);
        for (host, origin, is_allowed) in [
            ("localhost:3800", None, true),
            ("localhost:3800", Some("http://localhost:3800"), true),
            ("LOCALHOST:3800", Some("http://localhost:3800"), true),
            ("observer.example", Some("https://observer.example"), true),
            ("observer.example", Some("https://observer.example:443"), true),
            ("[::1]:3800", Some("http://[::1]:3800"), true),
            ("localhost:3800", Some("https://app.example"), true),
            ("localhost:3800", Some("http://localhost:6274"), false),
            ("localhost:3800", Some("http://localhost"), false),
            ("localhost:3800", Some("https://evil.example"), false),
            ("localhost:3800", Some("file://localhost:3800"), false),
            ("localhost:3800", Some("null"), false),
            ("localhost:3800", Some(""), false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, host.parse().unwrap());
            if let Some(origin) = origin {
                headers.insert(ORIGIN, origin.parse().unwrap());
            }
            let checked = check_origin(&Uri::from_static("/mcp"), &headers, allowed.as_ref());
            assert_eq!(checked.is_ok(), is_allowed, "{host} {origin:?}");
        }
        let mut twice = HeaderMap::new();
        twice.insert(HOST, HeaderValue::from_static("a"));
        twice.append(ORIGIN, HeaderValue::from_static("http://a"));
        twice.append(ORIGIN, HeaderValue::from_static("http://a"));
        let error = check_origin(&Uri::from_static("/mcp"), &twice, None).unwrap_err();
        assert_eq!(error.status(), StatusCode::FORBIDDEN);
    }
}
