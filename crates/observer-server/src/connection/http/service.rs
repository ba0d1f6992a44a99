//! Service of one connection: what happens to a request before and after its route.

use std::sync::Arc;

use axum::body::{Body, HttpBody};
use axum::http::header::{CONNECTION, EXPECT};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, Version};
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use tokio::sync::SemaphorePermit;

use super::lasting::Lasting;
use super::response_memory::{ResponseMemory, counted_size, hold, refuse};
use super::unread_body::UnreadBody;
use crate::connection::admin_socket::ViaAdminSocket;
use crate::connection::context::ConnectionContext;
use crate::connection::reject::too_many_connections;
use crate::connection::slots::Slot;
use crate::connection::stream::Flags;
use crate::metrics::requests::RouteResponses;
use crate::request::limits::budget::{Holder, SMALL};
use crate::request::limits::peer::Peer;
use crate::request::refusals::{Refusal, RefusedRequest};
use crate::routes;
use crate::routes::guard::CountedLater;
use crate::routes::stream::LastingResponse;
use crate::security_headers::add_security_headers;

/// Header that tells a client for how long a connection may be idle (RFC 2068, section 19.7.1.1).
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

/// Permit by which a connection is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    Regular,
    /// Beyond the limit of connections, for one request of those that the reserve exists for.
    Reserve,
}

/// Service of the requests of one connection.
pub(super) struct ConnectionService {
    pub(super) context: Arc<ConnectionContext>,
    pub(super) slot: Arc<Slot>,
    pub(super) flags: Flags,
    pub(super) unread: UnreadBody,
    pub(super) lasting: Lasting,
    pub(super) peer: Peer,
    pub(super) admission: Admission,
}

impl ConnectionService {
    /// Responds to a request.
    pub(super) async fn call(&self, request: hyper::Request<Incoming>) -> Response {
        self.flags.writes.accepting().await;
        let active = self.slot.begin_request().await;
        let expects_continue = request.headers().contains_key(EXPECT);
        let is_http_1_1 = request.version() == Version::HTTP_11;
        let is_metrics = routes::is_metrics(request.uri().path());
        let is_safe = request.method().is_safe();
        let mut response = match self.place(&request) {
            Some(_place) => self.dispatch(request).await,
            None => self.reject(request).into_response(),
        };
        let route = response.extensions_mut().remove::<Arc<RouteResponses>>();
        let mut response = self.with_memory(response, is_safe, is_metrics);
        if let Some(route) = route {
            route.count(response.status());
        }
        let stays_open = self.unread.discard(!closes(&response) && !expects_continue).await;
        if !stays_open || self.admission == Admission::Reserve {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if response.extensions_mut().remove::<LastingResponse>().is_some() {
            return self.lasting.begin(response, active);
        }
        if closes(&response) {
            self.flags.linger.set();
        } else if is_http_1_1 && let Some(announced) = &self.context.keep_alive {
            response.headers_mut().insert(KEEP_ALIVE, announced.clone());
        }
        response
    }

    /// Returns the place that a request has until its response is ready; `None` if the connection is
    /// one of the reserve and the reserve is not for this request or has no place for its body.
    fn place(&self, request: &hyper::Request<Incoming>) -> Option<Option<SemaphorePermit<'_>>> {
        match self.admission {
            Admission::Regular => Some(None),
            Admission::Reserve if !uses_reserve(request) => None,
            Admission::Reserve if request.method().is_safe() => Some(None),
            Admission::Reserve => self.context.reserve_bodies.try_acquire().ok().map(Some),
        }
    }

    async fn dispatch(&self, request: hyper::Request<Incoming>) -> Response {
        let mut request = request.map(|body| Body::new(self.unread.keep_rest_of(body)));
        let (is_get, is_safe) = (request.method() == Method::GET, request.method().is_safe());
        let extensions = request.extensions_mut();
        extensions.insert(self.peer);
        if is_get {
            extensions.insert(self.flags.watch.clone());
        }
        if is_safe {
            extensions.insert(CountedLater);
        }
        if self.peer == Peer::AdminSocket {
            extensions.insert(ViaAdminSocket);
        }
        let Ok(response) = self.context.dispatcher.dispatch(request).await;
        response
    }

    fn reject(&self, request: hyper::Request<Incoming>) -> Response {
        drop(request);
        self.context.metrics.rejected_connections.inc();
        let mut response = too_many_connections(self.context.max_connections).into_response();
        self.context.unrouted.count(response.status());
        add_security_headers(response.headers_mut());
        response
    }

    /// Logs the refusal of a request that reached no route.
    pub(super) fn log_refusal(&self, status: StatusCode, refusal: &Refusal) {
        let (peer, status) = (self.peer, status.as_u16());
        let request = RefusedRequest { peer, principal: None, route: None, status };
        self.context.dispatcher.state().refusals.log(request, refusal);
    }

    /// Reserves memory for the response until it is sent. A response that there is no memory for
    /// becomes 503, unless its request has changed something.
    fn with_memory(&self, mut response: Response, is_safe: bool, is_metrics: bool) -> Response {
        if let Some(memory) = response.extensions_mut().remove::<ResponseMemory>() {
            return hold(response, memory);
        }
        let Some(size) = counted_size(&response).filter(|_| is_safe) else { return response };
        let state = self.context.dispatcher.state();
        let limits = state.settings.load().budget;
        let holder = Holder { peer: self.peer, token: None };
        match ResponseMemory::reserve(&state.responses, limits, holder, size, is_metrics) {
            Ok(memory) => hold(response, memory),
            Err(exceeded) => {
                let mut refused = refuse(exceeded);
                if let Some(refusal) = refused.extensions_mut().remove::<Refusal>() {
                    self.log_refusal(refused.status(), &refusal);
                }
                refused
            }
        }
    }
}

/// Returns whether the reserve of connections exists for the request.
fn uses_reserve(request: &hyper::Request<Incoming>) -> bool {
    if request.method().is_safe() {
        return routes::is_monitoring(request.uri().path());
    }
    request.body().size_hint().exact().is_some_and(|size| size <= SMALL as u64)
}

/// Returns whether the connection closes after the response, although the request may not have been
/// read to its end.
fn closes(response: &Response) -> bool {
    response.headers().get(CONNECTION).is_some_and(|value| value == "close")
}
