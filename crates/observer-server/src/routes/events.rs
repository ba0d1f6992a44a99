//! `POST /v1/events`: a batch of events.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use observer_core::{EventError, Submission};
use observer_pipeline::{AckStatus, Durability, IngestError, RejectReason};
use serde::Serialize;
use utoipa::ToSchema;

use crate::problem::{BadItem, PROBLEM_JSON, Problem, ProblemDetails};
use crate::request::access::Charge;
use crate::request::body::{BatchLimits, collect};
use crate::request::decompress::{DecodeError, Encoding, SUPPORTED};
use crate::request::idempotency_key::idempotency_key;
use crate::request::split::split;
use crate::routes::event_problem::{ingest_problem, invalid_event};
use crate::routes::openapi::{self, AnyBody};
use crate::state::ServerState;

/// Size up to which an uncompressed body is parsed on the runtime's thread, which takes about a
/// millisecond. Other bodies are parsed on the blocking pool.
const MAX_PARSED_INLINE: usize = 512 << 10;

/// Results of the events of a batch.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Outcome)]
struct BatchResponse {
    accepted: usize,
    duplicates: usize,
    rejected: usize,
    /// Durability that is reached: the events are on disk, or with the operating system.
    #[schema(pattern = "^(fsync|write)$")]
    durability: &'static str,
    /// Reason for each rejected item.
    errors: Vec<BadItem>,
}

type Parsed = Vec<Result<Submission, RejectedItem>>;

/// Reason for which an item is rejected before ingest.
enum RejectedItem {
    TooLarge(usize),
    Invalid(EventError),
}

/// Accepts lines or an array of events, optionally compressed with gzip or zstd.
///
/// Each item is validated by itself. The valid ones are stored together, all or none.
#[utoipa::path(
    post,
    path = "/v1/events",
    params(
        ("Content-Encoding" = Option<String>, Header,
            description = "`gzip`, `zstd` or `identity`",
            pattern = "^(identity)?$", nullable = false)
    ),
    request_body(content(
        (Vec<openapi::Submission> = "application/json"),
        (String = "application/x-ndjson")
    )),
    responses(
        (status = 200, description = "All events are stored", body = BatchResponse),
        (status = 207, description = "Some events are stored; `errors` has the reason for each of \
                                      the others",
            body = BatchResponse),
        (status = 422, description = "All items are rejected; `errors` has the reason for each",
            body = ProblemDetails, content_type = PROBLEM_JSON),
        (status = 503, description = "The events can't be stored at the moment",
            body = ProblemDetails, content_type = PROBLEM_JSON),
        AnyBody
    )
)]
pub(crate) async fn post_events(
    State(state): State<Arc<ServerState>>,
    request: Request,
) -> Response {
    match handle(&state, request).await {
        Ok(response) => response,
        Err(problem) => {
            let mut response = problem.into_response();
            if response.status() == StatusCode::UNSUPPORTED_MEDIA_TYPE {
                response.headers_mut().insert(SUPPORTED.0, HeaderValue::from_static(SUPPORTED.1));
            }
            response
        }
    }
}

