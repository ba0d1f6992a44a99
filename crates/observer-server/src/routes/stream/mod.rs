//! `GET /v1/stream`: committed events as they come, as server-sent events (WHATWG HTML, section
//! 9.2).
//!
//! [`broadcast`] reads the journal once for all readers and encodes events into [`block`]s, of
//! which each [`reader`] sends what its client may read and asked for. A reader that the broadcast
//! has left behind reads the journal itself, or gets a gap. [`body`] is the response,
//! and [`streams`] limits them.

mod block;
mod body;
mod broadcast;
mod reader;
mod schema;
mod streams;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use observer_core::query::QueryError;
use observer_core::{AnyOf, Filter, Position, Timestamp};

use self::block::Selection;
use self::body::StreamBody;
use self::reader::{Credentials, Reader, Start};
use self::schema::BlockSchema;
pub(crate) use self::streams::Streams;
use super::openapi::AnyRequest;
use super::query::parameters::joined;
use super::query::parameters::{Declared, EVENT_FILTERS, Kind, Parameter, ParametersOf, Values};
use crate::connection::admin_socket::ViaAdminSocket;
use crate::problem::Problem;
use crate::request::access::Caller;
use crate::state::ServerState;

/// Path of the route.
pub(super) const PATH: &str = "/v1/stream";
/// Position of the client, which an `EventSource` sends when it connects again.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// The same as a parameter, since an `EventSource` can't set the header at first.
const LAST_EVENT_ID_PARAMETER: &str = "last_event_id";
/// Parameters of `GET /v1/events` that select a part of the past.
const OF_THE_PAST: [&str; 5] = ["since", "until", "limit", "cursor", "format"];

/// Mark of a response that lasts until its client or the server ends it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LastingResponse;

/// Route of live events.
struct Stream;

impl Declared for Stream {
    const PARAMETERS: &'static [Parameter] = &joined::<7, 1, 8>(
        EVENT_FILTERS,
        [Parameter::new(
            LAST_EVENT_ID_PARAMETER,
            Kind::Position,
            "Position after which the stream begins; the header `Last-Event-ID` takes precedence",
        )],
    );
}

