//! `POST /event`.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use observer_core::Submission;
use observer_pipeline::{Ack, AckStatus, Durability, RejectReason};
use utoipa::ToSchema;

use crate::metrics::requests::Route;
use crate::problem::{PROBLEM_JSON, Problem, ProblemDetails};
use crate::rejection::{no_event, not_taken};
use crate::request::body::collect;
use crate::request::idempotency_key::idempotency_key;
use crate::routes::openapi::{self, AnyBody};
use crate::state::ServerState;

/// Take one event in, or an envelope around one.
///
/// The answer comes when the event is as durable as it says. An event that is known already is a
/// duplicate, and stored once.
#[utoipa::path(
    post,
    path = "/event",
    params(("Idempotency-Key" = Option<String>, Header, description = "What the event is known by when it comes again: 1 to 255 visible ASCII characters, with or without quotes around them", pattern = "^([!#-~]{1,255}|\"[!#-~]{1,255}\")$", nullable = false)),
    request_body(content = openapi::Submission, content_type = "application/json"),
    responses(
        (status = 200, description = "It is stored", body = Stored),
        (status = 422, description = "A field is missing or wrong, or the key came with another event", body = ProblemDetails, content_type = PROBLEM_JSON),
        (status = 503, description = "It can't be stored now", body = ProblemDetails, content_type = PROBLEM_JSON),
        AnyBody
    )
)]
pub(crate) async fn post_event(State(api): State<Arc<ServerState>>, request: Request) -> Response {
    let _time = api.requests.time(Route::Event);
    match take(&api, request).await {
        Ok(ack) => answer(&ack),
        Err(problem) => problem.into_response(),
    }
}

/// What became of an event.
#[derive(ToSchema)]
#[expect(
    dead_code,
    reason = "its shape is all that is used; the answer is put together by hand, since there are so many"
)]
struct Stored {
    /// The event's identity.
    #[schema(format = "uuid")]
    id: String,
    #[schema(value_type = String, pattern = "^(accepted|duplicate)$")]
    status: AckStatus,
    /// What is true of it now: it is on disk, or with the operating system.
    #[schema(value_type = String, pattern = "^(fsync|write)$")]
    durability: Durability,
}

async fn take(api: &ServerState, request: Request) -> Result<Ack, Problem> {
    let (head, body) = request.into_parts();
    let key = not_encoded(&head.headers).and_then(|()| idempotency_key(&head.headers));
    let key = key.inspect_err(|_| api.pipeline.count_rejected(RejectReason::Malformed))?;
    let (limits, max_bytes) = {
        let settings = api.settings.load();
        (settings.body, settings.max_bytes_in_flight)
    };
    let mut room = api.in_flight.room(max_bytes);
    let body = collect(body, limits, &mut room).await;
    let body = body.inspect_err(|error| api.pipeline.count_rejected(error.reason()))?;
    let submission = Submission::parse(body).map_err(|error| no_event(api, &error))?;
    let taken = match key {
        None => api.pipeline.ingest(submission).await,
        Some(key) => api.pipeline.ingest_with_key(submission, key).await,
    };
    taken.map_err(|error| not_taken(&error))
}

/// A compressed body would be refused as bad JSON, which tells its sender nothing.
fn not_encoded(headers: &HeaderMap) -> Result<(), Problem> {
    match headers.get(CONTENT_ENCODING) {
        Some(encoding) if !encoding.as_bytes().eq_ignore_ascii_case(b"identity") => {
            Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "a single event can't be compressed; send it without Content-Encoding",
            )
            .reason(RejectReason::Malformed))
        }
        _ => Ok(()),
    }
}

fn answer(ack: &Ack) -> Response {
    let mut id = [0; 36];
    let id = &*ack.id.hyphenated().encode_lower(&mut id);
    let status = match ack.status {
        AckStatus::Accepted => "accepted",
        AckStatus::Duplicate => "duplicate",
    };
    let durability = match ack.durability {
        Durability::Fsync => "fsync",
        Durability::Write => "write",
    };
    let body =
        [r#"{"id":""#, id, r#"","status":""#, status, r#"","durability":""#, durability, r#""}"#]
            .concat();
    let mut response = Response::new(body.into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
