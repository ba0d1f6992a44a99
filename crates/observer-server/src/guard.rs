//! What every request passes, and every answer.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::access::{Charge, Scope};
use crate::api::Api;
use crate::in_flight::Admitted;
use crate::media_type;
use crate::problem::Problem;
use crate::traced::traced;

/// For answers that are no pages, to browsers
/// (<https://cheatsheetseries.owasp.org/cheatsheets/REST_Security_Cheat_Sheet.html>).
pub(crate) const HEADERS: [(HeaderName, HeaderValue); 5] = [
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"),
    ),
    (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (CACHE_CONTROL, HeaderValue::from_static("no-store")),
];

/// As a layer around the routes.
pub(crate) async fn layer(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    guarded(&api, request, |request| next.run(request)).await
}

/// Answer the request if it may be made, and say why where it may not.
pub(crate) async fn guarded<F: Future<Output = Response>>(
    api: &Api,
    mut request: Request,
    answer: impl FnOnce(Request) -> F,
) -> Response {
    let scope = scope_of(request.method(), request.uri().path());
    let mut response = match admit(api, &request, scope) {
        Ok((_admitted, charge)) => {
            request.extensions_mut().insert(charge);
            if scope == Some(Scope::Ingest) {
                traced(request, answer).await
            } else {
                answer(request).await
            }
        }
        Err(problem) => {
            if scope == Some(Scope::Ingest) {
                api.pipeline.count_rejected(problem.counted_as());
            }
            problem.closing_after(request.body()).into_response()
        }
    };
    harden(response.headers_mut());
    response
}

fn admit<'a>(
    api: &'a Api,
    request: &Request,
    scope: Option<Scope>,
) -> Result<(Option<Admitted<'a>>, Charge), Problem> {
    let settings = api.settings.load();
    settings.hosts.check(request.version(), request.uri(), request.headers())?;
    let Some(scope) = scope else { return Ok((None, Charge::default())) };
    let charge = settings.gate.admit(request.headers(), scope)?;
    if changes_something(request.method()) {
        media_type::check(request.headers())?;
    }
    charge.take_request()?;
    let admitted = api.in_flight.admit(settings.max_requests_in_flight)?;
    Ok((Some(admitted), charge))
}

/// What one has to be allowed to do for this request; nothing for probes, which have to work when
/// all else fails.
///
/// A new route is for readers if it can't change anything, and else for administrators.
fn scope_of(method: &Method, path: &str) -> Option<Scope> {
    match path {
        "/livez" | "/readyz" => None,
        "/event" | "/v1/events" if method == Method::POST => Some(Scope::Ingest),
        _ if changes_something(method) => Some(Scope::Admin),
        _ => Some(Scope::Read),
    }
}

fn changes_something(method: &Method) -> bool {
    !method.is_safe()
}

/// Where an answer says nothing else.
fn harden(headers: &mut HeaderMap) {
    for (name, value) in HEADERS {
        headers.entry(name).or_insert(value);
    }
}
