//! `POST /v1/events`: many events at once.

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

use crate::metrics::requests::Route;
use crate::problem::{BadItem, PROBLEM_JSON, Problem, ProblemDetails};
use crate::rejection::{no_event, not_taken};
use crate::request::access::Charge;
use crate::request::body::{BatchLimits, collect};
use crate::request::decompress::{ACCEPTED, Encoding, InflateError};
use crate::request::idempotency_key::idempotency_key;
use crate::request::split::split;
use crate::routes::openapi::{self, AnyBody};
use crate::state::ServerState;

/// Larger bodies, and compressed ones, are read on a thread of their own: this takes about a
/// millisecond.
const PARSED_IN_PLACE: usize = 512 << 10;

/// What became of a batch.
#[derive(Debug, Serialize, ToSchema)]
struct Outcome {
    accepted: usize,
    duplicates: usize,
    rejected: usize,
    /// What is true of what was stored: it is on disk, or with the operating system.
    #[schema(pattern = "^(fsync|write)$")]
    durability: &'static str,
    /// What is wrong with those that were not.
    errors: Vec<BadItem>,
}

type Parsed = Vec<Result<Submission, Refused>>;

/// Why an item is no event.
enum Refused {
    TooLarge(usize),
    NoEvent(EventError),
}

/// Take lines or an array of events in, also in gzip or zstd.
///
/// Each is judged by itself; those that are good are stored together, all or none.
#[utoipa::path(
    post,
    path = "/v1/events",
    params(("Content-Encoding" = Option<String>, Header, description = "`gzip`, `zstd` or `identity`", pattern = "^(identity)?$", nullable = false)),
    request_body(content((Vec<openapi::Submission> = "application/json"), (String = "application/x-ndjson"))),
    responses(
        (status = 200, description = "All are stored", body = Outcome),
        (status = 207, description = "Some are stored, and `errors` says what is wrong with the others", body = Outcome),
        (status = 422, description = "None can be stored; `errors` says what is wrong with each", body = ProblemDetails, content_type = PROBLEM_JSON),
        (status = 503, description = "None can be stored now", body = ProblemDetails, content_type = PROBLEM_JSON),
        AnyBody
    )
)]
pub(crate) async fn post_events(State(api): State<Arc<ServerState>>, request: Request) -> Response {
    let _time = api.requests.time(Route::Events);
    match take(&api, request).await {
        Ok(response) => response,
        Err(problem) => {
            let mut response = problem.into_response();
            if response.status() == StatusCode::UNSUPPORTED_MEDIA_TYPE {
                response.headers_mut().insert(ACCEPTED.0, HeaderValue::from_static(ACCEPTED.1));
            }
            response
        }
    }
}

async fn take(api: &ServerState, request: Request) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let charge = head.extensions.get::<Charge>().cloned().unwrap_or_default();
    let (limits, max_bytes) = {
        let settings = api.settings.load();
        (settings.batch, settings.max_bytes_in_flight)
    };
    let mut room = api.in_flight.room(max_bytes);
    let encoding = check_head(&head.headers)
        .inspect_err(|_| api.pipeline.count_rejected(RejectReason::Malformed))?;
    let body = collect(body, limits.body, &mut room).await.map_err(|error| {
        api.pipeline.count_rejected(error.reason());
        error.of_batch()
    })?;
    let parsed = if encoding == Encoding::Identity && body.len() <= PARSED_IN_PLACE {
        parse(body, encoding, limits)
    } else {
        api.large_batches.run(move || parse(body, encoding, limits)).await.unwrap_or_else(|_| {
            Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the batch could not be read")
                .reason(RejectReason::Malformed))
        })
    };
    // Of a compressed batch, what is taken on is larger than what came.
    let size = |parsed: &Parsed| {
        parsed.iter().flatten().map(|submission| submission.event.raw().len()).sum()
    };
    let parsed = parsed.and_then(|parsed| Ok(room.grow_to(size(&parsed)).map(|()| parsed)?));
    let parsed = parsed.and_then(|parsed| charge.take_rest(parsed.len()).map(|()| parsed));
    let parsed = parsed.inspect_err(|problem| api.pipeline.count_rejected(problem.counted_as()))?;

    let (mut submissions, mut places, mut errors) =
        (Vec::with_capacity(parsed.len()), Vec::new(), Vec::new());
    for (index, item) in parsed.into_iter().enumerate() {
        match item {
            Ok(submission) => {
                submissions.push(submission);
                places.push(index);
            }
            Err(refused) => errors.push(refused.into_problem(api).of_item(index)),
        }
    }
    let mut outcome =
        Outcome { accepted: 0, duplicates: 0, rejected: 0, durability: "fsync", errors };
    for (index, result) in places.into_iter().zip(api.pipeline.ingest_batch(submissions).await) {
        match result {
            Ok(ack) => {
                match ack.status {
                    AckStatus::Accepted => outcome.accepted += 1,
                    AckStatus::Duplicate => outcome.duplicates += 1,
                }
                outcome.durability = match ack.durability {
                    Durability::Fsync => "fsync",
                    Durability::Write => "write",
                };
            }
            // What is new is stored together or not at all, so the whole batch is to come again.
            Err(error @ IngestError::Unavailable(_)) => return Err(not_taken(&error)),
            Err(error) => outcome.errors.push(not_taken(&error).of_item(index)),
        }
    }
    Ok(answer(outcome))
}