async fn handle(state: &ServerState, request: Request) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let charge = head.extensions.get::<Charge>().cloned().unwrap_or_default();
    let (limits, max_bytes) = {
        let settings = state.settings.load();
        (settings.batch, settings.max_bytes_in_flight)
    };
    let mut reservation = state.in_flight.reservation(max_bytes);
    let encoding = check_headers(&head.headers)
        .inspect_err(|_| state.pipeline.count_rejected(RejectReason::Malformed))?;
    let body = collect(body, limits.body, &mut reservation).await.map_err(|error| {
        state.pipeline.count_rejected(error.reason());
        error.into_batch_problem()
    })?;
    let parsed = if encoding == Encoding::Identity && body.len() <= MAX_PARSED_INLINE {
        parse(body, encoding, limits)
    } else {
        state.large_batches.run(move || parse(body, encoding, limits)).await.unwrap_or_else(|_| {
            Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "parsing the batch failed"))
        })
    };
    // A decompressed batch is larger than the body that was counted so far.
    let size = |parsed: &Parsed| {
        parsed.iter().flatten().map(|submission| submission.event.raw().len()).sum()
    };
    let parsed =
        parsed.and_then(|parsed| Ok(reservation.grow_to(size(&parsed)).map(|()| parsed)?));
    let parsed = parsed.and_then(|parsed| charge.take_batch(parsed.len()).map(|()| parsed));
    let parsed = parsed.inspect_err(|problem| {
        if let Some(reason) = problem.reject_reason() {
            state.pipeline.count_rejected(reason);
        }
    })?;

    let (mut submissions, mut indices, mut errors) =
        (Vec::with_capacity(parsed.len()), Vec::new(), Vec::new());
    for (index, item) in parsed.into_iter().enumerate() {
        match item {
            Ok(submission) => {
                submissions.push(submission);
                indices.push(index);
            }
            Err(rejected) => errors.push(rejected.into_problem(state).into_item(index)),
        }
    }
    let durability = Durability::Fsync.as_str();
    let mut results = BatchResponse { accepted: 0, duplicates: 0, rejected: 0, durability, errors };
    for (index, result) in indices.into_iter().zip(state.pipeline.ingest_batch(submissions).await) {
        match result {
            Ok(ack) => {
                match ack.status {
                    AckStatus::Accepted => results.accepted += 1,
                    AckStatus::Duplicate => results.duplicates += 1,
                }
                results.durability = ack.durability.as_str();
            }
            // New events are stored all or none, so the client has to send the whole batch again.
            Err(error @ IngestError::Unavailable(_)) => return Err(ingest_problem(&error)),
            Err(error) => results.errors.push(ingest_problem(&error).into_item(index)),
        }
    }
    Ok(response(results))
}

fn check_headers(headers: &HeaderMap) -> Result<Encoding, Problem> {
    if idempotency_key(headers)?.is_some() {
        let detail = "the header Idempotency-Key is not supported for a batch; give each event an \
                      `id` instead";
        return Err(Problem::new(StatusCode::BAD_REQUEST, detail).reason(RejectReason::Malformed));
    }
    Encoding::of(headers)
}

fn parse(body: Bytes, encoding: Encoding, limits: BatchLimits) -> Result<Parsed, Problem> {
    let max_bytes = limits.body.max_bytes;
    let body = encoding.decode(body, max_bytes).map_err(|error| match error {
        DecodeError::TooLarge => {
            let detail = format!(
                "the decompressed body exceeds the limit of {max_bytes} bytes for a batch; send \
                 fewer events at once, or raise `max_batch_body`"
            );
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail).reason(RejectReason::TooLarge)
        }
        DecodeError::Corrupt(error) => {
            let detail = format!("the body can't be decoded as its Content-Encoding: {error}");
            Problem::new(StatusCode::BAD_REQUEST, detail).reason(RejectReason::Malformed)
        }
    })?;
    let items = split(&body, limits.max_items, limits.max_item_bytes)?;
    if items.len() > limits.max_items {
        let detail = format!(
            "the batch exceeds the limit of {} events; send fewer at once, or raise \
             `max_batch_events`",
            limits.max_items
        );
        return Err(
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail).reason(RejectReason::TooLarge)
        );
    }
    let parse = |item: Bytes| {
        if item.len() > limits.max_item_bytes {
            return Err(RejectedItem::TooLarge(limits.max_item_bytes));
        }
        Submission::parse(item).map_err(RejectedItem::Invalid)
    };
    Ok(items.into_iter().map(parse).collect())
}

impl RejectedItem {
    fn into_problem(self, state: &ServerState) -> Problem {
        match self {
            Self::Invalid(error) => invalid_event(state, &error),
            Self::TooLarge(max_bytes) => {
                state.pipeline.count_rejected(RejectReason::TooLarge);
                let detail =
                    format!("the event exceeds the limit of {max_bytes} bytes (`max_body`)");
                Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail).reason(RejectReason::TooLarge)
            }
        }
    }
}

fn response(mut results: BatchResponse) -> Response {
    results.errors.sort_by_key(BadItem::index);
    results.rejected = results.errors.len();
    let status = match (results.accepted + results.duplicates, results.rejected) {
        (_, 0) => StatusCode::OK,
        (0, _) => {
            let detail = format!(
                "all {} items are rejected; `errors` has the reason for each",
                results.rejected
            );
            let problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail)
                .reason(RejectReason::Invalid);
            return problem.items(results.errors).into_response();
        }
        _ => StatusCode::MULTI_STATUS,
    };
    let mut response = Response::new(
        serde_json::to_vec(&results).expect("strings and numbers serialize to JSON").into(),
    );
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
