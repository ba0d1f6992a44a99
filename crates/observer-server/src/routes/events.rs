//! `POST /v1/events`: a batch of events.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use observer_core::{FieldWarning, Submission};
use observer_pipeline::{Ack, AckStatus, IngestError, RejectReason};
use serde::Serialize;
use utoipa::ToSchema;

use crate::connection::http::response_memory::ResponseMemory;
use crate::problem::{BadItem, PROBLEM_JSON, Problem, ProblemDetails};
use crate::request::access::{Caller, Charge};
use crate::request::body::decompress::{DecodeError, Encoding, SUPPORTED};
use crate::request::body::event::{EventOptions, MAX_PARSED_INLINE, RejectedEvent};
use crate::request::body::partial_status::PartialStatus;
use crate::request::body::split::split;
use crate::request::body::{BatchLimits, collect};
use crate::request::headers::idempotency_key::idempotency_key;
use crate::request::limits::budget::{BudgetExceeded, BudgetLimits, Reservation};
use crate::routes::event_problem::{check_source, ingest_problem, rejected_event};
use crate::routes::openapi::{self, AnyBody};
use crate::routes::warnings::{BatchWarning, BatchWarnings};
use crate::settings::Settings;
use crate::state::ServerState;

/// Results of the events of a batch.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Outcome)]
struct BatchResponse {
    accepted: usize,
    duplicates: usize,
    rejected: usize,
    /// Durability that is reached: the events are on disk, with the operating system, or in
    /// the memory of an embedding program.
    #[schema(pattern = "^(fsync|write|memory)$")]
    durability: &'static str,
    /// Reason for each rejected item.
    errors: Vec<BadItem>,
    /// Fields that were not stored or read as they were sent, if there are any: the first 100.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    warnings: Vec<BatchWarning>,
    /// Number of all warnings, if `warnings` has only a part of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    warnings_total: Option<usize>,
}

/// Items of a batch after parsing.
struct Parsed {
    items: Vec<Result<Submission, RejectedEvent>>,
    /// Bytes that the items keep in memory.
    bytes: usize,
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
            pattern = "^(identity)?$", nullable = false),
        ("partial" = Option<String>, Query,
            description = "Status if some items are rejected and others stored; by default \
                           `ingest.partial_status`",
            pattern = "^(200|207)$", nullable = false)
    ),
    request_body(content(
        (Vec<openapi::Submission> = "application/json"),
        (String = "application/x-ndjson")
    )),
    responses(
        (status = 200, description = "All events are stored, or some with `partial` 200",
            body = BatchResponse),
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
    let (mut head, body) = request.into_parts();
    let caller = head.extensions.remove::<Caller>().unwrap_or_default();
    let charge = caller.charge();
    let (limits, options, partial, budget) = {
        let settings = state.settings.load();
        let Settings { batch, partial, budget, .. } = **settings;
        (batch, settings.events.clone(), partial, budget)
    };
    let mut reservation = Reservation::new(&state.bodies, budget, caller.holder());
    let (encoding, partial) = check_headers(&head.headers)
        .and_then(|encoding| Ok((encoding, partial.or_of(head.uri.query())?)))
        .inspect_err(|_| state.pipeline.count_rejected(RejectReason::Malformed))?;
    let body = collect(body, limits.body, &mut reservation, charge).await.map_err(|error| {
        state.pipeline.count_rejected(error.reason());
        error.into_batch_problem()
    })?;
    let parsed = if encoding == Encoding::Identity && body.len() <= MAX_PARSED_INLINE {
        parse(body, encoding, limits, &options, charge)
    } else {
        let charge = charge.clone();
        let parse = move || parse(body, encoding, limits, &options, &charge);
        state.large_bodies.run(parse).await.unwrap_or_else(|_| {
            Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "parsing the batch failed"))
        })
    };
    // A decompressed batch is larger than the body that was counted so far.
    let items = parsed.and_then(|Parsed { items, bytes }| {
        reservation.grow_to(bytes).map_err(BudgetExceeded::of_body)?;
        charge.take_batch(items.len())?;
        Ok(items)
    });
    let items = items.inspect_err(|problem| {
        if let Some(reason) = problem.reject_reason() {
            state.pipeline.count_rejected(reason);
        }
    })?;

    let (mut submissions, mut sent, mut errors) =
        (Vec::with_capacity(items.len()), Vec::new(), Vec::new());
    for (index, item) in items.into_iter().enumerate() {
        let item = item.map_err(|rejected| rejected_event(state, &rejected));
        let item = item.and_then(|submission| {
            check_source(state, &caller, &submission.event).map(|()| submission)
        });
        match item {
            Ok(mut submission) => {
                sent.push((index, std::mem::take(&mut submission.warnings)));
                submissions.push(submission);
            }
            Err(problem) => errors.push(problem.into_item(index)),
        }
    }
    let memory = reserve_response(state, &caller, budget, &errors)?;
    let acks = state.pipeline.ingest_batch_as(caller.principal(), submissions).await;
    let results = results_of(state, &caller, sent, acks, errors)?;
    let mut response = response(results, partial);
    response.extensions_mut().insert(memory);
    Ok(response)
}

