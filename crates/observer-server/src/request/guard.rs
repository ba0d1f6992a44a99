//! Guard that every request passes before its handler, and every answer after it.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::problem::Problem;
use crate::request::access::{Charge, Scope};
use crate::request::in_flight::RequestPermit;
use crate::request::media_type;
use crate::request::trace_context::traced;
use crate::security_headers::add_security_headers;
use crate::state::ServerState;

/// Middleware form of [`guarded`].
pub(crate) async fn layer(
    State(state): State<Arc<ServerState>>,
    request: Request,
    next: Next,
) -> Response {
    guarded(&state, request, |request| next.run(request)).await
}

/// Passes the request to its handler, or answers with the reason for which it is rejected.
pub(crate) async fn guarded<F: Future<Output = Response>>(
    state: &ServerState,
    mut request: Request,
    handler: impl FnOnce(Request) -> F,
) -> Response {
    let scope = required_scope(request.method(), request.uri().path());
    let mut response = match admit(state, &request, scope) {
        Ok((_permit, charge)) => {
            request.extensions_mut().insert(charge);
            if scope == Some(Scope::Ingest) {
                traced(request, handler).await
            } else {
                handler(request).await
            }
        }
        Err(problem) => {
            if scope == Some(Scope::Ingest)
                && let Some(reason) = problem.reject_reason()
            {
                state.pipeline.count_rejected(reason);
            }
            problem.closing_after(request.body()).into_response()
        }
    };
    add_security_headers(response.headers_mut());
    response
}

fn admit<'a>(
    state: &'a ServerState,
    request: &Request,
    scope: Option<Scope>,
) -> Result<(Option<RequestPermit<'a>>, Charge), Problem> {
    let settings = state.settings.load();
    settings.hosts.check(request.version(), request.uri(), request.headers())?;
    let Some(scope) = scope else { return Ok((None, Charge::default())) };
    let charge = settings.gate.authorize(request.headers(), scope)?;
    if changes_state(request.method()) {
        media_type::check(request.headers())?;
    }
    charge.take_request()?;
    let permit = state.in_flight.admit(settings.max_requests_in_flight)?;
    Ok((Some(permit), charge))
}

/// Returns the scope that a request requires, or `None` for health probes, which are exempt from
/// authorization and limits.
///
/// Any other route requires `read` if its method is safe, else `admin`.
fn required_scope(method: &Method, path: &str) -> Option<Scope> {
    match path {
        "/livez" | "/readyz" => None,
        "/event" | "/v1/events" if method == Method::POST => Some(Scope::Ingest),
        _ if changes_state(method) => Some(Scope::Admin),
        _ => Some(Scope::Read),
    }
}

fn changes_state(method: &Method) -> bool {
    !method.is_safe()
}
