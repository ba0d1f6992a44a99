//! Guard that every request passes before its handler, and every response after it.
//!
//! The guard checks and limits the request, opens a span if it carries events, measures its
//! duration, counts the response, and adds the security headers to it.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::TRANSFER_ENCODING;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use observer_pipeline::RejectReason;
use prometheus::Histogram;

use crate::connection::admin_socket::ViaAdminSocket;
use crate::metrics::requests::{OTHER, RouteClass, RouteResponses, Timer};
use crate::problem::Problem;
use crate::request::access::{Caller, Scope, Scopes};
use crate::request::headers::media_type;
use crate::request::headers::trace_context::traced;
use crate::request::limits::in_flight::RequestPermit;
use crate::request::limits::peer::Peer;
use crate::request::refusals::Refusal;
use crate::request::request_log::RequestLog;
use crate::routes::{mcp, metrics};
use crate::security_headers::add_security_headers;
use crate::state::ServerState;

/// Number of requests beyond the limit that are served if they are for metrics.
const RESERVED_SCRAPES: usize = 16;

/// Guard of the requests of one route.
#[derive(Clone)]
pub(crate) struct Guard {
    state: Arc<ServerState>,
    /// Counts of the responses, with the label of the route in metrics and logs.
    responses: Arc<RouteResponses>,
    /// Durations of the route's class; `None` if the requests match no route.
    durations: Option<Histogram>,
    /// True if tokens with `sources` may use the route.
    is_open_to_limited_callers: bool,
    /// True if the requests match no route.
    is_fallback: bool,
}

/// Extension of a request whose response can be replaced by that of an error after its route. The
/// response then has its [`RouteResponses`] as an extension, for the caller to count it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CountedLater;

/// Middleware that runs the handler behind a [`Guard`].
pub(crate) async fn layer(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    guard.run(request, |request| next.run(request)).await
}

impl Guard {
    /// Creates the guard of a route. `route` is the template of its path.
    pub(crate) fn new(state: Arc<ServerState>, route: &str, class: RouteClass) -> Self {
        let responses = state.metrics.requests.responses(route);
        let durations = Some(state.metrics.requests.durations(class));
        let is_open_to_limited_callers = is_open_to_limited_callers(class);
        Self { state, responses, durations, is_open_to_limited_callers, is_fallback: false }
    }

    /// Creates the guard of requests that match no route.
    pub(crate) fn fallback(state: Arc<ServerState>) -> Self {
        let responses = state.metrics.requests.responses(OTHER);
        let is_open_to_limited_callers = true;
        Self { state, responses, durations: None, is_open_to_limited_callers, is_fallback: true }
    }

    /// Passes the request to the handler, or rejects it with the reason. The handler finds the
    /// [`Caller`] in the extensions of the request. A refused request is logged.
    ///
    /// The duration of a rejected request is not measured.
    pub(crate) async fn run<F: Future<Output = Response>>(
        &self,
        mut request: Request,
        handler: impl FnOnce(Request) -> F,
    ) -> Response {
        let scope = required_scope(request.method(), request.uri().path());
        let mut log = RequestLog::new(&request);
        let counted_later = request.extensions().get::<CountedLater>().is_some();
        let mut response = match self.admit(&request, scope) {
            Ok((_permit, caller)) => {
                let _timer = self.durations.as_ref().map(Timer::start);
                log.holder = Some(caller.holder());
                request.extensions_mut().insert(caller);
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
                let caller = self.state.settings.load().gate.identify(request.headers());
                log.holder = caller.ok().map(|caller| caller.holder());
                problem.into_response()
            }
        };
        add_security_headers(response.headers_mut());
        if let Some(refusal) = response.extensions_mut().remove::<Refusal>() {
            log.refused(&self.state.refusals, self.responses.route(), &response, &refusal);
        }
        log.finished(&response);
        if counted_later {
            response.extensions_mut().insert(self.responses.clone());
        } else {
            self.responses.count(response.status());
        }
        response
    }

