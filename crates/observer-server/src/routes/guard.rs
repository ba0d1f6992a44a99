//! Guard that every request passes before its handler, and every response after it.
//!
//! The guard checks and limits the request, opens a span if it carries events, measures its
//! duration by route, and adds the security headers to the response.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use prometheus::Histogram;

use crate::metrics::server::Timer;
use crate::problem::Problem;
use crate::request::access::{Charge, Scope};
use crate::request::in_flight::RequestPermit;
use crate::request::media_type;
use crate::request::trace_context::traced;
use crate::security_headers::add_security_headers;
use crate::state::ServerState;

/// Guard of the requests of one route.
#[derive(Clone)]
pub(crate) struct Guard {
    state: Arc<ServerState>,
    durations: Histogram,
}

/// Middleware that runs the handler behind a [`Guard`].
pub(crate) async fn layer(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    guard.run(request, |request| next.run(request)).await
}

impl Guard {
    /// Creates the guard of a route. `route` is its label in the metrics.
    pub(crate) fn new(state: Arc<ServerState>, route: &'static str) -> Self {
        let durations = state.metrics.request_durations(route);
        Self { state, durations }
    }

    /// Passes the request to the handler, or rejects it with the reason.
    ///
    /// The duration of a rejected request is not measured.
    pub(crate) async fn run<F: Future<Output = Response>>(
        &self,
        mut request: Request,
        handler: impl FnOnce(Request) -> F,
    ) -> Response {
        let scope = required_scope(request.method(), request.uri().path());
        let mut response = match admit(&self.state, &request, scope) {
            Ok((_permit, charge)) => {
                let _timer = Timer::start(&self.durations);
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
                    self.state.pipeline.count_rejected(reason);
                }
                problem.closing_after(request.body()).into_response()
            }
        };
        add_security_headers(response.headers_mut());
        response
    }
}

/// Checks the request, and counts it as in flight until the permit is dropped.
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
    let permit = state.in_flight.acquire(settings.max_requests_in_flight)?;
    Ok((Some(permit), charge))
}

/// Returns the scope that a request requires, or `None` for health probes, which are exempt from
/// authorization and limits.
///
/// Any other route requires `read` if its method is safe, else `admin`. A new route for events
/// therefore rejects tokens with the scope `ingest` until it is added here.
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