fn check_head(headers: &HeaderMap) -> Result<Encoding, Problem> {
    if idempotency_key(headers)?.is_some() {
        let detail = "the header Idempotency-Key names one event, and this is a batch; give each event an `id` instead";
        return Err(Problem::new(StatusCode::BAD_REQUEST, detail).reason(RejectReason::Malformed));
    }
    Encoding::of(headers)
}

fn parse(body: Bytes, encoding: Encoding, limits: BatchLimits) -> Result<Parsed, Problem> {
    let max_bytes = limits.body.max_bytes;
    let body = encoding.decode(body, max_bytes).map_err(|error| match error {
        InflateError::TooLarge => {
            let detail = format!(
                "a batch may have {max_bytes} bytes, and this one has more after decompression; send fewer events at once, or raise `max_batch_body`"
            );
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail).reason(RejectReason::TooLarge)
        }
        InflateError::Corrupt(error) => {
            let detail = format!("the body is not what its Content-Encoding says: {error}");
            Problem::new(StatusCode::BAD_REQUEST, detail).reason(RejectReason::Malformed)
        }
    })?;
    let items = split(&body, limits.max_items, limits.max_item_bytes)?;
    if items.len() > limits.max_items {
        let detail = format!(
            "a batch may have {} events, and this one has more; send fewer at once, or raise `max_batch_events`",
            limits.max_items
        );
        return Err(
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail).reason(RejectReason::TooLarge)
        );
    }
    let parse = |item: Bytes| {
        if item.len() > limits.max_item_bytes {
            return Err(Refused::TooLarge(limits.max_item_bytes));
        }
        Submission::parse(item).map_err(Refused::NoEvent)
    };
    Ok(items.into_iter().map(parse).collect())
}

impl Refused {
    fn into_problem(self, api: &ServerState) -> Problem {
        match self {
            Self::NoEvent(error) => no_event(api, &error),
            Self::TooLarge(max_bytes) => {
                api.pipeline.count_rejected(RejectReason::TooLarge);
                let detail = format!("an event may have {max_bytes} bytes, and this one has more");
                Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail).reason(RejectReason::TooLarge)
            }
        }
    }
}

fn answer(mut outcome: Outcome) -> Response {
    outcome.errors.sort_by_key(BadItem::index);
    outcome.rejected = outcome.errors.len();
    let status = match (outcome.accepted + outcome.duplicates, outcome.rejected) {
        (_, 0) => StatusCode::OK,
        (0, _) => {
            let detail = format!(
                "none of the {} items is an event that can be taken; `errors` says why",
                outcome.rejected
            );
            let problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail)
                .reason(RejectReason::Invalid);
            return problem.items(outcome.errors).into_response();
        }
        _ => StatusCode::MULTI_STATUS,
    };
    let mut response =
        Response::new(serde_json::to_vec(&outcome).expect("strings and numbers are JSON").into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
