//! State that the connections of a server share.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::TokioTimer;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::slots::Slots;
use crate::metrics::requests::RequestMetrics;
use crate::options::ServerOptions;
use crate::routes;
use crate::state::ServerState;

/// Size of a connection's read buffer in bytes, and so the limit of a request's head.
pub(crate) const MAX_BUFFER: usize = 64 << 10;
/// Number of connections beyond the limit that are answered with 503 at the same time.
const MAX_REFUSALS: usize = 64;

/// State that the connections of a server share.
pub(crate) struct Shared {
    pub(crate) state: Arc<ServerState>,
    pub(crate) router: Router,
    pub(crate) http: http1::Builder,
    pub(crate) header_timeout: Duration,
    pub(crate) requests: RequestMetrics,
    /// One permit per connection.
    pub(crate) permits: Arc<Semaphore>,
    pub(crate) slots: Arc<Slots>,
    pub(crate) max_connections: usize,
    pub(crate) refusals: Arc<Semaphore>,
    pub(crate) tasks: TaskTracker,
    /// Cancelled when no further request may begin.
    pub(crate) drain: CancellationToken,
    /// Cancelled when connections must close at once. Connections observe it only while draining.
    pub(crate) cut: CancellationToken,
}

impl Shared {
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
            router: routes::with_state(state.clone()),
            requests: state.requests.clone(),
            state,
            http,
            header_timeout: options.header_timeout,
            permits: Arc::new(Semaphore::new(max_connections)),
            slots: Slots::new(),
            max_connections,
            refusals: Arc::new(Semaphore::new(MAX_REFUSALS)),
            tasks: TaskTracker::new(),
            drain: CancellationToken::new(),
            cut: CancellationToken::new(),
        })
    }
}
