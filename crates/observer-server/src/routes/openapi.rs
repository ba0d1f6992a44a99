//! `GET /openapi.json`: the OpenAPI 3.1 document, and the schemas and responses that routes share.
//!
//! The document is assembled from the attributes of the handlers.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use axum::response::Response;
use utoipa::openapi::schema::Schema;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    ComponentsBuilder, ContentBuilder, InfoBuilder, OpenApi, OpenApiBuilder, Ref, RefOr,
    ResponseBuilder,
};
use utoipa::{IntoResponses, PartialSchema, ToSchema};

use crate::problem::{PROBLEM_JSON, ProblemDetails};
use crate::state::ServerState;

const DESCRIPTION: &str = "\
    Accepts outcome events, makes them durable, and fans them out to sinks.\n\n\
    Sending events requires the scope `ingest`, reading requires `read`, and other changes require \
    `admin`. Errors are problem details (RFC 9457).";

/// Error responses of health probes.
pub(crate) struct AnyProbe;
/// Error responses of all other requests.
pub(crate) struct AnyRequest;
/// Error responses of queries.
pub(crate) struct AnyQuery;
/// Error responses of requests with a body.
pub(crate) struct AnyBody;

impl IntoResponses for AnyProbe {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        problems(&[
            (400, "The request is malformed."),
            (421, "The header Host names an unknown host."),
        ])
    }
}

impl IntoResponses for AnyRequest {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        let mut all = AnyProbe::responses();
        all.append(&mut problems(&[
            (401, "The token is missing or unknown."),
            (403, "The token lacks the required scope, or is limited to other sources."),
            (429, "A limit is exceeded; retry after the time in the header Retry-After."),
        ]));
        all
    }
}

impl IntoResponses for AnyBody {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        let mut all = AnyRequest::responses();
        all.append(&mut problems(&[
            (408, "The body did not arrive in time."),
            (413, "The body exceeds a size limit."),
            (415, "The body has a content type other than JSON, or an unsupported encoding."),
        ]));
        all
    }
}

impl IntoResponses for AnyQuery {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        let mut all = AnyRequest::responses();
        all.append(&mut problems(&[
            (404, "There is no knowledge base, or it does not hold what was asked for."),
            (406, "None of the offered media types is accepted."),
            (500, "The query failed."),
            (503, "The knowledge base can't be read at the moment."),
        ]));
        all
    }
}