    /// Identifies the caller, checks the request, and counts it as in flight until the permit is
    /// dropped.
    fn admit(
        &self,
        request: &Request,
        scope: Option<Scope>,
    ) -> Result<(Option<RequestPermit<'_>>, Caller), Problem> {
        check_transfer_coding(request.headers())?;
        let settings = self.state.settings.load();
        // Neither pages in a browser nor other users of the machine reach the admin socket.
        let is_admin = request.extensions().get::<ViaAdminSocket>().is_some();
        if !is_admin {
            settings.hosts.check(request.version(), request.uri(), request.headers())?;
        }
        let identify = |scope: Option<Scope>| match scope {
            _ if is_admin => Ok(Caller::anonymous(Scopes::ALL)),
            // A path that is mistyped gets 404 rather than an error about a scope.
            Some(scope) if self.is_fallback => {
                settings.gate.authorize_any(request.headers(), scope)
            }
            Some(scope) => settings.gate.authorize(request.headers(), scope),
            // Probes are answered whatever the token.
            None => Ok(settings.gate.identify(request.headers()).unwrap_or_default()),
        };
        let peer = request.extensions().get::<Peer>().copied().unwrap_or_default();
        let caller = identify(scope)?.with_peer(peer);
        if scope.is_none() {
            return Ok((None, caller));
        }
        if !self.is_open_to_limited_callers {
            caller.check_all_sources()?;
        }
        if changes_state(request.method()) {
            media_type::check(request.headers())?;
        }
        caller.charge().take_request()?;
        let max_requests = match request.uri().path() {
            metrics::PATH => settings.max_requests_in_flight.saturating_add(RESERVED_SCRAPES),
            _ => settings.max_requests_in_flight,
        };
        let permit = self.state.in_flight.acquire(max_requests)?;
        Ok((Some(permit), caller))
    }
}

/// Returns whether a class of routes is open to tokens with `sources`: the handlers check the
/// sources, or concern no event.
fn is_open_to_limited_callers(class: RouteClass) -> bool {
    match class {
        RouteClass::Ingest | RouteClass::Query | RouteClass::Stream => true,
        RouteClass::Admin | RouteClass::Probe => false,
    }
}

/// Checks that the body has no transfer coding but `chunked`, which has been removed.
///
/// # Errors
/// If it has (501; RFC 9112, section 6.1).
fn check_transfer_coding(headers: &HeaderMap) -> Result<(), Problem> {
    let is_chunked =
        |value: &&HeaderValue| value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked");
    let Some(other) = headers.get_all(TRANSFER_ENCODING).iter().find(|value| !is_chunked(value))
    else {
        return Ok(());
    };
    let detail = format!(
        "unsupported Transfer-Encoding {:?}; use `chunked` alone, and Content-Encoding for a \
         compressed batch",
        String::from_utf8_lossy(other.as_bytes())
    );
    Err(Problem::new(StatusCode::NOT_IMPLEMENTED, detail).reason(RejectReason::Malformed))
}

/// Returns the scope that a request requires, or `None` for health probes, which are exempt from
/// authorization and limits.
///
/// Messages to the tools of MCP require `read`, since these change nothing. Any other route requires
/// `read` if its method is safe, else `admin`. A new route for events
/// therefore rejects tokens with the scope `ingest` until it is added here.
fn required_scope(method: &Method, path: &str) -> Option<Scope> {
    match path {
        "/livez" | "/readyz" => None,
        "/event" | "/v1/events" if method == Method::POST => Some(Scope::Ingest),
        mcp::PATH if method == Method::POST => Some(Scope::Read),
        _ if changes_state(method) => Some(Scope::Admin),
        _ => Some(Scope::Read),
    }
}

/// Returns whether a request requires the scope `admin`.
pub(crate) fn is_administration(method: &Method, path: &str) -> bool {
    required_scope(method, path) == Some(Scope::Admin)
}

fn changes_state(method: &Method) -> bool {
    !method.is_safe()
}
