//! `GET /openapi.json`: what can be asked for (OpenAPI 3.1), put together from the routes
//! themselves.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Bytes;
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

use crate::metrics::requests::Route;
use crate::problem::{PROBLEM_JSON, ProblemDetails};
use crate::state::ServerState;

const DESCRIPTION: &str = "Takes in the outcomes of cycles, makes them durable, and fans them out to sinks.\n\n\
    Where tokens are configured, sending events takes one with the scope `ingest`, asking takes `read`, and all else that changes \
    something takes `admin`. Errors are problem details (RFC 9457).";

/// What a probe can be answered with.
pub(crate) struct AnyProbe;
/// What any request can be answered with.
pub(crate) struct AnyRequest;
/// What a request with a body can be answered with.
pub(crate) struct AnyBody;

impl IntoResponses for AnyProbe {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        problems(&[
            (400, "The request is malformed."),
            (421, "The header Host has a name that the observer is not known by."),
        ])
    }
}

impl IntoResponses for AnyRequest {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        let mut all = AnyProbe::responses();
        all.append(&mut problems(&[
            (401, "A token is needed, or the one that was sent is not known."),
            (403, "The token is for other things."),
            (429, "Too much at once; the header Retry-After says when to come back."),
        ]));
        all
    }
}

impl IntoResponses for AnyBody {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        let mut all = AnyRequest::responses();
        all.append(&mut problems(&[
            (408, "The body took too long to arrive."),
            (413, "The body is larger than it may be."),
            (415, "The body says that it is no JSON, or is encoded in an unknown way."),
        ]));
        all
    }
}

/// What an event is known by.
#[derive(ToSchema)]
#[schema(format = "uuid")]
pub(crate) struct Id(#[expect(dead_code, reason = "it is only shown")] String);

/// An event as it is taken in. Fields that are not listed are kept.
#[derive(ToSchema)]
#[expect(
    dead_code,
    reason = "its shape is all that is used; the parser reads events without any tree"
)]
pub(crate) struct Event {
    /// Who the outcome is from.
    #[schema(example = "nightly-build", min_length = 1)]
    source: String,
    /// The outcome.
    #[schema(example = "tests_failed", min_length = 1)]
    event_kind: String,
    /// Whether it is a good one.
    ok: bool,
    /// Which cycle it is the outcome of. By default, events from `bot` must have it.
    cycle_id: Option<String>,
    /// The same for the same problem. By default, events from `bot` must have it.
    sig_hash: Option<String>,
    /// The model that was used.
    staffer_id: Option<String>,
    /// The number of calls to a model.
    #[schema(format = "uint64", maximum = 18_446_744_073_709_551_615_u64)]
    turns: Option<u64>,
    /// How long the cycle took, in milliseconds.
    #[schema(minimum = 0)]
    duration_ms: Option<f64>,
    /// Anything; kept byte for byte.
    #[schema(value_type = Option<Object>)]
    extra: Option<()>,
    /// What it is known by when it comes again. One that is a UUID is taken as it is; others are of
    /// the source.
    id: Option<String>,
    /// When it happened (RFC 3339).
    #[schema(format = DateTime, min_length = 20)]
    timestamp: Option<String>,
    /// The trace that it belongs to (W3C Trace Context).
    traceparent: Option<String>,
    /// Tokens and cost, by the names of OpenAI, Anthropic or Ollama.
    #[schema(value_type = Option<Object>)]
    usage: Option<()>,
}

/// An event with what an observer knows about it. Its `id` is adopted.
#[derive(ToSchema)]
#[expect(
    dead_code,
    reason = "its shape is all that is used; the parser reads envelopes without any tree"
)]
pub(crate) struct Envelope {
    /// The event's identity.
    #[schema(format = "uuid", pattern = "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$")]
    id: Option<String>,
    event: Event,
}

/// What can be sent as one event.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[serde(untagged)]
#[expect(dead_code, reason = "its shape is all that is used")]
pub(crate) enum Submission {
    Event(Event),
    Envelope(Envelope),
}

/// Conditions on the fields of an event. It passes when it meets all of them.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "its shape is all that is used")]
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

/// One value, or several of which any will do.
#[derive(ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "its shape is all that is used")]
pub(crate) enum OneOrMore {
    One(String),
    Many(Vec<String>),
}

/// The document before the routes are added.
pub(crate) fn document() -> OpenApi {
    let info = InfoBuilder::new()
        .title("observer")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(DESCRIPTION));
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("made by `observer token`"))
        .build();
    let components = ComponentsBuilder::new()
        .schema("Problem", ProblemDetails::schema())
        .security_scheme("token", SecurityScheme::Http(bearer));
    let nobody = SecurityRequirement::default();
    let token = SecurityRequirement::new("token", Vec::<String>::new());
    OpenApiBuilder::new()
        .info(info.build())
        .components(Some(components.build()))
        .security(Some([nobody, token]))
        .build()
}

/// As it is sent.
pub(crate) fn rendered(document: &OpenApi) -> Bytes {
    serde_json::to_vec(document).expect("an OpenAPI document is JSON").into()
}

/// This document.
#[utoipa::path(
    get,
    path = "/openapi.json",
    responses((status = 200, description = "The document", body = Object), AnyRequest)
)]
pub(crate) async fn get_openapi(State(api): State<Arc<ServerState>>) -> Response {
    let _time = api.requests.time(Route::OpenApi);
    let mut response = Response::new(api.openapi.clone().into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn problems(answers: &[(u16, &str)]) -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
    let schema: RefOr<Schema> = Ref::from_schema_name("Problem").into();
    let answer = |(status, description): &(u16, &str)| {
        let content = ContentBuilder::new().schema(Some(schema.clone())).build();
        let response =
            ResponseBuilder::new().description(*description).content(PROBLEM_JSON, content).build();
        (status.to_string(), response.into())
    };
    answers.iter().map(answer).collect()
}
