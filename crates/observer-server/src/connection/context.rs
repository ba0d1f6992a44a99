//! Context of connections: the state that the connections of a server share.

use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderValue;
use hyper::server::conn::http1;
use hyper_util::rt::TokioTimer;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::slots::Slots;
use crate::metrics::requests::{OTHER, RouteResponses};
use crate::metrics::server::ServerMetrics;
use crate::options::ServerOptions;
use crate::routes::dispatch::Dispatcher;
use crate::state::ServerState;

/// Size of a connection's read buffer in bytes, and so the limit of a request's head.
pub(crate) const MAX_BUFFER: usize = 64 << 10;
/// Number of connections beyond the limit that are served for one request.
const RESERVE: usize = 64;
/// Largest number of those that send a body. The others are for probes and metrics, so that bodies
/// which never end can't keep these out.
const RESERVE_BODIES: usize = 48;
/// Number of further connections that are rejected with a 503 response at the same time.
const MAX_REJECTIONS: usize = 64;
/// Limit of the connections to the admin socket.
const MAX_ADMIN_CONNECTIONS: usize = 64;

/// State that the connections of a server share.
pub(crate) struct ConnectionContext {
    pub(crate) dispatcher: Arc<Dispatcher>,
    pub(crate) http: http1::Builder,
    pub(crate) header_timeout: Duration,
    pub(crate) write_timeout: Duration,
    /// Value of the header `Keep-Alive`, if the time for idle connections is long enough for one.
    pub(crate) keep_alive: Option<HeaderValue>,
    pub(crate) metrics: ServerMetrics,
    /// Counts of the responses to requests that reach no route.
    pub(crate) unrouted: Arc<RouteResponses>,
    /// Permits of connections, which enforce `max_connections`. A connection holds one until it
    /// ends.
    pub(crate) permits: Arc<Semaphore>,
    /// Activity of the open connections. At the limit it selects idle ones to close, whose permits
    /// new connections then acquire.
    pub(crate) slots: Arc<Slots>,
    pub(crate) max_connections: usize,
    /// Permits of connections beyond the limit for probes, metrics and small bodies.
    pub(crate) reserve: Arc<Semaphore>,
    /// Permits of requests on these connections that have a body.
    pub(crate) reserve_bodies: Arc<Semaphore>,
    /// Permits of further connections, which receive a response before they are closed.
    pub(crate) rejections: Arc<Semaphore>,
    /// Permits of connections to the admin socket, which don't count towards `max_connections`, so
    /// that an operator can connect while producers hold all of those.
    pub(crate) admin_permits: Arc<Semaphore>,
    pub(crate) tasks: TaskTracker,
    /// Cancelled when no further request may begin.
    pub(crate) drain: CancellationToken,
    /// Cancelled when connections must close at once. Serving tasks observe it only after `drain`,
    /// so cancel both to close all connections.
    pub(crate) cut: CancellationToken,
}

impl ConnectionContext {
    pub(crate) fn new(state: Arc<ServerState>, options: &ServerOptions) -> Arc<Self> {
        let max_connections = options.max_connections.clamp(1, Semaphore::MAX_PERMITS);
        let mut http = http1::Builder::new();
        // The timeout of a head also runs between two requests.
        http.timer(TokioTimer::new())
            .header_read_timeout(options.header_timeout)
            .max_buf_size(MAX_BUFFER);
        // A complete request is served even if its client has closed its sending side.
        http.half_close(true);
        Arc::new(Self {
            metrics: state.metrics.clone(),
            unrouted: state.metrics.requests.responses(OTHER),
            drain: state.drain.clone(),
            dispatcher: Arc::new(Dispatcher::new(state)),
            http,
            header_timeout: options.header_timeout,
            write_timeout: options.write_timeout,
            keep_alive: keep_alive(options.header_timeout),
            permits: Arc::new(Semaphore::new(max_connections)),
            slots: Slots::new(),
            max_connections,
            reserve: Arc::new(Semaphore::new(RESERVE)),
            reserve_bodies: Arc::new(Semaphore::new(RESERVE_BODIES)),
            rejections: Arc::new(Semaphore::new(MAX_REJECTIONS)),
            admin_permits: Arc::new(Semaphore::new(MAX_ADMIN_CONNECTIONS)),
            tasks: TaskTracker::new(),
            cut: CancellationToken::new(),
        })
    }
}

/// Returns the value of the header `Keep-Alive`: a second less than the time after which idle
/// connections close, so that a request that is sent just within it arrives before.
fn keep_alive(idle_timeout: Duration) -> Option<HeaderValue> {
    let seconds = idle_timeout.as_secs().saturating_sub(1);
    (seconds > 0)
        .then(|| HeaderValue::try_from(format!("timeout={seconds}")).expect("ASCII is valid"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_time_is_announced_a_second_shorter() {
        for (millis, expected) in
            [(10_000, Some("timeout=9")), (2_000, Some("timeout=1")), (1_999, None), (0, None)]
        {
            let value = keep_alive(Duration::from_millis(millis));
            assert_eq!(value.as_ref().map(|value| value.to_str().unwrap()), expected, "{millis}");
        }
    }
}
