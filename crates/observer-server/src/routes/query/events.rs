//! `GET /v1/events`: events by filter.

use axum::http::StatusCode;
use axum::response::Response;
use jiff::tz::TimeZone;
use observer_core::query::{EventPage, EventsRequest, MAX_LIMIT, QueryError, StoredEvent};
use utoipa::ToSchema;

use super::csv::{Csv, row};
use super::parameters::{
    CURSOR, Declared, EVENT_FILTERS, Kind, LIMIT, Parameter, ParametersOf, joined,
};
use super::respond::respond;
use super::{DEFAULT_LIMIT, Query, Route};
use crate::problem::Problem;
use crate::request::access::Caller;
use crate::request::headers::accept::Media;
use crate::routes::openapi::AnyQuery;

/// Route of events by filter.
pub(super) struct Events;

impl Declared for Events {
    const PARAMETERS: &'static [Parameter] = &joined::<7, 4, 11>(
        EVENT_FILTERS,
        [
            Parameter::new("since", Kind::Time, "Earliest time of receipt"),
            Parameter::new(
                "until",
                Kind::Time,
                "Time of receipt before which events were received",
            ),
            LIMIT,
            CURSOR,
        ],
    );
}

impl Route for Events {
    const MEDIA: &'static [Media] = &[Media::Json, Media::JsonLines, Media::Csv];
}

/// Page of events, newest first.
#[derive(ToSchema)]
#[schema(as = EventPage)]
#[expect(dead_code, reason = "only its schema is used; events are written byte for byte")]
struct EventPageSchema {
    events: Vec<StoredEventSchema>,
    /// Where the next page begins; absent on the last one.
    #[schema(nullable = false)]
    cursor: Option<String>,
}

/// Event that the observer has stored.
#[derive(ToSchema)]
#[schema(as = StoredEvent)]
#[expect(dead_code, reason = "only its schema is used; events are written byte for byte")]
pub(in crate::routes) struct StoredEventSchema {
    /// Id that the observer gave the event.
    #[schema(format = "uuid")]
    id: String,
    /// Sequence number in the journal. Absent for callers that are limited to some sources.
    #[schema(nullable = false)]
    seq: Option<u64>,
    /// Time of receipt.
    #[schema(format = DateTime)]
    received_at: String,
    /// Event, byte for byte as the producer sent it. Optional fields may be unreadable.
    #[schema(value_type = Object)]
    event: serde_json::Value,
    /// Event that corrects this one, and counts instead of it.
    #[schema(format = "uuid", nullable = false)]
    replaced_by: Option<String>,
}

/// Returns events that meet every condition, newest first.
///
/// The header `Link` has the address of the next page.
#[utoipa::path(
    get,
    path = "/v1/events",
    params(ParametersOf<Events>),
    responses(
        (status = 200, description = "A page of events", content(
            (EventPageSchema = "application/json"),
            (String = "application/x-ndjson"),
            (String = "text/csv"),
        )),
        AnyQuery
    )
)]
pub(super) async fn get_events(query: Query<Events>) -> Result<Response, Problem> {
    let page = query.ask(query.store.events(query.request()?)).await?;
    let (media, cursor) = (query.media, page.cursor.clone());
    let numbers = Numbers::of(&query.caller);
    // A page has up to some megabytes.
    let rendered = tokio::task::spawn_blocking(move || render(&page, media, numbers)).await;
    let body = rendered.map_err(|_| {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the page could not be written")
    })?;
    Ok(query.link_next(respond(media, body), cursor.as_deref()))
}

impl Query<Events> {
    fn request(&self) -> Result<EventsRequest, QueryError> {
        let values = &self.values;
        let (since, until) = values.window(&TimeZone::UTC)?;
        Ok(EventsRequest {
            scope: self.scope.clone(),
            source: values.strings("source"),
            event_kind: values.strings("event_kind"),
            ok: values.flag("ok")?,
            sig_hash: values.strings("sig_hash"),
            cycle_id: values.strings("cycle_id"),
            staffer_id: values.strings("staffer_id"),
            labels: values.labels(),
            since,
            until,
            limit: values.count("limit")?.unwrap_or(DEFAULT_LIMIT),
            cursor: values.string("cursor")?,
        })
    }
}

/// Whether sequence numbers are shown. Their gaps tell how much other sources send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Numbers {
    Shown,
    Hidden,
}

impl Numbers {
    pub(super) fn of(caller: &Caller) -> Self {
        if caller.may_read_all_sources() { Self::Shown } else { Self::Hidden }
    }
}

fn render(page: &EventPage, media: Media, numbers: Numbers) -> Vec<u8> {
    match media {
        Media::Csv => csv(&page.events, numbers).finish().into_bytes(),
        Media::JsonLines => {
            let mut lines = Vec::new();
            for event in &page.events {
                write_event(&mut lines, event, numbers);
                lines.push(b'\n');
            }
            lines
        }
        _ => json(page, numbers),
    }
}

fn json(page: &EventPage, numbers: Numbers) -> Vec<u8> {
    let mut json = br#"{"events":["#.to_vec();
    for (index, event) in page.events.iter().enumerate() {
        if index > 0 {
            json.push(b',');
        }
        write_event(&mut json, event, numbers);
    }
    json.push(b']');
    if let Some(cursor) = &page.cursor {
        json.extend_from_slice(br#","cursor":"#);
        json.extend(serde_json::to_vec(cursor).expect("a string is JSON"));
    }
    json.push(b'}');
    json
}

/// Appends an event in its envelope, byte for byte, on one line.
pub(super) fn write_event(json: &mut Vec<u8>, event: &StoredEvent, numbers: Numbers) {
    match numbers {
        Numbers::Shown => event.envelope.write_json(json),
        Numbers::Hidden => event.envelope.write_json_without_seq(json),
    }
    if let Some(by) = event.replaced_by {
        json.pop();
        json.extend_from_slice(format!(r#","replaced_by":"{by}"}}"#).as_bytes());
    }
}

fn csv(events: &[StoredEvent], numbers: Numbers) -> Csv {
    let mut csv = Csv::new(&[
        "id",
        "seq",
        "received_at",
        "timestamp",
        "source",
        "event_kind",
        "ok",
        "cycle_id",
        "sig_hash",
        "staffer_id",
        "turns",
        "duration_ms",
        "cost_usd",
        "attempt",
        "replaces",
        "replaced_by",
        "labels",
    ]);
    for StoredEvent { envelope, replaced_by, .. } in events {
        let event = &envelope.event;
        let labels: serde_json::Map<_, _> =
            event.labels().map(|(name, value)| (name.to_owned(), value.into())).collect();
        let labels = (!labels.is_empty()).then(|| serde_json::Value::from(labels).to_string());
        row!(csv;
            envelope.id,
            (numbers == Numbers::Shown).then_some(envelope.seq),
            envelope.received_at,
            event.timestamp(),
            event.source(),
            event.event_kind(),
            event.ok(),
            event.cycle_id(),
            event.sig_hash(),
            event.staffer_id(),
            event.turns(),
            event.duration_ms(),
            event.cost_usd(),
            event.attempt(),
            event.replaces(),
            replaced_by,
            labels,
        );
    }
    csv
}

const _: () = assert!(DEFAULT_LIMIT <= MAX_LIMIT);
