//! `/v1/sinks/{name}/dead-letters/divert` and `/v1/sinks/{name}/retry`: what an operator can do
//! about a sink that is held.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use observer_core::Uuid;
use observer_pipeline::Diversion;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::body::SinkRequestBody;
use super::dead_letters::{parse_id, problem};
use super::path::{SinkName, known_sink};
use crate::problem::{PROBLEM_JSON, Problem, ProblemDetails};
use crate::request::access::Caller;
use crate::request::body::parse;
use crate::routes::openapi::{self, AnyBody, AnyRequest};
use crate::state::ServerState;

/// Selection of unresolved events: `event`, `head`, or neither for the event that holds the sink.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct DiversionRequest {
    /// Id of an event that the destination refused, or that is delivered next.
    #[schema(value_type = Option<openapi::Id>, required = false, nullable = false)]
    event: Option<String>,
    /// Number of events, from the first unresolved one on.
    #[schema(required = false, nullable = false, minimum = 1, maximum = 10000)]
    head: Option<usize>,
}

/// Result of a diversion.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Diverted)]
struct DiversionResponse {
    /// Ids of the events that are dead letters now.
    diverted: Vec<String>,
}

/// Moves unresolved events of a sink to its dead letters, so that they hold it no longer.
///
/// Without a selection it is the event that holds the sink; if there is none, the oldest undecided
/// one, and else the next one to be delivered. The dead letters can be replayed later.
#[utoipa::path(
    post,
    path = "/v1/sinks/{name}/dead-letters/divert",
    params(("name" = String, Path, description = "Name of the sink")),
    request_body(content = DiversionRequest, content_type = "application/json"),
    responses(
        (status = 200, description = "The events are dead letters", body = DiversionResponse),
        (status = 404, description = "The sink is unknown, or has no such unresolved event",
            body = ProblemDetails, content_type = PROBLEM_JSON),
        (status = 409, description = "The sink is not running",
            body = ProblemDetails, content_type = PROBLEM_JSON),
        (status = 422, description = "The selection is invalid",
            body = ProblemDetails, content_type = PROBLEM_JSON),
        (status = 503, description = "The dead letters can't be written",
            body = ProblemDetails, content_type = PROBLEM_JSON),
        AnyBody
    )
)]
pub(crate) async fn post_diversion(
    State(state): State<Arc<ServerState>>,
    name: SinkName,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Response, Problem> {
    let name = known_sink(&state, name)?;
    let body = SinkRequestBody::read(&state, &caller, request).await?;
    let usage = r#"the body is {}, {"event":"…"} or {"head":…}"#;
    let diversion = match parse(&body.bytes, usage)? {
        DiversionRequest { event: None, head: None } => Diversion::Holding,
        DiversionRequest { event: Some(id), head: None } => Diversion::Event(parse_id(&id)?),
        DiversionRequest { event: None, head: Some(count) } if count > 0 => Diversion::Head(count),
        _ => {
            let detail = "send either `event`, or `head` as a number above 0";
            return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail));
        }
    };
    let ids = state.pipeline.divert(&name, diversion).await.map_err(|error| problem(&error))?;
    if ids.is_empty() {
        let detail = match diversion {
            Diversion::Event(id) => format!(
                "the event {id} is neither refused by the sink {name:?} nor among the events that \
                 are delivered next"
            ),
            Diversion::Holding | Diversion::Head(_) => {
                format!("the sink {name:?} has no unresolved event")
            }
        };
        return Err(Problem::new(StatusCode::NOT_FOUND, detail));
    }
    let diverted = ids.iter().map(Uuid::to_string).collect();
    Ok(Json(DiversionResponse { diverted }).into_response())
}

/// Attempts what a sink has to deliver now, without waiting for its back-off, for a delay that the
/// destination requested, or for the next check of a parked sink.
#[utoipa::path(
    post,
    path = "/v1/sinks/{name}/retry",
    params(("name" = String, Path, description = "Name of the sink")),
    responses(
        (status = 204, description = "The sink is being tried"),
        (status = 404, description = "The sink is unknown",
            body = ProblemDetails, content_type = PROBLEM_JSON),
        (status = 409, description = "The sink is not running",
            body = ProblemDetails, content_type = PROBLEM_JSON),
        (status = 415, description = "The request has a content type other than JSON",
            body = ProblemDetails, content_type = PROBLEM_JSON),
        AnyRequest
    )
)]
pub(crate) async fn post_retry(
    State(state): State<Arc<ServerState>>,
    name: SinkName,
) -> Result<Response, Problem> {
    let name = known_sink(&state, name)?;
    state.pipeline.wake_sink(&name).await.map_err(|error| problem(&error))?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