/// Sends events that meet every condition, as they are committed.
///
/// An event has the type `outcome` or `phase`, its position as the id, and its envelope as the
/// data. Events of the type `gap` say how many events are missing, and why. The schema is that of
/// one event, with its fields as the members of an object.
#[utoipa::path(
    get,
    path = PATH,
    params(
        ParametersOf<Stream>,
        ("Last-Event-ID" = Option<String>, Header, pattern = "^([0-9]{1,18}-[0-9]{1,18})?$",
            description = "Position after which the stream begins, as the id of an event"),
    ),
    responses(
        (status = 200, description = "Events, until the client or the server ends the stream",
            content_type = "text/event-stream", body = BlockSchema),
        (status = 503, description = "The limit of streams is reached.",
            content_type = "application/problem+json", body = crate::problem::ProblemDetails),
        AnyRequest
    )
)]
pub(super) async fn get_stream(
    State(state): State<Arc<ServerState>>,
    request: Request,
) -> Result<Response, Problem> {
    let caller = request.extensions().get::<Caller>().cloned().unwrap_or_default();
    let query = request.uri().query();
    refuse_parameters_of_the_past(query)?;
    let values = Values::read(query, Stream::PARAMETERS, Timestamp::now())?;
    let start = start(request.headers(), &values)?;
    let sources = caller.sources().map(<[String]>::to_vec);
    let selection = Selection { filter: filter(&values)?, sources };
    let settings = state.settings.load_full();
    let permit = state.streams.open(settings.max_streams, &state.metrics.stream_readers)?;
    let credentials = Credentials {
        headers: only_authorization(request.headers()),
        is_admin: request.extensions().get::<ViaAdminSocket>().is_some(),
    };
    let reader = Reader::new(state, settings, credentials, selection, start, permit);
    let mut response = Response::new(Body::new(StreamBody::new(reader)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // A proxy such as nginx would hold events back until its buffer is full.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response.extensions_mut().insert(LastingResponse);
    Ok(response)
}

/// Checks that no parameter selects a part of the past.
fn refuse_parameters_of_the_past(query: Option<&str>) -> Result<(), Problem> {
    let query = query.unwrap_or_default();
    let given = form_urlencoded::parse(query.as_bytes())
        .find_map(|(name, _)| OF_THE_PAST.into_iter().find(|known| *known == name));
    let Some(name) = given else { return Ok(()) };
    let detail = format!(
        "`{name}` does not apply to a stream, which begins at the present or after \
         `{LAST_EVENT_ID_PARAMETER}`; use GET /v1/events for the past"
    );
    Err(Problem::new(StatusCode::BAD_REQUEST, detail).field(Some(name)))
}

/// Returns where the stream begins.
fn start(headers: &HeaderMap, values: &Values) -> Result<Start, Problem> {
    let header = headers.get(LAST_EVENT_ID).filter(|value| !value.is_empty());
    let (name, text) = match header {
        Some(value) => ("Last-Event-ID", String::from_utf8_lossy(value.as_bytes()).into_owned()),
        None => match values.text(LAST_EVENT_ID_PARAMETER)? {
            Some(text) => (LAST_EVENT_ID_PARAMETER, text.to_owned()),
            None => return Ok(Start::Head),
        },
    };
    text.parse::<Position>().map(Start::After).map_err(|error| {
        let shown: String = text.chars().take(60).collect();
        let detail = format!(
            "`{name}` is {error}, and is {shown:?}; send the id of an event as it was received, or \
             leave it out to begin at the present"
        );
        Problem::new(StatusCode::BAD_REQUEST, detail).field(Some(name))
    })
}

fn filter(values: &Values) -> Result<Filter, QueryError> {
    let any_of = |name| Some(values.strings(name)).filter(|all| !all.is_empty()).map(AnyOf::Many);
    let mut filter = Filter::default();
    filter.ok = values.flag("ok")?;
    filter.source = any_of("source");
    filter.event_kind = any_of("event_kind");
    filter.sig_hash = any_of("sig_hash");
    filter.cycle_id = any_of("cycle_id");
    filter.staffer_id = any_of("staffer_id");
    for (label, value) in values.labels() {
        let accepted = filter.labels.entry(label).or_insert_with(|| AnyOf::Many(Vec::new()));
        if let AnyOf::Many(accepted) = accepted {
            accepted.push(value);
        }
    }
    Ok(filter)
}

fn only_authorization(headers: &HeaderMap) -> HeaderMap {
    headers.get_all(AUTHORIZATION).iter().map(|value| (AUTHORIZATION, value.clone())).collect()
}

#[cfg(test)]
mod tests {
    use observer_core::Event;

    use super::*;

    fn values(query: &str) -> Values {
        Values::read(Some(query), Stream::PARAMETERS, Timestamp::UNIX_EPOCH).unwrap()
    }

    #[test]
    fn filter_matches_as_the_parameters_of_queries_do() {
        let event = Event::parse(
            r#"{"source":"bot","event_kind":"x","ok":false,"labels":{"branch":"main","os":"a"}}"#,
        )
        .unwrap();
        for (query, expected) in [
            ("", true),
            ("source=ci&source=bot", true),
            ("source=ci", false),
            ("source=bot&ok=true", false),
            ("label.branch=dev&label.branch=main&label.os=a", true),
            ("label.branch=main&label.os=b", false),
            ("event_kind=x&ok=false", true),
            ("sig_hash=s", false),
        ] {
            assert_eq!(filter(&values(query)).unwrap().matches(&event), expected, "{query}");
        }
    }

    #[test]
    fn header_takes_precedence_over_the_parameter() {
        let mut headers = HeaderMap::new();
        let start = |headers: &HeaderMap, query: &str| start(headers, &values(query));
        assert!(matches!(start(&headers, ""), Ok(Start::Head)));
        let after = |result, expected| matches!(result, Ok(Start::After(Position { seq, .. })) if seq == expected);
        assert!(after(start(&headers, "last_event_id=1-2"), 2));
        headers.insert(LAST_EVENT_ID, HeaderValue::from_static("1-3"));
        assert!(after(start(&headers, "last_event_id=1-2"), 3));
        headers.insert(LAST_EVENT_ID, HeaderValue::from_static("3"));
        let error = start(&headers, "").unwrap_err().to_json();
        assert_eq!(
            serde_json::from_slice::<serde_json::Value>(&error).unwrap()["detail"],
            "`Last-Event-ID` is not a position; it has the form EPOCH-SEQ, such as \
             1764340000000000-42, and is \"3\"; send the id of an event as it was received, or \
             leave it out to begin at the present"
        );
    }
}
