//! `POST /event`: one event.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use observer_core::FieldWarning;
use observer_pipeline::{Ack, AckStatus, Durability, RejectReason};
use utoipa::ToSchema;

use crate::problem::{PROBLEM_JSON, Problem, ProblemDetails};
use crate::request::access::Caller;
use crate::request::body::collect;
use crate::request::body::decompress::Encoding;
use crate::request::body::event::MAX_PARSED_INLINE;
use crate::request::headers::idempotency_key::idempotency_key;
use crate::request::limits::budget::Reservation;
use crate::routes::event_problem::{check_source, ingest_problem, rejected_event};
use crate::routes::openapi::{self, AnyBody};
use crate::routes::warnings::{self, Warning};
use crate::state::ServerState;

/// Path of the route.
pub(super) const PATH: &str = "/event";
/// Number of headers of a response.
const HEADERS: usize = 8;

/// Accepts one event, or an envelope around one.
///
/// The response is sent once the event has the stated durability. An event that was received before
/// is a duplicate and is stored once.
#[utoipa::path(
    post,
    path = "/event",
    params(
        ("Idempotency-Key" = Option<String>, Header,
            description = "Identifies the event when it is sent again: 1 to 255 visible ASCII \
                           characters, with or without quotes around them",
            pattern = "^([!#-~]{1,255}|\"[!#-~]{1,255}\")$", nullable = false)
    ),
    request_body(content = openapi::Submission, content_type = "application/json"),
    responses(
        (status = 200, description = "The event is stored", body = Stored),
        (status = 422, description = "A field is missing or invalid, or the key was used for \
                                      another event",
            body = ProblemDetails, content_type = PROBLEM_JSON),
        (status = 503, description = "The event can't be stored at the moment",
            body = ProblemDetails, content_type = PROBLEM_JSON),
        AnyBody
    )
)]
pub(crate) async fn post_event(
    State(state): State<Arc<ServerState>>,
    request: Request,
) -> Response {
    match handle(&state, request).await {
        Ok((ack, warnings)) => response(&ack, warnings),
        Err(problem) => problem.into_response(),
    }
}

/// Result of an event.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only its schema is used; responses are formatted by hand for speed")]
struct Stored {
    /// Id of the event.
    #[schema(format = "uuid")]
    id: String,
    #[schema(value_type = String, pattern = "^(accepted|duplicate)$")]
    status: AckStatus,
    /// Durability that is reached: the event is on disk, with the operating system, or in the
    /// memory of an embedding program.
    #[schema(value_type = String, pattern = "^(fsync|write|memory)$")]
    durability: Durability,
    /// Fields that were not stored or read as they were sent, if there are any.
    #[schema(required = false)]
    warnings: Vec<Warning>,
}

async fn handle(
    state: &ServerState,
    request: Request,
) -> Result<(Ack, Vec<FieldWarning>), Problem> {
    let (mut head, body) = request.into_parts();
    let caller = head.extensions.remove::<Caller>().unwrap_or_default();
    let key = reject_encoding(&head.headers).and_then(|()| idempotency_key(&head.headers));
    let key = key.inspect_err(|_| state.pipeline.count_rejected(RejectReason::Malformed))?;
    let (limits, options, budget) = {
        let settings = state.settings.load();
        (settings.body, settings.events.clone(), settings.budget)
    };
    let mut reservation = Reservation::new(&state.bodies, budget, caller.holder());
    let body = collect(body, limits, &mut reservation, caller.charge()).await;
    let body = body.inspect_err(|error| state.pipeline.count_rejected(error.reason()))?;
    let parsed = if body.len() <= MAX_PARSED_INLINE {
        options.parse(body)
    } else {
        state.large_bodies.run(move || options.parse(body)).await.map_err(|_| {
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "parsing the event failed")
        })?
    };
    let mut submission = parsed.map_err(|rejected| rejected_event(state, &rejected))?;
    check_source(state, &caller, &submission.event)?;
    let mut warnings = std::mem::take(&mut submission.warnings);
    let result = state.pipeline.ingest_as(caller.principal(), submission, key).await;
    let mut ack = result.map_err(|error| ingest_problem(&error, &warnings, &caller))?;
    warnings.append(&mut ack.warnings);
    state.metrics.count_warnings(&warnings);
    Ok((ack, warnings))
}

/// Rejects a compressed body, whose error would otherwise be about invalid JSON.
fn reject_encoding(headers: &HeaderMap) -> Result<(), Problem> {
    if matches!(Encoding::of(headers), Ok(Encoding::Identity)) {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "a single event can't be compressed; send it without Content-Encoding, or as a batch to \
         /v1/events",
    )
    .reason(RejectReason::Malformed))
}

fn response(ack: &Ack, warnings: Vec<FieldWarning>) -> Response {
    let mut id = [0; 36];
    let id = &*ack.id.hyphenated().encode_lower(&mut id);
    let (status, durability) = (ack.status.as_str(), ack.durability.as_str());
    // An empty string allocates nothing.
    let warnings = if warnings.is_empty() { String::new() } else { warnings::member(warnings) };
    let body = [
        r#"{"id":""#,
        id,
        r#"","status":""#,
        status,
        r#"","durability":""#,
        durability,
        "\"",
        &warnings,
        "}",
    ]
    .concat();
    let mut response = Response::new(body.into());
    // Space for the headers of the guard and of the connection, too.
    let mut headers = HeaderMap::with_capacity(HEADERS);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    *response.headers_mut() = headers;
    response
}
