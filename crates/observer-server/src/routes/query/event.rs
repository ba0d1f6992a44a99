//! `GET /v1/events/{id}`: one event, and where each sink stands with it.

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::StatusCode;
use axum::response::Response;
use observer_core::query::{EventRequest, StoredEvent};
use observer_pipeline::{EventState, Standing};
use serde::Serialize;
use utoipa::ToSchema;

use super::events::{Numbers, StoredEventSchema, write_event};
use super::parameters::{Declared, Kind, Parameter, ParametersOf};
use super::respond::respond;
use super::{Query, Route};
use crate::problem::Problem;
use crate::request::headers::accept::Media;
use crate::routes::openapi::AnyQuery;

/// Route of one event.
pub(super) struct OneEvent;

impl Declared for OneEvent {
    const PARAMETERS: &'static [Parameter] = &[
        Parameter::new(
            "source",
            Kind::Text,
            "Source of the event, for a producer's id that occurs in several",
        ),
        Parameter::new(
            "id",
            Kind::Text,
            "Id of the event, instead of the one in the path; for `.` and `..`",
        ),
    ];
}

impl Route for OneEvent {
    const MEDIA: &'static [Media] = &[Media::Json];
}

/// Event with its position and its standing at each sink.
#[derive(ToSchema)]
#[schema(as = EventDetails)]
#[expect(dead_code, reason = "only its schema is used; events are written byte for byte")]
struct EventDetailsSchema {
    #[serde(flatten)]
    event: StoredEventSchema,
    #[serde(flatten)]
    details: Details<'static>,
}

/// Members that follow those of the event.
#[derive(Serialize, ToSchema)]
struct Details<'a> {
    /// Position in the journal: its epoch and the sequence number. Absent for callers that are
    /// limited to some sources.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    position: Option<String>,
    /// Where each sink stands with the event. Absent for callers that are limited to some sources.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    sinks: Option<Vec<SinkStanding<'a>>>,
}

/// Where a sink stands with an event.
#[derive(Serialize, ToSchema)]
struct SinkStanding<'a> {
    /// Name of the sink.
    name: &'a str,
    /// State of the event: `delivered`, `pending`, `undecided`, `dead`, `refused`, `expired`,
    /// `lost`, `filtered`, `not_offered`, or `unknown`.
    state: &'static str,
    /// States of which one applies, if the state is unknown.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    possible: Vec<&'static str>,
}

/// Returns an event, and where each sink stands with it.
///
/// The id is that of the observer, or the producer's own. The sinks store positions and counts
/// rather than a result per event. Where these allow several results, the state is `unknown`.
#[utoipa::path(
    get,
    path = "/v1/events/{id}",
    params(
        ("id" = String, Path, description = "Id of the event, or the producer's own"),
        ParametersOf<OneEvent>
    ),
    responses(
        (status = 200, description = "The event", body = EventDetailsSchema),
        AnyQuery
    )
)]
pub(super) async fn get_event(
    id: Result<Path<String>, PathRejection>,
    query: Query<OneEvent>,
) -> Result<Response, Problem> {
    let Path(id) = id.map_err(|error| Problem::new(StatusCode::BAD_REQUEST, error.body_text()))?;
    let id = query.values.segment(id, "id")?;
    let source = query.values.string("source")?;
    let request = EventRequest { scope: query.scope.clone(), id, source };
    let stored = query.ask(query.store.event(request)).await?;
    let standings = query.standings(&stored).await?;
    let sinks = standings
        .as_ref()
        .map(|all| all.iter().map(|(name, standing)| SinkStanding::of(name, standing)).collect());
    let numbers = Numbers::of(&query.caller);
    let position = (numbers == Numbers::Shown).then(|| stored.position.to_string());
    let mut json = Vec::new();
    write_event(&mut json, &stored, numbers);
    if position.is_some() || sinks.is_some() {
        let details = serde_json::to_vec(&Details { position, sinks });
        let details = details.expect("details have string keys only");
        json.pop();
        json.push(b',');
        json.extend_from_slice(&details[1..]);
    }
    Ok(respond(Media::Json, json))
}

impl Query<OneEvent> {
    /// Returns where each sink stands with the event; `None` if the caller may not read that, or
    /// there are no sinks.
    async fn standings(
        &self,
        stored: &StoredEvent,
    ) -> Result<Option<Vec<(String, Standing)>>, Problem> {
        let Some(pipeline) = &self.pipeline else { return Ok(None) };
        if !self.caller.may_read_all_sources() {
            return Ok(None);
        }
        let StoredEvent { envelope, position, .. } = stored;
        let standings = pipeline.standings(&envelope.event, envelope.id, *position).await;
        let standings = standings.map_err(|error| {
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, observer_core::report(&error))
        })?;
        Ok(Some(standings.into_iter().collect()))
    }
}

impl<'a> SinkStanding<'a> {
    fn of(name: &'a str, standing: &Standing) -> Self {
        let (state, possible) = match standing {
            Standing::Known(state) => (state.as_str(), Vec::new()),
            Standing::Unknown(possible) => {
                ("unknown", possible.iter().copied().map(EventState::as_str).collect())
            }
        };
        Self { name, state, possible }
    }
}