/// Reserves memory for a response with these errors. Once the events are stored it is too late to
/// refuse the request.
fn reserve_response(
    state: &ServerState,
    caller: &Caller,
    budget: BudgetLimits,
    errors: &[BadItem],
) -> Result<ResponseMemory, Problem> {
    let bytes = errors.iter().map(BadItem::size).sum();
    let memory = ResponseMemory::reserve(&state.responses, budget, caller.holder(), bytes, false);
    memory.map_err(|exceeded| {
        state.pipeline.count_rejected(RejectReason::Overloaded);
        exceeded.of_response().reason(RejectReason::Overloaded)
    })
}

/// Returns the results of a batch: `sent` has the index and the warnings of each event that the
/// pipeline got, and `errors` the items that were rejected before.
fn results_of(
    state: &ServerState,
    caller: &Caller,
    sent: Vec<(usize, Vec<FieldWarning>)>,
    acks: Vec<Result<Ack, IngestError>>,
    errors: Vec<BadItem>,
) -> Result<BatchResponse, Problem> {
    let mut results = BatchResponse {
        accepted: 0,
        duplicates: 0,
        rejected: 0,
        durability: state.pipeline.durability().as_str(),
        errors,
        warnings: Vec::new(),
        warnings_total: None,
    };
    let mut all_warnings = BatchWarnings::default();
    // An archive without the right to relay has one for each event, and they come last.
    let mut identity_warnings = Vec::new();
    for ((index, warnings), result) in sent.into_iter().zip(acks) {
        match result {
            Ok(ack) => {
                match ack.status {
                    AckStatus::Accepted => results.accepted += 1,
                    AckStatus::Duplicate => results.duplicates += 1,
                }
                results.durability = ack.durability.as_str();
                state.metrics.count_warnings(&warnings);
                all_warnings.add(index, warnings);
                if !ack.warnings.is_empty() {
                    identity_warnings.push((index, ack.warnings));
                }
            }
            // New events are stored all or none, so the client has to send the whole batch again.
            Err(error @ IngestError::Unavailable(_)) => {
                return Err(ingest_problem(&error, &warnings, caller));
            }
            Err(error) => {
                results.errors.push(ingest_problem(&error, &warnings, caller).into_item(index));
            }
        }
    }
    for (index, warnings) in identity_warnings {
        state.metrics.count_warnings(&warnings);
        all_warnings.add(index, warnings);
    }
    results.warnings_total = all_warnings.total_if_more();
    results.warnings = all_warnings.into_first();
    Ok(results)
}

fn check_headers(headers: &HeaderMap) -> Result<Encoding, Problem> {
    if idempotency_key(headers)?.is_some() {
        let detail = "the header Idempotency-Key is not supported for a batch; give each event an \
                      `id` instead";
        return Err(Problem::new(StatusCode::BAD_REQUEST, detail).reason(RejectReason::Malformed));
    }
    Encoding::of(headers)
}

fn parse(
    body: Bytes,
    encoding: Encoding,
    limits: BatchLimits,
    options: &EventOptions,
    charge: &Charge,
) -> Result<Parsed, Problem> {
    let (max_bytes, received) = (limits.body.max_bytes, body.len());
    let decoded = encoding.decode(body, max_bytes);
    // The received bytes are charged already.
    let size = match &decoded {
        Ok(body) => body.len(),
        Err(DecodeError::TooLarge) => max_bytes,
        Err(DecodeError::Corrupt(_)) => 0,
    };
    charge.add_bytes(size.saturating_sub(received));
    let body = decoded.map_err(|error| match error {
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
    let items = split(&body, limits.max_items, options.max_bytes)?;
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
    let items: Vec<_> = items.into_iter().map(|item| options.parse(item)).collect();
    let stored: usize = items.iter().flatten().map(|submission| submission.event.raw().len()).sum();
    // A trimmed event keeps the bytes that were sent, and with them the whole body.
    let is_body_kept = items.iter().flatten().any(|submission| submission.untrimmed.is_some());
    let bytes = stored + if is_body_kept { body.len() } else { 0 };
    Ok(Parsed { items, bytes })
}

fn response(mut results: BatchResponse, partial: PartialStatus) -> Response {
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
        _ => partial.into(),
    };
    let refusal = results.errors.first().map(|first| first.refusal(results.rejected));
    let mut response = Response::new(
        serde_json::to_vec(&results).expect("strings and numbers serialize to JSON").into(),
    );
    *response.status_mut() = status;
    if let Some(refusal) = refusal {
        response.extensions_mut().insert(refusal);
    }
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
