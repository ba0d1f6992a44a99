//! State that the connections share.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::TokioTimer;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::slots::Places;
use crate::metrics::requests::RequestMetrics;
use crate::options::ServerOptions;
use crate::routes::routes;
use crate::state::ServerState;

/// What a connection may hold in buffers; so a head of a request is smaller.
pub(crate) const MAX_BUFFER: usize = 64 << 10;
/// How many connections may be told at once that there are too many.
const MAX_REFUSALS: usize = 64;

pub(crate) struct Shared {
    pub(crate) api: Arc<ServerState>,
    pub(crate) router: Router,
    pub(crate) http: http1::Builder,
    pub(crate) header_timeout: Duration,
    pub(crate) requests: RequestMetrics,
    pub(crate) room: Arc<Semaphore>,
    pub(crate) places: Arc<Places>,
    pub(crate) max_connections: usize,
    pub(crate) refusals: Arc<Semaphore>,
    pub(crate) tasks: TaskTracker,
    /// No more requests.
    pub(crate) drain: CancellationToken,
    /// Not a moment longer. What is being served looks at this one only once it drains.
    pub(crate) cut: CancellationToken,
}

impl Shared {
    pub(crate) fn new(api: Arc<ServerState>, options: &ServerOptions) -> Arc<Self> {
        let max_connections = options.max_connections.clamp(1, Semaphore::MAX_PERMITS);
        let mut http = http1::Builder::new();
        // Between two requests the time for the next head is running too.
        http.timer(TokioTimer::new())
            .header_read_timeout(options.header_timeout)
            .max_buf_size(MAX_BUFFER);
        // A request that came whole is served, also when its sender has nothing more to say, or is
        // gone.
        http.half_close(true);
        Arc::new(Self {
            router: routes(api.clone()),
            requests: api.requests.clone(),
            api,
            http,
            header_timeout: options.header_timeout,
            room: Arc::new(Semaphore::new(max_connections)),
            places: Places::new(),
            max_connections,
            refusals: Arc::new(Semaphore::new(MAX_REFUSALS)),
            tasks: TaskTracker::new(),
            drain: CancellationToken::new(),
            cut: CancellationToken::new(),
        })
    }
}