/// Id of an event.
#[derive(ToSchema)]
#[schema(format = "uuid")]
pub(crate) struct Id(#[expect(dead_code, reason = "only its schema is used")] String);

/// Event. Fields that are not listed are kept.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only its schema is used; the parser builds no tree")]
pub(crate) struct Event {
    /// Source of the event.
    #[schema(example = "nightly-build", min_length = 1)]
    source: String,
    /// Kind of the outcome.
    #[schema(example = "tests_failed", min_length = 1)]
    event_kind: String,
    /// True if the cycle succeeded. Only phases may leave it out: events of the kinds `started`,
    /// `heartbeat` and `progress`.
    ok: bool,
    /// Cycle that the event is the outcome of. Required of the source `bot` by default.
    cycle_id: Option<String>,
    /// Signature of the problem, the same for each occurrence. Required of the source `bot` by
    /// default.
    sig_hash: Option<String>,
    /// Model that was used.
    staffer_id: Option<String>,
    /// Number of calls to a model.
    #[schema(format = "uint64", maximum = 9_007_199_254_740_992_u64)]
    turns: Option<u64>,
    /// Duration of the cycle in milliseconds.
    #[schema(minimum = 0, maximum = 3_155_760_000_000_u64)]
    duration_ms: Option<f64>,
    /// Any object, kept byte for byte.
    #[schema(value_type = Option<Object>)]
    extra: Option<()>,
    /// Identifies the event when it is sent again. A UUID is used as it is; other ids are scoped by
    /// the source.
    id: Option<String>,
    /// Time of the event (RFC 3339).
    #[schema(format = DateTime, min_length = 20)]
    timestamp: Option<String>,
    /// Trace that the event belongs to (W3C Trace Context).
    #[schema(pattern = "^00-[0-9a-f]{31}[1-9a-f]-[0-9a-f]{15}[1-9a-f]-[0-9a-f]{2}$")]
    traceparent: Option<String>,
    /// Tokens and cost, as the model API or the tool reports them.
    #[schema(value_type = Option<Object>)]
    usage: Option<()>,
    /// Cost of the cycle in US dollars.
    #[schema(minimum = 0, maximum = 1_000_000_000_000_u64)]
    cost_usd: Option<f64>,
    /// Number of the attempt at the problem.
    #[schema(format = "uint64", maximum = 9_007_199_254_740_992_u64)]
    attempt: Option<u64>,
    /// Id of the outcome that this one corrects, or the producer's own id of it.
    #[schema(min_length = 1)]
    replaces: Option<String>,
    /// Labels, such as the branch or the host.
    labels: Option<BTreeMap<String, String>>,
}

/// Event in the envelope of another observer, whose `id` is adopted.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only its schema is used; the parser builds no tree")]
pub(crate) struct Envelope {
    /// Id of the event.
    #[schema(format = "uuid", pattern = "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$")]
    id: Option<String>,
    event: Event,
}

/// Event, with or without an envelope.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[serde(untagged)]
#[expect(dead_code, reason = "only its schema is used")]
pub(crate) enum Submission {
    Event(Event),
    Envelope(Envelope),
}

/// Conditions on the fields of an event, all of which must hold.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used")]
pub(crate) struct Filter {
    #[schema(nullable = false)]
    ok: Option<bool>,
    #[schema(nullable = false)]
    source: Option<OneOrMore>,
    #[schema(nullable = false)]
    event_kind: Option<OneOrMore>,
    #[schema(nullable = false)]
    sig_hash: Option<OneOrMore>,
    #[schema(nullable = false)]
    cycle_id: Option<OneOrMore>,
    #[schema(nullable = false)]
    staffer_id: Option<OneOrMore>,
}

/// One value, or several of which any matches.
#[derive(ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only its schema is used")]
pub(crate) enum OneOrMore {
    One(String),
    Many(Values),
}

/// At least one value.
#[derive(ToSchema)]
#[schema(min_items = 1)]
pub(crate) struct Values(#[expect(dead_code, reason = "only its schema is used")] Vec<String>);

/// Returns the document without routes.
pub(crate) fn document() -> OpenApi {
    let info = InfoBuilder::new()
        .title("observer")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(DESCRIPTION));
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("token created by `observer token`"))
        .build();
    let components = ComponentsBuilder::new()
        .schema("Problem", ProblemDetails::schema())
        .security_scheme("token", SecurityScheme::Http(bearer));
    let anonymous = SecurityRequirement::default();
    let token = SecurityRequirement::new("token", Vec::<String>::new());
    OpenApiBuilder::new()
        .info(info.build())
        .components(Some(components.build()))
        .security(Some([anonymous, token]))
        .build()
}

/// Returns this document.
#[utoipa::path(
    get,
    path = "/openapi.json",
    responses((status = 200, description = "The document", body = Object), AnyRequest)
)]
pub(crate) async fn get_openapi(State(state): State<Arc<ServerState>>) -> Response {
    let mut response = Response::new(state.openapi.clone().into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn problems(responses: &[(u16, &str)]) -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
    let schema: RefOr<Schema> = Ref::from_schema_name("Problem").into();
    let response = |(status, description): &(u16, &str)| {
        let content = ContentBuilder::new().schema(Some(schema.clone())).build();
        let response =
            ResponseBuilder::new().description(*description).content(PROBLEM_JSON, content).build();
        (status.to_string(), response.into())
    };
    responses.iter().map(response).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use observer_core::Field;

    use super::*;

    fn properties<T: PartialSchema>() -> BTreeSet<String> {
        let schema = serde_json::to_value(T::schema()).unwrap();
        schema["properties"].as_object().unwrap().keys().cloned().collect()
    }

    fn names(fields: &[Field]) -> BTreeSet<String> {
        fields.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn schemas_list_the_fields_of_events_and_filters() {
        assert_eq!(properties::<Event>(), names(&Field::ALL));
        assert_eq!(properties::<Filter>(), names(&observer_core::Filter::FIELDS));
    }
}
