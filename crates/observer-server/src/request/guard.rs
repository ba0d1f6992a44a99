//! What every request passes, and every answer.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::problem::Problem;
use crate::request::access::{Charge, Scope};
use crate::request::in_flight::Admitted;
use crate::request::media_type;
use crate::request::trace_context::traced;
use crate::security_headers::harden;
use crate::state::ServerState;

/// As a layer around the routes.
pub(crate) async fn layer(
    State(api): State<Arc<ServerState>>,
    request: Request,
    next: Next,
) -> Response {
    guarded(&api, request, |request| next.run(request)).await
}

/// Answer the request if it may be made, and say why where it may not.
pub(crate) async fn guarded<F: Future<Output = Response>>(
    api: &ServerState,
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
    api: &'a ServerState,
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
